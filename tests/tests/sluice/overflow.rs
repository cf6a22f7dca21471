//! DROP_OLDEST: who goes when a queue overflows, and who hears of it.

use std::time::Duration;

use sluice_proto::v1::{
    EnqueueResponse, JobSpec, JobState, NackReason, OverflowPolicy, Queue, RequeueJobsRequest,
};
use sluice_tests::{Sluiced, spec, status};
use tonic::Code;

type Ids = Vec<String>;

fn dropping(max_jobs: u64) -> Queue {
    spec::bounded(max_jobs, OverflowPolicy::DropOldest)
}

/// Enqueues; the new ids, and those that went.
async fn enqueue(queue: &sluice_tests::Queue, jobs: Vec<JobSpec>) -> (Ids, Ids) {
    let EnqueueResponse { jobs, dropped_job_ids, .. } =
        queue.enqueue_by(queue.enqueue_request(jobs)).await.unwrap();
    assert!(jobs.iter().all(|job| !job.duplicate));
    (jobs.into_iter().map(|job| job.job_id).collect(), dropped_job_ids)
}

#[tokio::test]
async fn s2_1_fifo_of_100_lets_the_oldest_go_first() {
    let server = Sluiced::fresh().await;
    let queue = server.queue("fifo");
    queue.put(dropping(100)).await;
    let (mut ids, dropped) = enqueue(&queue, spec::jobs("a", 100)).await;
    assert_eq!(dropped, [] as [&str; 0]);
    for n in 0..30 {
        let (new, dropped) = enqueue(&queue, spec::jobs("b", 1)).await;
        assert_eq!(dropped, ids[n..=n]);
        ids.extend(new);
    }
    let (new, dropped) = enqueue(&queue, spec::jobs("c", 90)).await;
    assert_eq!(dropped, ids[30..120]);
    ids.extend(new);
    let left = queue.lease(1_000).await;
    assert_eq!(left.iter().map(spec::id).collect::<Ids>(), ids[120..]);
    assert_eq!(left.len(), 100);
    let status = queue.status().await;
    assert_eq!((status.totals.unwrap().dropped, status.counts.unwrap().dropped), (120, 120));
}

#[tokio::test]
async fn s0_4_full_queue_drops_its_oldest_job_and_tells() {
    let server = Sluiced::fresh().await;
    let queue = server.queue("buffer");
    queue.put(dropping(2)).await;
    let (ids, _) = enqueue(&queue, spec::jobs("x", 2)).await;
    let mut watch = queue.watch().await;
    let told = watch.message().await.unwrap().unwrap().status.unwrap();
    assert_eq!(told.totals.unwrap().dropped, 0);

    let (_, dropped) = enqueue(&queue, spec::jobs("new", 1)).await;
    assert_eq!(dropped, ids[..1]);
    let told = tokio::time::timeout(Duration::from_secs(30), async {
        loop {
            let told = watch.message().await.unwrap().unwrap().status.unwrap();
            if told.totals.as_ref().unwrap().dropped > 0 {
                return told;
            }
        }
    });
    let told = told.await.expect("watchers hear of it");
    let counts = told.counts.unwrap();
    assert_eq!((told.jobs, counts.ready, counts.dropped, told.totals.unwrap().dropped), (2, 2, 1, 1));
    assert!(server.log().contains("jobs dropped to make room jobs=1"), "{}", server.log());

    let job = queue.job(&ids[0]).await;
    assert_eq!((job.state(), job.payload.as_deref()), (JobState::Dropped, Some(&b"x-0"[..])));
    assert!(spec::moment(job.end_time) >= spec::moment(job.create_time));
    assert_eq!(queue.list(&[JobState::Dropped], 10).await[0].job_id, ids[0]);

    // It may come back, beyond the capacity, at the end.
    assert_eq!(queue.requeue(&[JobState::Dropped]).await, 1);
    let status = queue.status().await;
    let totals = status.totals.unwrap();
    assert_eq!((status.jobs, totals.dropped, totals.requeued, totals.enqueued), (3, 1, 1, 3));
    assert_eq!(status.counts.unwrap().dropped, 0);
    assert_eq!(spec::texts(&queue.lease(10).await), ["x-1", "new-0", "x-0"]);
    assert_eq!(queue.job(&ids[0]).await.requeues, 1);
}

#[tokio::test]
async fn s0_4_lowest_priority_goes_first_and_newcomers_count() {
    let server = Sluiced::fresh().await;
    let queue = server.queue("priorities");
    queue.put(dropping(4)).await;
    let old = [(5, "5"), (2, "2a"), (9, "9"), (2, "2b")].map(|(priority, text)| spec::urgent(priority, text));
    let (old, _) = enqueue(&queue, old.into()).await;
    let (new, dropped) = enqueue(&queue, vec![spec::urgent(3, "3")]).await;
    assert_eq!(dropped, old[1..2], "the older of the two lowest");
    let (least, dropped) = enqueue(&queue, vec![spec::urgent(1, "1")]).await;
    assert_eq!(dropped, least, "the newcomer is the lowest");
    assert_eq!(queue.state(&least[0]).await, JobState::Dropped);
    let (_, dropped) =
        enqueue(&queue, vec![spec::urgent(6, "6"), spec::urgent(4, "4"), spec::urgent(8, "8")]).await;
    assert_eq!(dropped, [&*old[3], &*new[0], &*dropped[2]], "the lowest first: 2, 3 and the new 4");
    assert_eq!(queue.job(&dropped[2]).await.payload.as_deref(), Some(&b"4"[..]));
    assert_eq!(spec::texts(&queue.lease(10).await), ["9", "8", "6", "5"]);
}

