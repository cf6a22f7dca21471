//! Time to live: a job that is too late is EXPIRED, wherever it waits, and its worker's last word still counts.

use std::time::{Duration, SystemTime};

use sluice_proto::v1::{
    JobSpec, JobState, Nack, NackReason, OverflowPolicy, PurgeJobsRequest, Queue, RequeueJobsRequest,
};
use sluice_tests::{Setup, Sluiced, spec};
use tonic::Code;

fn mortal(ttl: Duration, text: &str) -> JobSpec {
    JobSpec { ttl: Some(spec::span(ttl)), ..spec::job(text) }
}

fn later(job: JobSpec) -> JobSpec {
    JobSpec { delay: Some(spec::millis(3_600_000)), ..job }
}

/// Lets a time of day pass.
async fn pass(time: SystemTime) {
    let left = time.duration_since(SystemTime::now()).unwrap_or_default();
    tokio::time::sleep(left + Duration::from_millis(50)).await;
}

#[tokio::test]
async fn waiting_jobs_expire_wherever_they_wait_and_watchers_are_told() {
    let server = Sluiced::fresh().await;
    let queue = server.queue("waiting");
    queue.put(spec::retrying(5, Duration::from_secs(3_600))).await;
    let mut watch = queue.watch().await;
    let ttl = Duration::from_secs(2);
    let retrying = queue.enqueue_one(mortal(ttl, "retrying")).await;
    let out = queue.lease(1).await;
    assert_eq!(queue.nack(&out[0], NackReason::Failed).await.state(), JobState::Retrying);
    let ready = queue.enqueue_one(mortal(ttl, "ready")).await;
    let scheduled = queue.enqueue_one(later(mortal(ttl, "scheduled"))).await;
    let immortal = queue.enqueue(vec![spec::job("ready"), later(spec::job("scheduled"))]).await;

    let told = async {
        loop {
            let status = watch.message().await.unwrap().expect("a watch goes on").status.unwrap();
            if status.counts.as_ref().unwrap().expired == 3 {
                return status;
            }
        }
    };
    let status = tokio::time::timeout(Duration::from_secs(30), told).await.expect("expiry is told");
    let counts = status.counts.unwrap();
    assert_eq!((counts.ready, counts.scheduled, counts.retrying, status.jobs), (1, 1, 0, 2));
    assert_eq!(status.totals.unwrap().expired, 3);
    for (id, attempts) in [(&retrying, 1), (&ready, 0), (&scheduled, 0)] {
        let job = queue.job(id).await;
        assert_eq!((job.state(), job.attempts), (JobState::Expired, attempts));
        let due = spec::moment(job.create_time) + ttl;
        assert!(spec::same_moment(job.expire_time, Some(spec::time(due))), "{job:?}");
        assert!(spec::moment(job.end_time) + spec::TICK >= due, "not before its time: {job:?}");
        assert_eq!((job.queue_position, job.run_time), (None, None));
    }
    assert_eq!(spec::texts(&queue.lease(10).await), ["ready"], "who lives is delivered, who does not is not");
    assert_eq!(queue.state(&immortal[1]).await, JobState::Scheduled);
    assert_eq!(queue.job(&immortal[0]).await.expire_time, None);
}

#[tokio::test]
async fn leased_job_outlives_its_ttl_and_its_ack_completes_it() {
    let server = Sluiced::fresh().await;
    let queue = server.queue("acked");
    let id = queue.enqueue_one(mortal(Duration::from_secs(2), "x")).await;
    let out = queue.lease(1).await;
    pass(spec::moment(queue.job(&id).await.expire_time)).await;
    let job = queue.job(&id).await;
    assert_eq!((job.state(), job.end_time), (JobState::Leased, None), "a worker holds it");
    assert_eq!(queue.extend(&out[0], Duration::from_secs(60)).await.error, None, "and may go on");
    queue.ack(&out).await;
    assert_eq!(queue.state(&id).await, JobState::Completed);
    let totals = queue.status().await.totals.unwrap();
    assert_eq!((totals.completed, totals.expired), (1, 0));
}

#[tokio::test]
async fn leased_job_past_its_ttl_is_expired_however_else_it_comes_back() {
    let server = Sluiced::fresh().await;
    let queue = server.queue("nacked");
    queue.put(spec::retrying(5, Duration::ZERO)).await;
    let ids = queue.enqueue((0..5).map(|_| mortal(Duration::from_secs(2), "x")).collect()).await;
    let out = queue.lease(5).await;
    assert_eq!(out.iter().map(spec::id).collect::<Vec<_>>(), ids);
    pass(spec::moment(queue.job(&ids[4]).await.expire_time)).await;
    let reasons = [NackReason::Failed, NackReason::Throttled, NackReason::Rejected, NackReason::Released];
    for (leased, reason) in out.iter().zip(reasons) {
        let nack = Nack { error_code: "late".to_owned(), ..spec::nack(leased, reason) };
        let result = queue.try_nack(nack).await;
        assert_eq!((result.error.clone(), result.state()), (None, JobState::Expired), "{reason:?}");
        assert_eq!(result.run_time, None);
    }
    assert_eq!(queue.extend(&out[4], Duration::from_secs(1)).await.error, None);
    let lost = queue.at_rest(&ids[4]).await;
    assert_eq!((lost.state(), lost.attempts), (JobState::Expired, 1), "its lease expired, and it with it");
    for (id, attempts) in ids.iter().zip([1, 0, 1, 0]) {
        let job = queue.job(id).await;
        assert_eq!((job.state(), job.attempts), (JobState::Expired, attempts));
    }
    let status = queue.status().await;
    let totals = status.totals.unwrap();
    assert_eq!((status.jobs, totals.expired, totals.dead), (0, 5, 0));
    assert!(queue.lease(10).await.is_empty());
}

