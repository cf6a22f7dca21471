//! What makes room for what.

use bytes::Bytes;
use sluice_engine::*;

use crate::stage::{Stage, enqueue, job, queue, rule};

fn dropping(max_jobs: Option<u64>, max_bytes: Option<u64>) -> QueuePatch {
    QueuePatch {
        max_jobs: Some(max_jobs),
        max_bytes: Some(max_bytes),
        overflow: Some(OverflowPolicy::DropOldest),
        ..QueuePatch::default()
    }
}

fn of_bytes(bytes: usize) -> JobSpec {
    JobSpec { payload: Bytes::from(vec![0; bytes]), ..JobSpec::default() }
}

fn of_priority(priority: u32) -> JobSpec {
    JobSpec { priority: Priority::new(priority).unwrap(), ..job("a") }
}

fn dropped(enqueued: &Enqueued) -> Vec<u64> {
    enqueued.besides.as_ref().map_or_else(Vec::new, |besides| besides.dropped.iter().map(|id| id.0).collect())
}

#[test]
fn oldest_of_the_least_urgent_goes_first_and_new_ones_count() {
    let mut stage = Stage::with(dropping(Some(3), None));
    let first = stage.enqueue(vec![of_priority(5), of_priority(4), of_priority(4)]).first.0;
    assert_eq!(dropped(&stage.enqueue(vec![of_priority(4)])), [first + 1]);
    assert_eq!(dropped(&stage.enqueue(vec![of_priority(3)])), [first + 4]);
    assert_eq!(stage.state(JobId(first + 1)), Some(JobState::Dropped));
}

#[test]
fn nothing_is_dropped_for_a_job_that_finds_no_room_beside_what_is_leased() {
    let mut stage = Stage::with(dropping(None, Some(100)));
    stage.enqueue(vec![of_bytes(80)]);
    let held = stage.lease(1)[0];
    let waits = stage.enqueue(vec![of_bytes(20)]).first;
    let answer = stage.answered(Command::Enqueue(enqueue(vec![of_bytes(30)])));
    assert!(matches!(answer, Err(Refusal::Full { what: Full::Queue, .. })), "{answer:?}");
    assert_eq!(stage.state(waits), Some(JobState::Ready));
    stage.ack(held);
    assert_eq!(dropped(&stage.enqueue(vec![of_bytes(90)])), [waits.0]);
}

#[test]
fn nothing_is_dropped_for_a_job_that_finds_no_room_beside_what_is_leased_of_its_key() {
    let rule = KeyRule {
        capacity: Capacity { jobs: None, bytes: Some(15) },
        ..rule("x", 1, OverflowPolicy::DropOldest)
    };
    let mut stage = Stage::with(QueuePatch { key_rules: Some(vec![rule]), ..QueuePatch::default() });
    stage.enqueue(vec![job("x")]);
    stage.lease(1);
    let answer = stage.answered(Command::Enqueue(enqueue(vec![job("x")])));
    assert!(matches!(answer, Err(Refusal::Full { what: Full::Key, .. })), "{answer:?}");
}

#[test]
fn key_and_queue_overflow_at_once_and_what_the_key_lets_go_counts_for_the_queue() {
    let mut stage = Stage::with(QueuePatch {
        key_rules: Some(vec![rule("x", 1, OverflowPolicy::DropOldest)]),
        ..dropping(Some(3), None)
    });
    let first = stage.enqueue(vec![job("a"), job("x"), job("b")]).first.0;
    assert_eq!(dropped(&stage.enqueue(vec![job("x")])), [first + 1]);
    assert_eq!(dropped(&stage.enqueue(vec![job("x"), job("c")])), [first + 3, first]);
    let status = stage.engine.status(&queue(), stage.now).unwrap();
    assert_eq!((status.counts.live(), status.totals.dropped), (3, 3));
}

#[test]
fn urgent_job_uses_the_reserve_though_others_wait_for_room() {
    let mut stage = Stage::with(QueuePatch {
        max_jobs: Some(Some(10)),
        overflow: Some(OverflowPolicy::Wait),
        reserve: Some(Some(Reserve { min_priority: Priority::HIGHEST, percent: 20 })),
        ..QueuePatch::default()
    });
    stage.enqueue(vec![job("a"); 10]);
    let ordinary = stage.ask(Command::Enqueue(enqueue(vec![job("a")])));
    stage.enqueue(vec![of_priority(9), of_priority(9)]);
    let urgent = stage.ask(Command::Enqueue(enqueue(vec![of_priority(9)])));
    let held = stage.lease(1)[0];
    stage.ack(held);
    assert!(matches!(stage.answer(urgent), Some(Ok(Outcome::Enqueued(_)))));
    assert_eq!(stage.answer(ordinary), None);
}

#[test]
fn job_that_bypasses_limits_uses_the_reserve_as_what_it_is() {
    let mut stage = Stage::with(QueuePatch {
        max_jobs: Some(Some(10)),
        reserve: Some(Some(Reserve { min_priority: Priority::HIGHEST, percent: 20 })),
        ..QueuePatch::default()
    });
    stage.enqueue(vec![job("a"); 10]);
    let refused = stage.answered(Command::Enqueue(enqueue(vec![job("a")])));
    assert!(matches!(refused, Err(Refusal::Full { .. })), "{refused:?}");
    stage.enqueue(vec![JobSpec { bypass_limits: true, ..job("a") }; 2]);
}
