//! A job: what producers say of it, where it stands, and what happened to it.

use std::sync::Arc;

use bytes::Bytes;

use crate::explanation::Eta;
use crate::id::{JobId, LeaseToken, QueueId};
use crate::limit::WindowKind;
use crate::mutation::ReturnCause;
use crate::name::{BatchName, Key, LimitName, QueueName};
use crate::retry::{RetryPatch, RetryPolicy};
use crate::time::{Span, Timestamp, WallTime};

/// Where a job stands. The numbers are on disk and in the contract: keep them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum JobState {
    /// Waits for its run time, not yet delivered.
    Scheduled = 1,
    /// Waits for a worker.
    Ready = 2,
    /// Held by a worker.
    Leased = 3,
    /// Came back, and waits for its next attempt.
    Retrying = 4,
    /// Acknowledged. Final.
    Completed = 5,
    /// Out of attempts, or rejected.
    Dead = 6,
    /// Given up by a person or a program. Final.
    Cancelled = 7,
    /// Its time to live passed. Final.
    Expired = 8,
    /// Made room for others. Can be requeued.
    Dropped = 9,
    /// Taken out by a drain.
    Drained = 10,
}

/// 0 to 9, 9 is most urgent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Priority(u8);

/// What a job costs where limits count cost: 1 to [`crate::bound::MAX_COST`], 1 when nothing is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cost(u32);

/// When a new job may run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Start {
    /// At once.
    #[default]
    Now,
    /// After a span of engine time.
    After(Span),
    /// At a time of day.
    At(WallTime),
}

/// When a waiting job becomes ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// By the clock that does not jump.
    Engine(Timestamp),
    /// By the wall clock.
    Wall(WallTime),
}

/// What a producer says of a job. Everything has been checked.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct JobSpec {
    /// Opaque.
    pub payload: Bytes,
    /// Opaque to the engine too.
    pub attributes: Attributes,
    /// Whose job it is.
    pub key: Key,
    /// How urgent.
    pub priority: Priority,
    /// What it costs where limits count cost.
    pub cost: Cost,
    /// When it may run.
    pub start: Start,
    /// What it says of retries; none: nothing.
    pub retry: Option<Box<RetryPatch>>,
    /// How long it has to be done; none: for ever.
    pub ttl: Option<Span>,
    /// A hash of the key that no two jobs of a queue share within its window.
    pub idempotency: Option<u128>,
    /// The batch it belongs to.
    pub batch: Option<BatchName>,
    /// Whether windows let it through whatever went before. Then it is of the highest priority.
    pub bypass_limits: bool,
}

/// What people and tools want to know of a job, and the engine does not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attributes {
    /// Names and values, by name.
    pub labels: Vec<(Box<str>, Box<str>)>,
    /// What the payload is.
    pub content_type: Box<str>,
    /// What [`JobSpec::idempotency`] is a hash of.
    pub idempotency_key: Box<str>,
}

/// What went wrong with a delivery.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JobError {
    /// For programs.
    pub code: Box<str>,
    /// For people. At most [`crate::bound::MAX_ERROR_BYTES`].
    pub message: Box<str>,
}

/// What is known of a job beyond what every waiting job has. Made when it is first needed; let go
/// when the job is at rest and the store can tell.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Detail {
    /// What the job itself says of retries.
    pub retry: Option<Box<RetryPatch>>,
    /// How long a life of it has to be done.
    pub ttl: Option<Span>,
    /// What it costs.
    pub cost: Cost,
    /// When this life's time to live passes.
    pub expire: Option<Timestamp>,
    /// Who holds or last held it.
    pub worker: Option<Arc<str>>,
    /// When the present or last delivery began.
    pub start_time: Option<WallTime>,
    /// When it ended.
    pub end_time: Option<WallTime>,
    /// The last error of this life.
    pub error: Option<Box<JobError>>,
    /// The deliveries of this life that were not acknowledged, oldest first, the last
    /// [`crate::bound::MAX_ATTEMPT_HISTORY`] of them.
    pub history: Vec<Attempt>,
    /// What its ack gave.
    pub result: Option<Bytes>,
    /// Whether windows let it through whatever went before.
    pub bypass_limits: bool,
    /// When the present or last delivery was charged to limits.
    pub charged: Option<Timestamp>,
}

