//! Queues that come under a shared limit or leave it while their jobs are in flight: one sentence a test.

use sluice_engine::*;

use crate::shared::{named, of_vendor, put_limit, put_under, shared, vendor};
use crate::stage::{SECOND, Stage, breaker, bypass, cost_quota, cost_rate, dear, job, slots};

/// Units that may go through the limit.
fn tokens(stage: &Stage) -> u64 {
    stage.engine.limit(&vendor(), stage.now).unwrap().tokens.unwrap()
}

fn in_flight(stage: &Stage) -> u64 {
    stage.engine.limit(&vendor(), stage.now).unwrap().node.in_flight
}

/// A queue leaves its limit: it hangs under nothing from then on, or is no more.
const WAYS_OUT: [fn(&mut Stage, &str); 2] = [
    |stage, queue| put_under(stage, queue, None),
    |stage, queue| drop(stage.done(Command::DeleteQueue(DeleteQueue { name: named(queue), force: true }))),
];

#[test]
fn jobs_in_flight_come_with_their_queue_and_the_cap_holds_for_what_goes_from_then_on() {
    let mut stage = shared(slots(2));
    put_under(&mut stage, "q1", None);
    stage.enqueue_to(named("q1"), vec![job("a"); 9]);
    stage.enqueue_to(named("q2"), vec![job("a"); 9]);
    let mut held = stage.lease_from(named("q1"), 3);
    put_under(&mut stage, "q1", Some(vendor()));
    assert_eq!(in_flight(&stage), 3);
    let waiting = stage.wait_from(named("q2"), 1);
    for left in [2, 1] {
        assert_eq!(stage.leased(waiting), None);
        stage.ack(&held.pop().unwrap());
        assert_eq!(in_flight(&stage), left + u64::from(left < 2));
    }
    assert_eq!(stage.leased(waiting).unwrap().len(), 1);
    stage.ack(&held.pop().unwrap());
    assert_eq!(in_flight(&stage), 1);
}

#[test]
fn slots_are_free_when_the_queue_whose_jobs_held_them_leaves() {
    // Jobs that bypass limits stand in a line of their own.
    for waits in [job("a"), bypass("a")] {
        for leave in WAYS_OUT {
            let mut stage = shared(slots(1));
            stage.enqueue_to(named("q1"), vec![job("a")]);
            stage.enqueue_to(named("q2"), vec![waits.clone(); 2]);
            assert_eq!(stage.lease_from(named("q1"), 1).len(), 1);
            let waiting = stage.wait_from(named("q2"), 1);
            assert_eq!(stage.leased(waiting), None);
            leave(&mut stage, "q1");
            let held = stage.leased(waiting).expect("nothing is in flight any more");
            assert_eq!((held.len(), in_flight(&stage)), (1, 1));
            let waiting = stage.wait_from(named("q2"), 1);
            stage.ack(&held[0]);
            assert_eq!(stage.leased(waiting).unwrap().len(), 1);
        }
    }
}

#[test]
fn breaker_does_not_wait_for_a_probe_that_left_with_its_queue() {
    for leave in WAYS_OUT {
        let mut stage = shared(breaker(1, SECOND));
        stage.enqueue_to(named("q1"), vec![job("a"); 2]);
        stage.enqueue_to(named("q2"), vec![job("a"); 3]);
        let (old, failed) = (stage.lease_from(named("q2"), 1), stage.lease_from(named("q1"), 1));
        stage.nack(&failed[0], NackReason::Failed);
        stage.pass(SECOND);
        assert_eq!(stage.lease_from(named("q1"), 1).len(), 1, "it is the probe");
        let waiting = stage.wait_from(named("q2"), 2);
        leave(&mut stage, "q1");
        // One that went before the breaker opened says nothing of it, and may have been the probe for all that is known.
        assert_eq!(stage.leased(waiting), None);
        stage.ack(&old[0]);
        let probe = stage.leased(waiting).expect("nothing is in flight that could say anything");
        assert_eq!(probe.len(), 1, "it is the probe");
        let waiting = stage.wait_from(named("q2"), 2);
        assert_eq!(stage.leased(waiting), None);
        stage.ack(&probe[0]);
        assert_eq!(stage.leased(waiting).unwrap().len(), 1);
    }
}

#[test]
fn job_gives_nothing_back_to_a_limit_that_it_did_not_go_through() {
    for node in [cost_rate(1, 10), cost_quota(10, Span::from_secs(60))] {
        for restarts in [false, true] {
            let mut stage = shared(node.clone());
            put_under(&mut stage, "q1", None);
            stage.pass(Span(1));
            stage.enqueue_to(named("q1"), vec![dear("a", 8)]);
            stage.enqueue_to(named("q2"), vec![dear("a", 7), dear("a", 2)]);
            let others = stage.lease_from(named("q2"), 1);
            let held = stage.lease_from(named("q1"), 1);
            assert_eq!(tokens(&stage), 3);
            stage.pass(Span(1));
            put_under(&mut stage, "q1", Some(vendor()));
            if restarts {
                stage.restart();
            }
            stage.ack_for(&held[0], Some(1));
            assert_eq!(tokens(&stage), 3);
            // Nobody knows any more who was charged there: what went before gives nothing back at all, and what goes
            // from then on does.
            stage.ack_for(&others[0], Some(1));
            assert_eq!(tokens(&stage), 3);
            stage.pass(Span(1));
            let held = stage.lease_from(named("q2"), 1);
            assert_eq!(tokens(&stage), 1);
            stage.ack_for(&held[0], Some(1));
            assert_eq!(tokens(&stage), 2);
        }
    }
}

#[test]
fn what_a_job_used_beyond_its_cost_is_owed_where_its_queue_hangs_then() {
    let mut stage = shared(cost_rate(1, 10));
    put_under(&mut stage, "q1", None);
    stage.enqueue_to(named("q1"), vec![dear("a", 2), dear("a", 2)]);
    let held = stage.lease_from(named("q1"), 2);
    put_under(&mut stage, "q1", Some(vendor()));
    stage.ack_for(&held[0], Some(5));
    assert_eq!(tokens(&stage), 7);
    put_under(&mut stage, "q1", None);
    stage.ack_for(&held[1], Some(5));
    assert_eq!(tokens(&stage), 7);
    // A limit that is put anew knows nothing of either.
    put_under(&mut stage, "q2", None);
    stage.done(Command::DeleteLimit(vendor()));
    put_limit(&mut stage, cost_rate(1, 10));
    let free = stage.ask(Command::Acquire(Acquire { node: of_vendor(), cost: 10, wait: Span::ZERO }));
    assert!(matches!(
        stage.answer(free),
        Some(Ok(Outcome::Acquired(Acquired { retry_after: None, tokens: Some(0) })))
    ));
}
