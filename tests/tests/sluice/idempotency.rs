//! A job is done once: within its window an idempotency key brings one job in, however often it comes.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use bytes::Bytes;
use sluice_proto::v1::enqueue_stream_response::Outcome;
use sluice_proto::v1::{
    EnqueueRequest, EnqueueStreamRequest, EnqueuedJob, JobSpec, JobState, OverflowPolicy,
};
use sluice_tests::sluiced::Setup;
use sluice_tests::{Queue, Sluiced, spec, status};
use tokio::task::JoinSet;
use tonic::Code;

/// A job with an idempotency key.
fn once(key: &str, payload: &str) -> JobSpec {
    JobSpec { idempotency_key: key.to_owned(), ..spec::job(payload) }
}

/// A queue that remembers for so long.
fn remembering(window: Duration) -> sluice_proto::v1::Queue {
    sluice_proto::v1::Queue { idempotency_window: Some(spec::span(window)), ..Default::default() }
}

async fn enqueue(queue: &Queue, jobs: Vec<JobSpec>, request_id: &str) -> Vec<EnqueuedJob> {
    let request = EnqueueRequest { request_id: request_id.to_owned(), ..queue.enqueue_request(jobs) };
    queue.enqueue_by(request).await.unwrap().jobs
}

async fn enqueue_one(queue: &Queue, job: JobSpec) -> EnqueuedJob {
    enqueue(queue, vec![job], "").await.remove(0)
}

fn fresh(job: &EnqueuedJob) -> EnqueuedJob {
    EnqueuedJob { duplicate: false, ..job.clone() }
}

fn duplicate(job: &EnqueuedJob) -> EnqueuedJob {
    EnqueuedJob { duplicate: true, ..job.clone() }
}

#[tokio::test]
async fn same_key_again_adds_nothing_and_names_the_first_job() {
    let server = Sluiced::fresh().await;
    let queue = server.queue("again");
    let first = enqueue_one(&queue, once("order-17", "first")).await;
    assert_eq!(first, fresh(&first));
    for _ in 0..3 {
        assert_eq!(enqueue_one(&queue, once("order-17", "first")).await, duplicate(&first));
    }
    // What else is in it does not matter: the key alone says that it is the same job.
    let other = JobSpec { key: "k".to_owned(), priority: Some(9), ..once("order-17", "other bytes") };
    assert_eq!(enqueue_one(&queue, other).await, duplicate(&first));

    let status = queue.status().await;
    assert_eq!((status.jobs, status.totals.unwrap().enqueued), (1, 1));
    let job = queue.job(&first.job_id).await;
    assert_eq!(job.payload, Some(Bytes::from_static(b"first")), "the first one stays as it was");
    assert_eq!((job.key.as_str(), job.priority), ("", 4));
    assert_eq!(job.idempotency_key, "order-17");
}

#[tokio::test]
async fn keys_are_the_same_only_to_the_byte_and_none_is_no_key() {
    let server = Sluiced::fresh().await;
    let queue = server.queue("bytes");
    let keys = ["", "", "a", "A", "a ", "aa", "é", "e\u{301}"];
    let jobs = keys.iter().map(|key| once(key, "x")).collect();
    let answer = enqueue(&queue, jobs, "").await;
    let ids: BTreeSet<&String> = answer.iter().map(|job| &job.job_id).collect();
    assert_eq!(ids.len(), keys.len());
    assert!(answer.iter().all(|job| !job.duplicate), "{answer:?}");
}

#[tokio::test]
async fn duplicates_within_one_request_are_told_at_their_places() {
    let server = Sluiced::fresh().await;
    let queue = server.queue("one-request");
    let before = enqueue_one(&queue, once("known", "x")).await;
    let keys = ["a", "b", "a", "", "known", "a", "", "b"];
    let jobs: Vec<JobSpec> = keys.iter().map(|key| once(key, "x")).collect();
    let answer = enqueue(&queue, jobs.clone(), "").await;
    let flags: Vec<bool> = answer.iter().map(|job| job.duplicate).collect();
    assert_eq!(flags, [false, false, true, false, true, true, false, true]);
    assert_eq!((&answer[2].job_id, &answer[5].job_id), (&answer[0].job_id, &answer[0].job_id));
    assert_eq!(answer[7].job_id, answer[1].job_id);
    assert_eq!(answer[4], duplicate(&before));
    assert_eq!(queue.status().await.jobs, 1 + 4);

    let again = enqueue(&queue, jobs, "").await;
    for (n, key) in keys.iter().enumerate() {
        assert_eq!(again[n].duplicate, !key.is_empty(), "job {n}");
        assert_eq!(again[n].job_id == answer[n].job_id, !key.is_empty(), "job {n}");
    }
    assert_eq!(queue.status().await.jobs, 1 + 4 + 2);
}

