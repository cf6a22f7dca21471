//! The facts: every job, queue, request and drained set. Changed by mutations alone, live and in a
//! replay by the same lines.

pub(crate) mod batches;
pub(crate) mod flow;
mod gate;
pub(crate) mod idempotency;
pub(crate) mod jobs;
pub(crate) mod keys;
pub(crate) mod limits;
pub(crate) mod requests;

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::sync::Arc;

use crate::bound::{MAX_ATTEMPT_ERROR_BYTES, MAX_ATTEMPT_HISTORY, MAX_ERROR_CODES};
use crate::command::RequestKey;
use crate::id::{JobId, LeaseToken, QueueId};
use crate::job::{Attempt, Cost, Detail, Due, JobError, JobRecord, JobSpec, JobState, Start};
use crate::ledger::batches::{BatchId, Batches};
pub use crate::ledger::flow::{
    Adaptation, Breaker, BreakerState, Feedback, Meter, NodeState, Phase, Quota, Trace, Turn,
};
use crate::ledger::flow::{Answers, Flow, GateId};
pub(crate) use crate::ledger::gate::Known;
use crate::ledger::idempotency::Idempotency;
pub use crate::ledger::idempotency::IdempotencyRecord;
use crate::ledger::jobs::{Job, Jobs, Slot};
use crate::ledger::keys::Keys;
use crate::ledger::limits::Limits;
use crate::ledger::requests::Requests;
use crate::limit::NodeSettings;
use crate::mutation::{Charge, Mutation, Next, ReturnCause};
use crate::name::{BatchName, QueueName};
use crate::outcome::Enqueued;
use crate::queue::{BatchRecord, QueueRecord, QueueTotals, StateCounts};
use crate::time::{Now, Timestamp, WallTime};

/// A drained set as the store keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DrainRecord {
    /// Names the set; what was asked.
    pub request: RequestKey,
    /// The queue it was taken from.
    pub queue: QueueId,
    /// When.
    pub time: Timestamp,
    /// In order.
    pub jobs: Vec<JobId>,
}

/// An answered request as the store keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestRecord {
    /// Which.
    pub request: RequestKey,
    /// With what.
    pub answer: Enqueued,
    /// When.
    pub time: Timestamp,
}

/// The facts.
#[derive(Default)]
pub struct Ledger {
    pub(crate) jobs: Jobs,
    pub(crate) keys: Keys,
    pub(crate) requests: Requests,
    pub(crate) batches: Batches,
    pub(crate) idempotency: Idempotency,
    pub(crate) flow: Flow,
    pub(crate) limits: Limits,
    queues: BTreeMap<QueueId, Queue>,
    by_name: BTreeMap<QueueName, QueueId>,
    drains: BTreeMap<u128, DrainRecord>,
    /// Queues of which only what they held is still there.
    deleted: BTreeSet<QueueId>,
    /// Batches whose last job went, since somebody took note.
    emptied: Vec<BatchId>,
    serial: u64,
    last_queue: u32,
}

/// A queue's facts, and what follows from its jobs' at once.
pub(crate) struct Queue {
    pub(crate) record: QueueRecord,
    pub(crate) counts: StateCounts,
    /// Of jobs that wait or are held, and of those the ones that are held.
    pub(crate) bytes: u64,
    pub(crate) leased_bytes: u64,
    /// What is known of it as a node, and how many of its nodes something is known of.
    pub(crate) gate: GateId,
    gates: u32,
    /// Whether its settings limit any node, and whether any is to send more than one job in its turn.
    limited: bool,
    pub(crate) has_weights: bool,
    /// The shared limit it hangs under.
    pub(crate) limit: Option<QueueId>,
    /// When they were put last, as far as that is known.
    settings_time: Timestamp,
    /// What came back of late.
    answers: Cell<Answers>,
}

/// Which facts already include the mutation at hand: a replay meets records that are younger than the log.
pub(crate) trait Coverage {
    /// Whether this job's record includes it.
    fn job(&self, id: JobId) -> bool;
    /// Whether this queue's record includes it.
    fn queue(&self, id: QueueId) -> bool;
    /// Whether this batch's record includes it.
    fn batch(&self, queue: QueueId, name: &BatchName) -> bool;
}

