//! What may be repeated, how often and after what wait. Knows errors and time, no call by name.

use std::time::Duration;

use backon::{ExponentialBuilder, Retryable};
use tokio::time::Instant;

use crate::Error;

/// How much a wait that the server named is lengthened by chance, so that callers who were refused
/// together do not come back together.
const SPREAD: f64 = 0.2;

/// Whether a call may be sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repeat {
    /// Twice is as good as once: reads, Ack, Nack, ExtendLease, and Enqueue under a `request_id`.
    Always,
    /// As `Always`, but not when a queue is full: whoever enqueues decides how long to wait for room.
    UnlessFull,
    /// Only when the server said that nothing was applied: all other calls.
    IfNotApplied,
}

impl Repeat {
    /// Whether a call that failed with `error` may be sent again.
    #[must_use]
    pub fn allows(self, error: &Error) -> bool {
        match self {
            Repeat::Always => error.is_transient(),
            Repeat::UnlessFull => error.is_transient() && !error.is_full(),
            Repeat::IfNotApplied => error.is_transient() && error.is_not_applied(),
        }
    }
}

/// How a call is repeated. The call's deadline covers all of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Times a call is sent, at least 1. Default 6.
    pub max_attempts: usize,
    /// The wait after the first failure; doubles with each further one, and chance adds up to as much
    /// again. Default 100 ms.
    pub initial_backoff: Duration,
    /// The longest wait before chance. A longer one that the server names is kept all the same. Default 2 s.
    pub max_backoff: Duration,
}

impl Default for RetryPolicy {
    fn default() -> RetryPolicy {
        RetryPolicy {
            max_attempts: 6,
            initial_backoff: Duration::from_millis(100),
            max_backoff: Duration::from_secs(2),
        }
    }
}

impl RetryPolicy {
    /// Never sends a call again.
    #[must_use]
    pub fn never() -> RetryPolicy {
        RetryPolicy { max_attempts: 1, ..RetryPolicy::default() }
    }

    /// Sends by `attempt` until it succeeds, may not be repeated, or the next wait would pass `deadline`.
    pub(crate) async fn run<T, F>(
        self,
        repeat: Repeat,
        deadline: Instant,
        attempt: impl FnMut() -> F,
    ) -> Result<T, Error>
    where
        F: Future<Output = Result<T, Error>>,
    {
        attempt
            .retry(self.backoff().with_max_times(self.max_attempts.saturating_sub(1)))
            .when(|error| repeat.allows(error))
            .adjust(|error: &Error, wait| {
                let wait = lengthened(wait?, error.retry_after());
                (wait < deadline.saturating_duration_since(Instant::now())).then_some(wait)
            })
            .notify(|error: &Error, wait| tracing::warn!(%error, ?wait, "call failed, trying again"))
            .await
    }

    /// The waits, without an end: for loops that go on until they are told to stop.
    pub(crate) fn backoff(self) -> ExponentialBuilder {
        ExponentialBuilder::default()
            .with_jitter()
            .with_min_delay(self.initial_backoff)
            .with_max_delay(self.max_backoff)
            .without_max_times()
    }
}

/// Our wait, or the server's with some chance added, whichever is longer.
pub(crate) fn lengthened(wait: Duration, retry_after: Option<Duration>) -> Duration {
    let named = retry_after.map_or(Duration::ZERO, |after| {
        after.saturating_add(after.min(MAX_SPREAD_BASE).mul_f64(SPREAD * fastrand::f64()))
    });
    wait.max(named)
}

/// A server that says "in an hour" is not asked to be believed to the minute.
const MAX_SPREAD_BASE: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use std::{cell::Cell, collections::HashMap};

    use tonic::{Code, Status};
    use tonic_types::{ErrorDetails, StatusExt};

    use super::*;

    fn refusal(retry_after: Duration) -> Error {
        let mut details =
            ErrorDetails::with_error_info("OVERLOADED", "sluice.v1", HashMap::<String, String>::new());
        details.set_retry_info(Some(retry_after));
        Status::with_error_details(Code::Unavailable, "busy", details).into()
    }

    fn broken() -> Error {
        Status::from_error(Box::new(std::io::Error::other("reset"))).into()
    }

    /// Fails with `error` for the first `failures` times, then succeeds; answers how often it was sent.
    async fn sent(policy: RetryPolicy, repeat: Repeat, error: Error, failures: usize) -> (usize, bool) {
        let count = Cell::new(0);
        let deadline = Instant::now() + Duration::from_secs(30);
        let outcome = policy
            .run(repeat, deadline, || {
                count.set(count.get() + 1);
                let outcome = if count.get() > failures { Ok(()) } else { Err(error.clone()) };
                async move { outcome }
            })
            .await;
        (count.get(), outcome.is_ok())
    }

    #[tokio::test(start_paused = true)]
    async fn safe_call_is_repeated_over_a_broken_connection() {
        assert_eq!(sent(RetryPolicy::default(), Repeat::Always, broken(), 3).await, (4, true));
    }

    #[tokio::test(start_paused = true)]
    async fn unsafe_call_is_repeated_only_when_nothing_was_applied() {
        assert_eq!(sent(RetryPolicy::default(), Repeat::IfNotApplied, broken(), 1).await, (1, false));
        let busy = refusal(Duration::from_millis(1));
        assert_eq!(sent(RetryPolicy::default(), Repeat::IfNotApplied, busy, 1).await, (2, true));
    }

    #[tokio::test(start_paused = true)]
    async fn repetitions_end_after_max_attempts() {
        assert_eq!(sent(RetryPolicy::default(), Repeat::Always, broken(), 99).await, (6, false));
        assert_eq!(sent(RetryPolicy::never(), Repeat::Always, broken(), 99).await, (1, false));
    }

    #[tokio::test(start_paused = true)]
    async fn wait_named_by_the_server_is_kept() {
        let begin = Instant::now();
        assert_eq!(
            sent(RetryPolicy::default(), Repeat::Always, refusal(Duration::from_secs(9)), 1).await,
            (2, true)
        );
        let waited = begin.elapsed();
        assert!(waited >= Duration::from_secs(9) && waited < Duration::from_secs(12), "{waited:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn call_is_not_repeated_when_the_wait_would_pass_its_deadline() {
        let begin = Instant::now();
        let outcome = sent(RetryPolicy::default(), Repeat::Always, refusal(Duration::from_secs(60)), 1).await;
        assert_eq!(outcome, (1, false));
        assert_eq!(begin.elapsed(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn full_queue_is_left_to_whoever_enqueues() {
        let details =
            ErrorDetails::with_error_info("QUEUE_FULL", "sluice.v1", HashMap::<String, String>::new());
        let full = Error::from(Status::with_error_details(Code::ResourceExhausted, "full", details));
        assert_eq!(sent(RetryPolicy::default(), Repeat::UnlessFull, full.clone(), 1).await, (1, false));
        assert_eq!(sent(RetryPolicy::default(), Repeat::UnlessFull, broken(), 1).await, (2, true));
        assert_eq!(sent(RetryPolicy::default(), Repeat::Always, full, 1).await, (2, true));
    }

    #[tokio::test(start_paused = true)]
    async fn wrong_request_is_never_repeated() {
        let wrong = Error::from(Status::invalid_argument("no"));
        assert_eq!(sent(RetryPolicy::default(), Repeat::Always, wrong, 1).await, (1, false));
    }
}
