//! What clients saw: the answers they received, and when. What the server believes of itself does not count.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Collects what clients see, from any number of them.
#[derive(Clone)]
pub struct History {
    began: Instant,
    seen: Arc<Mutex<Vec<Seen>>>,
}

/// One answer that a client received.
#[derive(Clone, Debug)]
pub struct Seen {
    /// When the client made the call, since the history began.
    pub begin: Duration,
    /// When it had the answer.
    pub end: Duration,
    /// What the answer said.
    pub what: What,
}

/// What an answer said.
#[derive(Clone, Debug)]
pub enum What {
    /// The jobs of this request are in.
    Enqueued {
        /// The request's id: repeated until it was answered.
        request_id: String,
        /// The ids it was answered.
        jobs: Vec<String>,
        /// Those of them that expire when they wait for long.
        mortal: Vec<String>,
        /// Idempotency keys, and which job each was answered.
        keys: Vec<(String, String)>,
        /// Jobs that had to go for these.
        dropped: Vec<String>,
    },
    /// The cancel is accepted.
    Cancelled {
        /// The job.
        job: String,
        /// Whether it is CANCELLED; else its worker was asked to give it up.
        is_final: bool,
    },
    /// Here is a job to work on.
    Leased {
        /// The job.
        job: String,
        /// The token of this delivery.
        token: u64,
        /// How long the lease lasts.
        duration: Duration,
    },
    /// The ack is accepted.
    Acked {
        /// The job.
        job: String,
        /// The token it was acked with.
        token: u64,
    },
    /// The nack is accepted.
    Nacked {
        /// The job.
        job: String,
        /// The token it was nacked with.
        token: u64,
    },
    /// An ack or nack is refused: LEASE_LOST.
    Lost {
        /// The job.
        job: String,
        /// The token it was tried with.
        token: u64,
    },
}

impl Default for History {
    fn default() -> History {
        History { began: Instant::now(), seen: Arc::default() }
    }
}

impl History {
    /// Now, on the history's clock.
    #[must_use]
    pub fn now(&self) -> Duration {
        self.began.elapsed()
    }

    /// Notes an answer to a call made at `begin`.
    pub fn note(&self, begin: Duration, what: What) {
        let end = self.now();
        self.seen.lock().unwrap().push(Seen { begin, end, what });
    }

    /// All that was noted.
    #[must_use]
    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }
}
