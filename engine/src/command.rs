//! What can be asked of the engine. Everything in a command has been checked at the edge.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use crate::id::{JobId, LeaseToken, QueueId, Ticket};
use crate::job::{JobError, JobSpec, JobState, Priority, Start};
use crate::limit::LimitPatch;
use crate::name::{BatchName, Key, LimitName, QueueName};
use crate::queue::QueueVersion;
use crate::settings::QueuePatch;
use crate::time::{Span, WallTime};

/// One thing to do.
#[derive(Clone, Debug, PartialEq)]
#[expect(
    clippy::large_enum_variant,
    reason = "a command is moved a few times, and the bounded mailbox is small"
)]
pub enum Command {
    /// Bring a queue into being, or change it.
    PutQueue(PutQueue),
    /// Put jobs in.
    Enqueue(Enqueue),
    /// Take jobs to work on, or wait for one.
    Lease(Lease),
    /// Whoever held this ticket is gone: wait no longer.
    Abandon(Ticket),
    /// Jobs are done.
    Ack(Vec<Ack>),
    /// Jobs come back.
    Nack(Vec<Nack>),
    /// Leases are to last longer.
    Extend(Vec<Extension>),
    /// Take everything out that waits.
    Drain(Drain),
    /// Give a job up.
    Cancel(JobId),
    /// Change a waiting job.
    Update(Update),
    /// Give these jobs a new life, those that can have one.
    Requeue(Requeue),
    /// Remove these jobs for good, those that may be.
    Purge(Sweep),
    /// Remove a queue.
    DeleteQueue(DeleteQueue),
    /// Let a frozen node go on.
    ResetNode(NodeName),
    /// Make a shared limit or change its settings.
    PutLimit(PutLimit),
    /// Remove a shared limit.
    DeleteLimit(LimitName),
    /// Take tokens without a job.
    Acquire(Acquire),
    /// Say again what limits know of nodes, from this number on: a bounded bit of it. A backup begins with it.
    RestateNodes(u32),
}

/// See [`Command::PutQueue`].
#[derive(Clone, Debug, PartialEq)]
pub struct PutQueue {
    /// Which.
    pub name: QueueName,
    /// What is to change.
    pub patch: QueuePatch,
    /// Only if this is still the version of the settings.
    pub version: Option<QueueVersion>,
}

/// A request that is answered once, however often it is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RequestKey {
    /// A hash of principal, rpc, queue and request id.
    pub id: u128,
    /// A hash of what was asked.
    pub content: u64,
}

impl RequestKey {
    /// The same request to this queue and to no later one of its name: what a deleted queue answered says nothing
    /// about the next.
    pub(crate) fn within(self, queue: QueueId) -> RequestKey {
        // Odd, so that no two queues turn one id into the same one.
        const SPREAD: u128 = 0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835;
        RequestKey { id: self.id ^ u128::from(queue.0).wrapping_mul(SPREAD), ..self }
    }
}

/// See [`Command::Enqueue`].
#[derive(Clone, Debug, PartialEq)]
pub struct Enqueue {
    /// Where to.
    pub queue: QueueName,
    /// What. Not empty.
    pub jobs: Vec<JobSpec>,
    /// For repeating it safely.
    pub request: Option<RequestKey>,
    /// How many jobs batches will have in all.
    pub batch_totals: Vec<(BatchName, u64)>,
    /// How long to wait for room; zero: not at all.
    pub wait: Span,
}

/// A node, as people name it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NodeName {
    /// A shared limit.
    Limit(LimitName),
    /// A key of a queue; the empty one: the queue itself.
    Key(QueueName, Key),
}

/// See [`Command::PutLimit`].
#[derive(Clone, Debug, PartialEq)]
pub struct PutLimit {
    /// Which.
    pub name: LimitName,
    /// What is to change.
    pub patch: LimitPatch,
    /// Only if this is still the version of the settings.
    pub version: Option<QueueVersion>,
}

/// See [`Command::Acquire`].
#[derive(Clone, Debug, PartialEq)]
pub struct Acquire {
    /// Of which node, and of all above it.
    pub node: NodeName,
    /// What it costs. At least 1.
    pub cost: u64,
    /// How long to wait; zero: not at all.
    pub wait: Span,
}

/// See [`Command::Lease`].
#[derive(Clone, Debug, PartialEq)]
pub struct Lease {
    /// Where from.
    pub queue: QueueName,
    /// At most so many. At least 1.
    pub max_jobs: u32,
    /// Stop once jobs' bytes, with [`Lease::JOB_OVERHEAD`] each, pass this. The first job always fits.
    pub max_bytes: usize,
    /// How long; none: the queue's.
    pub lease_duration: Option<Span>,
    /// How long to wait while there is nothing; zero: not at all.
    pub wait: Span,
    /// Who.
    pub worker: Arc<str>,
}

