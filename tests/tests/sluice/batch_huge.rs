//! A batch of a hundred thousand jobs, looked at all the time while they come and go.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use sluice_proto::v1::{
    BatchState, EnqueueRequest, GetBatchResponse, JobSpec, LeaseRequest, LeasedJob, StateCounts,
};
use sluice_tests::{Queue, Sluiced, spec};
use tokio::task::JoinSet;
use tonic::Code;

use BatchState::{Partial, Pending, Running};

const BATCH: &str = "msg-17";
const ALL: u64 = 100_000;

/// How many jobs were sent, and how many of them the server has answered for.
#[derive(Default)]
struct Sent {
    sent: AtomicU64,
    answered: AtomicU64,
}

async fn produce(queue: Queue, sent: Arc<Sent>, requests: std::ops::Range<u64>) {
    for request in requests {
        let job = |n: u64| JobSpec {
            batch_id: BATCH.to_owned(),
            ..spec::keyed(["a", "b", "bad"][(n % 3) as usize], "x")
        };
        let jobs: Vec<JobSpec> = (request * 1_000..(request + 1) * 1_000).map(job).collect();
        sent.sent.fetch_add(1_000, Ordering::SeqCst);
        let batch_totals = [(BATCH.to_owned(), ALL)].into();
        queue.enqueue_by(EnqueueRequest { batch_totals, ..queue.enqueue_request(jobs) }).await.unwrap();
        sent.answered.fetch_add(1_000, Ordering::SeqCst);
    }
}

/// Settles what comes until all is: what has the bad key fails.
async fn work(queue: Queue, settled: Arc<AtomicU64>) {
    while settled.load(Ordering::SeqCst) < ALL {
        let request = LeaseRequest { wait_timeout: Some(spec::millis(500)), ..queue.lease_request(1_000) };
        let out = queue.lease_by(request).await;
        let is_bad = |job: &LeasedJob| job.job.as_ref().unwrap().key == "bad";
        let (bad, good): (Vec<_>, Vec<_>) = out.into_iter().partition(is_bad);
        let count = (bad.len() + good.len()) as u64;
        if !good.is_empty() {
            queue.ack(&good).await;
        }
        if !bad.is_empty() {
            queue.reject(&bad).await;
        }
        settled.fetch_add(count, Ordering::SeqCst);
    }
}

/// Looks at the batch all the time until it is final; every look must agree with what was sent.
async fn observe(queue: Queue, sent: Arc<Sent>) -> (GetBatchResponse, u64) {
    let (mut looks, mut at_rest) = (0, (0, 0));
    loop {
        let least = sent.answered.load(Ordering::SeqCst);
        let look = queue.try_batch(BATCH, Duration::ZERO).await;
        let most = sent.sent.load(Ordering::SeqCst);
        let batch = match look {
            Err(status) => {
                assert_eq!((status.code(), least), (Code::NotFound, 0), "{status:?}");
                continue;
            }
            Ok(batch) => batch,
        };
        looks += 1;
        let counts = batch.counts.unwrap();
        assert!(
            (least..=most).contains(&spec::sum(&counts)),
            "look {looks}: {least} to {most}, and {counts:?}"
        );
        assert_eq!((batch.jobs, batch.total_jobs), (spec::sum(&counts), Some(ALL)));
        assert_eq!(batch.jobs % 1_000, 0, "a request is in whole or not at all");
        assert!(counts.completed >= at_rest.0 && counts.dead >= at_rest.1, "{counts:?} after {at_rest:?}");
        at_rest = (counts.completed, counts.dead);
        let is_over = at_rest.0 + at_rest.1 == ALL;
        assert_eq!(batch.state() == Partial, is_over, "{:?} with {counts:?}", batch.state());
        if is_over {
            return (batch, looks);
        }
        assert!(matches!(batch.state(), Pending | Running), "{:?} with {counts:?}", batch.state());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s1_1_hundred_thousand_jobs_are_counted_right_at_every_moment() {
    let mut server = Sluiced::fresh().await;
    let (sent, settled) = (Arc::new(Sent::default()), Arc::new(AtomicU64::new(0)));
    let observer = tokio::spawn(observe(server.queue("huge"), sent.clone()));
    let mut others = JoinSet::new();
    for range in [0..50, 50..100] {
        others.spawn(produce(server.queue("huge"), sent.clone(), range));
    }
    for _ in 0..2 {
        others.spawn(work(server.queue("huge"), settled.clone()));
    }
    while let Some(ended) = others.join_next().await {
        ended.unwrap();
    }
    let patience = Duration::from_secs(30);
    let (batch, looks) = tokio::time::timeout(patience, observer).await.unwrap().unwrap();
    assert_eq!(batch.counts, Some(StateCounts { completed: 66_667, dead: 33_333, ..Default::default() }));
    assert!(looks >= 20, "{looks} looks are none to speak of");

    server.kill_and_start().await;
    assert_eq!(server.queue("huge").try_batch(BATCH, Duration::ZERO).await.unwrap(), batch);
}
