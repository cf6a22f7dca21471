//! Drain: everything that waits, out in one step, in order, and readable again.

use std::collections::BTreeSet;
use std::time::Duration;

use sluice_proto::v1::{DrainRequest, Job, JobSpec, JobState, NackReason};
use sluice_tests::{Queue, Setup, Sluiced, spec};

fn texts(jobs: &[Job]) -> Vec<String> {
    jobs.iter().map(|job| String::from_utf8(job.payload.clone().unwrap().to_vec()).unwrap()).collect()
}

fn request(queue: &Queue, request_id: &str) -> DrainRequest {
    DrainRequest {
        queue: queue.name().to_owned(),
        request_id: request_id.to_owned(),
        ..DrainRequest::default()
    }
}

#[tokio::test]
async fn s2_2_drain_takes_everything_out_in_order_and_leaves_the_queue_empty() {
    let server = Sluiced::fresh().await;
    let queue = server.queue("buffer");
    queue.enqueue(spec::jobs("message", 300)).await;
    let drained = queue.drain_all("drain-1").await;
    let expected: Vec<String> = (0..300).map(|n| format!("message-{n}")).collect();
    assert_eq!(texts(&drained), expected);
    assert!(drained.iter().all(|job| job.state() == JobState::Drained && job.end_time.is_some()));

    let status = queue.status().await;
    assert_eq!((status.jobs, status.counts.as_ref().unwrap().drained), (0, 300));
    assert_eq!(status.totals.unwrap().drained, 300);
    assert!(queue.lease(10).await.is_empty());
}

#[tokio::test]
async fn s2_2_drain_of_an_empty_queue_is_one_empty_page() {
    let server = Sluiced::fresh().await;
    let queue = server.queue("empty");
    let mut pages = queue.drain(request(&queue, "drain-1")).await;
    let page = pages.message().await.unwrap().unwrap();
    assert_eq!((page.jobs.len(), page.total_jobs, page.next_page_token.as_str()), (0, 0, ""));
    assert_eq!(pages.message().await.unwrap(), None);
}

#[tokio::test]
async fn s2_3_length_and_emptiness_can_be_asked() {
    let server = Sluiced::fresh().await;
    let queue = server.queue("length");
    assert_eq!(queue.status().await.jobs, 0);
    queue.enqueue(spec::jobs("x", 3)).await;
    assert_eq!(queue.status().await.jobs, 3);
    let out = queue.lease(1).await;
    queue.ack(&out).await;
    assert_eq!(queue.status().await.jobs, 2);
    queue.drain_all("drain-1").await;
    assert_eq!(queue.status().await.jobs, 0);
}

#[tokio::test]
async fn ready_jobs_are_drained_in_order_of_dispatch_then_the_others_by_run_time() {
    let server = Sluiced::fresh().await;
    let queue = server.queue("order");
    queue.put(spec::retrying(5, Duration::from_secs(1_800))).await;
    let delayed = |minutes: u64, text: &str| JobSpec {
        delay: Some(spec::millis(minutes * 60_000)),
        priority: Some(9),
        ..spec::job(text)
    };
    queue.enqueue_one(spec::urgent(9, "retrying in 30 min")).await;
    let out = queue.lease(1).await;
    queue.nack(&out[0], NackReason::Failed).await;
    queue
        .enqueue(vec![
            delayed(60, "in 60 min"),
            spec::urgent(1, "low"),
            spec::keyed("a", "a-0"),
            spec::keyed("a", "a-1"),
            spec::keyed("b", "b-0"),
            delayed(10, "in 10 min"),
            spec::urgent(8, "high"),
        ])
        .await;
    let drained = texts(&queue.drain_all("drain-1").await);
    let expected = ["high", "a-0", "b-0", "a-1", "low", "in 10 min", "retrying in 30 min", "in 60 min"];
    assert_eq!(drained, expected);
}

#[tokio::test]
async fn leased_jobs_finish_and_new_ones_go_on() {
    let server = Sluiced::fresh().await;
    let queue = server.queue("meanwhile");
    queue.enqueue(spec::jobs("old", 3)).await;
    let out = queue.lease(1).await;
    assert_eq!(texts(&queue.drain_all("drain-1").await), ["old-1", "old-2"]);
    queue.enqueue(spec::jobs("new", 2)).await;
    assert_eq!(texts(&queue.drain_all("drain-1").await), ["old-1", "old-2"], "the same set again");
    queue.ack(&out).await;
    assert_eq!(texts(&queue.drain_all("drain-2").await), ["new-0", "new-1"]);
}

