//! What a handler is given, and what it says.

use std::time::Duration;

use bytes::Bytes;
use tokio_util::sync::CancellationToken;

use crate::proto::Job;

/// A job under a lease, to work on.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// The job, with its payload.
    pub job: Job,
    /// The number of this delivery: grows with each of a job, so it can fence writes downstream.
    pub lease_token: u64,
    /// Cancelled when the lease is lost: another worker may have the job by now, and what this one says
    /// may not count any more.
    pub lost: CancellationToken,
    /// Cancelled when the job is to be given up: someone cancelled it, its lease is lost, or the worker has no
    /// more time. Stopping then is good manners; an outcome of a job that was only cancelled still counts.
    pub cancelled: CancellationToken,
}

/// What came of a delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Done, with a result for whoever reads the job (at most 64 KiB) or without.
    Done(Option<Bytes>),
    /// Failed: spends an attempt; again after a back-off, or dead when no attempt is left.
    Failed(Failure),
    /// The downstream said slow down: spends no attempt.
    Throttled {
        /// When the downstream wants to be asked again. Default: 1 s, and 2, 4, 8, 16 s when that is said again within
        /// a minute.
        retry_after: Option<Duration>,
        /// What it said.
        failure: Failure,
    },
    /// Will never succeed: dead now.
    Rejected(Failure),
    /// Any of these, and what the delivery cost in the end, where limits count cost. See [`Outcome::costing`].
    Costing {
        /// At most 1,000,000,000. An outcome alone costs what its job reserved.
        actual_cost: u32,
        /// What came of it.
        outcome: Box<Outcome>,
    },
}

/// What went wrong.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Failure {
    /// For people. Cut to 4 KiB.
    pub error: String,
    /// The worker's word for this kind of error, such as `http_500`. At most 128 bytes.
    pub code: String,
    /// With [`Outcome::Failed`]: not before this much from now, in place of the back-off.
    pub retry_after: Option<Duration>,
    /// With [`Outcome::Throttled`]: which node it was too much for, by segments of the key; `0` is the queue. Default:
    /// the key.
    pub throttle_scope: String,
}

impl Outcome {
    /// With what the delivery cost in the end, such as the tokens that a model used.
    #[must_use]
    pub fn costing(self, actual_cost: u32) -> Outcome {
        Outcome::Costing { actual_cost, outcome: Box::new(self) }
    }

    /// The outcome itself, and what it cost if that was said; what was said last counts.
    pub(super) fn into_parts(self) -> (Outcome, Option<u32>) {
        let (mut outcome, mut said) = (self, None);
        while let Outcome::Costing { actual_cost, outcome: inner } = outcome {
            said = said.or(Some(actual_cost));
            outcome = *inner;
        }
        (outcome, said)
    }
}

impl Delivery {
    /// The job's bytes.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        self.job.payload.as_deref().unwrap_or_default()
    }

    /// Whether the job is to be given up; see [`Delivery::cancelled`].
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.cancelled.is_cancelled()
    }
}

impl Failure {
    /// A failure, in words.
    #[must_use]
    pub fn new(error: impl Into<String>) -> Failure {
        Failure { error: error.into(), ..Failure::default() }
    }

    /// With a word for programs.
    #[must_use]
    pub fn code(mut self, code: impl Into<String>) -> Failure {
        self.code = code.into();
        self
    }

    /// With a wait in place of the back-off; only [`Outcome::Failed`] takes it.
    #[must_use]
    pub fn retry_after(mut self, wait: Duration) -> Failure {
        self.retry_after = Some(wait);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cost_that_was_said_last_counts() {
        assert_eq!(Outcome::Done(None).into_parts(), (Outcome::Done(None), None));
        let said = Outcome::Done(None).costing(7).costing(5);
        assert_eq!(said.into_parts(), (Outcome::Done(None), Some(5)));
    }
}