#[tokio::test]
async fn nobody_is_given_a_job_that_is_too_late() {
    let server = Sluiced::fresh().await;
    let queue = server.queue("race");
    // Ends of lives and deliveries, as close to each other as they get.
    let jobs = (0..1_000).map(|n| mortal(Duration::from_millis(1 + n), "x")).collect();
    queue.enqueue(jobs).await;
    let (mut delivered, mut expired) = (0, 0);
    while delivered + expired < 1_000 {
        for leased in queue.lease(5).await {
            let job = leased.job.as_ref().unwrap();
            let (began, over) = (spec::moment(job.start_time), spec::moment(job.expire_time));
            assert!(began <= over + spec::TICK, "delivered {:?} too late", began.duration_since(over));
            delivered += 1;
            queue.ack(&[leased]).await;
        }
        expired = queue.status().await.totals.unwrap().expired;
    }
    assert_eq!(queue.status().await.totals.unwrap().completed, delivered);
}

#[tokio::test]
async fn job_that_expires_while_the_server_is_down_is_expired_when_it_is_up() {
    let mut server = Setup::default().start().await;
    let queue = server.queue("down");
    let ttl = Duration::from_secs(2);
    let ids = queue.enqueue(vec![mortal(ttl, "ready"), later(mortal(ttl, "scheduled"))]).await;
    queue.enqueue_one(mortal(Duration::from_secs(3_600), "lives")).await;
    let due = spec::moment(queue.job(&ids[1]).await.expire_time);
    assert_eq!(queue.status().await.counts.unwrap().expired, 0, "not yet");
    server.kill().await;
    pass(due).await;
    server.start().await;
    let queue = server.queue("down");
    assert_eq!(spec::texts(&queue.lease(10).await), ["lives"]);
    for id in &ids {
        let job = queue.at_rest(id).await;
        assert_eq!(job.state(), JobState::Expired);
        assert!(spec::moment(job.end_time) + spec::TICK >= spec::moment(job.expire_time));
    }
    for _ in 0..2 {
        let queue = server.queue("down");
        let status = queue.status().await;
        assert_eq!((status.counts.unwrap().expired, status.totals.unwrap().expired), (2, 2), "once each");
        assert_eq!(queue.state(&ids[0]).await, JobState::Expired);
        server.kill_and_start().await;
    }
}

#[tokio::test]
async fn requeued_job_has_its_whole_ttl_again() {
    let server = Sluiced::fresh().await;
    let queue = server.queue("again");
    let ttl = Duration::from_secs(1);
    let id = queue.enqueue_one(mortal(ttl, "x")).await;
    assert_eq!(queue.drain_all("drain-1").await.len(), 1);
    pass(spec::moment(queue.job(&id).await.expire_time)).await;
    assert_eq!(queue.state(&id).await, JobState::Drained, "who is at rest does not expire");
    let before = spec::moment(queue.status().await.status_time);
    assert_eq!(queue.requeue(&[JobState::Drained]).await, 1);
    let after = spec::moment(queue.status().await.status_time);
    let job = queue.at_rest(&id).await;
    assert_eq!((job.state(), job.requeues), (JobState::Expired, 1));
    let over = spec::moment(job.expire_time);
    assert!(over + spec::TICK >= before + ttl && over <= after + ttl + spec::TICK, "{over:?}");
    assert!(spec::moment(job.end_time) + spec::TICK >= over);
}

#[tokio::test]
async fn expired_job_stays_expired_until_retention_or_a_purge_removes_it() {
    let server = Sluiced::fresh().await;
    let queue = server.queue("final");
    let ids = queue.enqueue((0..2).map(|_| mortal(Duration::from_millis(1), "x")).collect()).await;
    for id in &ids {
        assert_eq!(queue.at_rest(id).await.state(), JobState::Expired);
    }
    let filter = || Some(queue.filter(&[JobState::Expired]));
    let request = RequeueJobsRequest { filter: filter(), ..Default::default() };
    let refused = queue.admin.clone().requeue_jobs(request).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument, "only DEAD, DRAINED and DROPPED ones are requeued");
    assert_eq!(queue.requeue(&[]).await, 0);
    assert_eq!(queue.state(&ids[0]).await, JobState::Expired);

    let request = PurgeJobsRequest { filter: filter(), max_jobs: Some(1), ..Default::default() };
    assert_eq!(queue.admin.clone().purge_jobs(request).await.unwrap().into_inner().purged_jobs, 1);
    assert_eq!(queue.try_job(&ids[0]).await.unwrap_err().code(), Code::NotFound);
    assert_eq!(queue.state(&ids[1]).await, JobState::Expired);
    queue.put(Queue { retention: Some(spec::millis(200)), ..Queue::default() }).await;
    let status = queue.until(|status| status.counts.as_ref().unwrap().expired == 0).await;
    assert_eq!((status.totals.as_ref().unwrap().expired, status.totals.unwrap().removed), (2, 2));
    assert_eq!(queue.try_job(&ids[1]).await.unwrap_err().code(), Code::NotFound);
}

#[tokio::test]
async fn expired_job_makes_room_for_one_that_waits_for_it() {
    let server = Sluiced::fresh().await;
    let queue = server.queue("room");
    queue.put(spec::bounded(1, OverflowPolicy::Wait)).await;
    let first = queue.enqueue_one(mortal(Duration::from_secs(1), "too late")).await;
    let mut request = queue.enqueue_request(spec::jobs("next", 1));
    request.wait_timeout = Some(spec::millis(30_000));
    queue.enqueue_by(request).await.unwrap();
    assert_eq!(queue.state(&first).await, JobState::Expired);
    assert_eq!(spec::texts(&queue.lease(10).await), ["next-0"]);
}