/// Live, nothing is covered.
pub(crate) struct Uncovered;

/// What a mutation says cannot follow from the facts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Contradiction(pub(crate) String);

impl Coverage for Uncovered {
    fn job(&self, _: JobId) -> bool {
        false
    }

    fn queue(&self, _: QueueId) -> bool {
        false
    }

    fn batch(&self, _: QueueId, _: &BatchName) -> bool {
        false
    }
}

/// For the store.
impl Ledger {
    /// Everything known of a job; none when it is gone.
    #[must_use]
    pub fn record(&self, id: JobId) -> Option<JobRecord> {
        let job = self.jobs.get(id)?;
        Some(JobRecord {
            id,
            queue: job.queue,
            key: self.keys.text(job.key).clone(),
            priority: job.priority,
            state: job.state,
            sequence: job.sequence,
            create_time: job.create_time,
            due: job.due(),
            bytes: job.bytes,
            deliveries: job.deliveries,
            attempts: u32::from(job.attempts),
            requeues: job.requeues,
            nacked: job.nacked,
            cancel_requested: job.cancel_requested,
            batch: self.batches.name(job.batch).cloned(),
            detail: job.detail.clone(),
        })
    }

    /// Whether the job's detail was let go of: what the store holds of it is all there is.
    #[must_use]
    pub fn is_detail_at_rest(&self, id: JobId) -> bool {
        self.jobs.get(id).is_some_and(|job| job.detail_at_rest)
    }

    /// The ids in `range` whose jobs exist, in order, at most `limit`.
    #[must_use]
    pub fn ids(&self, range: RangeInclusive<u64>, limit: usize) -> Vec<JobId> {
        let last = JobId(*range.end());
        let from = JobId(*range.start());
        self.jobs.iter_from(from).map(|(_, job)| job.id).take_while(|id| *id <= last).take(limit).collect()
    }

    /// A queue as the store keeps it.
    #[must_use]
    pub fn queue_record(&self, id: QueueId) -> Option<QueueRecord> {
        self.queues.get(&id).map(|queue| queue.record.clone())
    }

    /// Every queue, in order of their numbers.
    pub fn queue_ids(&self) -> impl Iterator<Item = QueueId> + '_ {
        self.queues.keys().copied()
    }

    /// A drained set; none when it is gone.
    #[must_use]
    pub fn drain_record(&self, set: u128) -> Option<DrainRecord> {
        self.drains.get(&set).cloned()
    }

    /// A batch as the store keeps it; none when it is remembered no more.
    #[must_use]
    pub fn batch_record(&self, queue: QueueId, name: &BatchName) -> Option<&BatchRecord> {
        self.batches.find(queue, name).map(|id| self.batches.record(id))
    }

    /// Batch records that changed after `change`, in the order of their changes, each with the number of its
    /// last one. Batches of which nothing but their jobs is to be known are not among them.
    pub fn batches_changed_after(&self, change: u64) -> impl Iterator<Item = (u64, &BatchRecord)> {
        self.batches.changed_after(change)
    }

    /// Idempotency keys behind those of a queue and a time, by queue and then oldest first: at least `limit` if there
    /// are, and then all of that queue that came at the same time as the last.
    #[must_use]
    pub fn idempotency_after(
        &self,
        after: Option<(QueueId, Timestamp)>,
        limit: usize,
    ) -> Vec<IdempotencyRecord> {
        self.idempotency.after(after, limit)
    }

    /// Every drained set, by the request that asked for it.
    pub fn drain_ids(&self) -> impl Iterator<Item = u128> + '_ {
        self.drains.keys().copied()
    }

    /// Requests answered later than `after`, oldest first: at least `limit` if there are, and then all that
    /// were answered at the same time as the last.
    #[must_use]
    pub fn requests_after(&self, after: Option<Timestamp>, limit: usize) -> Vec<RequestRecord> {
        self.requests.after(after, limit)
    }

    /// The last number given to a job or a place in a queue.
    #[must_use]
    pub fn serial(&self) -> u64 {
        self.serial
    }

    /// The last number given to a queue.
    #[must_use]
    pub fn last_queue(&self) -> QueueId {
        QueueId(self.last_queue)
    }
}

