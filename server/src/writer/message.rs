//! What the mailbox carries.

use std::sync::Arc;

use sluice_engine::{
    Answer, Command, Engine, JobId, Lease, LeaseToken, Now, QueueName, QueueStatus, Refusal, Ticket,
};
use tokio::sync::{oneshot, watch};

use super::delivery::Delivery;
use super::handle::CallError;
use super::many::ChangedQueues;
use crate::store::Store;

/// One thing asked of the writer.
#[expect(
    clippy::large_enum_variant,
    reason = "a box would be an allocation for each command of the hot path"
)]
pub enum Message {
    /// Do this, and answer when it is durable.
    Call {
        /// Names the call.
        ticket: Ticket,
        /// Any but a lease or an abandon.
        command: Command,
        /// Where to.
        reply: oneshot::Sender<Answer>,
    },
    /// Take jobs, or wait for them.
    Lease {
        /// Names the call.
        ticket: Ticket,
        /// What is asked.
        lease: Lease,
        /// Where to.
        reply: oneshot::Sender<Result<Delivery, Refusal>>,
    },
    /// Who waits under this ticket has gone.
    Abandon(Ticket),
    /// These deliveries could not be handed over.
    Return {
        /// Names the call; nobody waits for it.
        ticket: Ticket,
        /// What goes back.
        jobs: Vec<(JobId, LeaseToken)>,
        /// As what.
        how: Returned,
    },
    /// Look at durable state. The read answers by itself.
    Read(Read),
    /// Tell of a queue, now and after changes.
    Watch {
        /// Which.
        queue: QueueName,
        /// Where to.
        reply: oneshot::Sender<Watched>,
    },
    /// Tell of changes of any queue: the number of the last one.
    WatchMany {
        /// Where to.
        reply: oneshot::Sender<watch::Receiver<u64>>,
    },
    /// Tell what changed, of all queues.
    Changed {
        /// After this change.
        after: u64,
        /// At most so many queues.
        limit: usize,
        /// Where to.
        reply: oneshot::Sender<ChangedQueues>,
    },
    /// Tell when all of these jobs are at rest or gone.
    AwaitRest {
        /// Names the call.
        ticket: Ticket,
        /// Which.
        jobs: Vec<JobId>,
        /// Where to.
        reply: oneshot::Sender<Result<(), CallError>>,
    },
    /// Take nothing more: what came before is still done.
    Stop,
}

/// How jobs go back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Returned {
    /// Untouched.
    Released,
    /// Their worker broke off: an attempt is spent.
    Broken,
}

/// Runs between groups, when all that the engine holds is durable.
pub(super) type Read = Box<dyn FnOnce(&Engine, &dyn Store, Now) + Send>;

/// The newest status of a queue; none while it does not exist.
pub(super) type Watched = watch::Receiver<Option<Arc<QueueStatus>>>;
