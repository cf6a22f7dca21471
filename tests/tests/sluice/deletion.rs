//! DeleteQueue: gone at once for everybody, on disk in the background, and the name is free for another queue.

use std::time::Duration;

use sluice_proto::v1::{
    BatchGetJobsRequest, GetQueueRequest, JobSpec, JobState, ListQueuesRequest, NackReason, OverflowPolicy,
    Queue as Settings, WatchQueuesRequest,
};
use sluice_tests::{Queue, Setup, Sluiced, cli, spec, status, task};
use tonic::Code;

fn keyed(text: &str) -> JobSpec {
    JobSpec { idempotency_key: "key".to_owned(), ..spec::job(text) }
}

async fn names(server: &Sluiced) -> Vec<String> {
    let queues = server.admin().list_queues(ListQueuesRequest::default()).await.unwrap().into_inner();
    queues.queues.into_iter().map(|queue| queue.name).collect()
}

/// That nothing is seen of a queue, nor of jobs that it had.
async fn assert_gone(queue: &Queue, jobs: &[String]) {
    let get = GetQueueRequest { name: queue.name().to_owned() };
    status::refused(queue.admin.clone().get_queue(get).await, Code::NotFound, "QUEUE_NOT_FOUND");
    for chunk in jobs.chunks(1_000) {
        let request = BatchGetJobsRequest { job_ids: chunk.to_vec(), ..Default::default() };
        let answer = queue.rpc.clone().batch_get_jobs(request).await.unwrap().into_inner();
        assert_eq!((answer.jobs.len(), answer.missing_job_ids), (0, chunk.to_vec()));
    }
    assert_eq!(queue.try_job(&jobs[0]).await.unwrap_err().code(), Code::NotFound);
    let status = queue.status().await;
    assert_eq!((status.jobs, status.bytes), (0, 0));
    assert_eq!(status.counts.unwrap_or_default(), sluice_proto::v1::StateCounts::default());
    assert_eq!(status.totals.unwrap_or_default(), sluice_proto::v1::QueueTotals::default());
    assert!(queue.list(&[], 1_000).await.is_empty());
    assert!(queue.lease(10).await.is_empty());
}

#[tokio::test]
async fn queue_in_which_jobs_wait_or_are_held_is_deleted_only_by_force() {
    let server = Sluiced::fresh().await;
    let later = JobSpec { delay: Some(spec::millis(3_600_000)), ..spec::job("x") };
    for state in [JobState::Ready, JobState::Leased, JobState::Scheduled, JobState::Retrying] {
        let queue = server.queue(&format!("queue-{}", state as i32));
        queue.put(spec::retrying(5, Duration::from_secs(3_600))).await;
        let job = if state == JobState::Scheduled { later.clone() } else { spec::job("x") };
        let id = queue.enqueue_one(job).await;
        if matches!(state, JobState::Leased | JobState::Retrying) {
            let out = queue.lease(1).await;
            if state == JobState::Retrying {
                queue.nack(&out[0], NackReason::Failed).await;
            }
        }
        for _ in 0..2 {
            status::refused(queue.try_delete(false).await, Code::FailedPrecondition, "QUEUE_NOT_EMPTY");
            assert_eq!(queue.state(&id).await, state, "nothing has changed");
        }
        queue.try_delete(true).await.unwrap();
        assert_gone(&queue, &[id]).await;
        status::refused(queue.try_delete(true).await, Code::NotFound, "QUEUE_NOT_FOUND");
    }
    assert!(names(&server).await.is_empty());
}

#[tokio::test]
async fn queue_whose_jobs_are_all_at_rest_is_empty_enough() {
    let mut server = Setup::default().start().await;
    let queue = server.queue("rest");
    let other = server.queue("other").enqueue_one(spec::job("stays")).await;
    let ids = queue.enqueue(spec::jobs("x", 4)).await;
    let out = queue.lease(2).await;
    queue.ack(&out[..1]).await;
    queue.nack(&out[1], NackReason::Rejected).await;
    queue.try_cancel(&ids[2]).await.unwrap();
    assert_eq!(queue.drain_all("drain-1").await.len(), 1);
    queue.try_delete(false).await.unwrap();
    assert_gone(&queue, &ids).await;
    server.kill_and_start().await;
    assert_gone(&server.queue("rest"), &ids).await;
    assert_eq!(names(&server).await, ["other"]);
    assert_eq!(server.queue("other").state(&other).await, JobState::Ready, "another queue is left alone");
}

