//! What changed: one kind for each edge of the state machine. A mutation says all that is needed to
//! make the same change again; the time is that of its group.

use std::sync::Arc;

use bytes::Bytes;

use crate::command::RequestKey;
use crate::id::{JobId, QueueId};
use crate::job::{Due, JobError, JobSpec, Priority};
use crate::ledger::NodeState;
use crate::limit::LimitRecord;
use crate::name::{BatchName, Key, QueueName};
use crate::outcome::Enqueued;
use crate::settings::QueueSettings;
use crate::time::Timestamp;

/// One durable fact.
#[derive(Clone, Debug, PartialEq)]
pub enum Mutation {
    /// A queue came into being or was changed.
    QueuePut {
        /// Which.
        queue: QueueId,
        /// Its name.
        name: QueueName,
        /// All of its settings.
        settings: Box<QueueSettings>,
        /// Grows with each change.
        version: u64,
    },
    /// Jobs came in, with ids from `first` on. One without a wait is READY with its id as its
    /// sequence; one with a wait is SCHEDULED.
    Enqueued {
        /// Where to.
        queue: QueueId,
        /// The id of the first.
        first: JobId,
        /// The jobs. `start` is `Now` where the time had come.
        jobs: Vec<JobSpec>,
    },
    /// SCHEDULED or RETRYING → READY.
    Promoted {
        /// The job.
        id: JobId,
        /// Its place: a new one if it had none.
        sequence: u64,
    },
    /// A waiting job has another priority or time: without a time it is READY, with one it is RETRYING as it
    /// was, or SCHEDULED.
    Updated {
        /// The job.
        id: JobId,
        /// How urgent it is now.
        priority: Priority,
        /// When it becomes ready.
        due: Option<Due>,
        /// Its place: a new one if it becomes ready and had none; 0 if it has none yet.
        sequence: u64,
    },
    /// READY → LEASED, one delivery more.
    Leased {
        /// The jobs.
        jobs: Vec<JobId>,
        /// When the lease ends.
        expire: Timestamp,
        /// Who.
        worker: Arc<str>,
    },
    /// Jobs that were leased went through limits: so much counts there.
    Charged {
        /// Their queue; where tokens of a shared limit were taken, its number.
        queue: QueueId,
        /// By key.
        charges: Vec<Charge>,
    },
    /// A job that went through limits cost something else than was reserved for it.
    Settled {
        /// Its queue.
        queue: QueueId,
        /// How much was charged, and is to be.
        settlement: Settlement,
    },
    /// The downstream said that it was too much: nothing goes through a node for a while.
    Frozen {
        /// The queue.
        queue: QueueId,
        /// The node; empty: the queue itself.
        key: Key,
        /// Until then.
        until: Timestamp,
        /// How often in a row that was said without a time.
        step: u8,
    },
    /// What is known of a node so far: after an answer of the downstream changed it, and said again before what it
    /// follows from is let go.
    NodeState {
        /// The queue.
        queue: QueueId,
        /// The node; empty: the queue itself.
        key: Key,
        /// All of it.
        state: Box<NodeState>,
    },
    /// A node is as if nobody had ever said THROTTLED, and nothing had failed.
    NodeReset {
        /// The queue.
        queue: QueueId,
        /// The node; empty: the queue itself.
        key: Key,
    },
    /// A shared limit came into being or was changed. Said again before what it follows from is let go.
    LimitPut(Box<LimitRecord>),
    /// A shared limit is no more.
    LimitDeleted {
        /// Its number.
        limit: QueueId,
    },
    /// A lease ends at another time.
    Extended {
        /// The job.
        id: JobId,
        /// When.
        expire: Timestamp,
    },
    /// LEASED → COMPLETED.
    Acked {
        /// The job.
        id: JobId,
        /// What came of it.
        result: Option<Bytes>,
    },
    /// The worker of a LEASED job is to give it up.
    CancelRequested {
        /// The job.
        id: JobId,
    },
    /// READY, RETRYING or SCHEDULED → CANCELLED.
    Cancelled {
        /// The job.
        id: JobId,
    },
    /// READY, RETRYING or SCHEDULED → EXPIRED.
    Expired {
        /// The jobs.
        jobs: Vec<JobId>,
    },
    /// READY, RETRYING or SCHEDULED → DROPPED.
    Dropped {
        /// The jobs.
        jobs: Vec<JobId>,
    },
    /// LEASED → READY, RETRYING, DEAD, CANCELLED or EXPIRED.
    Returned {
        /// The job.
        id: JobId,
        /// Why.
        cause: ReturnCause,
        /// Where to.
        next: Next,
        /// What went wrong.
        error: Option<Box<JobError>>,
    },
    /// READY, RETRYING or SCHEDULED → DRAINED.
    Drained {
        /// From where.
        queue: QueueId,
        /// Names the set, and answers a repeated request.
        request: RequestKey,
        /// In order.
        jobs: Vec<JobId>,
    },
    /// DEAD, DRAINED or DROPPED → READY, in a new life.
    Requeued {
        /// The job.
        id: JobId,
        /// Its new place.
        sequence: u64,
    },
    /// DEAD, DRAINED or DROPPED → SCHEDULED, in a new life.
    RequeuedLater {
        /// The job.
        id: JobId,
        /// When it becomes ready.
        time: Timestamp,
    },
    /// Removed by a person.
    Purged {
        /// The jobs.
        jobs: Vec<JobId>,
    },
    /// Removed by retention.
    Forgotten {
        /// The jobs.
        jobs: Vec<JobId>,
    },
    /// A drained set is readable no more.
    DrainForgotten {
        /// Names the set.
        set: u128,
    },
    /// A request was answered: should it come again.
    Requested {
        /// Which.
        request: RequestKey,
        /// With what.
        answer: Enqueued,
    },
    /// A batch will have so many jobs in all.
    BatchAnnounced {
        /// Its queue.
        queue: QueueId,
        /// Its name.
        batch: BatchName,
        /// How many.
        total: u64,
    },
    /// Batches are remembered no more.
    BatchesForgotten {
        /// Their queue.
        queue: QueueId,
        /// Their names.
        batches: Vec<BatchName>,
    },
    /// A queue exists no more for anybody; what it held is removed bit by bit.
    QueueDeleted {
        /// Which.
        queue: QueueId,
    },
    /// Nothing is left of a deleted queue.
    QueueForgotten {
        /// Which.
        queue: QueueId,
    },
    /// A segment of the log is needed no more. The store's own; the engine passes over it.
    Retired {
        /// Its number.
        segment: u64,
    },
}