/// A delivery that was not acknowledged.
#[derive(Clone, Debug, PartialEq)]
pub struct Attempt {
    /// The delivery.
    pub token: LeaseToken,
    /// Who held the job.
    pub worker: Arc<str>,
    /// When it was leased.
    pub start_time: WallTime,
    /// When it came back.
    pub end_time: WallTime,
    /// How it ended.
    pub cause: ReturnCause,
    /// What went wrong; its message is cut to [`crate::bound::MAX_ATTEMPT_ERROR_BYTES`].
    pub error: Option<Box<JobError>>,
}

/// Everything the engine knows of a job, as the store keeps it.
#[derive(Clone, Debug, PartialEq)]
pub struct JobRecord {
    /// Its name.
    pub id: JobId,
    /// Its queue.
    pub queue: QueueId,
    /// Whose it is.
    pub key: Key,
    /// How urgent.
    pub priority: Priority,
    /// Where it stands.
    pub state: JobState,
    /// Its place among its equals: given when it first becomes ready; 0 before.
    pub sequence: u64,
    /// When it was accepted.
    pub create_time: WallTime,
    /// SCHEDULED, RETRYING: when it becomes ready. LEASED: when the lease ends. Final: when it ended
    /// (engine time, for retention). READY: none.
    pub due: Option<Due>,
    /// What it counts: payload and attributes.
    pub bytes: u32,
    /// Times leased, and so the token of the last lease.
    pub deliveries: u32,
    /// Failed deliveries of this life.
    pub attempts: u32,
    /// Times requeued.
    pub requeues: u32,
    /// Whether the last lease was settled by its worker's nack (and did not expire): repeating that nack is OK.
    pub nacked: bool,
    /// Whether its worker is to give it up.
    pub cancel_requested: bool,
    /// The batch it belongs to.
    pub batch: Option<BatchName>,
    /// The rest, if there is any.
    pub detail: Option<Box<Detail>>,
}

/// A job as it is shown. What the engine has let go of is `None` in `detail`: the store has it.
#[derive(Clone, Debug, PartialEq)]
pub struct JobView {
    /// Its name.
    pub id: JobId,
    /// Its queue.
    pub queue: QueueName,
    /// Whose it is.
    pub key: Key,
    /// How urgent.
    pub priority: Priority,
    /// Where it stands.
    pub state: JobState,
    /// When it was accepted.
    pub create_time: WallTime,
    /// When it becomes ready: while SCHEDULED or RETRYING.
    pub run_time: Option<WallTime>,
    /// When the lease ends: while LEASED.
    pub lease_expire_time: Option<WallTime>,
    /// When its time to live passes.
    pub expire_time: Option<WallTime>,
    /// Whether its worker is to give it up.
    pub cancel_requested: bool,
    /// The batch it belongs to.
    pub batch: Option<BatchName>,
    /// What it counts: payload and attributes.
    pub bytes: u32,
    /// Times leased.
    pub deliveries: u32,
    /// Failed deliveries of this life.
    pub attempts: u32,
    /// Times requeued.
    pub requeues: u32,
    /// What it costs.
    pub cost: Cost,
    /// Whether windows let it through whatever went before.
    pub bypass_limits: bool,
    /// What keeps it from going, while READY. Empty: its turn has not come, or no worker.
    pub blocks: Vec<Block>,
    /// 1 = next by priority, then sequence: while READY.
    pub position: Option<u64>,
    /// When it will run, while it waits: only [`crate::Engine::foresee`] and [`crate::Engine::explain`] say it.
    pub eta: Option<Eta>,
    /// In force: the queue's, with what the job says.
    pub policy: RetryPolicy,
    /// The rest.
    pub detail: Option<Box<Detail>>,
    /// Whether `detail` was let go and must be read from the store.
    pub detail_at_rest: bool,
}

/// A closed gate on the way of a READY job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// What closes it.
    pub kind: BlockKind,
    /// Where: a key, or what keys begin with; empty: the queue, or the limit.
    pub key: Key,
    /// Where, if it is at a shared limit.
    pub limit: Option<LimitName>,
    /// When it opens, unless others go before or it is told to open; none: nobody can know.
    pub until: Option<WallTime>,
}

/// What closes a gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlockKind {
    /// A RATE window.
    Rate,
    /// A QUOTA window.
    Quota,
    /// As many jobs are in flight as may be.
    InFlight,
    /// Its node is `ordered`, and another job of it is not done.
    Ordered,
    /// The downstream said that it is too much.
    Frozen,
    /// The queue is paused.
    Paused,
    /// Too much of what went through failed.
    Breaker,
    /// The rate that was learned from the downstream.
    Adapted,
}

