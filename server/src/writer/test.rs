//! What the writer promises, shown on a store in memory.

mod step;
mod thread;

use std::sync::Arc;

use bytes::Bytes;
use sluice_engine::{
    Command, Enqueue, JobId, JobSpec, Lease, Ledger, Loader, Mutation, Now, QueueName, Span,
};

use crate::store::Memory;
use crate::store::{BodyReader, Groups, Place, Pressure, Store, StoreError, Tail, Upkeep};

pub(super) fn queue() -> QueueName {
    QueueName::new("q").unwrap()
}

pub(super) fn enqueue(payload: &'static str) -> Command {
    let job = JobSpec { payload: Bytes::from_static(payload.as_bytes()), ..JobSpec::default() };
    Command::Enqueue(Enqueue {
        queue: queue(),
        jobs: vec![job],
        request: None,
        batch_totals: Vec::new(),
        wait: Span::ZERO,
    })
}

pub(super) fn lease(max_jobs: u32, wait: Span) -> Lease {
    Lease { queue: queue(), max_jobs, max_bytes: 1 << 20, lease_duration: None, wait, worker: Arc::from("w") }
}

type OnCommit = Box<dyn FnMut(&[Mutation]) + Send>;

/// A store in memory that calls back before each commit, and asks for what `upkeep` says.
pub(super) struct Spy {
    inner: Memory,
    on_commit: OnCommit,
    pub(super) upkeep: Vec<Upkeep>,
}

impl Spy {
    pub(super) fn new(inner: &Memory, on_commit: impl FnMut(&[Mutation]) + Send + 'static) -> Spy {
        Spy { inner: inner.clone(), on_commit: Box::new(on_commit), upkeep: Vec::new() }
    }
}

impl Store for Spy {
    fn load(&mut self, loader: &mut Loader) -> Result<Option<Now>, StoreError> {
        self.inner.load(loader)
    }

    fn commit(&mut self, now: Now, mutations: &[Mutation]) -> Result<(), StoreError> {
        (self.on_commit)(mutations);
        self.inner.commit(now, mutations)
    }

    fn locate(&self, ids: &[JobId]) -> Vec<Option<Place>> {
        self.inner.locate(ids)
    }

    fn reader(&self) -> Arc<dyn BodyReader> {
        self.inner.reader()
    }

    fn upkeep(&mut self, _ledger: &Ledger, _now: Now) -> Result<Upkeep, StoreError> {
        Ok(self.upkeep.pop().unwrap_or_default())
    }

    fn follow(&self) -> Result<Tail, StoreError> {
        self.inner.follow()
    }

    fn groups(&self, tail: &Tail) -> Result<Groups, StoreError> {
        Store::groups(&self.inner, tail)
    }

    fn pressure(&self) -> Pressure {
        self.inner.pressure()
    }

    fn close(&mut self, now: Now) -> Result<(), StoreError> {
        self.inner.close(now)
    }
}
