//! Waiting for the end of a batch: whoever waits is told, however near the end it came.

use std::time::{Duration, Instant};

use sluice_proto::v1::{BatchState, GetBatchResponse, JobSpec};
use sluice_tests::{Queue, Sluiced, spec, status};
use tokio::task::JoinSet;
use tonic::{Code, Status};

const BATCH: &str = "b";

fn job() -> JobSpec {
    JobSpec { batch_id: BATCH.to_owned(), ..spec::job("x") }
}

async fn wait(queue: Queue, wait: Duration) -> Result<GetBatchResponse, Status> {
    queue.try_batch(BATCH, wait).await
}

/// Ends a batch of a queue of its own amid waits that begin one after another; how they were answered.
async fn end_amid_waits(queue: Queue) -> Vec<GetBatchResponse> {
    queue.enqueue_one(job()).await;
    let out = queue.lease(1).await;
    let mut waiting = JoinSet::new();
    for n in 0..10 {
        let queue = queue.clone();
        waiting.spawn(async move {
            tokio::time::sleep(Duration::from_micros(200 * n)).await;
            wait(queue, Duration::from_secs(10)).await.unwrap()
        });
    }
    tokio::time::sleep(Duration::from_millis(1)).await;
    queue.ack(&out).await;
    waiting.join_all().await
}

#[tokio::test]
async fn wait_that_begins_as_the_batch_ends_hears_of_the_end() {
    let server = Sluiced::fresh().await;
    for round in 0..50 {
        let mut batches = JoinSet::new();
        for n in 0..8 {
            // A queue each, so that nothing else that happens in it wakes those who wait.
            batches.spawn(end_amid_waits(Queue::new(&format!("race-{round}-{n}"), server.channel())));
        }
        for answer in batches.join_all().await.into_iter().flatten() {
            assert_eq!(answer.state(), BatchState::Completed, "an answer after 10 s, in round {round}");
        }
    }
}

#[tokio::test]
async fn all_who_wait_are_told_of_one_end() {
    let server = Sluiced::fresh().await;
    let queue = server.queue("many");
    queue.enqueue(vec![job(); 2]).await;
    let out = queue.lease(2).await;
    let mut waiting = JoinSet::new();
    for _ in 0..50 {
        waiting.spawn(wait(server.queue("many"), Duration::from_secs(60)));
    }
    queue.ack(&out[..1]).await;
    assert_eq!(wait(queue.clone(), Duration::from_millis(300)).await.unwrap().state(), BatchState::Running);
    assert!(waiting.try_join_next().is_none(), "one of two is not all");
    let began = Instant::now();
    queue.ack(&out[1..]).await;
    for answer in waiting.join_all().await {
        assert_eq!(answer.unwrap().state(), BatchState::Completed);
    }
    assert!(began.elapsed() < Duration::from_secs(30), "their time was not up: {:?}", began.elapsed());
}

#[tokio::test]
async fn wait_ends_when_its_queue_is_deleted() {
    let server = Sluiced::fresh().await;
    let queue = server.queue("goes");
    queue.enqueue_one(job()).await;
    let waiting = tokio::spawn(wait(server.queue("goes"), Duration::from_secs(60)));
    // An answer to a wait that is over shows that the one before it has begun.
    wait(queue.clone(), Duration::from_millis(500)).await.unwrap();
    queue.try_delete(true).await.unwrap();
    let ended = tokio::time::timeout(Duration::from_secs(5), waiting).await;
    let ended = ended.expect("the batch is gone, and with it what was waited for").unwrap();
    status::refused(ended, Code::NotFound, "BATCH_NOT_FOUND");
}

#[tokio::test]
async fn wait_that_outlives_its_batch_is_not_answered_with_what_was() {
    let server = Sluiced::fresh().await;
    let queue = server.queue("was");
    queue.enqueue_one(job()).await;
    let waiting = tokio::spawn(wait(server.queue("was"), Duration::from_secs(3)));
    wait(queue.clone(), Duration::from_millis(500)).await.unwrap();
    queue.try_delete(true).await.unwrap();
    status::refused(waiting.await.unwrap(), Code::NotFound, "BATCH_NOT_FOUND");
}

#[tokio::test]
async fn wait_ends_when_the_server_stops() {
    let mut server = Sluiced::fresh().await;
    let queue = server.queue("stops");
    queue.enqueue_one(job()).await;
    let waiting = tokio::spawn(wait(server.queue("stops"), Duration::from_secs(60)));
    wait(queue.clone(), Duration::from_millis(500)).await.unwrap();
    assert!(!waiting.is_finished());
    server.terminate();
    let ended = tokio::time::timeout(Duration::from_secs(30), waiting).await.unwrap().unwrap();
    status::refused(ended, Code::Unavailable, "STOPPING");
    assert_eq!(server.stopped().await.code(), Some(0));
}
