//! The steps of moving home and of compaction, so that a test can end the world at each of them.

use crate::store::StoreError;

/// What has just been done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Step {
    /// The requests of a segment were written.
    RequestsWritten,
    /// One job was written.
    JobWritten,
    /// Everything that moves was written.
    Written,
    /// That was synced.
    WrittenSynced,
    /// What it replaces was removed.
    Removed,
    /// That was synced.
    RemovedSynced,
    /// Queues of which nothing is left were removed.
    QueuesRemoved,
    /// How far the log has moved in was noted.
    Noted,
    /// That was synced.
    NotedSynced,
    /// The retirement of a segment was committed, and its file is still there.
    RetirementCommitted,
    /// The home was copied.
    HomeCopied,
    /// The copy was synced.
    CopySynced,
    /// The home was put aside.
    OldHomeAside,
    /// The copy stands in its place.
    CopyInPlace,
}

/// Told of each step.
pub(crate) trait Steps: Send + Sync {
    /// An error ends the work here, as a crash would.
    fn reach(&self, step: Step) -> Result<(), StoreError>;
}
