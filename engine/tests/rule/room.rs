//! Enqueue calls that wait for room.

use sluice_engine::*;

use crate::stage::{Stage, enqueue, job, rule};

fn is_in(answer: Option<Answer>) -> bool {
    matches!(answer, Some(Ok(Outcome::Enqueued(_))))
}

fn waits_beyond(max_jobs: u64) -> QueuePatch {
    QueuePatch {
        max_jobs: Some(Some(max_jobs)),
        overflow: Some(OverflowPolicy::Wait),
        ..QueuePatch::default()
    }
}

#[test]
fn call_that_waited_at_a_key_is_not_held_up_by_younger_ones_at_the_queue() {
    let key_rules = Some(vec![rule("x", 1, OverflowPolicy::Wait)]);
    let mut stage = Stage::with(QueuePatch { key_rules, ..waits_beyond(10) });
    stage.enqueue(vec![job("x")]);
    let held = stage.lease(1)[0];
    stage.enqueue(vec![job("a"), job("b")]);
    let at_key = stage.ask(Command::Enqueue(enqueue(vec![job("x")])));
    let at_queue = stage.ask(Command::Enqueue(enqueue(vec![job("y"); 9])));
    stage.ack(held);
    assert!(is_in(stage.answer(at_key)));
    assert_eq!(stage.answer(at_queue), None);
}

#[test]
fn call_that_came_first_is_served_first_though_it_waits_at_another_place() {
    let key_rules = Some(vec![rule("x", 1, OverflowPolicy::Wait)]);
    let mut stage = Stage::with(QueuePatch { key_rules, ..waits_beyond(2) });
    stage.enqueue(vec![job("x"), job("a")]);
    let held = stage.lease(2);
    let at_key = stage.ask(Command::Enqueue(enqueue(vec![job("x")])));
    let at_queue = stage.ask(Command::Enqueue(enqueue(vec![job("b")])));
    stage.ack(held[0]);
    assert!(is_in(stage.answer(at_key)));
    assert_eq!(stage.answer(at_queue), None);
}

#[test]
fn call_behind_one_whose_time_has_passed_is_served_in_the_same_step() {
    let mut stage = Stage::with(waits_beyond(3));
    stage.enqueue(vec![job("a"), job("b")]);
    let large = Enqueue { wait: Span::from_secs(1), ..enqueue(vec![job("c"); 2]) };
    let large = stage.ask(Command::Enqueue(large));
    let small = stage.ask(Command::Enqueue(enqueue(vec![job("d")])));
    stage.pass(Span::from_secs(1));
    assert!(matches!(stage.answer(large), Some(Err(Refusal::Full { what: Full::Queue, .. }))));
    assert!(is_in(stage.answer(small)));
}

#[test]
fn call_that_is_abandoned_leaves_no_trace_and_lets_the_next_in() {
    let mut stage = Stage::with(waits_beyond(3));
    stage.enqueue(vec![job("a"), job("b")]);
    let large = stage.ask(Command::Enqueue(enqueue(vec![job("c"); 2])));
    let small = stage.ask(Command::Enqueue(enqueue(vec![job("d")])));
    stage.ask(Command::Abandon(large));
    assert!(is_in(stage.answer(small)));
    assert_eq!(stage.answer(large), None);
    let status = stage.engine.status(&crate::stage::queue(), stage.now).unwrap();
    assert_eq!((status.waiting_enqueues, status.counts.live()), (0, 3));
}

#[test]
fn urgent_call_passes_ordinary_ones_and_stands_behind_urgent_ones() {
    let reserve = Some(Some(Reserve { min_priority: Priority::HIGHEST, percent: 50 }));
    let mut stage = Stage::with(QueuePatch { reserve, ..waits_beyond(2) });
    let urgent = |count| vec![JobSpec { priority: Priority::HIGHEST, ..job("u") }; count];
    stage.enqueue(vec![job("a"), job("b")]);
    let held = stage.lease(1)[0];
    let ordinary = stage.ask(Command::Enqueue(enqueue(vec![job("c")])));
    let passes = stage.ask(Command::Enqueue(enqueue(urgent(1))));
    assert!(is_in(stage.answer(passes)));
    let large = stage.ask(Command::Enqueue(enqueue(urgent(2))));
    stage.ack(held);
    let small = stage.ask(Command::Enqueue(enqueue(urgent(1))));
    assert_eq!(stage.answer(small), None, "there is room for it, which one that came before it waits for");
    assert_eq!((stage.answer(large), stage.answer(ordinary)), (None, None));
}

#[test]
fn waiting_call_is_refused_when_the_policy_changes() {
    let mut stage = Stage::with(waits_beyond(1));
    stage.enqueue(vec![job("a")]);
    let waits = stage.ask(Command::Enqueue(enqueue(vec![job("b")])));
    stage.put(QueuePatch { overflow: Some(OverflowPolicy::Reject), ..QueuePatch::default() });
    assert!(matches!(stage.answer(waits), Some(Err(Refusal::Full { what: Full::Queue, .. }))));
}

#[test]
fn waiting_call_is_served_when_the_capacity_grows() {
    let mut stage = Stage::with(waits_beyond(1));
    stage.enqueue(vec![job("a")]);
    let waits = stage.ask(Command::Enqueue(enqueue(vec![job("b")])));
    stage.put(QueuePatch { max_jobs: Some(Some(2)), ..QueuePatch::default() });
    assert!(is_in(stage.answer(waits)));
}

#[test]
fn call_whose_job_came_in_by_another_is_answered_at_once_wherever_it_stands() {
    let mut stage = Stage::with(QueuePatch {
        key_rules: Some(vec![rule("x", 1, OverflowPolicy::Wait)]),
        ..QueuePatch::default()
    });
    stage.enqueue(vec![job("x")]);
    let once = |text| JobSpec { idempotency: Some(7), ..job(text) };
    let first = stage.ask(Command::Enqueue(enqueue(vec![job("x")])));
    let overtaken = stage.ask(Command::Enqueue(enqueue(vec![once("x")])));
    let came = stage.enqueue(vec![once("y")]);
    let Some(Ok(Outcome::Enqueued(answer))) = stage.answer(overtaken) else { panic!("it waits in vain") };
    assert_eq!((answer.count, &answer.besides.unwrap().duplicates), (0, &vec![(0, came.first)]));
    assert_eq!(stage.answer(first), None);
}

#[test]
fn request_that_was_sent_again_is_answered_with_the_first() {
    let mut stage = Stage::with(waits_beyond(1));
    stage.enqueue(vec![job("a")]);
    let held = stage.lease(1)[0];
    let request = Some(RequestKey { id: 7, content: 9 });
    let call = || Command::Enqueue(Enqueue { request, ..enqueue(vec![job("b")]) });
    let (first, second) = (stage.ask(call()), stage.ask(call()));
    stage.ack(held);
    let answers = (stage.answer(first), stage.answer(second));
    assert!(is_in(answers.0.clone()));
    assert_eq!(answers.0, answers.1);
}