#[tokio::test]
async fn leases_of_a_deleted_queue_are_lost_and_its_jobs_cannot_be_changed() {
    let server = Sluiced::fresh().await;
    let queue = server.queue("held");
    let ids = queue.enqueue(spec::jobs("x", 3)).await;
    let out = queue.lease(2).await;
    queue.try_delete(true).await.unwrap();
    for _ in 0..2 {
        let acked = queue.try_ack(vec![spec::ack(&out[0])]).await.remove(0).error.unwrap();
        assert_eq!(acked.code, Code::NotFound as i32, "{acked:?}");
        let nacked = queue.try_nack(spec::nack(&out[1], NackReason::Failed)).await.error.unwrap();
        assert_eq!(nacked.code, Code::NotFound as i32, "{nacked:?}");
        let extended = queue.extend(&out[1], Duration::from_secs(60)).await.error.unwrap();
        assert_eq!(extended.code, Code::NotFound as i32, "{extended:?}");
        assert_eq!(queue.try_cancel(&ids[2]).await.unwrap_err().code(), Code::NotFound);
        // Nor when another queue has the name.
        queue.put(Settings::default()).await;
    }
    assert_eq!(queue.status().await.jobs, 0);
}

#[tokio::test]
async fn queue_of_the_same_name_may_come_at_once_and_is_another() {
    let mut server = Setup::default().start().await;
    let queue = server.queue("again");
    let before = queue.put(Settings { max_jobs: Some(3), ..spec::retrying(9, Duration::ZERO) }).await;
    let old = queue.enqueue(vec![spec::job("old-0"), keyed("old-1")]).await;
    queue.pause().await;
    queue.try_delete(true).await.unwrap();

    // Enqueue brings it into being, with default settings.
    let new = queue.enqueue(vec![spec::job("new-0"), keyed("new-1")]).await;
    for _ in 0..2 {
        let queue = server.queue("again");
        assert!(new.iter().all(|id| !old.contains(id)), "the old queue's idempotency key is forgotten");
        let get = GetQueueRequest { name: "again".to_owned() };
        let settings = server.admin().get_queue(get).await.unwrap().into_inner().queue.unwrap();
        assert_eq!((settings.max_jobs, settings.paused), (None, false));
        assert_eq!(settings.retry_policy.unwrap().max_attempts, Some(5));
        assert_ne!(settings.etag, before.etag);
        assert!(spec::moment(settings.create_time) >= spec::moment(before.create_time));
        let status = queue.status().await;
        assert_eq!((status.jobs, status.totals.unwrap().enqueued), (2, 2), "it counts from nothing");
        let listed: Vec<String> = queue.list(&[], 100).await.into_iter().map(|job| job.job_id).collect();
        assert_eq!(listed, new);
        assert_eq!(queue.try_job(&old[0]).await.unwrap_err().code(), Code::NotFound);
        server.kill_and_start().await;
    }
    assert_eq!(spec::texts(&server.queue("again").lease(10).await), ["new-0", "new-1"]);
}

#[tokio::test]
async fn request_id_of_a_deleted_queue_says_nothing_about_the_next_of_its_name() {
    let mut server = Setup::default().start().await;
    let queue = server.queue("request");
    let old = queue.try_enqueue(spec::jobs("x", 3), "request-1").await.unwrap();
    queue.try_delete(true).await.unwrap();
    let new = queue.try_enqueue(spec::jobs("x", 3), "request-1").await.unwrap();
    assert_eq!(queue.status().await.jobs, 3, "the jobs that were acknowledged are there");
    assert!(new.iter().all(|id| !old.contains(id)));
    server.kill_and_start().await;
    let queue = server.queue("request");
    assert_eq!(
        queue.try_enqueue(spec::jobs("x", 3), "request-1").await.unwrap(),
        new,
        "repeated, it adds nothing"
    );
    assert_eq!(queue.status().await.jobs, 3);
}

#[tokio::test]
async fn drain_of_a_deleted_queue_says_nothing_about_the_next_of_its_name() {
    let server = Sluiced::fresh().await;
    let queue = server.queue("drain");
    queue.enqueue(spec::jobs("old", 3)).await;
    assert_eq!(queue.drain_all("drain-1").await.len(), 3);
    queue.try_delete(false).await.unwrap();
    let new = queue.enqueue(spec::jobs("new", 2)).await;
    let drained: Vec<String> = queue.drain_all("drain-1").await.into_iter().map(|job| job.job_id).collect();
    assert_eq!(drained, new);
    assert_eq!(queue.status().await.jobs, 0);
}

#[tokio::test]
async fn who_waits_for_room_is_turned_away_and_who_waits_for_a_job_gets_the_next_queues() {
    let server = Sluiced::fresh().await;
    let queue = server.queue("waiters");
    let full = Settings { paused: true, ..spec::bounded(1, OverflowPolicy::Wait) };
    queue.put(full).await;
    queue.enqueue_one(spec::job("old")).await;
    let leasing = tokio::spawn({
        let queue = queue.clone();
        async move { queue.lease_next().await }
    });
    let enqueueing = queue.caller(queue.enqueue_request(spec::jobs("no room", 1))).await;
    queue.until(|status| (status.waiting_leases, status.waiting_enqueues) == (1, 1)).await;
    queue.try_delete(true).await.unwrap();
    status::refused(enqueueing.await.unwrap(), Code::NotFound, "QUEUE_NOT_FOUND");
    assert!(names(&server).await.is_empty(), "nothing of it came in");
    queue.enqueue_one(spec::job("new")).await;
    assert_eq!(spec::text(&leasing.await.unwrap()), "new");
}

