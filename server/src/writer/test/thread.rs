//! The whole writer: handle, mailbox, thread and step.

use std::sync::mpsc;

use futures::poll;
use sluice_engine::{Ack, Command, Engine, EngineConfig, JobState, Outcome, PutQueue, QueuePatch, Span};
use tokio::sync::oneshot;

use super::{Spy, enqueue, lease, queue};
use crate::bound::MAX_ENQUEUE_DELAY;
use crate::store::{Failure, Memory};
use crate::store::{Pressure, Store, StoreError};
use crate::writer::{CallError, Fatal, Handle, MailboxLimit, StartError, Writer};

fn start(store: impl Store + 'static) -> (Handle, Writer) {
    start_with(MailboxLimit::default(), move || Ok(Box::new(store)))
}

fn start_with(
    limit: MailboxLimit,
    open: impl FnOnce() -> Result<Box<dyn Store>, StoreError> + Send + 'static,
) -> (Handle, Writer) {
    Writer::start(EngineConfig::default(), limit, open, Box::new(|fatal| panic!("{fatal}"))).unwrap()
}

async fn serving(store: &Memory) -> (Handle, Writer) {
    let (handle, mut writer) = start(store.clone());
    writer.ready().await.unwrap();
    (handle, writer)
}

async fn count(handle: &Handle, state: JobState) -> u64 {
    let read = handle.read(move |engine, now| engine.status(&queue(), now).unwrap().counts.get(state));
    read.await.unwrap()
}

#[tokio::test]
async fn job_goes_in_and_out_with_its_body() {
    let (handle, writer) = serving(&Memory::new()).await;
    let answer = handle.call(enqueue("hello"), 5).await.unwrap();
    assert!(matches!(answer, Ok(Outcome::Enqueued(_))));
    let delivery = handle.lease(lease(1, Span::ZERO)).await.unwrap().unwrap();
    let places = delivery.places.into_iter().flatten().collect();
    let bodies = handle.bodies(places).await.unwrap();
    assert_eq!(bodies[0].payload.as_deref(), Some(b"hello".as_slice()));
    delivery.guard.deliver();
    let id = delivery.jobs[0].job.id;
    let (state, places) = handle
        .read_and_locate(move |engine, now| (engine.job(id, now).unwrap().state, vec![id]))
        .await
        .unwrap();
    assert_eq!(state, JobState::Leased);
    assert!(places[0].is_some());
    writer.stop().await;
}

#[tokio::test]
async fn calls_are_refused_until_the_store_has_been_read() {
    let (open, opened) = mpsc::channel::<()>();
    let (handle, mut writer) = start_with(MailboxLimit::default(), move || {
        opened.recv().unwrap();
        Ok(Box::new(Memory::new()))
    });
    assert_eq!(handle.call(enqueue("a"), 1).await, Err(CallError::Starting));
    assert!(!handle.is_serving());
    open.send(()).unwrap();
    writer.ready().await.unwrap();
    assert!(handle.is_serving());
    assert!(handle.call(enqueue("a"), 1).await.is_ok());
    writer.stop().await;
}

#[tokio::test]
async fn store_that_cannot_be_opened_is_told() {
    let (_handle, mut writer) =
        start_with(MailboxLimit::default(), || Err(StoreError::Unusable("in use".to_owned())));
    assert!(matches!(writer.ready().await, Err(StartError::Store(StoreError::Unusable(_)))));
    writer.stop().await;
}

#[tokio::test]
async fn store_that_panics_on_open_is_told() {
    let (_handle, mut writer) = start_with(MailboxLimit::default(), || panic!("a damaged sled does this"));
    assert!(matches!(writer.ready().await, Err(StartError::Panicked)));
}

