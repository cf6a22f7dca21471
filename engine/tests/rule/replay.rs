//! Records of a store, and after them a log whose beginning they already include.

use sluice_engine::*;

use crate::stage::{Stage, enqueue, job, queue};

/// An engine from records as they are now, with the whole log after them.
fn reloaded(stage: &Stage, config: EngineConfig) -> Engine {
    let (ledger, as_of) = (stage.engine.ledger(), stage.groups.len() as u64);
    let mut loader = Loader::new(config);
    loader.serial(ledger.serial());
    loader.last_queue(ledger.last_queue());
    for id in ledger.queue_ids() {
        loader.queue(ledger.queue_record(id).unwrap(), as_of);
    }
    for id in ledger.ids(0..=u64::MAX, usize::MAX) {
        loader.job(ledger.record(id).unwrap(), as_of).unwrap();
    }
    for (_, record) in ledger.batches_changed_after(0) {
        loader.batch(record.clone(), as_of);
    }
    for (number, (now, mutations)) in stage.groups.iter().enumerate() {
        // The first group is no longer in the log.
        if number > 0 {
            loader.group(number as u64 + 1, *now, mutations.clone()).unwrap();
        }
    }
    loader.finish(stage.now).unwrap()
}

fn delete() -> Command {
    Command::DeleteQueue(DeleteQueue { name: queue(), force: true })
}

#[test]
fn queue_keeps_its_name_though_the_log_tells_of_one_before_it() {
    let mut stage = Stage::with(QueuePatch { paused: Some(true), ..QueuePatch::default() });
    stage.put(QueuePatch { paused: Some(false), ..QueuePatch::default() });
    stage.enqueue(vec![job("a")]);
    stage.done(delete());
    stage.pass(Span(1));
    let id = stage.enqueue(vec![job("b")]).first;
    let engine = reloaded(&stage, EngineConfig::default());
    assert_eq!(engine.status(&queue(), stage.now).map(|status| status.counts.live()), Some(1));
    assert_eq!(engine.job(id, stage.now), stage.engine.job(id, stage.now));
    assert_eq!(engine.ledger().queue_ids().count(), 1);
}

#[test]
fn jobs_of_a_queue_that_is_forgotten_are_passed_over() {
    let mut stage = Stage::new();
    stage.put(QueuePatch::default());
    stage.enqueue(vec![job("a")]);
    stage.done(delete());
    stage.pass(Span(1));
    let engine = reloaded(&stage, EngineConfig::default());
    assert_eq!(engine.ledger().queue_ids().count(), 0);
    assert_eq!(engine.ledger().ids(0..=u64::MAX, 1), []);
}

#[test]
fn keys_of_a_deleted_queue_are_remembered_no_more() {
    let mut stage = Stage::new();
    stage.put(QueuePatch::default());
    let with_key = JobSpec { idempotency: Some(1), ..job("a") };
    for _ in 0..3 {
        stage.enqueue(vec![job("a"); 4_000]);
    }
    stage.enqueue(vec![with_key.clone()]);
    stage.done(delete());
    // Where all is full of keys, those of every queue are looked at.
    let config = EngineConfig { max_idempotency_keys: 1, ..EngineConfig::default() };
    let mut engine = reloaded(&stage, config);
    let mut effects = Effects::default();
    for _ in 0..10 {
        engine.wake(stage.now, &mut effects);
    }
    assert_eq!(engine.ledger().queue_ids().count(), 0);
    engine.apply(Ticket(1), Command::Enqueue(enqueue(vec![with_key])), stage.now, &mut effects);
    assert!(matches!(effects.answers.last(), Some((_, Ok(Outcome::Enqueued(_))))));
}

#[test]
fn batch_that_began_anew_keeps_its_jobs_though_the_log_forgets_the_one_before() {
    let mut stage = Stage::with(QueuePatch { retention: Some(Span(10)), ..QueuePatch::default() });
    let batch = BatchName::new("b").unwrap();
    let of_batch = || JobSpec { batch: Some(batch.clone()), ..job("a") };
    let first = stage.enqueue(vec![of_batch()]).first;
    stage.done(Command::Cancel(first));
    stage.pass(Span(10));
    stage.pass(Span(10));
    assert_eq!(stage.engine.batch(&queue(), &batch), None);
    stage.enqueue(vec![of_batch()]);
    let live = stage.engine.batch(&queue(), &batch);
    assert_eq!(live.as_ref().map(|view| view.counts.sum()), Some(1));
    assert_eq!(reloaded(&stage, EngineConfig::default()).batch(&queue(), &batch), live);
}
