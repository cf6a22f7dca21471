//! Batches: many jobs that have one state, whatever becomes of each.

use std::time::{Duration, Instant};

use sluice_proto::v1::{
    BatchState, EnqueueRequest, JobSpec, JobState, NackReason, Queue as Settings, StateCounts,
    UpdateJobRequest,
};
use sluice_tests::{Queue, Sluiced, cli, spec, status};
use tonic::Code;

use BatchState::{Completed, Failed, Partial, Pending, Running};

const BATCH: &str = "msg-17";

fn of_batch(job: JobSpec) -> JobSpec {
    JobSpec { batch_id: BATCH.to_owned(), ..job }
}

fn jobs(count: usize) -> Vec<JobSpec> {
    spec::jobs("x", count).into_iter().map(of_batch).collect()
}

async fn enqueue(queue: &Queue, jobs: Vec<JobSpec>, total: Option<u64>) -> Vec<String> {
    let batch_totals = total.map(|total| (BATCH.to_owned(), total)).into_iter().collect();
    let answer =
        queue.enqueue_by(EnqueueRequest { batch_totals, ..queue.enqueue_request(jobs) }).await.unwrap();
    answer.jobs.into_iter().map(|job| job.job_id).collect()
}

/// Reads the batch, which must stand so.
async fn stands(queue: &Queue, state: BatchState, counts: StateCounts) {
    let batch = queue.try_batch(BATCH, Duration::ZERO).await.unwrap();
    assert_eq!((batch.state(), batch.counts), (state, Some(counts)));
    assert_eq!(batch.jobs, spec::sum(&counts));
}

/// No job is in any state.
fn none() -> StateCounts {
    StateCounts::default()
}

#[tokio::test]
async fn s1_1_batch_is_pending_then_running_then_completed() {
    let mut server = Sluiced::fresh().await;
    let queue = server.queue("completed");
    let later = of_batch(JobSpec { delay: Some(spec::millis(3_600_000)), ..spec::job("later") });
    enqueue(&queue, jobs(2), None).await;
    let job_id = enqueue(&queue, vec![later], None).await.remove(0);
    queue.enqueue(spec::jobs("of no batch", 3)).await;
    stands(&queue, Pending, StateCounts { ready: 2, scheduled: 1, ..none() }).await;
    let out = queue.lease(1).await;
    stands(&queue, Running, StateCounts { ready: 1, scheduled: 1, leased: 1, ..none() }).await;
    queue.ack(&out).await;
    stands(&queue, Running, StateCounts { ready: 1, scheduled: 1, completed: 1, ..none() }).await;
    server.kill_and_start().await;
    stands(&queue, Running, StateCounts { ready: 1, scheduled: 1, completed: 1, ..none() }).await;

    let now = UpdateJobRequest { job_id, delay: Some(spec::millis(0)), ..Default::default() };
    queue.try_update(now).await.unwrap();
    stands(&queue, Running, StateCounts { ready: 2, completed: 1, ..none() }).await;
    let out = queue.lease(5).await;
    assert_eq!(out.len(), 5);
    queue.ack(&out).await;
    let done = StateCounts { completed: 3, ..none() };
    stands(&queue, Completed, done).await;
    server.kill_and_start().await;
    stands(&queue, Completed, done).await;
}

#[tokio::test]
async fn s1_1_batch_with_some_failures_is_partial_and_with_failures_alone_failed() {
    let mut server = Sluiced::fresh().await;
    for (name, acks, state) in [("partial", 1, Partial), ("failed", 0, Failed)] {
        let queue = server.queue(name);
        enqueue(&queue, jobs(3), None).await;
        let out = queue.lease(3).await;
        if acks > 0 {
            queue.ack(&out[..acks]).await;
        }
        queue.reject(&out[acks..2]).await;
        let dead = 2 - acks as u64;
        let some = StateCounts { completed: acks as u64, dead, ..none() };
        stands(&queue, Running, StateCounts { leased: 1, ..some }).await;
        queue.reject(&out[2..]).await;
        stands(&queue, state, StateCounts { dead: dead + 1, ..some }).await;
        server.kill_and_start().await;
        stands(&queue, state, StateCounts { dead: dead + 1, ..some }).await;
    }
}

