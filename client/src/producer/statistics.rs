//! What back-pressure cost a producer: counters that any of its clones adds to.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::proto::FlowHint;

/// What a producer and its clones and streams met since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Statistics {
    /// Waits for room in a full queue. Those that the server keeps for a queue of policy WAIT are not seen from here.
    pub waits: u64,
    /// Sends that succeeded after at least one wait.
    pub succeeded_after_wait: u64,
    /// Sends that found no room in all their time, or failed otherwise after a wait.
    pub failed_after_wait: u64,
    /// What the queue asks for now: how busy the server is, jobs of one call, and the pause between calls.
    pub flow_hint: Option<FlowHint>,
}

#[derive(Debug, Default)]
pub(super) struct Counter {
    waits: AtomicU64,
    succeeded_after_wait: AtomicU64,
    failed_after_wait: AtomicU64,
}

impl Counter {
    pub(super) fn waited(&self) {
        self.waits.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn succeeded(&self) {
        self.succeeded_after_wait.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn failed(&self) {
        self.failed_after_wait.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn snapshot(&self, flow_hint: Option<FlowHint>) -> Statistics {
        Statistics {
            waits: self.waits.load(Ordering::Relaxed),
            succeeded_after_wait: self.succeeded_after_wait.load(Ordering::Relaxed),
            failed_after_wait: self.failed_after_wait.load(Ordering::Relaxed),
            flow_hint,
        }
    }
}