#[tokio::test]
async fn queues_do_not_share_their_keys() {
    let server = Sluiced::fresh().await;
    let (one, other) = (server.queue("one"), server.queue("other"));
    let first = enqueue_one(&one, once("k", "x")).await;
    let second = enqueue_one(&other, once("k", "x")).await;
    assert!(!second.duplicate);
    assert_ne!(first.job_id, second.job_id);
    assert_eq!(enqueue_one(&one, once("k", "x")).await, duplicate(&first));
    assert_eq!(enqueue_one(&other, once("k", "x")).await, duplicate(&second));

    // A queue that takes the name of one that was deleted is another.
    one.try_delete(true).await.unwrap();
    let third = enqueue_one(&one, once("k", "x")).await;
    assert!(!third.duplicate);
    assert_ne!(third.job_id, first.job_id);
}

#[tokio::test]
async fn key_outlives_its_job() {
    let server = Sluiced::fresh().await;
    let queue = server.queue("outlives");
    let done = enqueue_one(&queue, once("done", "x")).await;
    let out = queue.lease(1).await;
    assert_eq!(enqueue_one(&queue, once("done", "x")).await, duplicate(&done), "while it is held");
    queue.ack(&out).await;
    assert_eq!(enqueue_one(&queue, once("done", "x")).await, duplicate(&done), "when it is done");
    assert_eq!(queue.state(&done.job_id).await, JobState::Completed);

    assert_eq!(queue.purge(&[JobState::Completed]).await, 1);
    assert_eq!(queue.try_job(&done.job_id).await.unwrap_err().code(), Code::NotFound);
    assert_eq!(enqueue_one(&queue, once("done", "x")).await, duplicate(&done), "when it is gone");
    assert!(queue.lease(1).await.is_empty());
}