/// What went through the node of a key, and those above it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Charge {
    /// The key.
    pub key: Key,
    /// So many jobs.
    pub jobs: u64,
    /// What they cost in all.
    pub cost: u64,
}

/// What a job cost, and what was reserved for it, at the node of its key and those above it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settlement {
    /// The key.
    pub key: Key,
    /// When it was charged.
    pub charged: Timestamp,
    /// How much.
    pub reserved: u32,
    /// What it cost.
    pub actual: u32,
}

/// Why a leased job came back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum ReturnCause {
    /// Nack FAILED.
    Failed = 1,
    /// Nack THROTTLED.
    Throttled = 2,
    /// Nack REJECTED.
    Rejected = 3,
    /// Nack RELEASED, or the lease's answer could not be handed over.
    Released = 4,
    /// The lease expired.
    Expired = 5,
}

/// Where a returned job goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// READY, at its old place.
    Ready,
    /// RETRYING, ready at this time.
    Retry(Timestamp),
    /// DEAD.
    Dead,
    /// CANCELLED, as was asked.
    Cancelled,
    /// EXPIRED: its time to live has passed.
    Expired,
}

impl ReturnCause {
    /// Every cause.
    pub const ALL: [ReturnCause; 5] = [
        ReturnCause::Failed,
        ReturnCause::Throttled,
        ReturnCause::Rejected,
        ReturnCause::Released,
        ReturnCause::Expired,
    ];

    /// The cause a number on disk stands for.
    #[must_use]
    pub fn from_number(number: u8) -> Option<ReturnCause> {
        ReturnCause::ALL.into_iter().find(|c| *c as u8 == number)
    }

    /// Whether it spends an attempt.
    #[must_use]
    pub const fn spends_attempt(self) -> bool {
        matches!(self, ReturnCause::Failed | ReturnCause::Rejected | ReturnCause::Expired)
    }
}
