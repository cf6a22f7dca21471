//! Where jobs take room, and how much.

use crate::id::QueueId;
use crate::job::JobState;
use crate::ledger::Queue;
use crate::ledger::keys::Load;
use crate::name::Key;
use crate::outcome::Full;

/// A place that can be full: a queue, or a key of it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    pub(crate) queue: QueueId,
    /// The empty one stands for the queue.
    pub(crate) key: Key,
    /// Whether it is looked at with its reserve: who may use that stands behind nobody who may not.
    pub(crate) urgent: bool,
}

/// What jobs take of a place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Amount {
    pub(crate) jobs: u64,
    pub(crate) bytes: u64,
}

impl Place {
    /// What is full when there is no room here.
    pub(crate) fn full(&self) -> Full {
        if self.key.is_empty() { Full::Queue } else { Full::Key }
    }
}

impl Amount {
    /// What waits and is held in a queue.
    pub(crate) fn held_in(queue: &Queue) -> Amount {
        Amount { jobs: queue.counts.live(), bytes: queue.bytes }
    }

    /// What waits and is held under a key.
    pub(crate) fn held_under(load: &Load) -> Amount {
        Amount { jobs: load.jobs(), bytes: load.bytes }
    }

    /// What is held in a queue.
    pub(crate) fn leased_in(queue: &Queue) -> Amount {
        Amount { jobs: queue.counts.get(JobState::Leased), bytes: queue.leased_bytes }
    }

    /// What is held under a key.
    pub(crate) fn leased_under(load: &Load) -> Amount {
        Amount { jobs: load.leased(), bytes: load.leased_bytes }
    }
}
