//! The producer: its stream, back-pressure, and flow hints.

use std::{
    collections::HashSet,
    time::{Duration, Instant},
};

use sluice_client::{
    BackPressure, Code, JobBuilder, Receipt, Statistics,
    proto::{EnqueueError, EnqueueRequest, FlowHint},
    span_to_proto,
};

use crate::fake::Fake;

/// So little that a test does not notice, and the rest as it is.
fn impatient(max_retries: u32) -> BackPressure {
    let millis = Duration::from_millis;
    BackPressure::try_new(millis(1), millis(2), max_retries, millis(5_000)).unwrap()
}

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

#[tokio::test]
async fn full_queue_is_waited_out_and_the_waits_are_counted() {
    let fake = Fake::start().await;
    fake.state().full = 3;
    let producer = fake.client().producer("q").back_pressure(impatient(50));
    assert_eq!(producer.enqueue(JobBuilder::new("a")).await.unwrap(), "j1");
    let expected = Statistics { waits: 3, succeeded_after_wait: 1, ..Statistics::default() };
    assert_eq!(producer.clone().statistics(), expected);
    let state = fake.state();
    let ids: HashSet<_> = state.enqueues.iter().map(|request| request.request_id.clone()).collect();
    assert_eq!((state.enqueues.len(), ids.len()), (4, 1));
    // Where the queue's policy is WAIT the server keeps the call for as long as the producer would wait.
    assert_eq!(state.enqueues[0].wait_timeout.unwrap().seconds, 5);
}

#[tokio::test]
async fn queue_that_stays_full_fails_the_send_and_is_counted() {
    let fake = Fake::start().await;
    fake.state().full = 100;
    let producer = fake.client().producer("q").back_pressure(impatient(4));
    let error = producer.enqueue(JobBuilder::new("a")).await.unwrap_err();
    assert!(error.is_full() && error.code() == Code::ResourceExhausted, "{error}");
    let expected = Statistics { waits: 4, failed_after_wait: 1, ..Statistics::default() };
    assert_eq!((producer.statistics(), fake.state().enqueues.len()), (expected, 5));

    let never = fake.client().producer("q").back_pressure(BackPressure::never());
    assert!(never.enqueue(JobBuilder::new("a")).await.unwrap_err().is_full());
    assert_eq!(fake.state().enqueues.len(), 6);
    assert_eq!(fake.state().enqueues[5].wait_timeout, None);
}

#[tokio::test]
async fn batches_of_a_stream_wait_for_room_by_themselves() {
    let fake = Fake::start().await;
    fake.state().full = 5;
    let producer = fake.client().producer("q").back_pressure(impatient(50));
    let mut stream = producer.stream(4);
    let mut receipts = Vec::new();
    for batch in 0..10 {
        receipts.push(stream.send([JobBuilder::new(batch.to_string())]).await.unwrap());
    }
    for receipt in receipts {
        receipt.await.unwrap();
    }
    stream.close().await;
    let Statistics { waits, failed_after_wait, .. } = producer.statistics();
    assert_eq!((waits, failed_after_wait, fake.state().ready.len()), (5, 0, 10));
}

#[tokio::test]
async fn answer_tells_of_duplicates_and_of_what_was_dropped() {
    let fake = Fake::start().await;
    fake.state().duplicate = true;
    fake.state().dropped = vec!["j0".to_owned()];
    let jobs =
        vec![JobBuilder::new("a").idempotency_key("once").batch("b").ttl(Duration::from_secs(9)).build()];
    let batch_totals = [("b".to_owned(), 2)].into();
    let request = EnqueueRequest { jobs: jobs.clone(), batch_totals, ..EnqueueRequest::default() };
    let producer = fake.client().producer("q");
    let answer = producer.send(request).await.unwrap();
    assert!(answer.jobs[0].duplicate && answer.dropped_job_ids == ["j0"]);
    let mut stream = producer.stream(1);
    let answer = stream.send(jobs).await.unwrap().response().await.unwrap();
    assert!(answer.jobs[0].duplicate && answer.dropped_job_ids == ["j0"]);
    let state = fake.state();
    let spec = &state.enqueues[0].jobs[0];
    assert_eq!((spec.idempotency_key.as_str(), spec.batch_id.as_str()), ("once", "b"));
    assert_eq!((spec.ttl.unwrap().seconds, state.enqueues[0].batch_totals["b"]), (9, 2));
}

#[tokio::test]
async fn flow_hint_makes_batches_small_and_keeps_them_apart() {
    let fake = Fake::start().await;
    let wait = Duration::from_millis(20);
    let hint = FlowHint { batch_size: 5, wait: Some(span_to_proto(wait)), ..FlowHint::default() };
    fake.state().flow_hint = Some(hint);
    let producer = fake.client().producer("q");
    producer.enqueue(JobBuilder::new("first")).await.unwrap();
    assert_eq!((producer.batch_size(1_000), producer.statistics().flow_hint), (5, Some(hint)));
    #[expect(clippy::disallowed_methods, reason = "a test measures real time")]
    let begin = Instant::now();
    let (jobs, end) = producer.enqueue_all((0..12).map(|n| JobBuilder::new(n.to_string()))).await;
    assert_eq!((jobs.len(), end), (12, Ok(())));
    assert!(begin.elapsed() >= wait * 3);
    let sizes: Vec<_> = fake.state().enqueues.iter().map(|request| request.jobs.len()).collect();
    assert_eq!(sizes, [1, 5, 5, 2]);
}

#[tokio::test]
async fn what_is_in_is_told_when_the_rest_fails() {
    let fake = Fake::start().await;
    fake.state().flow_hint = Some(FlowHint { batch_size: 2, ..FlowHint::default() });
    let producer = fake.client().producer("q").back_pressure(BackPressure::never());
    producer.enqueue(JobBuilder::new("first")).await.unwrap();
    let jobs = (0..6).map(|n| {
        // The second batch, and all after it, finds no room.
        if n == 2 {
            fake.state().full = 1;
        }
        JobBuilder::new(n.to_string())
    });
    let (jobs, end) = producer.enqueue_all(jobs).await;
    assert_eq!(jobs.len(), 2);
    assert!(end.unwrap_err().is_full());
}