impl From<WindowKind> for BlockKind {
    fn from(kind: WindowKind) -> BlockKind {
        match kind {
            WindowKind::Rate { .. } => BlockKind::Rate,
            WindowKind::Quota => BlockKind::Quota,
        }
    }
}

/// A job in a worker's hands.
#[derive(Clone, Debug, PartialEq)]
pub struct LeasedJob {
    /// The job.
    pub job: JobView,
    /// Proves this delivery.
    pub token: LeaseToken,
    /// How long the lease lasts from now.
    pub lease_duration: Span,
}

impl Default for Cost {
    fn default() -> Cost {
        Cost::DEFAULT
    }
}

impl Cost {
    /// When nothing is said.
    pub const DEFAULT: Cost = Cost(1);

    /// A checked cost.
    #[must_use]
    pub const fn new(units: u32) -> Option<Cost> {
        if units >= 1 && units <= crate::bound::MAX_COST { Some(Cost(units)) } else { None }
    }

    /// In units.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0
    }
}

impl Priority {
    /// The most urgent.
    pub const HIGHEST: Priority = Priority(9);
    /// When nothing is said.
    pub const DEFAULT: Priority = Priority(4);
    /// How many there are.
    pub const COUNT: usize = 10;

    /// A checked priority.
    #[must_use]
    pub const fn new(number: u32) -> Option<Priority> {
        if number < Priority::COUNT as u32 { Some(Priority(number as u8)) } else { None }
    }

    /// 0 to 9.
    #[must_use]
    pub const fn get(self) -> u8 {
        self.0
    }

    /// 0 to 9, as an index.
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

impl Default for Priority {
    fn default() -> Priority {
        Priority::DEFAULT
    }
}

impl JobState {
    /// Every state.
    pub const ALL: [JobState; 10] = [
        JobState::Scheduled,
        JobState::Ready,
        JobState::Leased,
        JobState::Retrying,
        JobState::Completed,
        JobState::Dead,
        JobState::Cancelled,
        JobState::Expired,
        JobState::Dropped,
        JobState::Drained,
    ];

    /// The state a number on disk stands for.
    #[must_use]
    pub fn from_number(number: u8) -> Option<JobState> {
        JobState::ALL.into_iter().find(|s| *s as u8 == number)
    }

    /// Whether nothing more happens to it by itself, but for retention.
    #[must_use]
    pub const fn is_at_rest(self) -> bool {
        self.is_finished() || self.is_buried()
    }

    /// Whether it is at rest and stays for the retention, bounded by bytes.
    #[must_use]
    pub const fn is_finished(self) -> bool {
        matches!(self, JobState::Completed | JobState::Cancelled | JobState::Expired | JobState::Dropped)
    }

    /// Whether it is at rest and stays for the dead retention.
    #[must_use]
    pub const fn is_buried(self) -> bool {
        matches!(self, JobState::Dead | JobState::Drained)
    }

    /// Whether it waits for a time or a worker.
    #[must_use]
    pub const fn is_waiting(self) -> bool {
        matches!(self, JobState::Scheduled | JobState::Ready | JobState::Retrying)
    }

    /// Whether it can be given a new life.
    #[must_use]
    pub const fn is_requeueable(self) -> bool {
        self.is_buried() || matches!(self, JobState::Dropped)
    }
}

impl JobError {
    /// With at most so many bytes of the message.
    pub(crate) fn cut_to(&self, bytes: usize) -> JobError {
        let message = self.message[..self.message.floor_char_boundary(bytes)].into();
        JobError { code: self.code.clone(), message }
    }
}

impl Attributes {
    /// What they count in a job's bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.content_type.len()
            + self.idempotency_key.len()
            + self.labels.iter().map(|(n, v)| n.len() + v.len()).sum::<usize>()
    }
}

impl JobSpec {
    /// What the job counts: payload and attributes.
    #[must_use]
    pub fn bytes(&self) -> u32 {
        u32::try_from(self.payload.len() + self.attributes.bytes()).unwrap_or(u32::MAX)
    }

    /// How urgent it will be, which is not what it says when it bypasses limits.
    #[must_use]
    pub fn urgency(&self) -> Priority {
        if self.bypass_limits { Priority::HIGHEST } else { self.priority }
    }
}