/// For the engine.
impl Ledger {
    pub(crate) fn queue(&self, id: QueueId) -> &Queue {
        self.queues.get(&id).expect("a queue is never removed while something names it")
    }

    pub(crate) fn find_queue(&self, name: &QueueName) -> Option<&Queue> {
        self.by_name.get(name).map(|id| self.queue(*id))
    }

    pub(crate) fn queues_after<'a>(&'a self, after: Option<&str>) -> impl Iterator<Item = &'a Queue> + 'a {
        use std::ops::Bound::{Excluded, Unbounded};
        let after = after.and_then(|name| QueueName::new(name).ok());
        let from = after.map_or(Unbounded, Excluded);
        self.by_name.range((from, Unbounded)).map(|(_, id)| self.queue(*id))
    }

    pub(crate) fn queue_count(&self) -> usize {
        self.by_name.len()
    }

    /// A queue that was deleted and of which something is left.
    pub(crate) fn first_deleted(&self) -> Option<QueueId> {
        self.deleted.first().copied()
    }

    /// Batches whose last job went since the last call.
    pub(crate) fn take_emptied(&mut self) -> Vec<BatchId> {
        std::mem::take(&mut self.emptied)
    }

    /// The number that the next new queue gets.
    pub(crate) fn next_queue(&self) -> QueueId {
        QueueId(self.last_queue + 1)
    }

    /// A drained set of a queue that is there for somebody.
    pub(crate) fn drain(&self, set: u128) -> Option<&DrainRecord> {
        self.drains.get(&set).filter(|drain| !self.deleted.contains(&drain.queue))
    }

    pub(crate) fn drains(&self) -> impl Iterator<Item = &DrainRecord> + '_ {
        self.drains.values()
    }

    /// Numbers up to `serial` are given.
    pub(crate) fn raise_serial(&mut self, serial: u64) {
        self.serial = self.serial.max(serial);
    }

    /// Queues up to `last` were given their numbers: those that are not there are forgotten.
    pub(crate) fn raise_last_queue(&mut self, last: QueueId) {
        self.last_queue = self.last_queue.max(last.0);
    }

    /// Whether there is such a queue, and it was not deleted.
    pub(crate) fn is_open(&self, queue: QueueId) -> bool {
        self.queues.get(&queue).is_some_and(|queue| !queue.record.deleted)
    }

    /// A queue of this number; none when it is gone, or a shared limit's.
    pub(crate) fn queue_at(&self, id: QueueId) -> Option<&Queue> {
        self.queues.get(&id)
    }

    /// Whether every queue is there that a record names. Of jobs that was looked at when they came.
    pub(crate) fn check_queues(&self) -> Result<(), Contradiction> {
        let drains = self.drains.values().map(|drain| (drain.queue, "a drained set"));
        let batches = self.batches.all().map(|(queue, _)| (queue, "a batch"));
        match drains.chain(batches).find(|(queue, _)| !self.queues.contains_key(queue)) {
            Some((queue, what)) => {
                Err(Contradiction(format!("{what} is of queue {}, which is unknown", queue.0)))
            }
            None => Ok(()),
        }
    }

    /// Whether every job that ever came is there or was removed. Where records are lost this is what tells.
    pub(crate) fn check_totals(&self) -> Result<(), Contradiction> {
        for Queue { record, counts, .. } in self.queues.values() {
            let (enqueued, here, removed) = (record.totals.enqueued, counts.sum(), record.totals.removed);
            if enqueued != here.saturating_add(removed) {
                let name = &record.name;
                return Err(Contradiction(format!(
                    "queue {name}: {enqueued} jobs were enqueued, but {here} are here and {removed} were removed"
                )));
            }
        }
        Ok(())
    }

    pub(crate) fn put_queue(&mut self, record: QueueRecord) {
        self.raise_last_queue(record.id);
        if record.deleted {
            self.deleted.insert(record.id);
            if self.by_name.get(&record.name) == Some(&record.id) {
                self.by_name.remove(&record.name);
            }
        } else if self.by_name.get(&record.name).is_none_or(|named| *named <= record.id) {
            // Of two queues of one name the older is deleted, though a replay may not know it yet.
            self.by_name.insert(record.name.clone(), record.id);
        }
        let (id, limited) = (record.id, record.settings.nodes().any(NodeSettings::is_limited));
        let has_weights = record.settings.nodes().any(|node| node.weight > 1);
        match self.queues.get_mut(&record.id) {
            Some(queue) => {
                queue.record = record;
                queue.limited = limited;
                queue.has_weights = has_weights;
            }
            None => {
                let queue = Queue {
                    record,
                    counts: StateCounts::default(),
                    bytes: 0,
                    leased_bytes: 0,
                    gate: GateId::NONE,
                    gates: 0,
                    limited,
                    has_weights,
                    limit: None,
                    settings_time: Timestamp(0),
                    answers: Cell::default(),
                };
                self.queues.insert(id, queue);
            }
        }
        self.hang(id);
    }

    pub(crate) fn put_drain(&mut self, record: DrainRecord) {
        self.drains.insert(record.request.id, record);
    }

    /// A job from a record; replaces the one with its id.
    pub(crate) fn put_job(&mut self, record: JobRecord) -> Result<(), Contradiction> {
        if !self.queues.contains_key(&record.queue) {
            return Err(Contradiction(format!(
                "job {} is in queue {}, which is unknown",
                record.id, record.queue.0
            )));
        }
        if let Some(old) = self.take(record.id) {
            self.keys.release(old.key);
        }
        self.raise_serial(record.id.0.max(record.sequence));
        // What is at rest in a record can be read there again.
        let at_rest = record.state.is_buried();
        let mut job = Job {
            id: record.id,
            sequence: record.sequence,
            create_time: record.create_time,
            detail: record.detail,
            queue: record.queue,
            key: self.keys.retain(record.queue, &record.key),
            batch: self.batches.named(record.queue, record.batch.as_ref(), Timestamp(0)),
            bytes: record.bytes,
            deliveries: record.deliveries,
            requeues: record.requeues,
            attempts: u16::try_from(record.attempts).unwrap_or(u16::MAX),
            state: record.state,
            priority: record.priority,
            nacked: record.nacked,
            cancel_requested: record.cancel_requested,
            ..Job::GONE
        };
        job.set_due(record.due);
        if at_rest {
            job.let_go_of_detail();
        }
        self.insert(job);
        Ok(())
    }

    /// Makes the change that `mutation` says, at the time of its group.
    pub(crate) fn apply(
        &mut self,
        mutation: &Mutation,
        now: Now,
        covered: &impl Coverage,
    ) -> Result<(), Contradiction> {
        match mutation {
            Mutation::QueuePut { queue, name, settings, version } => {
                if covered.queue(*queue) {
                    // What is charged at this moment may have been charged before.
                    if let Some(queue) = self.queues.get_mut(queue) {
                        queue.settings_time = now.engine;
                    }
                    // It may be now that it came under its limit.
                    self.begin_under_limit(*queue, now.engine);
                    return Ok(());
                }
                let before = self.queues.get(queue).and_then(|queue| queue.limit);
                let known = self.queues.get(queue).map(|q| &q.record);
                self.put_queue(QueueRecord {
                    id: *queue,
                    name: name.clone(),
                    settings: (**settings).clone(),
                    version: *version,
                    create_time: known.map_or(now.wall, |r| r.create_time),
                    totals: known.map_or_else(QueueTotals::default, |r| r.totals.clone()),
                    deleted: false,
                });
                self.follow_settings(*queue, now.engine);
                if self.queues.get(queue).is_some_and(|queue| queue.limit != before) {
                    self.begin_under_limit(*queue, now.engine);
                }
            }
            Mutation::Enqueued { queue, first, jobs } => {
                if !self.queues.contains_key(queue) {
                    // A replay may begin after the queue did, and when it ends nothing is left of either.
                    if queue.0 <= self.last_queue {
                        self.raise_serial(first.0 + jobs.len() as u64 - 1);
                        return Ok(());
                    }
                    return Err(Contradiction(format!(
                        "jobs from {first} on came into queue {}, which is unknown",
                        queue.0
                    )));
                }
                self.count(*queue, covered, |totals| totals.enqueued += jobs.len() as u64);
                self.raise_serial(first.0 + jobs.len() as u64 - 1);
                for (id, spec) in (first.0..).map(JobId).zip(jobs) {
                    if let Some(hash) = spec.idempotency {
                        let record = IdempotencyRecord { queue: *queue, hash, job: id, time: now.engine };
                        self.idempotency.insert(record);
                    }
                    if !covered.job(id) {
                        self.enqueued(id, *queue, spec, now)?;
                    }
                }
            }
            Mutation::Promoted { id, sequence } => {
                self.raise_serial(*sequence);
                self.change(*id, covered, |job| {
                    job.set_due(None);
                    job.sequence = *sequence;
                    JobState::Ready
                });
            }
            Mutation::Updated { id, priority, due, sequence } => {
                self.raise_serial(*sequence);
                self.change(*id, covered, |job| {
                    job.priority = *priority;
                    job.sequence = *sequence;
                    job.set_due(*due);
                    match (due, job.state) {
                        (None, _) => JobState::Ready,
                        (Some(_), JobState::Retrying) => JobState::Retrying,
                        (Some(_), _) => JobState::Scheduled,
                    }
                });
            }
            Mutation::Leased { jobs, expire, worker } => {
                jobs.iter().for_each(|id| self.lease(*id, *expire, worker, now, covered));
            }
            Mutation::Charged { queue, charges } => {
                for Charge { key, jobs, cost } in charges {
                    self.charge_key(*queue, key, *jobs, *cost, now.engine);
                }
            }
            Mutation::Settled { queue, settlement } => self.settle(*queue, settlement, now.engine),
            Mutation::Frozen { queue, key, until, step } => {
                self.freeze(*queue, key, *until, *step, now.engine);
            }
            Mutation::NodeState { queue, key, state } => self.put_node_state(*queue, key, state),
            Mutation::NodeReset { queue, key } => self.reset(*queue, key),
            Mutation::LimitPut(record) => self.put_limit(record, now.engine),
            Mutation::LimitDeleted { limit } => self.remove_limit(*limit),
            Mutation::Extended { id, expire } => {
                self.change(*id, covered, |job| {
                    job.set_due(Some(Due::Engine(*expire)));
                    job.state
                });
            }
            Mutation::Acked { id, result } => {
                let queue = self.change(*id, covered, |job| {
                    let detail = job.detail_mut();
                    detail.end_time = Some(now.wall);
                    detail.result.clone_from(result);
                    job.set_due(Some(Due::Engine(now.engine)));
                    JobState::Completed
                });
                self.count_some(queue, covered, |totals| totals.completed += 1);
            }
            Mutation::CancelRequested { id } => {
                self.change(*id, covered, |job| {
                    job.cancel_requested = true;
                    job.state
                });
            }
            Mutation::Cancelled { id } => {
                let queue = self.end(*id, JobState::Cancelled, now, covered);
                self.count_some(queue, covered, |totals| totals.cancelled += 1);
            }
            Mutation::Expired { jobs } => {
                for id in jobs {
                    let queue = self.end(*id, JobState::Expired, now, covered);
                    self.count_some(queue, covered, |totals| totals.expired += 1);
                }
            }
            Mutation::Dropped { jobs } => {
                for id in jobs {
                    let queue = self.end(*id, JobState::Dropped, now, covered);
                    self.count_some(queue, covered, |totals| totals.dropped += 1);
                }
            }
            Mutation::Returned { id, cause, next, error } => {
                let queue = self.change(*id, covered, |job| {
                    job.nacked = *cause != ReturnCause::Expired;
                    job.cancel_requested = false;
                    if cause.spends_attempt() {
                        job.attempts += 1;
                    }
                    job.remember_attempt(*cause, error.as_deref(), now.wall);
                    if error.is_some() {
                        job.detail_mut().error.clone_from(error);
                    }
                    let (state, due) = match next {
                        Next::Ready => (JobState::Ready, None),
                        Next::Retry(time) => (JobState::Retrying, Some(*time)),
                        Next::Dead => (JobState::Dead, Some(now.engine)),
                        Next::Cancelled => (JobState::Cancelled, Some(now.engine)),
                        Next::Expired => (JobState::Expired, Some(now.engine)),
                    };
                    if state.is_at_rest() {
                        job.detail_mut().end_time = Some(now.wall);
                    }
                    job.set_due(due.map(Due::Engine));
                    state
                });
                self.count_some(queue, covered, |totals| {
                    if cause.spends_attempt() {
                        totals.failed_attempts += 1;
                        totals.count_code(error.as_ref().map_or("", |e| &e.code));
                    }
                    totals.throttled += u64::from(*cause == ReturnCause::Throttled);
                    totals.dead += u64::from(*next == Next::Dead);
                    totals.cancelled += u64::from(*next == Next::Cancelled);
                    totals.expired += u64::from(*next == Next::Expired);
                });
            }
            Mutation::Drained { queue, request, jobs } => {
                for id in jobs {
                    self.end(*id, JobState::Drained, now, covered);
                }
                self.count(*queue, covered, |totals| totals.drained += jobs.len() as u64);
                let record =
                    DrainRecord { request: *request, queue: *queue, time: now.engine, jobs: jobs.clone() };
                self.put_drain(record);
            }
            Mutation::Requeued { id, sequence } => {
                self.raise_serial(*sequence);
                let queue = self.change(*id, covered, |job| {
                    job.begin_new_life(*sequence, None, now.engine);
                    JobState::Ready
                });
                self.count_some(queue, covered, |totals| totals.requeued += 1);
            }
            Mutation::RequeuedLater { id, time } => {
                let queue = self.change(*id, covered, |job| {
                    job.begin_new_life(0, Some(Due::Engine(*time)), now.engine);
                    JobState::Scheduled
                });
                self.count_some(queue, covered, |totals| totals.requeued += 1);
            }
            Mutation::Purged { jobs } | Mutation::Forgotten { jobs } => {
                for id in jobs {
                    if !covered.job(*id)
                        && let Some(queue) = self.remove(*id, now, covered)
                    {
                        self.count(queue, covered, |totals| totals.removed += 1);
                    }
                }
            }
            Mutation::BatchAnnounced { queue, batch, total } => {
                if !covered.batch(*queue, batch) {
                    let id = self.batches.announce(*queue, batch, *total, now.engine);
                    if self.batches.is_empty(id) {
                        self.emptied.push(id);
                    }
                }
            }
            Mutation::BatchesForgotten { queue, batches } => {
                for batch in batches {
                    if !covered.batch(*queue, batch) {
                        self.batches.forget(*queue, batch);
                    }
                }
            }
            Mutation::QueueDeleted { queue } => {
                if !covered.queue(*queue)
                    && let Some(known) = self.queues.get(queue)
                {
                    self.put_queue(QueueRecord { deleted: true, ..known.record.clone() });
                }
                // Its record may know of this, and a replay has brought keys all the same.
                self.idempotency.forget_queue(*queue);
                self.drop_gates(*queue);
            }
            Mutation::QueueForgotten { queue } => {
                if let Some(known) = self.queues.get(queue)
                    && known.counts.sum() == 0
                {
                    // A replay may begin after the queue was deleted, with a record from before.
                    if self.by_name.get(&known.record.name) == Some(queue) {
                        self.by_name.remove(&known.record.name);
                    }
                    self.hang(*queue);
                    self.queues.remove(queue);
                    self.deleted.remove(queue);
                    self.idempotency.forget_queue(*queue);
                }
            }
            Mutation::DrainForgotten { set } => {
                self.drains.remove(set);
            }
            Mutation::Requested { request, answer } => {
                self.requests.insert(RequestRecord {
                    request: *request,
                    answer: answer.clone(),
                    time: now.engine,
                });
            }
            Mutation::Retired { .. } => {}
        }
        Ok(())
    }

    fn enqueued(&mut self, id: JobId, queue: QueueId, spec: &JobSpec, now: Now) -> Result<(), Contradiction> {
        if self.jobs.slot(id).is_some() {
            return Err(Contradiction(format!("job {id} was enqueued twice")));
        }
        let (state, due) = match spec.start {
            Start::Now => (JobState::Ready, None),
            Start::After(span) => (JobState::Scheduled, Some(Due::Engine(now.engine + span))),
            Start::At(time) => (JobState::Scheduled, Some(Due::Wall(time))),
        };
        let mut job = Job {
            id,
            sequence: if state == JobState::Ready { id.0 } else { 0 },
            create_time: now.wall,
            queue,
            key: self.keys.retain(queue, &spec.key),
            batch: self.batches.named(queue, spec.batch.as_ref(), now.engine),
            bytes: spec.bytes(),
            state,
            priority: spec.urgency(),
            ..Job::GONE
        };
        job.set_due(due);
        if let Some(retry) = &spec.retry {
            job.detail_mut().retry = Some(retry.clone());
        }
        if spec.cost != Cost::DEFAULT {
            job.detail_mut().cost = spec.cost;
        }
        if spec.bypass_limits {
            job.detail_mut().bypass_limits = true;
        }
        if let Some(ttl) = spec.ttl {
            let detail = job.detail_mut();
            detail.ttl = Some(ttl);
            detail.expire = Some(now.engine + ttl);
        }
        self.insert(job);
        Ok(())
    }

    fn insert(&mut self, job: Job) -> Slot {
        let queue = self.queues.get_mut(&job.queue).expect("checked by the caller");
        queue.enter(&job);
        self.limits.enter(queue.limit, job.state);
        self.keys.enter(job.key, job.state, job.bytes);
        self.batches.enter(job.batch, job.state);
        self.batches.note(job.batch, job.id);
        self.jobs.insert(job)
    }

    /// Removes a job for good.
    fn remove(&mut self, id: JobId, now: Now, covered: &impl Coverage) -> Option<QueueId> {
        let job = self.take(id)?;
        let is_covered = self.batches.name(job.batch).is_some_and(|name| covered.batch(job.queue, name));
        if self.batches.gone(job.batch, job.state, now.engine, is_covered) {
            self.emptied.push(job.batch);
        }
        self.keys.release(job.key);
        Some(job.queue)
    }

    /// Takes a job from where it is counted.
    fn take(&mut self, id: JobId) -> Option<Job> {
        let (_, job) = self.jobs.remove(id)?;
        self.keys.leave(job.key, job.state, job.bytes);
        self.batches.leave(job.batch, job.state);
        let queue = self.queues.get_mut(&job.queue).expect("jobs name queues that exist");
        queue.leave(&job);
        self.limits.leave(queue.limit, job.state);
        Some(job)
    }

    /// READY → LEASED, one delivery more.
    pub(crate) fn lease(
        &mut self,
        id: JobId,
        expire: Timestamp,
        worker: &Arc<str>,
        now: Now,
        covered: &impl Coverage,
    ) {
        self.change(id, covered, |job| {
            job.deliveries += 1;
            job.nacked = false;
            let detail = job.detail_mut();
            detail.charged = Some(now.engine);
            detail.worker = Some(worker.clone());
            detail.start_time = Some(now.wall);
            job.set_due(Some(Due::Engine(expire)));
            JobState::Leased
        });
    }

    /// A waiting job comes to rest.
    fn end(&mut self, id: JobId, state: JobState, now: Now, covered: &impl Coverage) -> Option<QueueId> {
        self.change(id, covered, |job| {
            job.detail_mut().end_time = Some(now.wall);
            job.set_due(Some(Due::Engine(now.engine)));
            state
        })
    }

    /// Changes a job and counts it under its new state. Does nothing when the job is gone or its record includes the change.
    fn change(
        &mut self,
        id: JobId,
        covered: &impl Coverage,
        to: impl FnOnce(&mut Job) -> JobState,
    ) -> Option<QueueId> {
        if covered.job(id) {
            return self.jobs.get(id).map(|job| job.queue);
        }
        let slot = self.jobs.slot(id)?;
        let job = self.jobs.at_mut(slot);
        let queue = self.queues.get_mut(&job.queue).expect("jobs name queues that exist");
        queue.leave(job);
        self.limits.leave(queue.limit, job.state);
        self.keys.leave(job.key, job.state, job.bytes);
        self.batches.leave(job.batch, job.state);
        job.state = to(job);
        queue.enter(job);
        self.limits.enter(queue.limit, job.state);
        self.keys.enter(job.key, job.state, job.bytes);
        self.batches.enter(job.batch, job.state);
        Some(queue.record.id)
    }

    fn count_some(
        &mut self,
        queue: Option<QueueId>,
        covered: &impl Coverage,
        count: impl FnOnce(&mut QueueTotals),
    ) {
        if let Some(queue) = queue {
            self.count(queue, covered, count);
        }
    }

    fn count(&mut self, queue: QueueId, covered: &impl Coverage, count: impl FnOnce(&mut QueueTotals)) {
        if !covered.queue(queue)
            && let Some(queue) = self.queues.get_mut(&queue)
        {
            count(&mut queue.record.totals);
        }
    }
}

