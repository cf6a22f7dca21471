//! Jobs that bypass limits, one sentence a test.

use sluice_engine::*;

use crate::stage::{SECOND, Stage, bypass, job, of_keys, of_queue, quota, rate, slots};

fn ids(stage: &mut Stage, max_jobs: u32) -> Vec<JobId> {
    stage.lease(max_jobs).into_iter().map(|held| held.id).collect()
}

#[test]
fn bypass_passes_windows_of_every_level_and_is_owed_there() {
    let mut stage = Stage::with(QueuePatch { node: Some(quota(1, SECOND)), ..of_keys([("a", rate(1, 1))]) });
    stage.enqueue(vec![job("a/x"); 2]);
    assert_eq!(stage.lease(9).len(), 1);
    let urgent = stage.enqueue(vec![bypass("a/x")]);
    assert_eq!(stage.blocks(urgent), []);
    assert_eq!(ids(&mut stage, 9), [urgent]);
    let waiting = stage.wait(1);
    // Two went at once: it is two seconds until the next may.
    stage.pass(Span::from_millis(1_999));
    assert_eq!(stage.leased(waiting), None);
    stage.pass(Span::from_millis(1));
    assert_eq!(stage.leased(waiting).unwrap().len(), 1);
}

#[test]
fn bypass_goes_to_a_lease_that_waits() {
    let mut stage = Stage::with(of_queue(rate(1, 1)));
    stage.enqueue(vec![job("a"); 2]);
    assert_eq!(stage.lease(9).len(), 1);
    let waiting = stage.wait(1);
    assert_eq!(stage.leased(waiting), None);
    let urgent = stage.enqueue(vec![bypass("b")]);
    assert_eq!(stage.leased(waiting).unwrap()[0].id, urgent);
}

#[test]
fn bypass_waits_for_a_slot() {
    let mut stage = Stage::with(of_queue(slots(1)));
    stage.enqueue(vec![job("a")]);
    let held = stage.lease(9).remove(0);
    let urgent = stage.enqueue(vec![bypass("b")]);
    let waiting = stage.wait(1);
    assert_eq!(stage.leased(waiting), None);
    assert_eq!(stage.blocks(urgent), [(BlockKind::InFlight, String::new())]);
    stage.ack(&held);
    assert_eq!(stage.leased(waiting).unwrap()[0].id, urgent);
}

#[test]
fn bypass_waits_while_its_node_is_frozen_or_the_queue_is_paused() {
    let mut stage = Stage::with(of_keys([("a", rate(1, 1))]));
    stage.enqueue(vec![job("a")]);
    let held = stage.lease(9).remove(0);
    stage.throttle(&held, None, Some(Span::from_secs(5)));
    let urgent = stage.enqueue(vec![bypass("a")]);
    assert_eq!(stage.lease(9), []);
    let waiting = stage.wait(1);
    assert_eq!(stage.pass_to_next(), Span::from_secs(5));
    assert_eq!(stage.leased(waiting).unwrap()[0].id, urgent);
    stage.put(QueuePatch { paused: Some(true), ..QueuePatch::default() });
    stage.enqueue(vec![bypass("b")]);
    assert_eq!(stage.lease(9), []);
}

#[test]
fn bypass_of_a_closed_key_stands_in_nobodys_way() {
    let mut stage = Stage::with(of_keys([("a", slots(1))]));
    stage.enqueue(vec![job("a")]);
    assert_eq!(stage.lease(9).len(), 1);
    let first = stage.enqueue([vec![bypass("a"); 3], vec![bypass("b")]].concat());
    assert_eq!(ids(&mut stage, 9), [JobId(first.0 + 3)]);
}

#[test]
fn more_closed_keys_than_one_search_asks_hide_nobody() {
    let mut stage = Stage::with(of_keys([("closed/*", slots(1))]));
    let keys: Vec<String> = (0..3 * bound::MAX_BYPASS_LOOKS).map(|key| format!("closed/{key}")).collect();
    stage.enqueue(keys.iter().map(|key| job(key)).collect());
    assert_eq!(stage.lease(1_000).len(), keys.len());
    stage.put(of_keys([("closed/*", slots(1)), ("open", rate(1, 1))]));
    stage.enqueue(keys.iter().map(|key| bypass(key)).chain([job("open"), job("open")]).collect());
    assert_eq!(stage.lease(9).len(), 1);
    let urgent = stage.enqueue(vec![bypass("open")]);
    let waiting = stage.wait(1);
    for _ in 0..4 {
        stage.pass(Span::ZERO);
    }
    assert_eq!(stage.leased(waiting).unwrap()[0].id, urgent);
}

