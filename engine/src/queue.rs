//! A queue: its settings, what happened in it, and how it stands.

use std::collections::BTreeMap;

use crate::id::QueueId;
use crate::job::{JobState, Priority};
use crate::name::QueueName;
use crate::settings::QueueSettings;
use crate::time::{Span, WallTime};

/// A queue as the store keeps it.
#[derive(Clone, Debug, PartialEq)]
pub struct QueueRecord {
    /// Its number.
    pub id: QueueId,
    /// Its name.
    pub name: QueueName,
    /// Its settings.
    pub settings: QueueSettings,
    /// Grows with each change of the settings.
    pub version: u64,
    /// When it came into being.
    pub create_time: WallTime,
    /// What happened in it so far.
    pub totals: QueueTotals,
}

/// What happened in a queue so far. Never goes down.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QueueTotals {
    /// Jobs accepted.
    pub enqueued: u64,
    /// Jobs acknowledged.
    pub completed: u64,
    /// Deliveries that failed or expired.
    pub failed_attempts: u64,
    /// Times a job became DEAD.
    pub dead: u64,
    /// Deliveries given back because the downstream said slow down.
    pub throttled: u64,
    /// Jobs drained.
    pub drained: u64,
    /// Jobs requeued.
    pub requeued: u64,
    /// Jobs removed by retention or purge.
    pub removed: u64,
    /// Failed attempts by error code; at most [`crate::bound::MAX_ERROR_CODES`], the rest under `other`.
    pub failed_by_code: BTreeMap<Box<str>, u64>,
}

/// A queue's settings as they are shown.
#[derive(Clone, Debug, PartialEq)]
pub struct QueueView {
    /// Its name.
    pub name: QueueName,
    /// Its settings.
    pub settings: QueueSettings,
    /// Shown as its etag.
    pub version: u64,
    /// When it came into being.
    pub create_time: WallTime,
}

/// How many jobs stand in each state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StateCounts([u64; 16]);

/// What happened per second, over [`crate::bound::RATE_WINDOW`].
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct QueueRates {
    /// Jobs accepted.
    pub enqueued: f64,
    /// Jobs leased.
    pub dispatched: f64,
    /// Jobs acknowledged.
    pub acked: f64,
    /// Deliveries failed or expired.
    pub failed: f64,
}

/// A queue at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct QueueStatus {
    /// Jobs per state.
    pub counts: StateCounts,
    /// READY jobs per priority.
    pub ready_by_priority: [u64; Priority::COUNT],
    /// How long the oldest READY job has been in the queue.
    pub oldest_ready_age: Option<Span>,
    /// Bytes of the jobs that wait or are held.
    pub bytes: u64,
    /// What happens per second.
    pub rates: QueueRates,
    /// When, at the present rates, the last waiting job will have left.
    pub time_to_empty: Option<Span>,
    /// What happened so far.
    pub totals: QueueTotals,
    /// Lease calls that wait.
    pub waiting_leases: u64,
    /// When this was true.
    pub status_time: WallTime,
}

impl StateCounts {
    /// Jobs in `state`.
    #[must_use]
    pub const fn get(&self, state: JobState) -> u64 {
        self.0[state as usize]
    }

    /// Jobs that wait or are held.
    #[must_use]
    pub const fn live(&self) -> u64 {
        self.get(JobState::Scheduled)
            + self.get(JobState::Ready)
            + self.get(JobState::Leased)
            + self.get(JobState::Retrying)
    }

    pub(crate) fn add(&mut self, state: JobState) {
        self.0[state as usize] += 1;
    }

    pub(crate) fn remove(&mut self, state: JobState) {
        debug_assert!(self.0[state as usize] > 0, "a job left a state it was not in");
        self.0[state as usize] -= 1;
    }
}
