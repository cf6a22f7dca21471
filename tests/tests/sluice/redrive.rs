//! Jobs requeued and purged in bulk: by filter, capped, paced, and first only counted.

use std::collections::BTreeSet;
use std::time::{Duration, Instant, SystemTime};

use sluice_proto::v1::{
    JobFilter, JobState, Nack, NackReason, PurgeJobsRequest, RequeueJobsRequest, StateCounts,
};
use sluice_tests::{Queue, Sluiced, cli, spec, status};
use tonic::Code;

use JobState::{Dead, Drained, Ready, Scheduled};

async fn requeue(queue: &Queue, request: RequeueJobsRequest) -> u64 {
    queue.admin.clone().requeue_jobs(request).await.unwrap().into_inner().requeued_jobs
}

async fn purge(queue: &Queue, request: PurgeJobsRequest) -> u64 {
    queue.admin.clone().purge_jobs(request).await.unwrap().into_inner().purged_jobs
}

/// Jobs that died one after another of these codes, oldest first.
async fn dead(queue: &Queue, codes: &[&str]) -> Vec<String> {
    let name = |n: usize| spec::keyed(if n.is_multiple_of(2) { "even" } else { "odd" }, &format!("dead-{n}"));
    let ids = queue.enqueue((0..codes.len()).map(name).collect()).await;
    let out = queue.lease(codes.len() as u32).await;
    assert_eq!(out.len(), codes.len());
    for leased in &out {
        let at = ids.iter().position(|id| *id == spec::id(leased)).unwrap();
        let nack = Nack { error_code: codes[at].to_owned(), ..spec::nack(leased, NackReason::Rejected) };
        assert_eq!(queue.try_nack(nack).await.error, None);
    }
    ids
}

#[tokio::test]
async fn n11_requeue_takes_what_the_filter_means_the_oldest_first_and_no_more_than_said() {
    let mut server = Sluiced::fresh().await;
    let queue = server.queue("redrive");
    let codes = ["503", "404", "503", "503", "404", "503", "503", "404"];
    let ids = dead(&queue, &codes).await;
    queue.enqueue_one(spec::job("drained")).await;
    assert_eq!(queue.drain_all("set").await.len(), 1);
    let of_503 = JobFilter { error_code: "503".to_owned(), ..queue.filter(&[]) };
    let request = |max_jobs, dry_run| RequeueJobsRequest {
        filter: Some(of_503.clone()),
        max_jobs,
        dry_run,
        pace: None,
    };

    let before = queue.list(&[], 100).await;
    assert_eq!(requeue(&queue, request(None, true)).await, 5);
    assert_eq!(requeue(&queue, request(Some(3), true)).await, 3);
    assert_eq!(queue.list(&[], 100).await, before, "a dry run changes nothing");

    assert_eq!(requeue(&queue, request(Some(3), false)).await, 3);
    server.kill_and_start().await;
    let ready: Vec<String> = queue.list(&[Ready], 100).await.into_iter().map(|job| job.job_id).collect();
    assert_eq!(ready, [&ids[0], &ids[2], &ids[3]].map(String::clone), "the oldest, and durably so");
    let job = queue.job(&ids[0]).await;
    assert_eq!((job.attempts, job.requeues, job.deliveries), (0, 1, 1));
    assert_eq!((job.last_error, job.end_time), (None, None), "it is a new life");

    assert_eq!(requeue(&queue, request(None, false)).await, 2);
    assert_eq!(requeue(&queue, request(None, false)).await, 0, "a READY job is left alone");
    let odd = JobFilter { key_prefix: "odd".to_owned(), ..queue.filter(&[]) };
    assert_eq!(requeue(&queue, RequeueJobsRequest { filter: Some(odd), ..Default::default() }).await, 2);
    let counts = queue.status().await.counts.unwrap();
    assert_eq!((counts.ready, counts.dead, counts.drained), (7, 1, 1), "only DEAD unless it is said");
    assert_eq!(queue.status().await.totals.unwrap().requeued, 7);
    assert_eq!(queue.requeue(&[Dead, Drained]).await, 2);
    assert_eq!(queue.status().await.counts.unwrap().ready, 9);
}

#[tokio::test]
async fn n11_requeue_at_a_pace_spreads_the_jobs_in_one_durable_step() {
    let mut server = Sluiced::fresh().await;
    let queue = server.queue("pace");
    let ids = dead(&queue, &["503"; 6]).await;
    let step = Duration::from_millis(400);
    let request = RequeueJobsRequest {
        filter: Some(queue.filter(&[Dead])),
        pace: Some(2.5),
        ..RequeueJobsRequest::default()
    };
    let began = Instant::now();
    assert_eq!(requeue(&queue, request).await, 6);
    server.kill_and_start().await;

    let jobs = queue.list(&[], 100).await;
    assert_eq!(jobs.iter().map(|job| job.job_id.clone()).collect::<Vec<_>>(), ids);
    assert!(jobs.iter().all(|job| [Ready, Scheduled].contains(&job.state()) && job.requeues == 1));
    let later: Vec<SystemTime> =
        jobs.iter().filter(|j| j.state() == Scheduled).map(|j| spec::moment(j.run_time)).collect();
    for pair in later.windows(2) {
        let apart = pair[1].duration_since(pair[0]).unwrap();
        assert!(apart.abs_diff(step) < spec::TICK, "{apart:?}");
    }
    for (n, id) in ids.iter().enumerate() {
        let leased = queue.lease_next().await;
        assert!(began.elapsed() >= step * n as u32, "job {n} came after {:?}", began.elapsed());
        assert_eq!(spec::id(&leased), *id, "the oldest first");
        queue.ack(&[leased]).await;
    }
}

