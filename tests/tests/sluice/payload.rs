//! Payloads of the largest size: no answer grows over what a default client takes, and none is lost.

use sluice_proto::v1::{JobSpec, JobState};
use sluice_tests::{Sluiced, spec};
use std::collections::BTreeSet;

/// 1 MiB that no other number has.
fn large(n: u8) -> JobSpec {
    JobSpec { payload: vec![n; 1 << 20].into(), ..JobSpec::default() }
}

#[tokio::test]
async fn lease_of_many_large_jobs_stays_under_the_bound_and_loses_nothing() {
    let server = Sluiced::fresh().await;
    let queue = server.queue("large");
    let mut ids = BTreeSet::new();
    for n in 0..10 {
        ids.insert(queue.enqueue_one(large(n)).await);
    }
    // The generated client refuses a message over 4 MiB: it would be an error here.
    let mut seen = BTreeSet::new();
    while seen.len() < 10 {
        let out = queue.lease(1_000).await;
        assert!((1..=3).contains(&out.len()), "{} jobs in one answer", out.len());
        for leased in &out {
            let job = leased.job.as_ref().unwrap();
            let payload = job.payload.as_ref().unwrap();
            assert!(payload.len() == 1 << 20 && payload.iter().all(|byte| *byte == payload[0]));
            assert_eq!((job.deliveries, job.attempts), (1, 0), "what did not fit was never leased");
            assert!(seen.insert(job.job_id.clone()));
        }
        queue.ack(&out).await;
    }
    assert_eq!(seen, ids);
}

#[tokio::test]
async fn drain_of_large_jobs_comes_in_pages_that_fit() {
    let server = Sluiced::fresh().await;
    let queue = server.queue("large");
    for n in 0..10 {
        queue.enqueue_one(large(n)).await;
    }
    let drained = queue.drain_all("drain-1").await;
    let firsts: Vec<u8> = drained.iter().map(|job| job.payload.as_ref().unwrap()[0]).collect();
    assert_eq!(firsts, (0..10).collect::<Vec<u8>>());
}

#[tokio::test]
async fn three_large_jobs_fit_a_request_and_four_do_not() {
    let server = Sluiced::fresh().await;
    let queue = server.queue("large");
    queue.enqueue((0..3).map(large).collect()).await;
    queue.try_enqueue((0..4).map(large).collect(), "").await.unwrap_err();
    assert_eq!(queue.status().await.jobs, 3, "a request that is too large changes nothing");
}

#[tokio::test]
async fn large_payloads_survive_kill_9() {
    let mut server = sluice_tests::Setup::small_segments().start().await;
    let queue = server.queue("large");
    let mut ids = Vec::new();
    for n in 0..12 {
        ids.push(queue.enqueue_one(large(n)).await);
    }
    server.kill_and_start().await;
    let queue = server.queue("large");
    for (n, id) in (0..).zip(&ids) {
        let job = queue.job(id).await;
        assert_eq!(job.state(), JobState::Ready);
        assert_eq!(job.payload.unwrap(), large(n).payload);
    }
    assert_eq!(spec::id(&queue.lease(1).await[0]), ids[0]);
}