#[tokio::test]
async fn drain_takes_no_more_than_it_is_told() {
    let server = Sluiced::fresh().await;
    let queue = server.queue("some");
    queue.enqueue(spec::jobs("x", 5)).await;
    let mut pages = queue.drain(DrainRequest { max_jobs: Some(2), ..request(&queue, "drain-1") }).await;
    let page = pages.message().await.unwrap().unwrap();
    assert_eq!((texts(&page.jobs), page.total_jobs), (vec!["x-0".to_owned(), "x-1".to_owned()], 2));
    assert_eq!(queue.status().await.jobs, 3);
}

#[tokio::test]
async fn drained_jobs_can_be_requeued_or_purged_and_leave_the_set() {
    let server = Sluiced::fresh().await;
    let queue = server.queue("again");
    let ids = queue.enqueue(spec::jobs("x", 3)).await;
    queue.drain_all("drain-1").await;
    assert_eq!(queue.requeue(&[JobState::Drained]).await, 3);
    let job = queue.job(&ids[0]).await;
    assert_eq!((job.state(), job.requeues), (JobState::Ready, 1));
    assert!(queue.drain_all("drain-1").await.is_empty(), "they were requeued since");
    assert_eq!(queue.status().await.jobs, 3, "the same drain takes nothing new");
    assert_eq!(texts(&queue.drain_all("drain-2").await), ["x-0", "x-1", "x-2"]);
    assert_eq!(queue.purge(&[JobState::Drained]).await, 3);
    assert!(queue.drain_all("drain-2").await.is_empty());
}

/// Enqueues 100,000 jobs whose payloads are their numbers.
async fn fill(queue: &Queue) {
    for thousand in (0..100_000).step_by(10_000) {
        let jobs = (thousand..thousand + 10_000).map(|n| spec::job(&n.to_string())).collect();
        queue.enqueue(jobs).await;
    }
}

fn assert_whole(drained: &[Job]) {
    assert_eq!(drained.len(), 100_000);
    for (n, job) in drained.iter().enumerate() {
        assert_eq!(job.payload.as_ref().unwrap(), n.to_string().as_bytes());
    }
    let ids: BTreeSet<&String> = drained.iter().map(|job| &job.job_id).collect();
    assert_eq!(ids.len(), 100_000, "none twice");
}

/// Reads a drain until half of it has come; gives that and the token to go on with.
async fn read_half(queue: &Queue) -> (Vec<Job>, String) {
    let mut pages = queue.drain(request(queue, "drain-1")).await;
    let mut jobs = Vec::new();
    loop {
        let page = pages.message().await.unwrap().expect("there is another half");
        assert_eq!(page.total_jobs, 100_000);
        jobs.extend(page.jobs);
        if jobs.len() >= 50_000 {
            assert!(jobs.len() < 100_000, "pages are bounded");
            return (jobs, page.next_page_token);
        }
    }
}

async fn drain_of_100_000(setup: Setup) {
    let mut server = setup.start().await;
    let queue = server.queue("large");
    fill(&queue).await;
    let (first_half, page_token) = read_half(&queue).await;
    let status = queue.status().await;
    assert_eq!((status.jobs, status.counts.unwrap().drained), (0, 100_000), "one step, whoever reads");

    // The reader is gone: the same request gives the same set.
    let again = queue.drain_all("drain-1").await;
    assert_whole(&again);

    // Or the other half alone.
    let mut pages = queue.drain(DrainRequest { page_token, ..request(&queue, "drain-1") }).await;
    let mut both = first_half;
    while let Some(page) = pages.message().await.unwrap() {
        both.extend(page.jobs);
    }
    assert_whole(&both);

    // The server is gone, in the middle of a stream.
    let (_, page_token) = read_half(&queue).await;
    let mut pages = queue.drain(request(&queue, "drain-1")).await;
    pages.message().await.unwrap().unwrap();
    server.kill().await;
    while let Ok(Some(_)) = pages.message().await {}
    server.start().await;
    let queue = server.queue("large");
    assert_eq!(queue.status().await.counts.unwrap().drained, 100_000);
    let after = queue.drain_all("drain-1").await;
    assert_eq!(after, again);
    let mut pages = queue.drain(DrainRequest { page_token, ..request(&queue, "drain-1") }).await;
    let rest = pages.message().await.unwrap().unwrap();
    assert_eq!(rest.total_jobs, 100_000, "page tokens outlive the server, too");
    assert!(queue.lease(1).await.is_empty());
}

#[tokio::test]
async fn s2_2_drain_of_100_000_survives_its_reader_and_its_server() {
    drain_of_100_000(Setup::default()).await;
}

#[tokio::test]
async fn s2_2_drain_of_100_000_survives_with_small_segments_too() {
    drain_of_100_000(Setup::small_segments()).await;
}