#[tokio::test]
async fn every_rest_but_completed_counts_as_failed() {
    let server = Sluiced::fresh().await;
    let queue = server.queue("rest");
    let short = JobSpec { ttl: Some(spec::millis(1)), ..spec::job("expires") };
    let ids = enqueue(&queue, vec![of_batch(short), of_batch(spec::job("is cancelled"))], None).await;
    queue.try_cancel(&ids[1]).await.unwrap();
    queue.until(|status| status.counts.unwrap_or_default().expired == 1).await;
    stands(&queue, Failed, StateCounts { cancelled: 1, expired: 1, ..none() }).await;
    enqueue(&queue, jobs(1), None).await;
    assert_eq!(queue.drain_all("set").await.len(), 1);
    stands(&queue, Failed, StateCounts { cancelled: 1, expired: 1, drained: 1, ..none() }).await;

    // More of it makes a batch go on that was at its end.
    enqueue(&queue, jobs(1), None).await;
    stands(&queue, Running, StateCounts { cancelled: 1, expired: 1, drained: 1, ready: 1, ..none() }).await;
    queue.ack(&queue.lease(1).await).await;
    stands(&queue, Partial, StateCounts { cancelled: 1, expired: 1, drained: 1, completed: 1, ..none() })
        .await;
}

#[tokio::test]
async fn counts_follow_retry_expiry_of_leases_requeue_and_purge() {
    let mut server = Sluiced::fresh().await;
    let queue = server.queue("follow");
    queue.put(spec::retrying(2, Duration::from_secs(3_600))).await;
    enqueue(&queue, jobs(2), None).await;
    let out = queue.lease(2).await;
    stands(&queue, Running, StateCounts { leased: 2, ..none() }).await;
    queue.nack(&out[0], NackReason::Failed).await;
    stands(&queue, Running, StateCounts { leased: 1, retrying: 1, ..none() }).await;
    queue.reject(&out[1..]).await;
    stands(&queue, Running, StateCounts { retrying: 1, dead: 1, ..none() }).await;
    // The second and last attempt ends with its lease.
    let (job_id, delay) = (spec::id(&out[0]), Some(spec::millis(0)));
    let now = UpdateJobRequest { job_id, delay, ..Default::default() };
    queue.try_update(now).await.unwrap();
    stands(&queue, Running, StateCounts { ready: 1, dead: 1, ..none() }).await;
    let out = queue.lease(1).await;
    stands(&queue, Running, StateCounts { leased: 1, dead: 1, ..none() }).await;
    assert_eq!(queue.extend(&out[0], Duration::from_secs(1)).await.error, None);
    queue.until(|status| status.counts.unwrap_or_default().dead == 2).await;
    stands(&queue, Failed, StateCounts { dead: 2, ..none() }).await;

    assert_eq!(queue.requeue(&[JobState::Dead]).await, 2);
    let again = queue.try_batch(BATCH, Duration::ZERO).await.unwrap();
    assert_eq!(again.counts, Some(StateCounts { ready: 2, ..none() }), "no longer final");
    let out = queue.lease(1).await;
    queue.ack(&out).await;
    stands(&queue, Running, StateCounts { ready: 1, completed: 1, ..none() }).await;

    // What was purged before it was at rest counts as cancelled, what was purged after as what it was.
    assert_eq!(queue.purge(&[JobState::Ready]).await, 1);
    stands(&queue, Partial, StateCounts { completed: 1, cancelled: 1, ..none() }).await;
    assert_eq!(queue.purge(&[JobState::Completed]).await, 1);
    stands(&queue, Partial, StateCounts { completed: 1, cancelled: 1, ..none() }).await;
    server.kill_and_start().await;
    stands(&queue, Partial, StateCounts { completed: 1, cancelled: 1, ..none() }).await;
}

