//! Jobs move in: first everything is written, then, when the caller has made that durable, what it
//! replaces is removed. In between a thing may be here twice, and its higher `as_of` wins.

use sluice_engine::{
    Attributes, DrainRecord, JobId, JobRecord, JobState, QueueId, QueueRecord, RequestRecord, Timestamp,
};

use super::body::{self, Kind};
use super::{Home, StateTree, drain, job, part, queue, request};
use crate::store::{Body, StoreError};

/// A job on its way home.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct MovingJob {
    /// As it is.
    pub(crate) record: JobRecord,
    /// The last group that includes.
    pub(crate) as_of: u64,
    /// Whether some of it may be here already.
    pub(crate) may_be_home: bool,
    /// Whether the engine has let go of its detail: what is here of it is all there is.
    pub(crate) detail_at_rest: bool,
}

/// What is written, and what it replaces.
pub(crate) struct Moving {
    home: Home,
    stale: Vec<Stale>,
}

/// What is to be removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Stale {
    /// Records of a job but the newest.
    State(JobId),
    /// The payload of a finished job.
    Payload(JobId),
    /// All of a job.
    Job(JobId),
    /// A queue's records older than this.
    Queue(QueueId, u64),
    /// A drained set.
    Drain(u128),
}

impl Home {
    /// Begins a move.
    pub(crate) fn moving(&self) -> Moving {
        Moving { home: self.clone(), stale: Vec::new() }
    }

    /// Whether the job's body is here.
    pub(crate) fn has_body(&self, id: JobId) -> Result<bool, StoreError> {
        self.body.contains_key(body::key(id, Kind::Body, 0)).map_err(|e| self.failed("look for a body", e))
    }
}

impl Moving {
    /// Writes a job; `body` is none when it is here already or gone.
    pub(crate) fn put_job(&mut self, job: &MovingJob, body: Option<&Body>) -> Result<(), StoreError> {
        let id = job.record.id;
        let tree = StateTree::of(job.record.state);
        if job.may_be_home {
            for other in StateTree::ALL.into_iter().filter(|other| *other != tree) {
                if self.home.stands_in(other, id)? {
                    self.stale.push(Stale::State(id));
                    break;
                }
            }
            if job.detail_at_rest && self.is_here_as_it_is(tree, &job.record)? {
                return Ok(());
            }
        }
        if job.record.state == JobState::Completed {
            self.put_finished_body(id, body)?;
        } else if let Some(body) = body {
            self.put_whole(id, Kind::Body, &body::encode(body.payload.as_ref(), &body.attributes))?;
        }
        if let Some(result) = job::result_apart(&job.record) {
            self.put_whole(id, Kind::Result, result)?;
        }
        let value = job::encode(&job.record, job.as_of);
        self.home.put(&self.home.states[tree as usize], &job::key(id), value)
    }

    /// A job that is gone.
    pub(crate) fn drop_job(&mut self, id: JobId) {
        self.stale.push(Stale::Job(id));
    }

    /// Writes a queue.
    pub(crate) fn put_queue(&mut self, record: &QueueRecord, as_of: u64) -> Result<(), StoreError> {
        let whole = queue::encode(record);
        for (key, value) in part::rows(&whole, |part| queue::key(record.id, as_of, part)) {
            self.home.put(&self.home.queue, &key, value)?;
        }
        self.stale.push(Stale::Queue(record.id, as_of));
        Ok(())
    }

    /// Writes a drained set.
    pub(crate) fn put_drain(&mut self, record: &DrainRecord, as_of: u64) -> Result<(), StoreError> {
        for (key, value) in drain::rows(record, as_of) {
            self.home.put(&self.home.drain, &key, value)?;
        }
        Ok(())
    }

    /// A drained set that is gone.
    pub(crate) fn drop_drain(&mut self, set: u128) {
        self.stale.push(Stale::Drain(set));
    }

    /// Writes the requests of a segment, oldest first.
    pub(crate) fn put_requests(
        &mut self,
        segment: u64,
        requests: &[RequestRecord],
    ) -> Result<(), StoreError> {
        for (key, value) in request::rows(segment, requests) {
            self.home.put(&self.home.request, &key, value)?;
        }
        Ok(())
    }

    /// Removes what was replaced or is gone, and requests that nobody can repeat any more. What replaces
    /// it is durable.
    pub(crate) fn remove_stale(mut self, now: Timestamp) -> Result<(), StoreError> {
        // In order of keys: sled frees neighbouring pages far quicker than scattered ones.
        self.stale.sort_unstable();
        self.stale.dedup();
        for stale in &self.stale {
            self.home.remove_one(*stale)?;
        }
        self.home.remove_past_requests(now)
    }

    /// Nothing has happened since the record here was written. The rest of such a job never changes.
    fn is_here_as_it_is(&self, tree: StateTree, record: &JobRecord) -> Result<bool, StoreError> {
        let stored = self.home.stored(tree, record.id)?;
        let is_same = stored.is_some_and(|stored| {
            let life = |r: &JobRecord| (r.state, r.requeues, r.deliveries);
            life(&stored.record) == life(record)
        });
        if is_same {
            return Ok(true);
        }
        Err(self.home.damaged(tree.name(), &job::key(record.id), "the detail of a job at rest is missing"))
    }

    /// Of a finished job only the attributes stay. A payload that is here goes with what is stale: until
    /// then somebody may be reading it.
    fn put_finished_body(&mut self, id: JobId, body: Option<&Body>) -> Result<(), StoreError> {
        match body {
            Some(body) if body.attributes == Attributes::default() => Ok(()),
            Some(body) => self.put_whole(id, Kind::Body, &body::encode(None, &body.attributes)),
            None => {
                self.stale.push(Stale::Payload(id));
                Ok(())
            }
        }
    }

    fn put_whole(&self, id: JobId, kind: Kind, whole: &[u8]) -> Result<(), StoreError> {
        for (key, value) in part::rows(whole, |part| body::key(id, kind, part)) {
            self.home.put(&self.home.body, &key, value)?;
        }
        Ok(())
    }
}

impl Home {
    fn remove_one(&self, stale: Stale) -> Result<(), StoreError> {
        match stale {
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
            Stale::Queue(id, before) => {
                let range = queue::key(id, 0, 0)..queue::key(id, before, 0);
                self.remove_keys(&self.queue, self.queue.range(range))
            }
            // The head goes first: pages without one are not a set.
            Stale::Drain(set) => self.remove_keys(&self.drain, self.drain.scan_prefix(drain::prefix(set))),
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

    fn stands_in(&self, tree: StateTree, id: JobId) -> Result<bool, StoreError> {
        let states = &self.states[tree as usize];
        states.contains_key(job::key(id)).map_err(|e| self.failed("look for a job", e))
    }

    fn remove_past_requests(&self, now: Timestamp) -> Result<(), StoreError> {
        let mut over = self.request.len().saturating_sub(request::MAX_PAGES);
        for row in &self.request {
            let (key, value) = row.map_err(|e| self.failed("read requests", e))?;
            let requests = request::decode(&key, &value).map_err(self.malformed("request", &key))?;
            if over == 0 && !request::is_past(&requests, now) {
                break;
            }
            over = over.saturating_sub(1);
            self.remove(&self.request, &key)?;
        }
        Ok(())
    }

    fn remove_keys(&self, tree: &sled::Tree, rows: sled::Iter) -> Result<(), StoreError> {
        for key in rows.keys() {
            self.remove(tree, &key.map_err(|e| self.failed("look for rows", e))?)?;
        }
        Ok(())
    }
}
