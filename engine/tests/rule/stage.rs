//! What rules are shown with: jobs, settings, and a driver that knows no rule.

use std::ops::{Deref, DerefMut};

use bytes::Bytes;
use sluice_engine::*;

use crate::driver::Driver;
pub(crate) use crate::driver::queue;

/// A driver, with what these tests ask of it.
pub(crate) struct Stage(Driver);

pub(crate) fn key(text: &str) -> Key {
    Key::new(text.to_owned()).unwrap()
}

/// A job of ten bytes with this key.
pub(crate) fn job(text: &str) -> JobSpec {
    JobSpec { payload: Bytes::from_static(b"0123456789"), key: key(text), ..JobSpec::default() }
}

/// Jobs for the queue; the call waits for room up to a minute.
pub(crate) fn enqueue(jobs: Vec<JobSpec>) -> Enqueue {
    Enqueue { queue: queue(), jobs, request: None, batch_totals: Vec::new(), wait: Span::from_secs(60) }
}

/// A capacity in jobs for the keys that match.
pub(crate) fn rule(pattern: &str, jobs: u64, overflow: OverflowPolicy) -> KeyRule {
    KeyRule {
        pattern: KeyPattern::new(pattern).unwrap(),
        capacity: Capacity { jobs: Some(jobs), bytes: None },
        overflow: Some(overflow),
        node: NodeSettings::default(),
    }
}

impl Stage {
    pub(crate) fn new() -> Stage {
        Stage(Driver::at(1))
    }

    /// A queue with these settings.
    pub(crate) fn with(patch: QueuePatch) -> Stage {
        let mut stage = Stage::new();
        stage.put(patch);
        stage
    }

    /// Puts jobs in; they find room.
    pub(crate) fn enqueue(&mut self, jobs: Vec<JobSpec>) -> Enqueued {
        let Outcome::Enqueued(enqueued) = self.done(Command::Enqueue(enqueue(jobs))) else { unreachable!() };
        enqueued
    }

    /// Leases up to so many.
    pub(crate) fn lease(&mut self, max_jobs: u32) -> Vec<(JobId, LeaseToken)> {
        let lease = Lease {
            queue: queue(),
            max_jobs,
            max_bytes: usize::MAX,
            lease_duration: None,
            wait: Span::ZERO,
            worker: "w".into(),
        };
        let Outcome::Leased(leased) = self.done(Command::Lease(lease)) else { unreachable!() };
        leased.jobs.iter().map(|leased| (leased.job.id, leased.token)).collect()
    }

    pub(crate) fn ack(&mut self, (id, token): (JobId, LeaseToken)) {
        self.done(Command::Ack(vec![Ack { id, token, result: None, actual_cost: None }]));
    }

    pub(crate) fn nack(&mut self, (id, token): (JobId, LeaseToken), reason: NackReason) {
        self.done(Command::Nack(vec![Nack {
            id,
            token,
            reason,
            error: None,
            retry_after: None,
            scope: None,
            actual_cost: None,
        }]));
    }

    pub(crate) fn state(&self, id: JobId) -> Option<JobState> {
        self.engine.job(id, self.now).map(|job| job.state)
    }
}

impl Deref for Stage {
    type Target = Driver;
    fn deref(&self) -> &Driver {
        &self.0
    }
}

impl DerefMut for Stage {
    fn deref_mut(&mut self) -> &mut Driver {
        &mut self.0
    }
}
