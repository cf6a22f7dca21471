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
pub(crate) struct Moving<'a> {
    home: &'a Home,
    stale: Vec<Stale>,
}

/// What is to be removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Stale {
    /// A job's record, where it does not stand any more.
    State(StateTree, JobId),
    /// Rows of a job's body from a part on.
    Body(JobId, Kind, u16),
    /// All of a job.
    Job(JobId),
    /// A queue's records older than this.
    Queue(QueueId, u64),
    /// A drained set.
    Drain(u128),
}

impl Home {
    /// Begins a move.
    pub(crate) fn moving(&self) -> Moving<'_> {
        Moving { home: self, stale: Vec::new() }
    }

    /// Whether the job's body is here.
    pub(crate) fn has_body(&self, id: JobId) -> Result<bool, StoreError> {
        self.body.contains_key(body::key(id, Kind::Body, 0)).map_err(|e| self.failed("look for a body", e))
    }
}

impl Moving<'_> {
    /// Writes a job; `body` is none when it is here already or gone.
    pub(crate) fn put_job(&mut self, job: &MovingJob, body: Option<&Body>) -> Result<(), StoreError> {
        let id = job.record.id;
        let tree = StateTree::of(job.record.state);
        if job.may_be_home {
            for other in StateTree::ALL.into_iter().filter(|other| *other != tree) {
                let states = &self.home.states[other as usize];
                if states.contains_key(job::key(id)).map_err(|e| self.home.failed("look for a job", e))? {
                    self.stale.push(Stale::State(other, id));
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

    /// Of a finished job only the attributes stay.
    fn put_finished_body(&mut self, id: JobId, body: Option<&Body>) -> Result<(), StoreError> {
        let (attributes, is_here) = match body {
            Some(body) => (body.attributes.clone(), false),
            None => match self.home.first_part(id, Kind::Body)? {
                None => return Ok(()),
                Some((_, first)) => {
                    let (attributes, has_payload, _) = body::decode_attributes(&first)
                        .map_err(self.home.malformed("body", &body::prefix(id)))?;
                    if !has_payload {
                        return Ok(());
                    }
                    (attributes, true)
                }
            },
        };
        let is_bare = attributes == Attributes::default();
        if is_here {
            self.stale.push(Stale::Body(id, Kind::Body, u16::from(!is_bare)));
        }
        // They fit part 0, so that replacing it is one step.
        if is_bare { Ok(()) } else { self.put_whole(id, Kind::Body, &body::encode(None, &attributes)) }
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
            Stale::State(tree, id) => self.remove(&self.states[tree as usize], &job::key(id)),
            Stale::Body(id, kind, from) => {
                let range = body::key(id, kind, from)..=body::key(id, kind, u16::MAX);
                self.remove_keys(&self.body, self.body.range(range))
            }
            Stale::Job(id) => {
                for tree in &self.states {
                    let key = job::key(id);
                    if tree.contains_key(key).map_err(|e| self.failed("look for a job", e))? {
                        self.remove(tree, &key)?;
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
