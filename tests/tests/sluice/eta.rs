//! When a job will run, as clients are told it, and when it did.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use sluice_proto::v1::{
    BatchGetJobsRequest, EnqueueRequest, Eta, Job, JobSpec, JobState, LeaseRequest, LeasedJob, NodeSettings,
    Queue as Settings, UpdateJobRequest, Window,
};
use sluice_tests::{Queue, Sluiced, cli, spec};

const BATCH: &str = "message-1";

/// `amount` a second, evenly, and one at once.
fn rate(amount: u32) -> Settings {
    let window = Window { amount, period: Some(spec::millis(1_000)), burst: Some(1), ..Window::default() };
    let settings = NodeSettings { windows: vec![window], ..NodeSettings::default() };
    Settings { settings: Some(settings), lease_duration: Some(spec::millis(600_000)), ..Settings::default() }
}

fn seconds(time: SystemTime) -> f64 {
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs_f64()
}

fn of(time: &prost_types::Timestamp) -> f64 {
    time.seconds as f64 + f64::from(time.nanos) / 1e9
}

/// From when to when, in seconds from now.
fn range(eta: &Eta) -> (f64, Option<f64>) {
    let now = seconds(SystemTime::now());
    (of(eta.earliest_time.as_ref().unwrap()) - now, eta.latest_time.as_ref().map(|time| of(time) - now))
}

fn eta(job: &Job) -> Eta {
    job.eta.unwrap_or_else(|| panic!("{job:?} waits and is not expected"))
}

/// Waits for a job, as a worker that has nothing else to do.
fn next(queue: &Queue) -> tokio::task::JoinHandle<Vec<LeasedJob>> {
    let request = LeaseRequest { wait_timeout: Some(spec::millis(60_000)), ..queue.lease_request(1) };
    let queue = queue.clone();
    tokio::spawn(async move { queue.lease_by(request).await })
}

#[tokio::test]
async fn n1_every_job_starts_within_the_range_that_was_told_and_its_place_is_told_too() {
    let server = Sluiced::fresh().await;
    let queue = server.queue("told");
    queue.put(rate(3)).await;
    let ids = queue.enqueue(spec::jobs("x", 21)).await;
    queue.ack(&queue.lease(1).await).await;
    let working = next(&queue);
    queue.until(|status| status.waiting_leases == 1).await;
    let request = BatchGetJobsRequest { job_ids: ids[1..].to_vec(), ..BatchGetJobsRequest::default() };
    let jobs = queue.rpc.clone().batch_get_jobs(request).await.unwrap().into_inner().jobs;
    // The first may be with the worker by now.
    let waiting: Vec<_> = jobs.iter().filter(|job| job.state() == JobState::Ready).collect();
    assert!(waiting.len() >= 15, "{} of 20 wait", waiting.len());
    for (place, job) in (1..).zip(&waiting) {
        assert_eq!(job.queue_position, Some(place), "{job:?}");
    }
    let last = range(&eta(waiting[waiting.len() - 1]));
    // 20 jobs at 3 a second take 6.7 s: less a tenth and a second, and as much more and a round.
    assert!((2.5..6.8).contains(&last.0), "{last:?}");
    assert!((5.5..11.0).contains(&last.1.expect("workers wait")), "{last:?}");

    let mut told: BTreeMap<String, Eta> = waiting.iter().map(|job| (job.job_id.clone(), eta(job))).collect();
    let (count, mut inside) = (told.len(), 0);
    let mut out = working.await.unwrap();
    for id in &ids[1..] {
        if out.is_empty() {
            out = next(&queue).await.unwrap();
        }
        let leased = out.remove(0);
        let job = leased.job.clone().unwrap();
        assert_eq!((&job.job_id, job.eta), (id, None), "it is with a worker");
        let start = of(job.start_time.as_ref().unwrap());
        if let Some(told) = told.remove(id) {
            let latest = told.latest_time.as_ref().map_or(f64::INFINITY, of);
            inside += usize::from((of(told.earliest_time.as_ref().unwrap())..=latest).contains(&start));
        }
        queue.ack(&[leased]).await;
    }
    assert!(inside * 100 >= count * 95, "{inside} of {count} lay inside");
    assert_eq!(queue.job(&ids[0]).await.eta, None, "it is done");
}

