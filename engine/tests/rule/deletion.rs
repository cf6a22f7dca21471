//! Queues that are deleted.

use sluice_engine::*;

use crate::stage::{Stage, enqueue, job, queue};

fn delete(name: &QueueName) -> Command {
    Command::DeleteQueue(DeleteQueue { name: name.clone(), force: true })
}

fn drain(content: u64) -> Command {
    let request = RequestKey { id: 7, content };
    Command::Drain(Drain { queue: queue(), request, max_jobs: 10 })
}

#[test]
fn deleted_queue_is_cleared_though_an_older_one_is_deleted_meanwhile() {
    let mut stage = Stage::new();
    let older = QueueName::new("older").unwrap();
    let of_older = |jobs| Command::Enqueue(Enqueue { queue: older.clone(), ..enqueue(jobs) });
    stage.done(of_older(vec![job("a")]));
    for _ in 0..3 {
        stage.enqueue(vec![job("b"); 4_000]);
    }
    stage.done(delete(&queue()));
    stage.done(delete(&older));
    for _ in 0..10 {
        stage.pass(Span(1));
    }
    assert_eq!(stage.engine.ledger().ids(0..=u64::MAX, 1), []);
    assert_eq!(stage.engine.ledger().queue_ids().count(), 0);
    assert_eq!(stage.engine.next_wake(stage.now), None);
}

#[test]
fn deleted_queue_vanishes_at_once_and_its_name_is_another_queue() {
    let mut stage = Stage::new();
    let first = stage.enqueue(vec![job("a")]).first;
    let held = stage.lease(1)[0];
    stage.done(delete(&queue()));
    assert_eq!(stage.engine.status(&queue(), stage.now), None);
    assert_eq!(stage.state(first), None);
    let second = stage.enqueue(vec![job("a")]).first;
    let acks =
        stage.done(Command::Ack(vec![Ack { id: held.0, token: held.1, result: None, actual_cost: None }]));
    assert_eq!(acks, Outcome::Acked(vec![Err(ItemRefusal::JobNotFound)]));
    assert_eq!(stage.lease(5).iter().map(|(id, _)| *id).collect::<Vec<_>>(), [second]);
}

#[test]
fn drained_set_goes_with_its_queue_and_its_name_is_free_again() {
    let mut stage = Stage::new();
    stage.enqueue(vec![job("a"), job("b")]);
    stage.done(drain(1));
    // So much that clearing it takes more than a step.
    for _ in 0..3 {
        stage.enqueue(vec![job("c"); 4_000]);
    }
    stage.done(delete(&queue()));
    assert_eq!(stage.engine.drain_page(7, 0, 10, stage.now), None);
    stage.enqueue(vec![job("d")]);
    assert_eq!(stage.done(drain(2)), Outcome::Drained(Drained { set: 7, total: 1 }));
    for _ in 0..10 {
        stage.pass(Span(1));
    }
    let (jobs, _) = stage.engine.drain_page(7, 0, 10, stage.now).unwrap();
    assert_eq!(jobs.len(), 1);
}