#[tokio::test]
async fn n11_requeued_jobs_may_exceed_the_capacity() {
    let server = Sluiced::fresh().await;
    let queue = server.queue("over");
    dead(&queue, &["503"; 4]).await;
    queue.put(sluice_proto::v1::Queue { max_jobs: Some(2), ..Default::default() }).await;
    queue.enqueue(spec::jobs("x", 2)).await;
    assert_eq!(queue.requeue(&[Dead]).await, 4);
    let status = queue.status().await;
    assert_eq!((status.jobs, status.utilization), (6, Some(3.0)));
    let refused = queue.try_enqueue(spec::jobs("x", 1), "").await;
    status::refused(refused, Code::ResourceExhausted, "QUEUE_FULL");
}

#[tokio::test]
async fn purge_removes_for_good_what_the_filter_means_and_no_more_than_said() {
    let mut server = Sluiced::fresh().await;
    let queue = server.queue("purge");
    let ids = dead(&queue, &["503", "404", "503", "503", "404"]).await;
    queue.enqueue(spec::jobs("waits", 4)).await;
    let held = queue.lease(1).await;
    let request = |states: &[JobState], code: &str, max_jobs, dry_run| {
        let filter = JobFilter { error_code: code.to_owned(), ..queue.filter(states) };
        PurgeJobsRequest { filter: Some(filter), max_jobs, dry_run }
    };
    let before = queue.list(&[Dead, Ready], 100).await;
    assert_eq!(purge(&queue, request(&[Dead], "503", None, true)).await, 3);
    assert_eq!(purge(&queue, request(&[Dead, Ready], "", Some(7), true)).await, 7);
    assert_eq!(queue.list(&[Dead, Ready], 100).await, before, "a dry run changes nothing");

    assert_eq!(purge(&queue, request(&[Dead], "503", Some(2), false)).await, 2);
    server.kill_and_start().await;
    let left: BTreeSet<String> = queue.list(&[Dead], 100).await.into_iter().map(|job| job.job_id).collect();
    assert_eq!(left, [&ids[1], &ids[3], &ids[4]].map(String::clone).into(), "the oldest are gone");
    for id in [&ids[0], &ids[2]] {
        assert_eq!(queue.try_job(id).await.unwrap_err().code(), Code::NotFound);
    }
    assert_eq!(purge(&queue, request(&[Dead, Ready, Scheduled], "", None, false)).await, 3 + 3);
    assert_eq!(purge(&queue, request(&[Dead, Ready, Scheduled], "", None, false)).await, 0);
    let status = queue.status().await;
    assert_eq!((status.jobs, status.counts.unwrap().leased), (1, 1), "what is held stays");
    assert_eq!(status.totals.unwrap().removed, 8);
    queue.ack(&held).await;
}

#[tokio::test]
async fn bulk_calls_name_a_queue_that_is_there() {
    let server = Sluiced::fresh().await;
    let queue = server.queue("nobody");
    let filter = Some(queue.filter(&[Dead]));
    for dry_run in [true, false] {
        let requeued = RequeueJobsRequest { filter: filter.clone(), dry_run, ..Default::default() };
        let refused = queue.admin.clone().requeue_jobs(requeued).await;
        status::refused(refused, Code::NotFound, "QUEUE_NOT_FOUND");
        let purged = PurgeJobsRequest { filter: filter.clone(), dry_run, ..Default::default() };
        status::refused(queue.admin.clone().purge_jobs(purged).await, Code::NotFound, "QUEUE_NOT_FOUND");
    }
}

#[tokio::test]
async fn n11_command_line_redrives_the_dead() {
    let server = Sluiced::fresh().await;
    let queue = server.queue("cli");
    dead(&queue, &["503", "404", "503"]).await;
    let run = async |arguments: &[&str]| {
        let said = cli::run(&server, &[&["dead"], arguments, &["-q", "cli", "-o", "json"]].concat()).await;
        serde_json::from_str::<serde_json::Value>(&said.ok()).unwrap()
    };
    let listed = run(&["list", "--error-code", "503"]).await;
    assert_eq!(listed.as_array().unwrap().len(), 2);
    let dry = run(&["requeue", "--error-code", "503", "--dry-run"]).await;
    assert_eq!((dry["requeued_jobs"].as_u64(), dry["dry_run"].as_bool()), (Some(2), Some(true)));
    assert_eq!(queue.status().await.counts.unwrap().dead, 3);
    let paced = run(&["requeue", "--error-code", "503", "--pace", "0.01"]).await;
    assert_eq!(paced["requeued_jobs"], 2);
    let counts = queue.status().await.counts.unwrap();
    assert_eq!((counts.ready, counts.scheduled, counts.dead), (1, 1, 1));
    assert_eq!(run(&["purge", "--max-jobs", "5"]).await["purged_jobs"], 1);
    assert_eq!(queue.status().await.counts.unwrap(), StateCounts { dead: 0, ..counts });
}
