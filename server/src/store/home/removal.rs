//! What goes from home: what was replaced, and what is gone. Whatever it is replaced by is durable by then.

use sluice_engine::{Attributes, BatchName, JobId, QueueId, Span, Timestamp};

use super::body::{self, Kind};
use super::moving::Moving;
use super::{Home, StateTree, batch, drain, idempotency, job, part, queue, request};
use crate::store::StoreError;

/// Pages of idempotency keys that are looked at for one segment: more than one can bring, so that what is past goes in
/// time however long others are remembered.
const MAX_PAGE_LOOKS: usize = 4_096;

/// What is to be removed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stale {
    /// Records of a job but the newest.
    State(JobId),
    /// The payload of a finished job.
    Payload(JobId),
    /// Histories of a job's records older than this.
    History(JobId, u64),
    /// All of a job.
    Job(JobId),
    /// A queue's records older than this.
    Queue(QueueId, u64),
    /// A drained set.
    Drain(u128),
    /// A batch.
    Batch(QueueId, BatchName),
}

impl Moving {
    /// Removes what was replaced or is gone, and requests that nobody can repeat any more. What replaces
    /// it is durable.
    pub(crate) fn remove_stale(mut self, now: Timestamp) -> Result<(), StoreError> {
        // In order of keys: sled frees neighbouring pages far quicker than scattered ones.
        self.stale.sort_unstable();
        self.stale.dedup();
        for stale in &self.stale {
            self.home.remove_one(stale)?;
        }
        self.home.remove_past_requests(now)
    }
}

impl Home {
    fn remove_one(&self, stale: &Stale) -> Result<(), StoreError> {
        match *stale {
            Stale::State(id) => self.remove_older_records(id),
            Stale::Payload(id) => self.remove_payload(id),
            Stale::Job(id) => {
                for tree in StateTree::ALL {
                    if self.stands_in(tree, id)? {
                        self.remove(&self.states[tree as usize], &job::key(id))?;
                    }
                }
                self.remove_keys(&self.body, self.body.scan_prefix(body::prefix(id)))
            }
            Stale::History(id, before) => {
                let range = body::history_key(id, 0)..body::history_key(id, before);
                self.remove_keys(&self.body, self.body.range(range))
            }
            Stale::Queue(id, before) => {
                let range = queue::key(id, 0, 0)..queue::key(id, before, 0);
                self.remove_keys(&self.queue, self.queue.range(range))
            }
            // The head goes first: pages without one are not a set.
            Stale::Drain(set) => self.remove_keys(&self.drain, self.drain.scan_prefix(drain::prefix(set))),
            Stale::Batch(queue, ref name) => self.remove(&self.batch, &batch::key(queue, name)),
        }
    }

    /// A job may have gone from tree to tree and back since the last removal: only its newest record counts.
    fn remove_older_records(&self, id: JobId) -> Result<(), StoreError> {
        let mut found = Vec::new();
        for tree in StateTree::ALL {
            found.extend(self.stored(tree, id)?.map(|stored| (stored.as_of, tree)));
        }
        let newest = found.iter().max().copied();
        for (as_of, tree) in found {
            if Some((as_of, tree)) != newest {
                self.remove(&self.states[tree as usize], &job::key(id))?;
            }
        }
        Ok(())
    }

    fn remove_payload(&self, id: JobId) -> Result<(), StoreError> {
        let Some((_, first)) = self.first_part(id, Kind::Body)? else { return Ok(()) };
        let (attributes, has_payload, _) =
            body::decode_attributes(&first).map_err(self.malformed("body", &body::prefix(id)))?;
        if !has_payload {
            return Ok(());
        }
        let is_bare = attributes == Attributes::default();
        if !is_bare {
            // They fit part 0, so that replacing it is one step.
            let whole = body::encode(None, &attributes);
            for (key, value) in part::rows(&whole, |part| body::key(id, Kind::Body, part)) {
                self.put(&self.body, &key, value)?;
            }
        }
        let range = body::key(id, Kind::Body, u16::from(!is_bare))..=body::key(id, Kind::Body, u16::MAX);
        self.remove_keys(&self.body, self.body.range(range))
    }

    pub(super) fn stands_in(&self, tree: StateTree, id: JobId) -> Result<bool, StoreError> {
        let states = &self.states[tree as usize];
        states.contains_key(job::key(id)).map_err(|e| self.failed("look for a job", e))
    }

    /// Pages go from the oldest on. What is besides comes right behind its page, so what is met first without one
    /// has lost it.
    fn remove_past_requests(&self, now: Timestamp) -> Result<(), StoreError> {
        let pages =
            self.request.iter().keys().flatten().filter(|key| request::page_key(key).is_some()).count();
        let mut over = pages.saturating_sub(request::MAX_PAGES);
        for row in &self.request {
            let (key, value) = row.map_err(|e| self.failed("read requests", e))?;
            if request::page_key(&key).is_some() {
                let requests = request::decode(&key, &value).map_err(self.malformed("request", &key))?;
                if over == 0 && !request::is_past(&requests, now) {
                    break;
                }
                over = over.saturating_sub(1);
            }
            self.remove(&self.request, &key)?;
        }
        Ok(())
    }

    /// Removes pages of idempotency keys of which nothing is remembered: looks at a bounded number of them, from
    /// `cursor` on, which is moved, and begins again after the last one. `window` is that of a queue; none for one
    /// that is gone.
    pub(crate) fn remove_past_idempotency(
        &self,
        cursor: &mut Vec<u8>,
        window: impl Fn(QueueId) -> Option<Span>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let mut rows = self.idempotency.range(std::mem::take(cursor)..);
        for row in rows.by_ref().take(MAX_PAGE_LOOKS) {
            let (key, value) = row.map_err(|e| self.failed("read idempotency keys", e))?;
            let records = idempotency::decode(&key, &value).map_err(self.malformed("idempotency", &key))?;
            if idempotency::is_past(&records, &window, now) {
                self.remove(&self.idempotency, &key)?;
            }
        }
        if let Some(next) = rows.keys().next() {
            *cursor = next.map_err(|e| self.failed("read idempotency keys", e))?.to_vec();
        }
        Ok(())
    }

    /// Removes all records of a queue of which nothing else is here any more.
    pub(crate) fn remove_queue(&self, id: QueueId) -> Result<(), StoreError> {
        self.remove_keys(&self.queue, self.queue.scan_prefix(id.0.to_be_bytes()))
    }

    fn remove_keys(&self, tree: &sled::Tree, rows: sled::Iter) -> Result<(), StoreError> {
        for key in rows.keys() {
            self.remove(tree, &key.map_err(|e| self.failed("look for rows", e))?)?;
        }
        Ok(())
    }
}