#[tokio::test]
async fn scheduled_and_retrying_jobs_are_as_old_as_they_are() {
    let server = Sluiced::fresh().await;
    let queue = server.queue("later");
    queue.put(Queue { retry_policy: Some(spec::retry(5, Duration::from_secs(3_600))), ..dropping(4) }).await;
    let later = JobSpec { delay: Some(spec::millis(3_600_000)), ..spec::job("scheduled") };
    let (ids, _) = enqueue(&queue, vec![spec::job("retrying"), later, spec::job("a"), spec::job("b")]).await;
    let out = queue.lease(1).await;
    queue.nack(&out[0], NackReason::Failed).await;
    for expected in &ids {
        let (_, dropped) = enqueue(&queue, vec![spec::job("new")]).await;
        assert_eq!(dropped, [expected.as_str()]);
        assert_eq!(queue.state(expected).await, JobState::Dropped);
    }
    let counts = queue.status().await.counts.unwrap();
    assert_eq!((counts.scheduled, counts.retrying, counts.ready, counts.dropped), (0, 0, 4, 4));
}

#[tokio::test]
async fn s0_4_leased_jobs_are_never_dropped() {
    let server = Sluiced::fresh().await;
    let queue = server.queue("held");
    queue.put(dropping(3)).await;
    let (ids, _) = enqueue(&queue, spec::jobs("x", 3)).await;
    let out = queue.lease(2).await;
    let (new, dropped) = enqueue(&queue, spec::jobs("y", 3)).await;
    assert_eq!(dropped, [&*ids[2], &*new[0], &*new[1]], "the oldest of those that nobody holds");
    let held = queue.lease(1).await;
    assert_eq!(spec::texts(&held), ["y-2"]);

    // All that is there is held: nothing goes, and nothing comes.
    let before = queue.status().await;
    let refused = queue.try_enqueue(spec::jobs("z", 1), "").await;
    status::refused(refused, Code::ResourceExhausted, "QUEUE_FULL");
    let after = queue.status().await;
    assert_eq!((after.counts, after.totals), (before.counts, before.totals));

    queue.ack(&out).await;
    queue.ack(&held).await;
    assert_eq!(enqueue(&queue, spec::jobs("z", 3)).await.1, [] as [&str; 0]);
}

#[tokio::test]
async fn s0_4_as_many_go_as_make_room_in_bytes() {
    let server = Sluiced::fresh().await;
    let queue = server.queue("bytes");
    queue.put(Queue { max_bytes: Some(100), ..dropping(1_000) }).await;
    let job = |bytes: usize| spec::job(&"x".repeat(bytes));
    let (ids, _) = enqueue(&queue, vec![job(10), job(20), job(30), job(40)]).await;
    assert_eq!(enqueue(&queue, vec![job(25)]).await.1, ids[..2]);
    assert_eq!(queue.status().await.bytes, 95);
    assert_eq!(enqueue(&queue, vec![job(5)]).await.1, [] as [&str; 0]);
    let (whole, dropped) = enqueue(&queue, vec![job(100)]).await;
    assert_eq!(dropped.len(), 4);
    assert_eq!(queue.list(&[JobState::Ready], 10).await[0].job_id, whole[0]);
    assert_eq!((queue.status().await.jobs, queue.status().await.bytes), (1, 100));
}

#[tokio::test]
async fn lower_capacity_drops_when_the_next_job_comes() {
    let server = Sluiced::fresh().await;
    let queue = server.queue("lower");
    queue.put(dropping(10)).await;
    let (ids, _) = enqueue(&queue, spec::jobs("x", 10)).await;
    queue.put(dropping(3)).await;
    assert_eq!(queue.status().await.totals.unwrap().dropped, 0);
    let (new, dropped) = enqueue(&queue, spec::jobs("y", 1)).await;
    assert_eq!(dropped, ids[..8]);
    let left = queue.lease(10).await;
    assert_eq!(left.iter().map(spec::id).collect::<Ids>(), [&*ids[8], &*ids[9], &*new[0]]);
}

#[tokio::test]
async fn repeated_request_is_told_the_same_dropped_jobs_and_drops_no_more() {
    let mut server = Sluiced::fresh().await;
    let queue = server.queue("repeated");
    queue.put(dropping(2)).await;
    let (ids, _) = enqueue(&queue, spec::jobs("x", 2)).await;
    let request = || {
        let request = queue.enqueue_request(spec::jobs("y", 1));
        queue.enqueue_by(sluice_proto::v1::EnqueueRequest { request_id: "once".to_owned(), ..request })
    };
    let first = request().await.unwrap();
    assert_eq!(first.dropped_job_ids, ids[..1]);
    assert_eq!(request().await.unwrap(), first);
    server.kill_and_start().await;
    assert_eq!(request().await.unwrap(), first);
    assert_eq!(queue.status().await.totals.unwrap().dropped, 1);
}

#[tokio::test]
async fn dropped_jobs_come_back_in_the_order_of_their_age() {
    let mut server = Sluiced::fresh().await;
    let queue = server.queue("back");
    queue.put(dropping(1)).await;
    enqueue(&queue, spec::jobs("x", 5)).await;
    server.kill_and_start().await;
    let only = RequeueJobsRequest {
        filter: Some(queue.filter(&[JobState::Dropped])),
        max_jobs: Some(3),
        ..Default::default()
    };
    let answer = queue.admin.clone().requeue_jobs(only).await.unwrap().into_inner();
    assert_eq!(answer.requeued_jobs, 3);
    assert_eq!(spec::texts(&queue.lease(10).await), ["x-4", "x-0", "x-1", "x-2"]);
}
