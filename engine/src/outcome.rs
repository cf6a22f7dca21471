//! What came of a command.

use std::sync::Arc;

use crate::id::JobId;
use crate::job::{JobState, JobView, LeasedJob};
use crate::limit::LimitView;
use crate::queue::QueueView;
use crate::time::{Span, WallTime};

/// What came of a command: done, or refused with nothing changed.
pub type Answer = Result<Outcome, Refusal>;

/// What was done.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// The queue as it is now.
    QueuePut(Box<QueueView>),
    /// The jobs are in.
    Enqueued(Enqueued),
    /// Jobs to work on; none: nothing was there in time.
    Leased(Leased),
    /// One for each ack.
    Acked(Vec<Result<(), ItemRefusal>>),
    /// One for each nack.
    Nacked(Vec<Result<Nacked, ItemRefusal>>),
    /// One for each extension: when the lease ends now.
    Extended(Vec<Result<Extended, ItemRefusal>>),
    /// The set can be read.
    Drained(Drained),
    /// A job was cancelled or updated: as it is now.
    Changed(Box<JobView>),
    /// So many jobs were requeued or purged.
    Swept(u32),
    /// The queue is gone.
    QueueDeleted,
    /// The shared limit as it is now.
    LimitPut(Box<LimitView>),
    /// The shared limit is gone.
    LimitDeleted,
    /// Tokens were taken, or not.
    Acquired(Acquired),
    /// The node is not frozen.
    NodeReset,
    /// Some of it was said; the rest begins with this number.
    NodesRestated(Option<u32>),
    /// Nobody is told.
    Abandoned,
}

/// See [`Outcome::Enqueued`]: ids `first`, `first + 1`, … in the order of the request, but for duplicates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Enqueued {
    /// The id of the first new job.
    pub first: JobId,
    /// How many are new.
    pub count: u32,
    /// What is not as usual, if anything.
    pub besides: Option<Arc<Besides>>,
}

/// What came of an enqueue besides its new jobs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Besides {
    /// Jobs of the request, by their place in it, that were there before, and as which.
    pub duplicates: Vec<(u32, JobId)>,
    /// Jobs that made room, in the order in which they went.
    pub dropped: Vec<JobId>,
}

/// See [`Outcome::Extended`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extended {
    /// When the lease ends now.
    pub expire_time: WallTime,
    /// Whether the job is to be given up.
    pub cancel_requested: bool,
}

/// See [`Outcome::Leased`].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Leased {
    /// In order of dispatch.
    pub jobs: Vec<LeasedJob>,
    /// When there are none: when asking again makes sense.
    pub retry_after: Option<Span>,
}

/// See [`Outcome::Nacked`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Nacked {
    /// Where the job stands now.
    pub state: JobState,
    /// When it becomes ready, while RETRYING.
    pub run_time: Option<WallTime>,
}

/// See [`Outcome::Acquired`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Acquired {
    /// When they can be had, as things stand; none: they were taken.
    pub retry_after: Option<Span>,
    /// Units that may go now, of the window that has the fewest; none: there is no window on the way.
    pub tokens: Option<u64>,
}

/// See [`Outcome::Drained`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drained {
    /// Names the set: see [`crate::Engine::drain_page`].
    pub set: u128,
    /// How many jobs it holds.
    pub total: u64,
}

/// Why a command was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// There is no such queue.
    QueueNotFound,
    /// The settings have another version by now.
    VersionMismatch,
    /// The request id came before with other content.
    RequestIdReused,
    /// [`crate::bound::MAX_QUEUES`] is reached.
    TooManyQueues,
    /// [`crate::bound::MAX_WAITING_LEASES`] is reached.
    TooManyWaiting,
    /// The queue or a key is full. Asking again makes sense after this time.
    Full {
        /// What is full.
        what: Full,
        /// When there may be room.
        retry_after: Span,
    },
    /// More than the queue or a key can ever hold.
    NeverFits(Full),
    /// [`crate::EngineConfig::max_idempotency_keys`] is reached.
    IdempotencyFull,
    /// [`crate::bound::MAX_BATCHES`] is reached.
    TooManyBatches,
    /// There is no such job.
    JobNotFound,
    /// The job is in a state in which this cannot be done.
    WrongState(JobState),
    /// Jobs wait in the queue or are held.
    QueueNotEmpty,
    /// There is no such shared limit.
    LimitNotFound,
    /// Queues hang under the shared limit.
    LimitInUse,
    /// [`crate::bound::MAX_LIMITS`] is reached.
    TooManyLimits,
    /// [`crate::bound::MAX_WAITING_ACQUIRES`] is reached.
    TooManyAcquires,
}

/// What is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Full {
    /// The queue.
    Queue,
    /// A key of it.
    Key,
    /// The room for calls that wait.
    Waiting,
}

/// Why one item was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ItemRefusal {
    /// There is no such job.
    JobNotFound,
    /// The lease expired or was taken over.
    LeaseLost,
    /// The job's queue hangs under no such shared limit.
    LimitNotFound,
}
