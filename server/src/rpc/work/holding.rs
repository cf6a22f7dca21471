//! What a worker holds over its stream. When the stream is gone without a word, so is the worker: its jobs go back.

use std::collections::HashMap;

use sluice_engine::{JobId, LeaseToken};
use sluice_proto::v1;

use crate::writer::{Handle, Returned};

/// Jobs in a worker's hands.
pub(super) struct Holding {
    handle: Handle,
    jobs: HashMap<JobId, Held>,
    /// What becomes of them at the end; none: they stay the worker's until their leases end.
    at_end: Option<Returned>,
}

struct Held {
    token: LeaseToken,
    /// Whether its worker was told to give it up.
    is_cancelled: bool,
}

impl Holding {
    pub(super) fn new(handle: Handle) -> Holding {
        Holding { handle, jobs: HashMap::new(), at_end: Some(Returned::Broken) }
    }

    pub(super) fn len(&self) -> usize {
        self.jobs.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.jobs.is_empty()
    }

    pub(super) fn take(&mut self, jobs: &[v1::LeasedJob]) {
        let held = jobs.iter().filter_map(|leased| {
            let id = leased.job.as_ref()?.job_id.parse().ok()?;
            Some((JobId(id), Held { token: LeaseToken(leased.lease_token), is_cancelled: false }))
        });
        self.jobs.extend(held);
    }

    /// These leases were settled, or cannot be: whatever came of it, the worker holds them no more. A job that it
    /// named with another lease's token it holds on.
    pub(super) fn settle(&mut self, leases: &[(JobId, LeaseToken)]) {
        for (id, token) in leases {
            if self.jobs.get(id).is_some_and(|held| held.token == *token) {
                self.jobs.remove(id);
            }
        }
    }

    pub(super) fn lose(&mut self, id: JobId) {
        self.jobs.remove(&id);
    }

    /// Its worker is told to give it up. Whether for the first time.
    pub(super) fn note_cancelled(&mut self, id: JobId) -> bool {
        self.jobs.get_mut(&id).is_some_and(|held| !std::mem::replace(&mut held.is_cancelled, true))
    }

    pub(super) fn tokens(&self) -> Vec<(JobId, LeaseToken)> {
        self.jobs.iter().map(|(id, held)| (*id, held.token)).collect()
    }

    /// It is over: this is what becomes of what is still held.
    pub(super) fn end(&mut self, how: Option<Returned>) {
        self.at_end = how;
    }
}

impl Drop for Holding {
    fn drop(&mut self) {
        if let Some(how) = self.at_end {
            self.handle.give_back(self.tokens(), how);
        }
    }
}