#[tokio::test]
async fn full_mailbox_refuses_at_once_and_loses_no_delivery() {
    let (entered, enter) = mpsc::channel();
    let (leave, left) = mpsc::channel::<()>();
    let spy = Spy::new(&Memory::new(), move |_| {
        entered.send(()).unwrap();
        // Once its other end is gone, commits go through.
        let _ = left.recv();
    });
    let (handle, mut writer) = start_with(MailboxLimit { calls: 2, bytes: 1_000 }, move || Ok(Box::new(spy)));
    writer.ready().await.unwrap();

    leave.send(()).unwrap();
    handle.call(enqueue("first"), 1).await.unwrap().unwrap();
    enter.recv().unwrap();
    leave.send(()).unwrap();
    let delivery = handle.lease(lease(1, Span::ZERO)).await.unwrap().unwrap();
    enter.recv().unwrap();

    // The writer stands in a commit; behind it there is room for two.
    let mut under_way = Box::pin(handle.call(enqueue("a"), 1));
    assert!(poll!(&mut under_way).is_pending());
    enter.recv().unwrap();
    let mut second = Box::pin(handle.call(enqueue("b"), 1));
    let mut third = Box::pin(handle.call(enqueue("c"), 1));
    assert!(poll!(&mut second).is_pending());
    assert!(poll!(&mut third).is_pending());
    assert_eq!(handle.call(enqueue("d"), 1).await, Err(CallError::Overloaded));
    drop(delivery);

    drop(leave);
    under_way.await.unwrap().unwrap();
    second.await.unwrap().unwrap();
    third.await.unwrap().unwrap();
    assert_eq!(count(&handle, JobState::Leased).await, 0);
    assert_eq!(count(&handle, JobState::Ready).await, 4);
    writer.stop().await;
}

#[tokio::test]
async fn wait_for_a_job_ends_when_its_caller_leaves() {
    let (handle, writer) = serving(&Memory::new()).await;
    handle.call(enqueue("a"), 1).await.unwrap().unwrap();
    let first = handle.lease(lease(1, Span::ZERO)).await.unwrap().unwrap();
    first.guard.deliver();
    let waiting = |engine: &Engine, now| engine.status(&queue(), now).unwrap().waiting_leases;
    let mut second = Box::pin(handle.lease(lease(1, Span::from_secs(60))));
    assert!(poll!(&mut second).is_pending());
    assert_eq!(handle.read(waiting).await.unwrap(), 1);
    drop(second);
    assert_eq!(handle.read(waiting).await.unwrap(), 0);
    writer.stop().await;
}

#[tokio::test]
async fn jobs_leased_for_a_caller_who_never_looked_go_back() {
    let (handle, writer) = serving(&Memory::new()).await;
    handle.call(enqueue("a"), 1).await.unwrap().unwrap();
    let mut lease = Box::pin(handle.lease(lease(1, Span::ZERO)));
    let polled = poll!(&mut lease);
    // Read after the lease: the delivery lies ready for a caller who will not take it.
    assert_eq!(count(&handle, JobState::Leased).await, 1);
    drop((lease, polled));
    assert_eq!(count(&handle, JobState::Ready).await, 1);
    writer.stop().await;
}

#[tokio::test]
async fn failed_commit_ends_the_process_and_leaves_its_callers_without_an_answer() {
    let store = Memory::new();
    let (tell, told) = oneshot::channel();
    let opened = store.clone();
    let (handle, mut writer) = Writer::start(
        EngineConfig::default(),
        MailboxLimit::default(),
        move || Ok(Box::new(opened)),
        Box::new(move |fatal| drop(tell.send(fatal))),
    )
    .unwrap();
    writer.ready().await.unwrap();
    store.fail(Failure { commit: 1, kept: true });
    let mut call = Box::pin(handle.call(enqueue("a"), 1));
    assert!(poll!(&mut call).is_pending());
    assert!(matches!(told.await.unwrap(), Fatal::Store(_)));
    assert!(poll!(&mut call).is_pending());
    assert!(poll!(Box::pin(handle.call(enqueue("b"), 1))).is_pending());
}

#[tokio::test]
async fn panic_ends_the_process_too() {
    let (tell, told) = oneshot::channel();
    let (handle, mut writer) = Writer::start(
        EngineConfig::default(),
        MailboxLimit::default(),
        || Ok(Box::new(Spy::new(&Memory::new(), |_| panic!("a bug")))),
        Box::new(move |fatal| drop(tell.send(fatal))),
    )
    .unwrap();
    writer.ready().await.unwrap();
    let mut call = Box::pin(handle.call(enqueue("a"), 1));
    assert!(poll!(&mut call).is_pending());
    assert!(matches!(told.await.unwrap(), Fatal::Panicked));
    assert!(poll!(&mut call).is_pending());
}

