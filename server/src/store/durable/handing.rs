//! Which records of the oldest segment are handed over, and in which order. Read from the ledger, which
//! stands as of the last durable group.

use std::collections::VecDeque;
use std::mem;
use std::ops::RangeInclusive;

use sluice_engine::{JobId, JobRecord, Ledger, Now, QueueId};

use super::housekeeper::{BatchKey, Batches, Finish, HandedJob, Jobs, Mentions, Order};
use super::mover::Mover;
use crate::store::home::MovingJob;
use crate::store::log::Log;

/// Jobs of one order.
pub(super) const BATCH_JOBS: usize = 256;
/// Bytes of results and errors after which an order holds no more jobs.
const BATCH_BYTES: usize = 1 << 20;
/// Jobs looked at for one order.
const LOOKS_PER_ORDER: usize = 4_096;

/// A segment on its way.
pub(super) struct Handing {
    pub(super) segment: u64,
    /// The jobs that were born in it.
    pub(super) born: Option<RangeInclusive<u64>>,
    stage: Stage,
    /// What else its events are about, once it is known.
    pub(super) mentions: Option<Mentions>,
}

/// Where handing over stands. Queues and batches come after jobs: their counts must include all that happened to
/// a job before the job is removed, since it is counted no more when the log is replayed.
enum Stage {
    /// Jobs born in it, from this one on.
    Born(u64),
    /// Jobs born in it that are at home and exist no more, from this one on.
    Gone(u64),
    /// Jobs born before that its events are about, from this one on.
    Older(u64),
    /// All queues.
    Queues(VecDeque<QueueId>),
    /// The batches whose records have changed.
    Batches(VecDeque<BatchKey>),
    /// The batches that its events forget.
    ForgottenBatches,
    /// The drained sets.
    Drains,
}

/// Jobs for one order.
#[derive(Default)]
pub(super) struct Batch {
    jobs: Jobs,
    bytes: usize,
}

impl Handing {
    pub(super) fn new(segment: u64, born: Option<(JobId, JobId)>) -> Handing {
        let born = born.map(|(first, last)| first.0..=last.0);
        let stage = born.as_ref().map_or(Stage::Older(0), |born| Stage::Born(*born.start()));
        Handing { segment, born, stage, mentions: None }
    }

    /// The next order; none while it is not known what else there is.
    pub(super) fn next(
        &mut self,
        mover: &mut Mover,
        ledger: &Ledger,
        log: &Log,
        as_of: u64,
        now: Now,
    ) -> Option<Order> {
        loop {
            let last = self.born.as_ref().map_or(0, |born| *born.end());
            let first = self.born.as_ref().map_or(0, |born| *born.start());
            match &mut self.stage {
                Stage::Born(from) => {
                    let ids = ledger.ids(*from..=last, BATCH_JOBS);
                    match batch(&ids, mover, ledger, log, as_of) {
                        (batch, Some(next)) => {
                            *from = next;
                            return Some(batch.into_order());
                        }
                        (_, None) => self.stage = Stage::Gone(first),
                    }
                }
                Stage::Gone(from) => match mover.early_from(JobId(*from), JobId(last), LOOKS_PER_ORDER) {
                    ids if ids.is_empty() => self.stage = Stage::Older(0),
                    ids => {
                        *from = ids.last().map_or(last, |id| id.0).saturating_add(1);
                        let mut batch = Batch::default();
                        let is_gone = |id: &JobId| ledger.ids(id.0..=id.0, 1).is_empty();
                        batch.jobs.gone = ids.into_iter().filter(is_gone).collect();
                        return Some(batch.into_order());
                    }
                },
                Stage::Older(from) => {
                    let oldest = log.segments().next()?;
                    let ids = oldest.touched().ids_from(JobId(*from), BATCH_JOBS);
                    match batch(&ids, mover, ledger, log, as_of) {
                        (batch, Some(next)) => {
                            *from = next;
                            return Some(batch.into_order());
                        }
                        (_, None) => self.stage = Stage::Queues(ledger.queue_ids().collect()),
                    }
                }
                Stage::Queues(left) => {
                    let ids = left.drain(..left.len().min(BATCH_JOBS));
                    let records: Vec<_> = ids.filter_map(|id| ledger.queue_record(id)).collect();
                    if !records.is_empty() {
                        return Some(Order::Queues(records, as_of));
                    }
                    self.stage = Stage::Batches(mover.changed_batches(ledger).into());
                }
                Stage::Batches(left) => {
                    let keys: Vec<_> = left.drain(..left.len().min(BATCH_JOBS)).collect();
                    if !keys.is_empty() {
                        return Some(Order::Batches(batches(keys, ledger, as_of)));
                    }
                    self.stage = Stage::ForgottenBatches;
                }
                Stage::ForgottenBatches => {
                    let left = &mut self.mentions.as_mut()?.batches;
                    let keys = left.split_off(left.len().saturating_sub(BATCH_JOBS));
                    if !keys.is_empty() {
                        return Some(Order::Batches(batches(keys, ledger, as_of)));
                    }
                    self.stage = Stage::Drains;
                }
                Stage::Drains => {
                    return Some(match self.mentions.as_mut()?.drains.pop() {
                        Some(set) => match ledger.drain_record(set) {
                            Some(record) => Order::Drain(Box::new(record), as_of),
                            None => Order::DrainGone(set),
                        },
                        None => Order::Finish(Finish {
                            segment: self.segment,
                            serial: ledger.serial(),
                            last_queue: ledger.last_queue(),
                            now: now.engine,
                            readers: mover.renew_pin(),
                        }),
                    });
                }
            }
        }
    }
}