#[tokio::test]
async fn key_is_forgotten_when_its_window_has_passed() {
    let server = Sluiced::fresh().await;
    let queue = server.queue("window");
    let window = Duration::from_millis(1_500);
    queue.put(remembering(window)).await;
    let began = Instant::now();
    let first = enqueue_one(&queue, once("k", "x")).await;
    // That it is asked for all the while does not make the window longer.
    let second = loop {
        let answer = enqueue_one(&queue, once("k", "x")).await;
        if !answer.duplicate {
            break answer;
        }
        assert_eq!(answer.job_id, first.job_id);
        assert!(began.elapsed() < Duration::from_secs(30), "it is never forgotten");
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert!(began.elapsed() >= window, "forgotten after {:?}", began.elapsed());
    assert_ne!(second.job_id, first.job_id);
    assert_eq!(queue.status().await.jobs, 2);

    // The new one has a window of its own, and a longer one holds at once for what is remembered.
    queue.put(remembering(Duration::from_secs(3_600))).await;
    let began = Instant::now();
    let third = enqueue_one(&queue, once("other", "x")).await;
    while began.elapsed() < window + Duration::from_millis(200) {
        assert_eq!(enqueue_one(&queue, once("other", "x")).await, duplicate(&third));
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test]
async fn queue_without_a_window_remembers_no_key() {
    let server = Sluiced::fresh().await;
    let queue = server.queue("no-window");
    queue.put(remembering(Duration::ZERO)).await;
    let first = enqueue_one(&queue, once("k", "x")).await;
    let second = enqueue_one(&queue, once("k", "x")).await;
    assert!(!first.duplicate && !second.duplicate);
    assert_ne!(first.job_id, second.job_id);
}

#[tokio::test]
async fn keys_survive_kill_9_and_the_end_of_the_log_that_had_them() {
    let mut server = Setup::small_segments().start().await;
    let queue = server.queue("survives");
    let jobs: Vec<JobSpec> = (0..200).map(|n| once(&format!("key-{n}"), "x")).collect();
    let first = enqueue(&queue, jobs.clone(), "").await;
    queue.ack(&queue.lease(100).await).await;
    server.kill_and_start().await;
    let expected: Vec<EnqueuedJob> = first.iter().map(duplicate).collect();
    assert_eq!(enqueue(&queue, jobs.clone(), "").await, expected, "after one kill");

    // Three times what the log may hold pushes its oldest segments out.
    let heavy = || JobSpec { payload: vec![7; 1 << 20].into(), ..JobSpec::default() };
    for _ in 0..12 {
        queue.enqueue_one(heavy()).await;
    }
    server.kill_and_start().await;
    assert_eq!(enqueue(&queue, jobs, "").await, expected, "after another");
    assert_eq!(queue.status().await.totals.unwrap().enqueued, 200 + 12);
}

#[tokio::test]
async fn fifty_callers_with_one_key_make_one_job() {
    let server = Sluiced::fresh().await;
    for round in 0..5 {
        let key = format!("key-{round}");
        let mut callers = JoinSet::new();
        for n in 0..50 {
            // A connection each, so that nothing but the server puts them in an order.
            let (queue, key) = (server.queue("callers"), key.clone());
            callers.spawn(async move { enqueue_one(&queue, once(&key, &format!("caller-{n}"))).await });
        }
        let answers = callers.join_all().await;
        let ids: BTreeSet<&String> = answers.iter().map(|job| &job.job_id).collect();
        assert_eq!(ids.len(), 1);
        assert_eq!(answers.iter().filter(|job| !job.duplicate).count(), 1, "one of them made it");
        let status = server.queue("callers").status().await;
        assert_eq!((status.jobs, status.totals.unwrap().enqueued), (round + 1, round + 1));
    }
}

#[tokio::test]
async fn stream_tells_duplicates_too() {
    let server = Sluiced::fresh().await;
    let queue = server.queue("stream");
    let requests = ["a", "a", "b", "a"].iter().enumerate().map(|(n, key)| EnqueueStreamRequest {
        sequence: n as u64,
        request: Some(EnqueueRequest {
            queue: "stream".to_owned(),
            jobs: vec![once(key, "x")],
            ..Default::default()
        }),
    });
    let requests = tokio_stream::iter(requests.collect::<Vec<_>>());
    let mut answers = queue.rpc.clone().enqueue_stream(requests).await.unwrap().into_inner();
    let mut jobs = Vec::new();
    while let Some(answer) = answers.message().await.unwrap() {
        match answer.outcome.unwrap() {
            Outcome::Response(response) => jobs.extend(response.jobs),
            Outcome::Error(error) => panic!("{error:?}"),
        }
    }
    let flags: Vec<bool> = jobs.iter().map(|job| job.duplicate).collect();
    assert_eq!(flags, [false, true, false, true]);
    assert_eq!((&jobs[1].job_id, &jobs[3].job_id), (&jobs[0].job_id, &jobs[0].job_id));
    assert_eq!(queue.status().await.jobs, 2);
}

#[tokio::test]
async fn repeated_request_gets_its_first_answer_and_no_duplicates() {
    let server = Sluiced::fresh().await;
    let queue = server.queue("request-id");
    let jobs = vec![once("a", "x"), once("b", "x")];
    let first = enqueue(&queue, jobs.clone(), "call-1").await;
    assert!(first.iter().all(|job| !job.duplicate));
    assert_eq!(enqueue(&queue, jobs.clone(), "call-1").await, first, "the same call");
    let expected: Vec<EnqueuedJob> = first.iter().map(duplicate).collect();
    assert_eq!(enqueue(&queue, jobs, "call-2").await, expected, "another call with the same jobs");
}

#[tokio::test]
async fn refused_request_leaves_no_key_behind_and_a_duplicate_needs_no_room() {
    let server = Sluiced::fresh().await;
    let queue = server.queue("full");
    queue
        .put(sluice_proto::v1::Queue {
            max_jobs: Some(2),
            overflow_policy: OverflowPolicy::Reject.into(),
            ..Default::default()
        })
        .await;
    let held = enqueue(&queue, vec![once("a", "x"), once("b", "x")], "").await;
    let refused = queue.try_enqueue(vec![once("c", "x")], "").await;
    status::refused(refused, Code::ResourceExhausted, "QUEUE_FULL");
    assert_eq!(enqueue_one(&queue, once("a", "x")).await, duplicate(&held[0]), "it is in already");

    queue.ack(&queue.lease(1).await).await;
    let late = enqueue_one(&queue, once("c", "x")).await;
    assert!(!late.duplicate, "the refused one never came in");
    assert_eq!(queue.state(&late.job_id).await, JobState::Ready);
}

#[tokio::test]
async fn key_that_could_not_be_remembered_is_refused_with_all_of_its_request() {
    let server = Setup::default().environment("SLUICED_MAX_IDEMPOTENCY_KEYS", "10").start().await;
    let queue = server.queue("bound");
    let known = enqueue(&queue, (0..10).map(|n| once(&format!("key-{n}"), "x")).collect(), "").await;
    let refused = queue.try_enqueue(vec![spec::job("x"), once("key-10", "x")], "").await;
    status::refused(refused, Code::ResourceExhausted, "IDEMPOTENCY_FULL");
    let other = server.queue("other").try_enqueue(vec![once("key-10", "x")], "").await;
    status::refused(other, Code::ResourceExhausted, "IDEMPOTENCY_FULL");
    assert_eq!(queue.status().await.jobs, 10, "nothing was put in");

    let answer = enqueue(&queue, vec![spec::job("x"), once("key-9", "x")], "").await;
    assert_eq!((answer[0].duplicate, &answer[1]), (false, &duplicate(&known[9])), "neither is a new key");
    // Room comes when the window of those that are known has passed.
    queue.put(remembering(Duration::from_millis(100))).await;
    let began = Instant::now();
    while let Err(status) = queue.try_enqueue(vec![once("key-10", "x")], "").await {
        assert_eq!(status::reason(&status), "IDEMPOTENCY_FULL");
        assert!(began.elapsed() < Duration::from_secs(30), "they are never forgotten");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
