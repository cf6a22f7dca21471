//! What a store would hold, and the engine that comes back from it.

use sluice_engine::*;

use crate::harness::{Harness, drain_id};
use crate::step::batch;

/// The log, and records as they were after some of its groups.
#[derive(Default)]
pub(crate) struct Log {
    groups: Vec<(Now, Vec<Mutation>)>,
    snapshot: Option<Snapshot>,
}

/// Records, to be loaded in place of what came before.
struct Snapshot {
    as_of: u64,
    serial: u64,
    last_queue: QueueId,
    queues: Vec<QueueRecord>,
    jobs: Vec<JobRecord>,
    drains: Vec<DrainRecord>,
    batches: Vec<BatchRecord>,
}

impl Log {
    pub(crate) fn push(&mut self, now: Now, mutations: Vec<Mutation>, engine: &Engine) {
        self.groups.push((now, mutations));
        if self.groups.len().is_multiple_of(7) {
            self.snapshot = Some(Snapshot::of(engine, self.groups.len() as u64));
        }
    }

    /// Keys and requests as the store keeps them: with everything that named them.
    fn load_answers(&self, loader: &mut Loader, snapshot: &Snapshot) {
        for (now, mutations) in &self.groups[..snapshot.as_of as usize] {
            for mutation in mutations {
                match mutation {
                    Mutation::Enqueued { queue, first, jobs } if snapshot.has(*queue) => {
                        for (id, spec) in (first.0..).zip(jobs) {
                            if let Some(hash) = spec.idempotency {
                                let (queue, job, time) = (*queue, JobId(id), now.engine);
                                loader.idempotency(IdempotencyRecord { queue, hash, job, time });
                            }
                        }
                    }
                    Mutation::Requested { request, answer } => loader.request(RequestRecord {
                        request: *request,
                        answer: answer.clone(),
                        time: now.engine,
                    }),
                    _ => {}
                }
            }
        }
    }
}

impl Snapshot {
    fn of(engine: &Engine, as_of: u64) -> Snapshot {
        let ledger = engine.ledger();
        let ids = ledger.ids(0..=u64::MAX, usize::MAX);
        let sets = (0..2).flat_map(|queue| (0..3).map(move |request| drain_id(queue, request)));
        Snapshot {
            as_of,
            serial: ledger.serial(),
            last_queue: ledger.last_queue(),
            queues: ledger.queue_ids().map(|id| ledger.queue_record(id).unwrap()).collect(),
            jobs: ids.into_iter().map(|id| ledger.record(id).unwrap()).collect(),
            drains: sets.filter_map(|set| ledger.drain_record(set)).collect(),
            batches: ledger.batches_changed_after(0).map(|(_, record)| record.clone()).collect(),
        }
    }

    fn has(&self, queue: QueueId) -> bool {
        self.queues.iter().any(|record| record.id == queue && !record.deleted)
    }
}

impl Harness {
    /// What the store would hold gives the same engine: from the log alone, and from records with the
    /// log after them, and with the log they already include.
    pub(crate) fn rebuild(&self) {
        self.rebuilt_from(None, 0);
        if let Some(snapshot) = &self.log.snapshot {
            // Some of what the records include is still in the log.
            self.rebuilt_from(Some(snapshot), (snapshot.as_of as usize).saturating_sub(3));
            self.rebuilt_from(Some(snapshot), 0);
        }
    }

    fn rebuilt_from(&self, snapshot: Option<&Snapshot>, skip: usize) {
        let mut loader = Loader::new(EngineConfig::default());
        if let Some(s) = snapshot {
            loader.serial(s.serial);
            loader.last_queue(s.last_queue);
            s.queues.iter().for_each(|record| loader.queue(record.clone(), s.as_of));
            s.batches.iter().for_each(|record| loader.batch(record.clone(), s.as_of));
            s.jobs.iter().for_each(|record| loader.job(record.clone(), s.as_of).unwrap());
            s.drains.iter().for_each(|record| loader.drain(record.clone(), s.as_of));
            self.log.load_answers(&mut loader, s);
        }
        for (number, (now, mutations)) in self.log.groups.iter().enumerate().skip(skip) {
            loader.group(number as u64 + 1, *now, mutations.clone()).unwrap();
        }
        let engine = loader.finish(self.now).unwrap();
        self.compare(&engine);
        let (live, rebuilt) = (self.engine.ledger(), engine.ledger());
        for id in self.model.jobs.keys().map(|id| JobId(*id)) {
            let (mut a, mut b) = (live.record(id).unwrap(), rebuilt.record(id).unwrap());
            if rebuilt.is_detail_at_rest(id) {
                (a.detail, b.detail) = (None, None);
            }
            assert_eq!(a, b);
        }
        assert!(live.queue_ids().eq(rebuilt.queue_ids()));
        for queue in live.queue_ids() {
            assert_eq!(live.queue_record(queue), rebuilt.queue_record(queue));
            for index in 0..2 {
                let said = |ledger: &Ledger| {
                    let record = ledger.batch_record(queue, &batch(index));
                    record.map(|record| (record.total, record.gone))
                };
                assert_eq!(said(live), said(rebuilt));
            }
        }
        let sets = (0..2).flat_map(|queue| (0..3).map(move |request| drain_id(queue, request)));
        for set in sets {
            assert_eq!(live.drain_record(set), rebuilt.drain_record(set));
        }
        assert_eq!(engine.next_wake(self.now).is_some(), self.has_something_to_come());
    }

    /// Whether anything will happen by itself, but for those that wait.
    fn has_something_to_come(&self) -> bool {
        let comes = |job: &crate::world::ModelJob| job.state != JobState::Ready || job.expire.is_some();
        let empty = |(queue, name): &(u32, BatchName)| self.model.in_batch(*queue, name).next().is_none();
        self.model.jobs.values().any(comes)
            || !self.model.drains.is_empty()
            || self.model.batches.keys().any(empty)
    }
}