impl Lease {
    /// What an answer spends on a job besides its bytes, its key, error and queue name, at most.
    pub const JOB_OVERHEAD: usize = 528;
}

/// See [`Command::Ack`].
#[derive(Clone, Debug, PartialEq)]
pub struct Ack {
    /// The job.
    pub id: JobId,
    /// The delivery.
    pub token: LeaseToken,
    /// What came of it.
    pub result: Option<Bytes>,
    /// What it cost, if that is not what was reserved. At most [`crate::bound::MAX_COST`].
    pub actual_cost: Option<u32>,
}

/// See [`Command::Nack`].
#[derive(Clone, Debug, PartialEq)]
pub struct Nack {
    /// The job.
    pub id: JobId,
    /// The delivery.
    pub token: LeaseToken,
    /// Why.
    pub reason: NackReason,
    /// What went wrong.
    pub error: Option<Box<JobError>>,
    /// Not before this much from now.
    pub retry_after: Option<Span>,
    /// THROTTLED: which node was too much. None: the key.
    pub scope: Option<ThrottleScope>,
    /// What it cost, if that is not what was reserved. At most [`crate::bound::MAX_COST`].
    pub actual_cost: Option<u32>,
}

/// A node on the way of a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ThrottleScope {
    /// So many segments of its key; 0: the queue.
    Segments(u8),
    /// The shared limit of its queue.
    Limit(LimitName),
}

/// Why a worker gives a job back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NackReason {
    /// Spends an attempt and backs off.
    Failed,
    /// Spends none; waits as the downstream said.
    Throttled,
    /// Dead now.
    Rejected,
    /// Ready again, untouched.
    Released,
}

/// See [`Command::Extend`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extension {
    /// The job.
    pub id: JobId,
    /// The delivery.
    pub token: LeaseToken,
    /// How long from now; none: the queue's.
    pub lease_duration: Option<Span>,
}

/// See [`Command::Drain`].
#[derive(Clone, Debug, PartialEq)]
pub struct Drain {
    /// Which queue.
    pub queue: QueueName,
    /// Names the set.
    pub request: RequestKey,
    /// At most so many.
    pub max_jobs: u32,
}

/// See [`Command::Update`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Update {
    /// The job.
    pub id: JobId,
    /// How urgent it is to be; none: as it is.
    pub priority: Option<Priority>,
    /// When it may run; none: as it is.
    pub start: Option<Start>,
}

/// Jobs that were chosen by somebody who looked: those that are not in one of the states any more, or in another
/// queue, are passed over.
#[derive(Clone, Debug, PartialEq)]
pub struct Sweep {
    /// Which queue.
    pub queue: QueueName,
    /// In which states.
    pub states: StateSet,
    /// The jobs, at most [`crate::bound::MAX_BULK_JOBS`].
    pub jobs: Vec<JobId>,
}

/// See [`Command::Requeue`].
#[derive(Clone, Debug, PartialEq)]
pub struct Requeue {
    /// Which.
    pub sweep: Sweep,
    /// How much later each is ready than the one before; zero: all at once.
    pub interval: Span,
}

/// See [`Command::DeleteQueue`].
#[derive(Clone, Debug, PartialEq)]
pub struct DeleteQueue {
    /// Which.
    pub name: QueueName,
    /// Whether though jobs wait in it or are held.
    pub force: bool,
}

/// Which jobs are looked for.
#[derive(Clone, Debug, PartialEq)]
pub struct JobQuery {
    /// Of which queue; none: of any.
    pub queue: Option<QueueName>,
    /// In which states.
    pub states: StateSet,
    /// Under which key; the empty one: any.
    pub key_prefix: Key,
    /// Accepted when.
    pub created: Range<WallTime>,
    /// At rest since when; none: whether or not.
    pub ended: Option<Range<WallTime>>,
}

/// A set of states.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StateSet(u16);

impl StateSet {
    /// Every state.
    pub const ALL: StateSet = StateSet(u16::MAX);

    /// Whether `state` is in it.
    #[must_use]
    pub const fn contains(self, state: JobState) -> bool {
        self.0 & (1 << state as u8) != 0
    }

    /// With `state`.
    #[must_use]
    pub const fn with(self, state: JobState) -> StateSet {
        StateSet(self.0 | 1 << state as u8)
    }
}

impl FromIterator<JobState> for StateSet {
    fn from_iter<I: IntoIterator<Item = JobState>>(states: I) -> StateSet {
        states.into_iter().fold(StateSet::default(), StateSet::with)
    }
}
