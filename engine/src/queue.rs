//! A queue: its settings, what happened in it, and how it stands.

use std::collections::BTreeMap;

use crate::id::QueueId;
use crate::job::{JobState, Priority};
use crate::ledger::BreakerState;
use crate::limit::Window;
use crate::name::{BatchName, Key, LimitName, QueueName};
use crate::settings::{FlowHintPolicy, QueueSettings};
use crate::time::{Span, Timestamp, WallTime};

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
    /// Whether it was deleted, and only what it held is still to be removed.
    pub deleted: bool,
}

impl QueueRecord {
    /// Which settings these are.
    #[must_use]
    pub fn version(&self) -> QueueVersion {
        QueueVersion { queue: self.id, number: self.version }
    }
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
    /// Jobs that made room for others.
    pub dropped: u64,
    /// Jobs cancelled.
    pub cancelled: u64,
    /// Jobs whose time to live passed.
    pub expired: u64,
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

/// Which settings a queue has: others than a queue of its name had that was deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueVersion {
    /// The queue.
    pub queue: QueueId,
    /// How often its settings were put.
    pub number: u64,
}

/// A queue's settings as they are shown.
#[derive(Clone, Debug, PartialEq)]
pub struct QueueView {
    /// Its name.
    pub name: QueueName,
    /// Its settings.
    pub settings: QueueSettings,
    /// Shown as its etag.
    pub version: QueueVersion,
    /// When it came into being.
    pub create_time: WallTime,
}

/// How many jobs stand in each state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StateCounts([u64; JobState::ALL.len() + 1]);

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
    /// How full it is, 1 for full; none without a capacity.
    pub utilization: Option<f64>,
    /// How full it is, as a word.
    pub level: Level,
    /// What happens per second.
    pub rates: QueueRates,
    /// When, at the present rates, the last waiting job will have left.
    pub time_to_empty: Option<Span>,
    /// What happened so far.
    pub totals: QueueTotals,
    /// Whether nothing is leased from it.
    pub paused: bool,
    /// When callers are asked to slow down.
    pub flow_hint: Option<FlowHintPolicy>,
    /// Enqueue calls that wait for room.
    pub waiting_enqueues: u64,
    /// Lease calls that wait.
    pub waiting_leases: u64,
    /// What goes through the queue itself.
    pub nodes: Vec<NodeStatus>,
    /// When this was true.
    pub status_time: WallTime,
}

/// How full a queue or key is, as a word.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// There is room.
    #[default]
    Ok,
    /// It fills.
    Warning,
    /// It is full.
    Critical,
}

/// What waits and is held under a key.
#[derive(Clone, Debug, PartialEq)]
pub struct KeyStatus {
    /// The key.
    pub key: Key,
    /// Live jobs per state.
    pub counts: StateCounts,
    /// Their bytes.
    pub bytes: u64,
    /// How full it is, 1 for full; none without a capacity.
    pub utilization: Option<f64>,
    /// How full it is, as a word.
    pub level: Level,
    /// What goes through it, if something was set on it or is known of it.
    pub node: Option<Box<NodeStatus>>,
}

/// What may go through a node now: a queue, a key, or what keys begin with.
#[derive(Clone, Debug, PartialEq)]
pub struct NodeStatus {
    /// The key; empty: the queue itself, or the limit.
    pub key: Key,
    /// Its name, if it is a shared limit.
    pub limit: Option<LimitName>,
    /// Its windows.
    pub windows: Vec<WindowStatus>,
    /// Jobs below it that workers hold.
    pub in_flight: u64,
    /// How many they may hold at a time.
    pub max_in_flight: Option<u32>,
    /// Whether its jobs go strictly one after another.
    pub ordered: bool,
    /// Until when nothing goes through it, because the downstream said that it was too much.
    pub frozen_until: Option<WallTime>,
    /// READY jobs below it.
    pub ready: u64,
    /// Units a second that it lets through after what it learned; none while that is no less than what was set.
    pub rate_in_force: Option<f64>,
    /// How its breaker stands; none: it has none.
    pub breaker: Option<BreakerState>,
}

/// A window, and what may go through it now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WindowStatus {
    /// The window.
    pub window: Window,
    /// Units that may go at once.
    pub tokens: u64,
}

/// A page of keys.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct KeysPage {
    /// In no order to rely on.
    pub keys: Vec<KeyStatus>,
    /// Where the next page begins; none: that was all.
    pub next: Option<u32>,
}

/// A batch as the store keeps it: what does not follow from its jobs.
#[derive(Clone, Debug, PartialEq)]
pub struct BatchRecord {
    /// Its queue.
    pub queue: QueueId,
    /// Its name.
    pub name: BatchName,
    /// How many jobs it will have in all, if that was announced.
    pub total: Option<u64>,
    /// Its jobs that are gone, by the state in which they were at the end.
    pub gone: StateCounts,
    /// When something happened to it that is in this record, or its last job went.
    pub change_time: Timestamp,
}

/// A batch as it is shown.
#[derive(Clone, Debug, PartialEq)]
pub struct BatchView {
    /// Jobs per state, those gone included.
    pub counts: StateCounts,
    /// How many jobs it will have in all, if that was announced.
    pub total: Option<u64>,
    /// Where it stands.
    pub state: BatchState,
}

/// Where a batch stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BatchState {
    /// No job of it was ever leased.
    Pending,
    /// Some of it is under way or done.
    Running,
    /// All of it is COMPLETED.
    Completed,
    /// All of it is at rest, some COMPLETED and some not.
    Partial,
    /// All of it is at rest and none COMPLETED.
    Failed,
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

    /// Jobs in any state.
    #[must_use]
    pub fn sum(&self) -> u64 {
        self.0.iter().sum()
    }

    /// With `number` jobs in `state`: for a store that brings them back.
    #[must_use]
    pub const fn with(mut self, state: JobState, number: u64) -> StateCounts {
        self.0[state as usize] = number;
        self
    }

    pub(crate) fn plus(&self, other: &StateCounts) -> StateCounts {
        StateCounts(std::array::from_fn(|at| self.0[at] + other.0[at]))
    }

    pub(crate) fn add(&mut self, state: JobState) {
        self.0[state as usize] += 1;
    }

    pub(crate) fn remove(&mut self, state: JobState) {
        debug_assert!(self.0[state as usize] > 0, "a job left a state it was not in");
        self.0[state as usize] -= 1;
    }
}