#[tokio::test]
async fn s1_1_state_of_a_batch_follows_from_its_counts_alone() {
    let server = Sluiced::fresh().await;
    let mut states = Vec::new();
    for end in [NackReason::Released, NackReason::Rejected] {
        let queue = server.queue(&format!("ever-{}", end.as_str_name()));
        enqueue(&queue, jobs(1), None).await;
        queue.nack(&queue.lease(1).await[0], end).await;
        if end == NackReason::Rejected {
            assert_eq!(queue.requeue(&[JobState::Dead]).await, 1);
        }
        let batch = queue.try_batch(BATCH, Duration::ZERO).await.unwrap();
        assert_eq!(batch.counts, Some(StateCounts { ready: 1, ..none() }));
        states.push((end, batch.state()));
    }
    assert_eq!(states, [(NackReason::Released, Pending), (NackReason::Rejected, Pending)]);
}

#[tokio::test]
async fn batch_is_not_final_before_its_announced_total_is_in() {
    let mut server = Sluiced::fresh().await;
    let queue = server.queue("total");
    enqueue(&queue, jobs(2), Some(5)).await;
    queue.ack(&queue.lease(2).await).await;
    stands(&queue, Running, StateCounts { completed: 2, ..none() }).await;
    server.kill_and_start().await;
    stands(&queue, Running, StateCounts { completed: 2, ..none() }).await;
    assert_eq!(queue.try_batch(BATCH, Duration::ZERO).await.unwrap().total_jobs, Some(5));

    enqueue(&queue, jobs(2), None).await;
    queue.ack(&queue.lease(2).await).await;
    let four = StateCounts { completed: 4, ..none() };
    stands(&queue, Running, four).await;
    // Said again it counts from then on.
    enqueue(&queue, vec![spec::job("of no batch")], Some(4)).await;
    stands(&queue, Completed, four).await;
    assert_eq!(queue.try_batch(BATCH, Duration::ZERO).await.unwrap().total_jobs, Some(4));
    enqueue(&queue, jobs(1), Some(6)).await;
    stands(&queue, Running, StateCounts { ready: 1, ..four }).await;
}

#[tokio::test]
async fn batch_that_nobody_named_is_not_found_and_queues_do_not_share_theirs() {
    let server = Sluiced::fresh().await;
    let (queue, other) = (server.queue("one"), server.queue("other"));
    let unknown = queue.try_batch(BATCH, Duration::ZERO).await;
    status::refused(unknown, Code::NotFound, "BATCH_NOT_FOUND");
    enqueue(&queue, jobs(2), None).await;
    enqueue(&other, jobs(3), None).await;
    stands(&queue, Pending, StateCounts { ready: 2, ..none() }).await;
    stands(&other, Pending, StateCounts { ready: 3, ..none() }).await;
    for name in ["msg-1", "msg-177", "MSG-17"] {
        // Nor does a call wait for one to come.
        let unknown = queue.try_batch(name, Duration::from_secs(60)).await;
        status::refused(unknown, Code::NotFound, "BATCH_NOT_FOUND");
    }
}

