//! Jobs move in: first everything is written, then, when the caller has made that durable, what it
//! replaces is removed. In between a thing may be here twice, and its higher `as_of` wins.

use sluice_engine::{
    Attributes, BatchName, BatchRecord, DrainRecord, IdempotencyRecord, JobId, JobRecord, JobState, QueueId,
    QueueRecord, RequestRecord,
};

use super::body::{self, Kind};
use super::removal::Stale;
use super::{Home, StateTree, batch, detail, drain, idempotency, job, part, queue, request};
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
    pub(super) home: Home,
    pub(super) stale: Vec<Stale>,
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
            if job.detail_at_rest {
                let as_of = self.as_of_unchanged(tree, &job.record)?;
                self.stale.push(Stale::History(id, as_of));
                return Ok(());
            }
            if job.record.deliveries > 0 {
                self.stale.push(Stale::History(id, job.as_of));
            }
        }
        if !keeps_payload(job.record.state) {
            self.put_finished_body(id, body)?;
        } else if let Some(body) = body {
            self.put_whole(id, Kind::Body, &body::encode(body.payload.as_ref(), &body.attributes))?;
        }
        if let Some(result) = detail::result_apart(&job.record) {
            self.put_whole(id, Kind::Result, result)?;
        }
        if let Some(history) = detail::history_apart(&job.record) {
            let key = body::history_key(id, job.as_of);
            self.home.put(&self.home.body, &key, body::encode_history(&key, &history))?;
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
        for (page, value, chunk) in request::rows(segment, requests) {
            for (key, value) in request::besides_rows(page, chunk) {
                self.home.put(&self.home.request, &key, value)?;
            }
            self.home.put(&self.home.request, &page, value)?;
        }
        Ok(())
    }

    /// Writes the idempotency keys of a segment, oldest first.
    pub(crate) fn put_idempotency(
        &mut self,
        segment: u64,
        records: &[IdempotencyRecord],
    ) -> Result<(), StoreError> {
        for (key, value) in idempotency::rows(segment, records) {
            self.home.put(&self.home.idempotency, &key, value)?;
        }
        Ok(())
    }

    /// Writes a batch.
    pub(crate) fn put_batch(&mut self, record: &BatchRecord, as_of: u64) -> Result<(), StoreError> {
        let key = batch::key(record.queue, &record.name);
        let value = batch::encode(&key, record, as_of);
        self.home.put(&self.home.batch, &key, value)
    }

    /// A batch that is remembered no more.
    pub(crate) fn drop_batch(&mut self, queue: QueueId, name: BatchName) {
        self.stale.push(Stale::Batch(queue, name));
    }

    /// Nothing has happened since the record here was written, and the rest of such a job never changes. Says which
    /// record that is.
    fn as_of_unchanged(&self, tree: StateTree, record: &JobRecord) -> Result<u64, StoreError> {
        let life = |r: &JobRecord| (r.state, r.requeues, r.deliveries);
        match self.home.stored(tree, record.id)? {
            Some(stored) if life(&stored.record) == life(record) => Ok(stored.as_of),
            _ => {
                let why = "the detail of a job at rest is missing";
                Err(self.home.damaged(tree.name(), &job::key(record.id), why))
            }
        }
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

/// A job that will never run again needs no payload.
pub(super) fn keeps_payload(state: JobState) -> bool {
    !state.is_at_rest() || state.is_requeueable()
}
