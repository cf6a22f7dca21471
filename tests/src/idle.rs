//! A server at rest: a great many jobs that limits hold back, each of a key of its own, and somebody who waits for one.

use std::time::{Duration, Instant};

use sluice_proto::v1::{KeyRule, LeaseRequest, NodeSettings, Queue as Settings, Window, WindowKind};
use tokio::task::JoinHandle;

use crate::{Queue, Sluiced, spec};

/// Jobs of a request.
const BATCH: usize = 1_000;
/// A lease waits so long, then it is asked for again.
const WAIT: Duration = Duration::from_secs(60);
/// The limits of a key, and with it the jobs, last far longer than anybody measures.
const PERIOD: Duration = Duration::from_secs(24 * 3_600);
/// The server tidies up for a while after what it was given. It is at rest when a look of this length
const LOOK: Duration = Duration::from_secs(2);
/// shows no more than this share of a processor.
const REST: f64 = 0.02;

/// A server at rest. Dropped, it is gone.
pub struct Idle {
    server: Sluiced,
    waiting: JoinHandle<()>,
}

impl Idle {
    /// Brings one there: `keys` keys, each at its limit of one a day, and with one more job; and a lease that waits. Gives up
    /// when it is not at rest within `patience`.
    pub async fn reach(server: Sluiced, keys: usize, patience: Duration) -> Idle {
        let queue = server.queue("parked");
        queue.put(settings()).await;
        for first in (0..keys).step_by(BATCH) {
            let key = |n: usize| spec::keyed(&format!("k{:015}", n), "");
            let batch = first..(first + BATCH).min(keys);
            queue.enqueue(batch.clone().chain(batch).map(key).collect()).await;
            let leased = queue.lease(u32::try_from(BATCH).expect("a small number")).await;
            queue.ack(&leased).await;
        }
        let waiting = tokio::spawn(wait(queue.clone()));
        let status = queue.until(|status| status.waiting_leases == 1).await;
        assert_eq!(status.counts.unwrap().ready, keys as u64, "one of each waits");
        let idle = Idle { server, waiting };
        let began = Instant::now();
        while idle.share(LOOK).await > REST {
            assert!(began.elapsed() < patience, "not at rest after {patience:?}");
        }
        idle
    }

    /// How much of a processor it takes, over so long a time.
    pub async fn share(&self, span: Duration) -> f64 {
        let (began, before) = (Instant::now(), self.server.processor_time());
        tokio::time::sleep(span).await;
        let used = self.server.processor_time().saturating_sub(before);
        used.as_secs_f64() / began.elapsed().as_secs_f64()
    }

    /// The memory that it holds, in bytes.
    #[must_use]
    pub fn resident_bytes(&self) -> u64 {
        self.server.resident_bytes()
    }
}

impl Drop for Idle {
    fn drop(&mut self) {
        self.waiting.abort();
    }
}

fn settings() -> Settings {
    let one_a_day = Window {
        kind: WindowKind::Quota.into(),
        amount: 1,
        period: Some(spec::span(PERIOD)),
        ..Window::default()
    };
    let node = NodeSettings { windows: vec![one_a_day], ..NodeSettings::default() };
    Settings {
        key_rules: vec![KeyRule { key_pattern: "k*".to_owned(), settings: Some(node) }],
        // What is done is not to be forgotten while it is measured.
        retention_bytes: Some(0),
        ..Settings::default()
    }
}

async fn wait(queue: Queue) {
    loop {
        let request = LeaseRequest { wait_timeout: Some(spec::span(WAIT)), ..queue.lease_request(1) };
        assert!(queue.lease_by(request).await.is_empty(), "every key is at its limit");
    }
}
