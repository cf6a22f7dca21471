//! How long the calls of those take who behave: a few clients, each with one call at a time.

use std::time::{Duration, Instant};

use crate::{Sluiced, spec};

/// The queue of those who behave.
pub const QUEUE: &str = "healthy";
/// Who behaves.
const CLIENTS: usize = 4;

/// How long each call took, shortest first.
#[derive(Clone, Debug)]
pub struct Latency(Vec<Duration>);

impl Latency {
    /// Serves a queue for so long: each client enqueues a job, leases one, acks it. Every call must be answered well.
    pub async fn measure(server: &Sluiced, span: Duration) -> Latency {
        let end = Instant::now() + span;
        let clients = (0..CLIENTS).map(|_| {
            let queue = server.queue(QUEUE);
            tokio::spawn(async move {
                let mut took = Vec::new();
                while Instant::now() < end {
                    let begun = Instant::now();
                    queue.enqueue_one(spec::job("healthy")).await;
                    let enqueued = Instant::now();
                    let leased = queue.lease(1).await;
                    let then = Instant::now();
                    took.extend([enqueued - begun, then - enqueued]);
                    if !leased.is_empty() {
                        queue.ack(&leased).await;
                        took.push(then.elapsed());
                    }
                }
                took
            })
        });
        let mut all = Vec::new();
        for client in clients.collect::<Vec<_>>() {
            all.extend(client.await.unwrap());
        }
        Latency::from(all)
    }

    /// How many calls it were.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// What so many of a thousand stay under; zero if there were none.
    #[must_use]
    pub fn permille(&self, permille: usize) -> Duration {
        let at = (self.0.len() * permille / 1_000).min(self.0.len().saturating_sub(1));
        self.0.get(at).copied().unwrap_or_default()
    }

    /// The longest; zero if there were none.
    #[must_use]
    pub fn longest(&self) -> Duration {
        self.permille(1_000)
    }
}

impl From<Vec<Duration>> for Latency {
    fn from(mut all: Vec<Duration>) -> Latency {
        all.sort_unstable();
        Latency(all)
    }
}

impl std::fmt::Display for Latency {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [half, p99, p999] = [500, 990, 999].map(|permille| self.permille(permille));
        let longest = self.longest();
        write!(
            f,
            "{} calls, p50 {half:.1?}, p99 {p99:.1?}, p99.9 {p999:.1?}, longest {longest:.1?}",
            self.count()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permille_are_those_of_all() {
        let millis = |n| Duration::from_millis(n);
        let latency = Latency::from((1..=1_000).rev().map(millis).collect::<Vec<_>>());
        assert_eq!([500, 990, 1_000].map(|n| latency.permille(n)), [501, 991, 1_000].map(millis));
        assert_eq!(Latency::from(Vec::new()).longest(), Duration::ZERO);
    }
}