impl Queue {
    fn enter(&mut self, job: &Job) {
        self.counts.add(job.state);
        if !job.state.is_at_rest() {
            self.bytes += u64::from(job.bytes);
        }
        if job.state == JobState::Leased {
            self.leased_bytes += u64::from(job.bytes);
        }
    }

    fn leave(&mut self, job: &Job) {
        self.counts.remove(job.state);
        if !job.state.is_at_rest() {
            self.bytes -= u64::from(job.bytes);
        }
        if job.state == JobState::Leased {
            self.leased_bytes -= u64::from(job.bytes);
        }
    }
}

impl Job {
    /// Keeps of the detail only what the job itself said, and when its time to live passes.
    pub(crate) fn let_go_of_detail(&mut self) {
        let expire = self.expire();
        self.keep_what_was_said();
        if expire.is_some() {
            self.detail_mut().expire = expire;
        }
        self.detail_at_rest = true;
    }

    fn keep_what_was_said(&mut self) {
        self.detail_at_rest = false;
        if let Some(detail) = self.detail.take() {
            let Detail { retry, ttl, cost, bypass_limits, .. } = *detail;
            let said = Detail { retry, ttl, cost, bypass_limits, ..Detail::default() };
            self.detail = (said != Detail::default()).then(|| Box::new(said));
        }
    }

