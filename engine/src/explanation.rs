//! When a job will run, and why it does not now: what is said of it.

use std::sync::Arc;

use crate::job::{Block, JobState, JobView};
use crate::name::Key;
use crate::time::WallTime;

/// When something is expected, as far as the limits in force and what came and went of late can tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Eta {
    /// Hardly earlier.
    pub earliest: WallTime,
    /// Hardly later; none: nobody can tell.
    pub latest: Option<WallTime>,
}

/// All that is known of why a job stands where it does.
#[derive(Clone, Debug, PartialEq)]
pub struct Explanation {
    /// The job, with its `eta`.
    pub job: JobView,
    /// Why it does not run.
    pub reason: Reason,
    /// Every gate on the way of a READY job, the deepest first.
    pub gates: Vec<GateView>,
    /// What is before a waiting job at each node on its way, the deepest first.
    pub ahead: Vec<Ahead>,
    /// Lease calls that wait in its queue.
    pub waiting_leases: u64,
}

/// A gate on a job's way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GateView {
    /// Which, and when it opens.
    pub gate: Block,
    /// Whether it is closed for the job.
    pub closed: bool,
}

/// What is before a job at a node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ahead {
    /// The node; empty: the queue itself.
    pub key: Key,
    /// READY jobs at and below it.
    pub ready: u64,
    /// Those of them with higher priorities than the job's.
    pub higher: u64,
    /// Jobs that go through it before the job, those with higher priorities among them, as turns go.
    pub before: u64,
    /// Its children that have READY jobs of the job's priority besides the job's own child.
    pub rivals: u64,
}

/// Why a job does not run.
#[derive(Clone, Debug, PartialEq)]
pub enum Reason {
    /// It waits for its time.
    Scheduled,
    /// It came back, and waits for its next attempt.
    Retrying,
    /// The queue is paused.
    Paused,
    /// Gates on its way are closed.
    Closed {
        /// The deepest of them.
        gate: Block,
        /// Jobs that go through it before the job, as turns go.
        before: u64,
    },
    /// It may go, and nobody takes jobs.
    NoWorker,
    /// Others go before it: so many, as turns go.
    Turn {
        /// So many.
        before: u64,
        /// Whether some of them are more urgent.
        higher: bool,
    },
    /// It is the next to go.
    Next,
    /// A worker has it.
    Leased {
        /// Who, as it called itself.
        worker: Arc<str>,
        /// Since when.
        since: Option<WallTime>,
        /// Whether the job is to be given up.
        cancel_requested: bool,
    },
    /// It is at rest.
    AtRest(JobState),
}
