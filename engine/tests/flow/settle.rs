//! What a job cost in the end, one sentence a test.

use sluice_engine::*;

use crate::stage::{Held, SECOND, Stage, cost_quota, cost_rate, dear, job, of_keys, of_queue, rate, slots};

/// Leases one job, not at the moment of whatever was before.
fn one(stage: &mut Stage) -> Held {
    stage.pass(Span(1));
    stage.lease(1).remove(0)
}

#[test]
fn what_was_not_used_may_go_at_once() {
    let mut stage = Stage::with(of_queue(cost_rate(1, 10)));
    stage.enqueue(vec![dear("a", 8), dear("b", 6)]);
    let held = one(&mut stage);
    let waiting = stage.wait(1);
    assert_eq!(stage.leased(waiting), None);
    stage.ack_for(&held, Some(3));
    assert_eq!(stage.leased(waiting).unwrap()[0].key, "b");
    assert_eq!(stage.tokens(""), [[1]]);
}

#[test]
fn what_was_used_beyond_is_owed() {
    let mut stage = Stage::with(of_queue(cost_rate(1, 10)));
    stage.enqueue(vec![dear("a", 2), dear("a", 1)]);
    let held = one(&mut stage);
    stage.ack_for(&held, Some(25));
    assert_eq!((stage.tokens(""), stage.lease(1)), (vec![vec![0]], vec![]));
    let waiting = stage.wait(1);
    assert_eq!(stage.pass_to_next(), Span::from_secs(16));
    assert_eq!(stage.leased(waiting).unwrap().len(), 1);
}

#[test]
fn cost_is_settled_at_every_level_and_jobs_are_not() {
    let both =
        NodeSettings { windows: [rate(1, 9), cost_rate(1, 9)].map(|n| n.windows[0]).into(), ..slots(9) };
    let mut stage = Stage::with(QueuePatch {
        node: Some(cost_rate(1, 100)),
        ..of_keys([("a", both.clone()), ("a/x", both)])
    });
    stage.enqueue(vec![dear("a/x", 9)]);
    let held = one(&mut stage);
    assert_eq!(stage.tokens("a/x"), [vec![8, 0], vec![8, 0], vec![91]]);
    stage.ack_for(&held, Some(0));
    assert_eq!(stage.tokens("a/x"), [vec![8, 9], vec![8, 9], vec![100]]);
}

#[test]
fn nothing_is_given_back_that_time_has_repaid() {
    let mut stage = Stage::with(of_queue(cost_rate(1, 10)));
    stage.enqueue(vec![dear("a", 5), dear("a", 8)]);
    let first = one(&mut stage);
    stage.pass(Span::from_secs(4));
    let _second = one(&mut stage);
    assert_eq!(stage.tokens(""), [[1]]);
    // Had the first cost nothing, 10 were there for the second: 2 would be left.
    stage.ack_for(&first, Some(0));
    assert_eq!(stage.tokens(""), [[2]]);
}

#[test]
fn more_is_never_there_than_the_burst() {
    let mut stage = Stage::with(of_queue(cost_rate(1, 10)));
    stage.enqueue(vec![dear("a", 10)]);
    let held = one(&mut stage);
    stage.pass(Span::from_secs(7));
    stage.ack_for(&held, Some(0));
    assert_eq!(stage.tokens(""), [[10]]);
}

#[test]
fn quota_gives_back_to_the_part_that_was_charged() {
    // A part is 4 s.
    let lease_duration = Some(bound::MAX_LEASE);
    let limits = of_queue(cost_quota(10, Span::from_secs(60)));
    let mut stage = Stage::with(QueuePatch { lease_duration, ..limits });
    stage.enqueue(vec![dear("a", 6), dear("a", 4)]);
    let first = one(&mut stage);
    stage.pass(Span::from_secs(40));
    let second = one(&mut stage);
    stage.ack_for(&first, Some(1));
    assert_eq!(stage.tokens(""), [[5]]);
    // The first counts no more, and what it gave back was its own: the second still counts whole.
    stage.pass(Span::from_secs(24));
    assert_eq!(stage.tokens(""), [[6]]);
    stage.ack_for(&second, Some(3));
    assert_eq!(stage.tokens(""), [[7]]);
    stage.pass(Span::from_secs(40));
    assert_eq!(stage.tokens(""), [[10]]);
}

#[test]
fn quota_gives_nothing_back_when_what_was_charged_counts_no_more() {
    let mut stage = Stage::with(of_queue(cost_quota(10, SECOND)));
    stage.enqueue(vec![dear("a", 6), dear("a", 9)]);
    let first = one(&mut stage);
    stage.pass(Span::from_secs(2));
    assert_eq!(stage.lease(1).len(), 1);
    stage.ack_for(&first, Some(0));
    assert_eq!(stage.tokens(""), [[1]]);
}