#[tokio::test]
async fn stop_finishes_what_was_given_and_tells_those_who_wait() {
    let store = Memory::new();
    let (handle, writer) = serving(&store).await;
    let mut waiting = Box::pin(handle.lease(lease(1, Span::from_secs(60))));
    assert!(poll!(&mut waiting).is_pending());
    let put = PutQueue { name: queue(), patch: QueuePatch::default(), version: None };
    let (put, ()) = futures::join!(handle.call(Command::PutQueue(put), 1), writer.stop());
    assert!(matches!(put, Ok(Ok(Outcome::QueuePut(_)))));
    assert!(matches!(waiting.await, Err(CallError::Stopping)));
    assert_eq!(handle.call(enqueue("a"), 1).await, Err(CallError::Stopping));
    assert!(store.is_clean());
    assert!(!handle.is_serving());
}

#[tokio::test]
async fn time_goes_on_over_a_restart() {
    let store = Memory::new();
    let (handle, writer) = serving(&store).await;
    handle.call(enqueue("a"), 1).await.unwrap().unwrap();
    let before = handle.now().engine;
    writer.stop().await;
    let (handle, writer) = serving(&store).await;
    assert!(handle.now().engine > before);
    assert_eq!(count(&handle, JobState::Ready).await, 1);
    writer.stop().await;
}

#[tokio::test]
async fn full_disk_refuses_enqueues_then_leases_and_never_the_rest() {
    let store = Memory::new();
    let (handle, writer) = serving(&store).await;
    handle.call(enqueue("a"), 1).await.unwrap().unwrap();

    store.press(Pressure::NoEnqueue);
    // Any step publishes it.
    count(&handle, JobState::Ready).await;
    settle(&handle).await;
    assert_eq!(handle.call(enqueue("b"), 1).await, Err(CallError::StorageFull));
    let delivery = handle.lease(lease(1, Span::ZERO)).await.unwrap().unwrap();
    assert_eq!(delivery.jobs.len(), 1);

    store.press(Pressure::NoLease);
    settle(&handle).await;
    assert_eq!(handle.call(enqueue("b"), 1).await, Err(CallError::StorageFull));
    assert!(matches!(handle.lease(lease(1, Span::ZERO)).await, Err(CallError::StorageFull)));
    let ack =
        Ack { id: delivery.jobs[0].job.id, token: delivery.jobs[0].token, result: None, actual_cost: None };
    let acked = handle.call(Command::Ack(vec![ack]), 1).await.unwrap();
    assert_eq!(acked, Ok(Outcome::Acked(vec![Ok(())])));
    delivery.guard.deliver();
    writer.stop().await;
}

#[tokio::test]
async fn enqueue_waits_for_a_slow_store_until_it_is_relieved_and_not_for_ever() {
    let store = Memory::new();
    let (handle, writer) = serving(&store).await;
    store.press(Pressure::Slow);
    settle(&handle).await;
    let mut call = Box::pin(handle.call(enqueue("a"), 1));
    assert!(poll!(&mut call).is_pending());
    settle(&handle).await;
    let jobs = |engine: &Engine, now| engine.status(&queue(), now).is_some();
    assert!(!handle.read(jobs).await.unwrap(), "held back");
    store.press(Pressure::None);
    settle(&handle).await;
    call.await.unwrap().unwrap();

    store.press(Pressure::Slow);
    settle(&handle).await;
    let start = handle.now();
    handle.call(enqueue("b"), 1).await.unwrap().unwrap();
    assert!(handle.now().engine.since(start.engine).0 >= MAX_ENQUEUE_DELAY.as_nanos() as u64);
    writer.stop().await;
}

/// Two reads: what the step of the first published is seen after the second.
async fn settle(handle: &Handle) {
    for _ in 0..2 {
        handle.read(|_, _| ()).await.unwrap();
    }
}