    /// Forgets what happened to it in the life that ends.
    fn begin_new_life(&mut self, sequence: u64, due: Option<Due>, now: Timestamp) {
        self.keep_what_was_said();
        self.attempts = 0;
        self.requeues += 1;
        self.nacked = false;
        self.sequence = sequence;
        self.set_due(due);
        if let Some(ttl) = self.detail.as_ref().and_then(|detail| detail.ttl) {
            self.detail_mut().expire = Some(now + ttl);
        }
    }

    /// A delivery ends that was not acknowledged.
    fn remember_attempt(&mut self, cause: ReturnCause, error: Option<&JobError>, end_time: WallTime) {
        let token = LeaseToken(self.deliveries.into());
        let detail = self.detail_mut();
        if detail.history.len() >= MAX_ATTEMPT_HISTORY {
            detail.history.remove(0);
        }
        detail.history.push(Attempt {
            token,
            worker: detail.worker.clone().unwrap_or_default(),
            start_time: detail.start_time.unwrap_or_default(),
            end_time,
            cause,
            error: error.map(|error| Box::new(error.cut_to(MAX_ATTEMPT_ERROR_BYTES))),
        });
    }
}

impl QueueTotals {
    fn count_code(&mut self, code: &str) {
        let known = self.failed_by_code.contains_key(code);
        let code = if known || self.failed_by_code.len() < MAX_ERROR_CODES { code } else { "other" };
        if let Some(count) = self.failed_by_code.get_mut(code) {
            *count += 1;
        } else {
            self.failed_by_code.insert(code.into(), 1);
        }
    }
}