/// As many of `ids` as fit one order, and the number after the last of them; none when there are none.
fn batch(ids: &[JobId], mover: &mut Mover, ledger: &Ledger, log: &Log, as_of: u64) -> (Batch, Option<u64>) {
    let mut batch = Batch::default();
    let mut next = None;
    for id in ids {
        if batch.is_full() {
            break;
        }
        next = Some(id.0.saturating_add(1));
        match ledger.record(*id) {
            Some(record) => batch.add(record, mover, ledger, log, as_of),
            None => batch.jobs.gone.push(*id),
        }
    }
    (batch, next)
}

/// Batches as they are; one that began again after it was forgotten is among those that are.
fn batches(keys: Vec<BatchKey>, ledger: &Ledger, as_of: u64) -> Batches {
    let mut batches = Batches { as_of, ..Batches::default() };
    for (queue, name) in keys {
        match ledger.batch_record(queue, &name) {
            Some(record) => batches.moving.push(record.clone()),
            None => batches.gone.push((queue, name)),
        }
    }
    batches
}

impl Batch {
    pub(super) fn is_full(&self) -> bool {
        self.jobs.moving.len() + self.jobs.gone.len() >= BATCH_JOBS || self.bytes >= BATCH_BYTES
    }

    pub(super) fn add(
        &mut self,
        record: JobRecord,
        mover: &mut Mover,
        ledger: &Ledger,
        log: &Log,
        as_of: u64,
    ) {
        let id = record.id;
        self.jobs.as_of = as_of;
        if mover.note_queue(record.queue) {
            self.jobs.queues.extend(ledger.queue_record(record.queue));
        }
        let place = log.locate(id);
        // What was born in the log is at home only if it was handed over before.
        let may_be_home = place.is_none() || !mover.note_early(id);
        if let Some(detail) = &record.detail {
            let result = detail.result.as_ref().map_or(0, |result| result.len());
            let error = detail.error.as_ref().map_or(0, |error| error.message.len());
            self.bytes += result + error;
        }
        let detail_at_rest = ledger.is_detail_at_rest(id);
        self.jobs
            .moving
            .push(HandedJob { job: MovingJob { record, as_of, may_be_home, detail_at_rest }, place });
    }

    pub(super) fn is_empty(&self) -> bool {
        self.jobs.moving.is_empty() && self.jobs.gone.is_empty()
    }

    pub(super) fn into_order(mut self) -> Order {
        Order::Jobs(mem::take(&mut self.jobs))
    }
}
