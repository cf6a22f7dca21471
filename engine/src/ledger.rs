//! The facts: every job, queue, request and drained set. Changed by mutations alone, live and in a
//! replay by the same lines.

pub(crate) mod jobs;
pub(crate) mod keys;
pub(crate) mod requests;

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use crate::bound::MAX_ERROR_CODES;
use crate::command::RequestKey;
use crate::id::{JobId, QueueId};
use crate::job::{Due, JobRecord, JobSpec, JobState, Start};
use crate::ledger::jobs::{Job, Jobs, Slot};
use crate::ledger::keys::Keys;
use crate::ledger::requests::Requests;
use crate::mutation::{Mutation, Next, ReturnCause};
use crate::name::QueueName;
use crate::outcome::Enqueued;
use crate::queue::{QueueRecord, QueueTotals, StateCounts};
use crate::time::{Now, Timestamp};

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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
    queues: BTreeMap<QueueId, Queue>,
    by_name: BTreeMap<QueueName, QueueId>,
    drains: BTreeMap<u128, DrainRecord>,
    serial: u64,
    last_queue: u32,
}

/// A queue's facts, and what follows from its jobs' at once.
pub(crate) struct Queue {
    pub(crate) record: QueueRecord,
    pub(crate) counts: StateCounts,
    pub(crate) bytes: u64,
}