#[tokio::test]
async fn n1_end_is_not_told_when_nobody_can_know_it() {
    let server = Sluiced::fresh().await;
    let queue = server.queue("unknown");
    queue.put(rate(1_000)).await;
    let id = queue.enqueue_one(spec::job("x")).await;
    let nobody = eta(&queue.job(&id).await);
    assert_eq!(nobody.latest_time, None, "no worker was ever there");
    assert!(range(&nobody).0 < 0.5);
    // With more urgent jobs before it, it is not before those are through.
    queue.put(rate(1)).await;
    queue.enqueue((0..60).map(|n| spec::urgent(9, &n.to_string())).collect()).await;
    let later = eta(&queue.job(&id).await);
    assert!(range(&later).0 > 45.0, "{later:?}");
    assert_eq!(later.latest_time, None);

    let worker = next(&queue);
    queue.ack(&worker.await.unwrap()).await;
    let worker = next(&queue);
    queue.until(|status| status.waiting_leases == 1 || status.counts.unwrap().leased == 1).await;
    let known = eta(&queue.job(&id).await);
    assert!(known.latest_time.is_some(), "{known:?}");
    queue.pause().await;
    assert_eq!(eta(&queue.job(&id).await).latest_time, None, "the queue is paused");
    worker.abort();
}

#[tokio::test]
async fn n1_job_that_waits_for_its_time_is_expected_from_then_on() {
    let server = Sluiced::fresh().await;
    let queue = server.queue("later");
    queue.put(rate(10)).await;
    let id = queue.enqueue_one(JobSpec { delay: Some(spec::millis(600_000)), ..spec::job("x") }).await;
    let worker = next(&queue);
    queue.until(|status| status.waiting_leases == 1).await;
    let (earliest, latest) = range(&eta(&queue.job(&id).await));
    assert!((590.0..600.1).contains(&earliest) && (599.0..610.0).contains(&latest.unwrap()), "{latest:?}");
    let soon = UpdateJobRequest { job_id: id.clone(), delay: Some(spec::millis(0)), ..Default::default() };
    queue.try_update(soon).await.unwrap();
    assert_eq!(worker.await.unwrap().len(), 1);
    assert_eq!(queue.job(&id).await.eta, None);

    let said = cli::run(&server, &["get", &id, "-o", "json"]).await.ok();
    assert!(!said.contains("\"eta\""), "{said}");
    let id = queue.enqueue_one(JobSpec { delay: Some(spec::millis(600_000)), ..spec::job("x") }).await;
    let said: serde_json::Value =
        serde_json::from_str(&cli::run(&server, &["get", &id, "-o", "json"]).await.ok()).unwrap();
    assert!(said["eta"]["earliest_time"].is_string(), "{said}");
    assert!(cli::run(&server, &["get", &id]).await.ok().contains("expected"));
}

#[tokio::test]
async fn s1_3_message_is_expected_to_be_done_when_its_last_recipient_is() {
    let server = Sluiced::fresh().await;
    let queue = server.queue("message");
    queue.put(rate(2)).await;
    let of_batch = |job| JobSpec { batch_id: BATCH.to_owned(), ..job };
    queue.enqueue(spec::jobs("before", 10)).await;
    let ids = queue.enqueue(spec::jobs("to", 20).into_iter().map(of_batch).collect()).await;
    // Whoever sends keeps a job no time at all.
    queue.ack(&queue.lease(1).await).await;
    let worker = next(&queue);
    queue.until(|status| status.waiting_leases == 1).await;
    let last = range(&eta(&queue.job(&ids[19]).await));
    let batch = queue.try_batch(BATCH, Duration::ZERO).await.unwrap();
    let expected = range(&batch.eta.unwrap());
    // 29 jobs at 2 a second.
    assert!((10.0..14.7).contains(&expected.0), "{expected:?}");
    assert!((13.5..20.0).contains(&expected.1.unwrap()), "{expected:?}");
    assert!((expected.0 - last.0).abs() < 1.0, "{expected:?} {last:?}");
    assert!(queue.job(&ids[0]).await.queue_position.is_some());

    // While more of it is announced than there is, nobody knows its end.
    let batch_totals = [(BATCH.to_owned(), 22)].into();
    let more = queue.enqueue_request(vec![of_batch(spec::job("to-20"))]);
    queue.enqueue_by(EnqueueRequest { batch_totals, ..more }).await.unwrap();
    let awaited = queue.try_batch(BATCH, Duration::ZERO).await.unwrap();
    assert_eq!((awaited.jobs, awaited.eta.unwrap().latest_time), (21, None));
    let said = cli::run(&server, &["batch", "get", "--queue", queue.name(), BATCH, "-o", "json"]).await.ok();
    assert!(said.contains("earliest_time"), "{said}");

    worker.abort();
    queue.put(rate(1_000_000)).await;
    while queue.status().await.counts.unwrap().ready > 0 {
        queue.ack(&queue.lease(100).await).await;
    }
    queue.put(rate(2)).await;
    let done = queue.try_batch(BATCH, Duration::ZERO).await.unwrap();
    assert_eq!(done.eta, None, "{done:?}");
    assert_eq!(queue.state(&ids[19]).await, JobState::Completed);
}
