//! What came of a command.

use crate::id::JobId;
use crate::job::{JobState, LeasedJob};
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
    Extended(Vec<Result<WallTime, ItemRefusal>>),
    /// The set can be read.
    Drained(Drained),
    /// A slice of a requeue or a purge.
    Swept(Swept),
    /// Nobody is told.
    Abandoned,
}

/// See [`Outcome::Enqueued`]: ids `first`, `first + 1`, … in the order of the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Enqueued {
    /// The id of the first job.
    pub first: JobId,
    /// How many.
    pub count: u32,
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

/// See [`Outcome::Drained`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drained {
    /// Names the set: see [`crate::Engine::drain_page`].
    pub set: u128,
    /// How many jobs it holds.
    pub total: u64,
}

/// See [`Outcome::Swept`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Swept {
    /// How many jobs were changed.
    pub changed: u32,
    /// Where the next slice begins; none: that was all.
    pub next: Option<JobId>,
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
}

/// Why one item was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ItemRefusal {
    /// There is no such job.
    JobNotFound,
    /// The lease expired or was taken over.
    LeaseLost,
}