#[tokio::test]
async fn watchers_of_many_queues_are_told_which_are_deleted() {
    let server = Sluiced::fresh().await;
    for name in ["a.one", "a.two", "b"] {
        server.queue(name).enqueue_one(spec::job("x")).await;
    }
    let request =
        WatchQueuesRequest { queue_pattern: "a.*".to_owned(), min_interval: Some(spec::millis(50)) };
    let mut watch = server.client().watch_queues(request).await.unwrap().into_inner();
    let first = watch.message().await.unwrap().unwrap();
    assert_eq!((first.statuses.len(), first.deleted_queues.len()), (2, 0));
    server.queue("b").try_delete(true).await.unwrap();
    server.queue("a.one").try_delete(true).await.unwrap();
    let told = async {
        loop {
            let message = watch.message().await.unwrap().expect("a watch goes on");
            if !message.deleted_queues.is_empty() {
                return message.deleted_queues;
            }
        }
    };
    let told = tokio::time::timeout(Duration::from_secs(30), told).await.expect("a deletion is told");
    assert_eq!(told, ["a.one"]);
}

/// Deletes a queue of 50,000 jobs and kills the server over it; whatever a restart finds, it finishes.
async fn deletion_of_50_000(setup: Setup) {
    let mut server = setup.start().await;
    let queue = server.queue("large");
    let kept = server.queue("kept").enqueue(spec::jobs("kept", 10)).await;
    let mut ids = Vec::new();
    for _ in 0..5 {
        ids.extend(queue.enqueue(spec::jobs("x", 10_000)).await);
    }
    let out = queue.lease(1_000).await;
    queue.ack(&out[..500]).await;
    queue.try_delete(true).await.unwrap();
    let new = queue.enqueue_one(spec::job("new")).await;
    server.kill().await;
    let left = jobs_on_disk(&server).await;
    assert!(left > 11, "the deletion was under way: {left} jobs were left");
    for _ in 0..3 {
        server.start().await;
        let queue = server.queue("large");
        let status = queue.status().await;
        assert_eq!((status.jobs, status.totals.unwrap().enqueued), (1, 1));
        let listed: Vec<String> = queue.list(&[], 1_000).await.into_iter().map(|job| job.job_id).collect();
        assert_eq!(listed, [new.as_str()]);
        for id in ids.iter().step_by(4_999) {
            assert_eq!(queue.try_job(id).await.unwrap_err().code(), Code::NotFound);
        }
        assert_eq!(names(&server).await, ["kept", "large"]);
        server.kill().await;
    }
    // It goes bit by bit, each a step of its own: a server that is asked nothing else soon has all of it done.
    let done = async {
        loop {
            server.start().await;
            tokio::time::sleep(Duration::from_millis(200)).await;
            server.stop().await;
            if jobs_on_disk(&server).await == 11 {
                return;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(60), done).await.expect("a deletion ends");
    server.start().await;
    assert_eq!(spec::texts(&server.queue("large").lease(10).await), ["new"]);
    assert_eq!(server.queue("kept").status().await.jobs, kept.len() as u64);
}

/// Jobs of a store that is whole.
async fn jobs_on_disk(server: &Sluiced) -> u64 {
    let said = task::check(&server.data()).await.ok();
    let jobs = said.trim_start_matches("ok: ").split(' ').next().and_then(|word| word.parse().ok());
    jobs.unwrap_or_else(|| panic!("{said}"))
}

#[tokio::test]
async fn deletion_of_50_000_jobs_goes_on_after_kill_9() {
    deletion_of_50_000(Setup::default()).await;
}

#[tokio::test]
async fn deletion_of_50_000_jobs_goes_on_after_kill_9_with_small_segments_too() {
    deletion_of_50_000(Setup::small_segments()).await;
}

#[tokio::test]
async fn command_line_deletes_a_queue_and_says_why_not() {
    let server = Sluiced::fresh().await;
    server.queue("cli").enqueue_one(spec::job("x")).await;
    let refused = cli::run(&server, &["queue", "delete", "cli"]).await;
    assert_eq!(refused.code, 73, "{refused:?}");
    assert_eq!(server.queue("cli").status().await.jobs, 1);
    assert_eq!(cli::run(&server, &["queue", "delete", "cli", "--force"]).await.code, 0);
    assert_eq!(cli::run(&server, &["queue", "delete", "cli", "--force"]).await.code, 3);
    assert_eq!(cli::run(&server, &["queue", "get", "cli"]).await.code, 3);
    assert!(names(&server).await.is_empty());
}