#[test]
fn bypass_keeps_its_order_within_its_key() {
    let mut stage = Stage::with(of_queue(rate(1, 1)));
    let first = stage.enqueue(vec![bypass("a"), bypass("b"), bypass("a")]);
    let held = stage.lease(1).remove(0);
    stage.nack(&held, NackReason::Released);
    assert_eq!(ids(&mut stage, 9), [0, 1, 2].map(|at| JobId(first.0 + at)));
}

#[test]
fn bypass_is_of_the_highest_priority_whatever_is_said() {
    let mut stage = Stage::with(of_queue(slots(9)));
    let low = JobSpec { priority: Priority::new(0).unwrap(), ..bypass("a") };
    let first = stage.enqueue(vec![job("a"), low]);
    let urgent = JobId(first.0 + 1);
    let seen = stage.engine.job(urgent, stage.now).unwrap();
    assert_eq!((seen.priority, seen.position, seen.bypass_limits), (Priority::HIGHEST, Some(1), true));
    stage.done(Command::Update(Update { id: urgent, priority: Priority::new(2), start: None }));
    assert_eq!(stage.engine.job(urgent, stage.now).unwrap().priority, Priority::HIGHEST);
    assert_eq!(ids(&mut stage, 1), [urgent]);
}

#[test]
fn beyond_60_s_of_rate_a_bypass_waits_as_a_job_of_the_highest_priority() {
    let mut stage = Stage::with(of_queue(rate(1, 2)));
    stage.enqueue(vec![bypass("a"); 100]);
    // The burst, 60 s of rate, and the one that goes beyond.
    assert_eq!(stage.lease(100).len(), 63);
    stage.enqueue(vec![JobSpec { priority: Priority::new(8).unwrap(), ..job("b") }]);
    let waiting = stage.wait(1);
    assert_eq!(stage.pass_to_next(), SECOND);
    assert_eq!(stage.leased(waiting).unwrap()[0].key, "a");
}

#[test]
fn beyond_another_amount_of_a_quota_a_bypass_waits() {
    let mut stage = Stage::with(of_queue(quota(3, Span::from_secs(60))));
    let first = stage.enqueue(vec![bypass("a"); 20]);
    assert_eq!(stage.lease(100).len(), 7);
    assert_eq!(stage.blocks(JobId(first.0 + 9)), [(BlockKind::Quota, String::new())]);
    stage.pass(Span::from_secs(65));
    assert_eq!(stage.lease(100).len(), 7);
}

#[test]
fn bypass_survives_a_restart_a_retry_and_a_requeue() {
    let mut stage = Stage::with(of_queue(rate(1, 1)));
    stage.enqueue(vec![job("b"); 2]);
    assert_eq!(stage.lease(9).len(), 1);
    let urgent = stage.enqueue(vec![bypass("a")]);
    stage.restart();
    let held = stage.lease(9).remove(0);
    assert_eq!(held.id, urgent);
    stage.nack(&held, NackReason::Failed);
    stage.restart();
    stage.pass(Span::from_millis(1_300));
    let held = stage.lease(9).remove(0);
    assert_eq!(held.id, urgent);
    stage.nack(&held, NackReason::Rejected);
    let sweep = Sweep { queue: crate::stage::queue(), states: StateSet::ALL, jobs: vec![urgent] };
    stage.done(Command::Requeue(Requeue { sweep, interval: Span::ZERO }));
    stage.restart();
    assert_eq!(ids(&mut stage, 9), [urgent]);
}

#[test]
fn drain_takes_bypassing_jobs_once() {
    let mut stage = Stage::with(of_queue(rate(1, 1)));
    stage.enqueue(vec![job("a"), bypass("a"), bypass("b"), job("b")]);
    let request = RequestKey { id: 1, content: 0 };
    let drain = Drain { queue: crate::stage::queue(), request, max_jobs: 3 };
    assert_eq!(stage.done(Command::Drain(drain)), Outcome::Drained(Drained { set: 1, total: 3 }));
    assert_eq!(stage.lease(9).len(), 1);
    assert_eq!(
        stage.engine.status(&crate::stage::queue(), stage.now).unwrap().counts.get(JobState::Ready),
        0
    );
}
