//! Jobs on their way to a worker, and how they come back when the way is cut.

use std::sync::Arc;

use sluice_engine::{JobId, LeaseToken, LeasedJob, Span};

use super::handle::Shared;
use super::message::{Message, Returned};
use crate::store::Place;

/// Jobs on their way to a worker. Unless [`LeaseGuard::deliver`] is called they go back, untouched, when it is dropped.
pub struct Delivery {
    /// In order of dispatch.
    pub jobs: Vec<LeasedJob>,
    /// Where the body of each lies.
    pub places: Vec<Option<Place>>,
    /// When there are none: when asking again makes sense.
    pub retry_after: Option<Span>,
    /// Gives them back.
    pub guard: LeaseGuard,
}

/// Gives jobs back when their answer cannot be handed over.
pub struct LeaseGuard {
    jobs: Vec<(JobId, LeaseToken)>,
    shared: Arc<Shared>,
}

impl LeaseGuard {
    pub(super) fn new(jobs: &[LeasedJob], shared: Arc<Shared>) -> LeaseGuard {
        LeaseGuard { jobs: jobs.iter().map(|leased| (leased.job.id, leased.token)).collect(), shared }
    }

    /// The answer is on its way: keep nothing back.
    pub fn deliver(mut self) {
        self.jobs.clear();
    }
}

impl Drop for LeaseGuard {
    fn drop(&mut self) {
        if !self.jobs.is_empty() {
            let ticket = self.shared.ticket();
            self.shared.mailbox.post_always(Message::Return {
                ticket,
                jobs: std::mem::take(&mut self.jobs),
                how: Returned::Released,
            });
        }
    }
}
