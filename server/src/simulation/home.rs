//! Where jobs are when their segment is gone: records, each with the last group that it includes.

use std::collections::BTreeMap;

use sluice_engine::{
    BatchRecord, DrainRecord, IdempotencyRecord, JobId, JobRecord, Ledger, Loader, Mutation, Now, QueueId,
    QueueRecord, RequestRecord,
};

use super::store::SimStore;
use crate::store::{Body, Store, StoreError};

/// Jobs of a slice.
const SLICE_JOBS: usize = 6;

/// See the module.
#[derive(Clone, Default)]
pub(super) struct Home {
    /// Segments up to this one are needed no more.
    pub(super) moved_through: u64,
    serial: u64,
    last_queue: QueueId,
    queues: Vec<(QueueRecord, u64)>,
    jobs: Vec<(JobRecord, u64)>,
    bodies: BTreeMap<JobId, Body>,
    batches: Vec<(BatchRecord, u64)>,
    drains: Vec<(DrainRecord, u64)>,
    requests: Vec<RequestRecord>,
    keys: Vec<IdempotencyRecord>,
}

/// A new home on its way: between its slices the engine goes on.
pub(super) struct Taking {
    home: Home,
    /// The next slice of jobs begins here.
    from: u64,
    /// Jobs that came later are in the log.
    last: u64,
}

impl Home {
    /// Brings all of it into `loader`; gives the last group that any record includes.
    pub(super) fn load(&self, loader: &mut Loader) -> Result<u64, StoreError> {
        let mut last = 0;
        let mut noted = |as_of: &u64| {
            last = last.max(*as_of);
            *as_of
        };
        loader.serial(self.serial);
        loader.last_queue(self.last_queue);
        for (record, as_of) in &self.queues {
            loader.queue(record.clone(), noted(as_of));
        }
        for (record, as_of) in &self.jobs {
            let loaded = loader.job(record.clone(), noted(as_of));
            loaded.map_err(|error| StoreError::Damaged(error.to_string()))?;
        }
        for (record, as_of) in &self.batches {
            loader.batch(record.clone(), noted(as_of));
        }
        for (record, as_of) in &self.drains {
            loader.drain(record.clone(), noted(as_of));
        }
        self.keys.iter().for_each(|record| loader.idempotency(*record));
        self.requests.iter().for_each(|record| loader.request(record.clone()));
        Ok(last)
    }

    /// The body of a job that is here.
    pub(super) fn body(&self, id: JobId) -> Option<&Body> {
        self.bodies.get(&id)
    }

    /// What of a segment's events nothing else tells.
    pub(super) fn remember(&mut self, now: Now, mutations: &[Mutation]) {
        for mutation in mutations {
            match mutation {
                Mutation::Enqueued { queue, first, jobs } => {
                    for (id, spec) in (first.0..).zip(jobs) {
                        if let Some(hash) = spec.idempotency {
                            let (queue, job, time) = (*queue, JobId(id), now.engine);
                            self.keys.push(IdempotencyRecord { queue, hash, job, time });
                        }
                    }
                }
                Mutation::Requested { request, answer } => {
                    let (request, answer, time) = (*request, answer.clone(), now.engine);
                    self.requests.push(RequestRecord { request, answer, time });
                }
                _ => {}
            }
        }
    }
}

impl Taking {
    /// Begins with the queues: one that goes meanwhile is there for what the log says of its jobs.
    pub(super) fn begin(ledger: &Ledger, as_of: u64) -> Taking {
        let mut home = Home::default();
        home.take_queues(ledger, as_of);
        Taking { home, from: 0, last: ledger.serial() }
    }

    /// Takes some jobs; says whether there may be more.
    pub(super) fn slice(
        &mut self,
        ledger: &Ledger,
        store: &SimStore,
        as_of: u64,
    ) -> Result<bool, StoreError> {
        let ids = ledger.ids(self.from..=self.last, SLICE_JOBS);
        let Some(last) = ids.last() else { return self.rest(ledger, as_of) };
        self.from = last.0 + 1;
        let places: Vec<_> = store.locate(&ids).into_iter().flatten().collect();
        for (id, mut body) in ids.into_iter().zip(store.reader().read(&places)?) {
            let Some(mut record) = ledger.record(id) else { continue };
            if ledger.is_detail_at_rest(id) {
                // What the engine has let go of is with the body.
                record.detail.clone_from(&body.detail);
            }
            body.detail.clone_from(&record.detail);
            self.home.bodies.insert(id, body);
            self.home.jobs.push((record, as_of));
        }
        Ok(true)
    }

    /// Counts come after all jobs: they include the removals of jobs that no slice has.
    fn rest(&mut self, ledger: &Ledger, as_of: u64) -> Result<bool, StoreError> {
        self.home.take_queues(ledger, as_of);
        let batches = ledger.batches_changed_after(0).map(|(_, record)| (record.clone(), as_of));
        self.home.batches = batches.collect();
        let drains = ledger.drain_ids().filter_map(|set| Some((ledger.drain_record(set)?, as_of)));
        self.home.drains = drains.collect();
        Ok(false)
    }

    /// The home, when segments up to `moved_through` are gone.
    pub(super) fn finish(self, ledger: &Ledger, before: &Home, moved_through: u64) -> Home {
        Home {
            moved_through,
            serial: ledger.serial(),
            last_queue: ledger.last_queue(),
            requests: before.requests.clone(),
            keys: before.keys.clone(),
            ..self.home
        }
    }
}

impl Home {
    /// The later record of a queue is the one that counts.
    fn take_queues(&mut self, ledger: &Ledger, as_of: u64) {
        let ids: Vec<QueueId> = ledger.queue_ids().collect();
        self.queues.extend(ids.into_iter().filter_map(|id| Some((ledger.queue_record(id)?, as_of))));
    }
}