#[test]
fn refund_is_paid_at_the_smaller_of_two_prices() {
    for (slower, tokens) in [(Span::from_secs(2), 6), (Span::from_millis(500), 10)] {
        let mut stage = Stage::with(of_queue(cost_rate(1, 12)));
        stage.enqueue(vec![dear("a", 8), dear("a", 2)]);
        stage.pass(Span(1));
        let held = stage.lease(2).remove(0);
        assert_eq!(stage.tokens(""), [[2]]);
        let window = Window { period: slower, ..cost_rate(1, 12).windows[0] };
        stage.put(of_queue(NodeSettings { windows: vec![window], ..slots(9) }));
        // Debt keeps its units.
        assert_eq!(stage.tokens(""), [[2]]);
        stage.ack_for(&held, Some(0));
        assert_eq!(stage.tokens(""), [[tokens]]);
    }
}

#[test]
fn job_gives_nothing_back_where_it_was_not_charged() {
    let mut stage = Stage::with(of_queue(slots(9)));
    stage.enqueue(vec![dear("a", 5), dear("a", 5)]);
    let before = one(&mut stage);
    stage.put(of_queue(cost_rate(1, 10)));
    let after = one(&mut stage);
    stage.ack_for(&before, Some(0));
    assert_eq!(stage.tokens(""), [[5]]);
    // Nor where another window counts in the place of its own.
    stage.pass(Span(1));
    stage.put(of_queue(rate(1, 10)));
    stage.put(of_queue(cost_rate(1, 10)));
    stage.enqueue(vec![dear("a", 5)]);
    one(&mut stage);
    stage.ack_for(&after, Some(0));
    assert_eq!(stage.tokens(""), [[5]]);
}

#[test]
fn nack_settles_too_and_a_released_lease_stays_charged() {
    let mut stage = Stage::with(of_queue(cost_rate(1, 10)));
    stage.enqueue(vec![dear("a", 4), dear("b", 4)]);
    let (first, second) = (one(&mut stage), one(&mut stage));
    stage.nack(&second, NackReason::Released);
    assert_eq!(stage.tokens(""), [[2]]);
    stage.ask(Command::Nack(vec![Nack {
        id: first.id,
        token: first.token,
        reason: NackReason::Rejected,
        error: None,
        retry_after: None,
        scope: None,
        actual_cost: Some(0),
    }]));
    assert_eq!(stage.tokens(""), [[6]]);
}

#[test]
fn cost_is_settled_once() {
    let mut stage = Stage::with(of_queue(cost_rate(1, 10)));
    stage.enqueue(vec![dear("a", 5); 2]);
    let held = one(&mut stage);
    one(&mut stage);
    stage.ack_for(&held, Some(2));
    stage.ack_for(&held, Some(2));
    assert_eq!(stage.tokens(""), [[3]]);
}

#[test]
fn settled_cost_frees_what_is_reserved_for_a_dear_job_or_keeps_it_longer() {
    for (actual, waits) in [(0, vec![]), (7, vec![3, 4])] {
        let mut stage = Stage::with(of_keys([("a", cost_rate(1, 5))]));
        stage.enqueue(vec![dear("a/x", 3), dear("a/y", 5), job("a/z")]);
        let held = one(&mut stage);
        let waiting = stage.wait(1);
        assert_eq!(stage.leased(waiting), None);
        stage.ack_for(&held, Some(actual));
        // Until anything may go, and then until so much.
        for seconds in waits {
            assert_eq!(stage.leased(waiting), None);
            assert_eq!(stage.pass_to_next(), Span::from_secs(seconds));
        }
        assert_eq!(stage.leased(waiting).unwrap()[0].key, "a/y");
    }
}

#[test]
fn settled_cost_is_known_after_a_restart() {
    let mut stage = Stage::with(of_queue(cost_rate(1, 10)));
    stage.enqueue(vec![dear("a", 5), dear("a", 8), dear("a", 1)]);
    let first = one(&mut stage);
    stage.pass(Span::from_secs(4));
    let second = one(&mut stage);
    stage.restart();
    stage.ack_for(&first, Some(0));
    assert_eq!(stage.tokens(""), [[2]]);
    stage.restart();
    assert_eq!(stage.tokens(""), [[2]]);
    stage.ack_for(&second, Some(9));
    assert_eq!(stage.tokens(""), [[1]]);
}
