//! The facts: every job, queue, request and drained set. Changed by mutations alone.

use std::ops::RangeInclusive;

use crate::command::RequestKey;
use crate::id::{JobId, QueueId};
use crate::job::JobRecord;
use crate::outcome::Enqueued;
use crate::queue::QueueRecord;
use crate::time::Timestamp;

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
pub struct Ledger {}

impl Ledger {
    /// Everything known of a job; none when it is gone.
    #[must_use]
    pub fn record(&self, _id: JobId) -> Option<JobRecord> {
        todo!()
    }

    /// The ids in `range` whose jobs exist, in order, at most `limit`.
    #[must_use]
    pub fn ids(&self, _range: RangeInclusive<u64>, _limit: usize) -> Vec<JobId> {
        todo!()
    }

    /// A queue as the store keeps it.
    #[must_use]
    pub fn queue_record(&self, _id: QueueId) -> Option<QueueRecord> {
        todo!()
    }

    /// Every queue, in order of their numbers.
    pub fn queue_ids(&self) -> impl Iterator<Item = QueueId> + '_ {
        std::iter::empty()
    }

    /// A drained set; none when it is gone.
    #[must_use]
    pub fn drain_record(&self, _set: u128) -> Option<DrainRecord> {
        todo!()
    }

    /// The last number given to a job or a place in a queue.
    #[must_use]
    pub fn serial(&self) -> u64 {
        todo!()
    }
}