#[tokio::test]
async fn batch_is_forgotten_when_all_of_it_is_gone_and_retention_has_passed() {
    let server = Sluiced::fresh().await;
    let queue = server.queue("forgotten");
    let retention = Duration::from_millis(1_500);
    enqueue(&queue, jobs(2), None).await;
    queue.ack(&queue.lease(2).await).await;
    let began = Instant::now();
    assert_eq!(queue.purge(&[JobState::Completed]).await, 2);
    queue.put(Settings { retention: Some(spec::span(retention)), ..Default::default() }).await;
    let gone = loop {
        match queue.try_batch(BATCH, Duration::ZERO).await {
            Ok(batch) => assert_eq!((batch.state(), batch.jobs), (Completed, 2)),
            Err(status) => break status,
        }
        assert!(began.elapsed() < Duration::from_secs(30), "it is never forgotten");
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert!(began.elapsed() >= retention, "forgotten after {:?}", began.elapsed());
    status::refused::<()>(Err(gone), Code::NotFound, "BATCH_NOT_FOUND");
    enqueue(&queue, jobs(1), None).await;
    stands(&queue, Pending, StateCounts { ready: 1, ..none() }).await;
}

#[tokio::test]
async fn wait_returns_when_the_batch_is_final_or_its_time_is_up() {
    let server = Sluiced::fresh().await;
    let queue = server.queue("wait");
    enqueue(&queue, jobs(2), None).await;
    let wait = Duration::from_millis(300);
    let began = Instant::now();
    assert_eq!(queue.try_batch(BATCH, wait).await.unwrap().state(), Pending);
    assert!(began.elapsed() >= wait);

    let waiting = tokio::spawn({
        let queue = queue.clone();
        async move { queue.try_batch(BATCH, Duration::from_secs(60)).await.unwrap() }
    });
    let out = queue.lease(2).await;
    queue.ack(&out[..1]).await;
    stands(&queue, Running, StateCounts { leased: 1, completed: 1, ..none() }).await;
    assert!(!waiting.is_finished(), "one of two is not all");
    queue.reject(&out[1..]).await;
    let done = tokio::time::timeout(Duration::from_secs(30), waiting).await.unwrap().unwrap();
    assert_eq!((done.state(), done.jobs), (Partial, 2));
}

#[tokio::test]
async fn s1_1_command_line_shows_a_batch_and_waits_for_its_end() {
    let server = Sluiced::fresh().await;
    let queue = server.queue("cli");
    let named = ["-q", "cli", BATCH];
    assert_eq!(cli::run(&server, &[&["batch", "get"][..], &named].concat()).await.code, 3);
    let put = ["enqueue", "-q", "cli", "--payload", "x", "--batch", BATCH, "--batch-total", "2"];
    assert_eq!(cli::run(&server, &put).await.code, 0);
    assert_eq!(cli::run(&server, &put[..7]).await.code, 0);

    let json = async |arguments: &[&str]| {
        let said = cli::run(&server, &[arguments, &named, &["-o", "json"]].concat()).await;
        (said.code, serde_json::from_str::<serde_json::Value>(&said.stdout).unwrap())
    };
    let (code, batch) = json(&["batch", "get"]).await;
    assert_eq!((code, &batch["batch_id"], &batch["queue"]), (0, &BATCH.into(), &"cli".into()));
    assert_eq!((batch["jobs"].as_u64(), batch["total_jobs"].as_u64()), (Some(2), Some(2)));
    assert_eq!(batch["counts"]["ready"], 2);
    assert!(batch["state"].as_str().unwrap().eq_ignore_ascii_case("pending"), "{batch}");

    let (code, batch) = json(&["batch", "wait", "--wait", "200ms"]).await;
    assert_eq!((code, &batch["counts"]["ready"]), (4, &2.into()), "not final in time");
    let out = queue.lease(2).await;
    queue.ack(&out[..1]).await;
    let (waited, ()) = tokio::join!(json(&["batch", "wait", "--wait", "60s"]), queue.reject(&out[1..]));
    assert_eq!(waited.0, 5, "{}", waited.1);
    assert!(waited.1["state"].as_str().unwrap().eq_ignore_ascii_case("partial"), "{}", waited.1);
    assert_eq!((&waited.1["counts"]["completed"], &waited.1["counts"]["dead"]), (&1.into(), &1.into()));

    queue.requeue(&[JobState::Dead]).await;
    queue.ack(&queue.lease(1).await).await;
    assert_eq!(json(&["batch", "wait"]).await.0, 0);
    let table = cli::run(&server, &[&["batch", "get"][..], &named].concat()).await.ok();
    assert!(table.contains(BATCH) && table.to_ascii_lowercase().contains("completed"), "{table}");
}
