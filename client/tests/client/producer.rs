//! The producer's stream.

use std::collections::HashSet;

use sluice_client::{Code, JobBuilder, Receipt, proto::EnqueueError};

use crate::fake::Fake;

fn refusal(code: Code) -> EnqueueError {
    EnqueueError { code: code as i32, reason: "NO".to_owned(), message: "no".to_owned(), retry_after: None }
}

async fn send(fake: &Fake, in_flight: usize, batches: usize) -> Vec<Receipt> {
    let mut stream = fake.client().producer("q").stream(in_flight);
    let mut receipts = Vec::new();
    for batch in 0..batches {
        receipts.push(stream.send([JobBuilder::new(batch.to_string())]).await.unwrap());
    }
    stream.close().await;
    receipts
}

#[tokio::test]
async fn every_batch_of_a_stream_gets_its_own_answer() {
    let fake = Fake::start().await;
    for (batch, receipt) in send(&fake, 4, 50).await.into_iter().enumerate() {
        assert_eq!(receipt.await.unwrap(), [format!("j{}", batch + 1)]);
    }
    let state = fake.state();
    let payloads: Vec<_> = state.ready.iter().map(|job| job.payload.clone().unwrap()).collect();
    assert_eq!(payloads, (0..50).map(|batch| batch.to_string()).collect::<Vec<_>>());
}

#[tokio::test]
async fn broken_stream_sends_again_what_is_unanswered_and_adds_nothing_twice() {
    let fake = Fake::start().await;
    fake.state().breaks.extend([0, 3, 1, 7]);
    let mut job_ids = HashSet::new();
    for receipt in send(&fake, 4, 30).await {
        job_ids.extend(receipt.await.unwrap());
    }
    assert_eq!((job_ids.len(), fake.state().ready.len()), (30, 30));
    let state = fake.state();
    let payloads: Vec<_> = state.ready.iter().map(|job| job.payload.clone().unwrap()).collect();
    assert_eq!(payloads, (0..30).map(|batch| batch.to_string()).collect::<Vec<_>>());
}

#[tokio::test]
async fn stream_that_never_gets_through_tells_every_receipt_why() {
    let fake = Fake::start().await;
    fake.state().breaks.extend([0; 100]);
    let mut stream = fake.client().producer("q").stream(2);
    let first = stream.send([JobBuilder::new("0")]).await.unwrap();
    let second = stream.send([JobBuilder::new("1")]).await.unwrap();
    assert_eq!(first.await.unwrap_err().code(), Code::Unavailable);
    assert_eq!(second.await.unwrap_err().code(), Code::Unavailable);
    stream.close().await;
}

#[tokio::test]
async fn refused_batch_stops_no_other_and_busy_one_goes_again() {
    let fake = Fake::start().await;
    fake.state().refusals.extend([("1", refusal(Code::InvalidArgument)), ("2", refusal(Code::Unavailable))]);
    let mut outcomes = Vec::new();
    for receipt in send(&fake, 1, 4).await {
        outcomes.push(receipt.await.map_err(|error| error.code()));
    }
    assert_eq!(outcomes[1], Err(Code::InvalidArgument));
    assert!([0, 2, 3].iter().all(|batch| outcomes[*batch].is_ok()), "{outcomes:?}");
    assert_eq!(fake.state().ready.len(), 3);
}
