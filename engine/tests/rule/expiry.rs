//! Time to live.

use sluice_engine::*;

use crate::stage::{Stage, job, queue};

fn with_ttl(seconds: u64) -> JobSpec {
    JobSpec { ttl: Some(Span::from_secs(seconds)), ..job("a") }
}

fn lease() -> Command {
    Command::Lease(Lease {
        queue: queue(),
        max_jobs: 1,
        max_bytes: usize::MAX,
        lease_duration: None,
        wait: Span::ZERO,
        worker: "w".into(),
    })
}

#[test]
fn job_whose_time_to_live_has_passed_is_not_leased_in_the_step_that_finds_it() {
    let mut stage = Stage::new();
    let id = stage.enqueue(vec![with_ttl(1)]).first;
    stage.now.engine = stage.now.engine + Span::from_secs(1);
    let Outcome::Leased(leased) = stage.done(lease()) else { unreachable!() };
    assert_eq!(leased.jobs, []);
    assert_eq!(stage.state(id), Some(JobState::Expired));
}

#[test]
fn time_to_live_goes_on_while_a_job_is_retried() {
    let mut stage = Stage::new();
    let id = stage.enqueue(vec![with_ttl(2)]).first;
    let held = stage.lease(1)[0];
    stage.done(Command::Nack(vec![Nack {
        id,
        token: held.1,
        reason: NackReason::Failed,
        error: None,
        retry_after: Some(Span::from_secs(60)),
        scope: None,
        actual_cost: None,
    }]));
    assert_eq!(stage.engine.next_wake(stage.now), Some(stage.now.engine + Span::from_secs(2)));
    stage.pass(Span::from_secs(2));
    assert_eq!(stage.state(id), Some(JobState::Expired));
}

#[test]
fn leased_job_is_expired_at_the_end_of_its_delivery_and_not_before() {
    let mut stage = Stage::new();
    let first = stage.enqueue(vec![with_ttl(2), with_ttl(2)]).first;
    let held = stage.lease(2);
    stage.pass(Span::from_secs(3));
    assert_eq!(stage.state(first), Some(JobState::Leased));
    stage.ack(held[0]);
    stage.nack(held[1], NackReason::Released);
    let states: Vec<_> = held.iter().map(|(id, _)| stage.state(*id)).collect();
    assert_eq!(states, [Some(JobState::Completed), Some(JobState::Expired)]);
}

#[test]
fn job_that_is_due_when_its_time_to_live_passes_is_expired() {
    let mut stage = Stage::new();
    let start = Start::After(Span::from_secs(1));
    let id = stage.enqueue(vec![JobSpec { start, ..with_ttl(1) }]).first;
    stage.pass(Span::from_secs(1));
    assert_eq!(stage.state(id), Some(JobState::Expired));
}

#[test]
fn requeue_begins_another_time_to_live() {
    let mut stage = Stage::new();
    let id = stage.enqueue(vec![with_ttl(2)]).first;
    let held = stage.lease(1)[0];
    stage.nack(held, NackReason::Rejected);
    stage.pass(Span::from_secs(5));
    let states = StateSet::ALL;
    let sweep = Sweep { queue: queue(), states, jobs: vec![id] };
    stage.done(Command::Requeue(Requeue { sweep, interval: Span::ZERO }));
    stage.pass(Span::from_secs(1));
    assert_eq!(stage.state(id), Some(JobState::Ready));
    stage.pass(Span::from_secs(1));
    assert_eq!(stage.state(id), Some(JobState::Expired));
}

#[test]
fn slow_pace_of_a_requeue_does_not_overflow() {
    let mut stage = Stage::new();
    let first = stage.enqueue(vec![job("a"); 3]).first.0;
    for held in stage.lease(3) {
        stage.nack(held, NackReason::Rejected);
    }
    let jobs = (first..first + 3).map(JobId).collect();
    let sweep = Sweep { queue: queue(), states: StateSet::ALL, jobs };
    stage.done(Command::Requeue(Requeue { sweep, interval: Span(u64::MAX - 1) }));
    assert_eq!(stage.state(JobId(first + 2)), Some(JobState::Scheduled));
}