/// Which facts already include the mutation at hand: a replay meets records that are younger than the log.
pub(crate) trait Coverage {
    /// Whether this job's record includes it.
    fn job(&self, id: JobId) -> bool;
    /// Whether this queue's record includes it.
    fn queue(&self, id: QueueId) -> bool;
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
        self.queues.len()
    }

    /// The number that the next new queue gets.
    pub(crate) fn next_queue(&self) -> QueueId {
        QueueId(self.last_queue + 1)
    }

    pub(crate) fn drain(&self, set: u128) -> Option<&DrainRecord> {
        self.drains.get(&set)
    }

    pub(crate) fn drains(&self) -> impl Iterator<Item = &DrainRecord> + '_ {
        self.drains.values()
    }

    /// Numbers up to `serial` are given.
    pub(crate) fn raise_serial(&mut self, serial: u64) {
        self.serial = self.serial.max(serial);
    }

    pub(crate) fn put_queue(&mut self, record: QueueRecord) {
        self.last_queue = self.last_queue.max(record.id.0);
        self.by_name.insert(record.name.clone(), record.id);
        match self.queues.get_mut(&record.id) {
            Some(queue) => queue.record = record,
            None => {
                let queue = Queue { record, counts: StateCounts::default(), bytes: 0 };
                self.queues.insert(queue.record.id, queue);
            }
        }
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
        self.remove(record.id);
        self.raise_serial(record.id.0.max(record.sequence));
        // What is at rest in a record can be read there again.
        let at_rest = record.state.is_buried();
        let mut job = Job {
            id: record.id,
            sequence: record.sequence,
            create_time: record.create_time,
            due: 0,
            detail: record.detail,
            queue: record.queue,
            key: self.keys.retain(&record.key),
            bytes: record.bytes,
            deliveries: record.deliveries,
            requeues: record.requeues,
            attempts: u16::try_from(record.attempts).unwrap_or(u16::MAX),
            state: record.state,
            priority: record.priority,
            due_by_wall: false,
            nacked: record.nacked,
            detail_at_rest: false,
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
                    return Ok(());
                }
                let known = self.queues.get(queue).map(|q| &q.record);
                self.put_queue(QueueRecord {
                    id: *queue,
                    name: name.clone(),
                    settings: (**settings).clone(),
                    version: *version,
                    create_time: known.map_or(now.wall, |r| r.create_time),
                    totals: known.map_or_else(QueueTotals::default, |r| r.totals.clone()),
                });
            }
            Mutation::Enqueued { queue, first, jobs } => {
                if !self.queues.contains_key(queue) {
                    return Err(Contradiction(format!(
                        "jobs from {first} on came into queue {}, which is unknown",
                        queue.0
                    )));
                }
                self.count(*queue, covered, |totals| totals.enqueued += jobs.len() as u64);
                self.raise_serial(first.0 + jobs.len() as u64 - 1);
                for (id, spec) in (first.0..).map(JobId).zip(jobs) {
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
            Mutation::Leased { jobs, expire, worker } => {
                for id in jobs {
                    self.change(*id, covered, |job| {
                        job.deliveries += 1;
                        job.nacked = false;
                        let detail = job.detail_mut();
                        detail.worker = Some(worker.clone());
                        detail.start_time = Some(now.wall);
                        job.set_due(Some(Due::Engine(*expire)));
                        JobState::Leased
                    });
                }
            }
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
            Mutation::Returned { id, cause, next, error } => {
                let queue = self.change(*id, covered, |job| {
                    job.nacked = *cause != ReturnCause::Expired;
                    if cause.spends_attempt() {
                        job.attempts += 1;
                    }
                    if error.is_some() {
                        job.detail_mut().error.clone_from(error);
                    }
                    let (state, due) = match next {
                        Next::Ready => (JobState::Ready, None),
                        Next::Retry(time) => (JobState::Retrying, Some(*time)),
                        Next::Dead => {
                            job.detail_mut().end_time = Some(now.wall);
                            (JobState::Dead, Some(now.engine))
                        }
                    };
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
                });
            }
            Mutation::Drained { queue, request, jobs } => {
                for id in jobs {
                    self.change(*id, covered, |job| {
                        job.detail_mut().end_time = Some(now.wall);
                        job.set_due(Some(Due::Engine(now.engine)));
                        JobState::Drained
                    });
                }
                self.count(*queue, covered, |totals| totals.drained += jobs.len() as u64);
                let record =
                    DrainRecord { request: *request, queue: *queue, time: now.engine, jobs: jobs.clone() };
                self.put_drain(record);
            }
            Mutation::Requeued { id, sequence } => {
                self.raise_serial(*sequence);
                let queue = self.change(*id, covered, |job| {
                    job.attempts = 0;
                    job.requeues += 1;
                    job.nacked = false;
                    job.sequence = *sequence;
                    job.set_due(None);
                    job.begin_new_life();
                    JobState::Ready
                });
                self.count_some(queue, covered, |totals| totals.requeued += 1);
            }
            Mutation::Purged { jobs } | Mutation::Forgotten { jobs } => {
                for id in jobs {
                    if !covered.job(*id)
                        && let Some(queue) = self.remove(*id)
                    {
                        self.count(queue, covered, |totals| totals.removed += 1);
                    }
                }
            }
            Mutation::DrainForgotten { set } => {
                self.drains.remove(set);
            }
            Mutation::Requested { request, answer } => {
                self.requests.insert(RequestRecord { request: *request, answer: *answer, time: now.engine });
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
            due: 0,
            detail: None,
            queue,
            key: self.keys.retain(&spec.key),
            bytes: spec.bytes(),
            deliveries: 0,
            requeues: 0,
            attempts: 0,
            state,
            priority: spec.priority,
            due_by_wall: false,
            nacked: false,
            detail_at_rest: false,
        };
        job.set_due(due);
        if let Some(retry) = &spec.retry {
            job.detail_mut().retry = Some(retry.clone());
        }
        self.insert(job);
        Ok(())
    }

    fn insert(&mut self, job: Job) -> Slot {
        let queue = self.queues.get_mut(&job.queue).expect("checked by the caller");
        queue.enter(&job);
        self.jobs.insert(job)
    }

    fn remove(&mut self, id: JobId) -> Option<QueueId> {
        let (_, job) = self.jobs.remove(id)?;
        self.keys.release(job.key);
        self.queues.get_mut(&job.queue).expect("jobs name queues that exist").leave(&job);
        Some(job.queue)
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
        job.state = to(job);
        queue.enter(job);
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
    }

    fn leave(&mut self, job: &Job) {
        self.counts.remove(job.state);
        if !job.state.is_at_rest() {
            self.bytes -= u64::from(job.bytes);
        }
    }
}

impl Job {
    /// Keeps of the detail only what the job itself said.
    pub(crate) fn let_go_of_detail(&mut self) {
        self.begin_new_life();
        self.detail_at_rest = true;
    }

    /// Forgets what happened to it in the life that ends.
    fn begin_new_life(&mut self) {
        self.detail_at_rest = false;
        if let Some(detail) = self.detail.take()
            && detail.retry.is_some()
        {
            self.detail_mut().retry = detail.retry;
        }
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
