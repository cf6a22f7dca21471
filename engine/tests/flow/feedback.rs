//! Rules of what answers of the downstream do, one sentence a test.

use sluice_engine::*;

use crate::node::key;
use crate::stage::{Held, SECOND, Stage, breaker, job, of_keys, of_queue, queue, rate};

/// Units a second that a node learned.
fn learned(stage: &Stage, text: &str) -> f64 {
    stage.state(text).rate_in_force(stage.now.engine).unwrap_or(f64::INFINITY)
}

fn is_about(rate: f64, expected: f64) -> bool {
    (rate - expected).abs() < 0.005 * expected
}

/// Acks so many jobs as they come, as fast as they may.
fn work(stage: &mut Stage, jobs: usize) {
    for _ in 0..jobs {
        let held = next(stage);
        stage.ack(&held);
    }
}

/// The next job, whenever it may go.
fn next(stage: &mut Stage) -> Held {
    let waiting = stage.wait(1);
    loop {
        match stage.leased(waiting) {
            Some(mut held) => return held.remove(0),
            None => drop(stage.pass_to_next()),
        }
    }
}

#[test]
fn throttled_cuts_the_rate_that_was_set_and_it_grows_back_with_use() {
    let mut stage = Stage::with(of_queue(rate(10, 2)));
    stage.enqueue(vec![job(""); 2_000]);
    let held = next(&mut stage);
    stage.throttle(&held, None, None);
    assert!(is_about(learned(&stage, ""), 8.5));
    let began = stage.now.engine;
    work(&mut stage, 1);
    // It is paused, and time in which nothing goes teaches nothing.
    assert!(stage.now.engine.since(began) >= SECOND);
    stage.pass(Span::from_secs(600));
    work(&mut stage, 1);
    assert!(learned(&stage, "") < 8.6, "{}", learned(&stage, ""));
    work(&mut stage, 270);
    assert!((9.1..9.4).contains(&learned(&stage, "")), "half a minute: {}", learned(&stage, ""));
    work(&mut stage, 320);
    assert_eq!(learned(&stage, ""), f64::INFINITY, "what was set holds by itself");
    // And nothing more than that.
    let began = stage.now.engine;
    work(&mut stage, 101);
    assert!(stage.now.engine.since(began) >= Span::from_millis(9_800));
}

#[test]
fn many_that_were_on_their_way_together_count_once() {
    let mut stage = Stage::with(of_queue(rate(10, 9)));
    stage.enqueue(vec![job(""); 20]);
    let held = stage.lease(9);
    held.iter().for_each(|held| stage.throttle(held, None, None));
    assert!(is_about(learned(&stage, ""), 8.5));
    assert_eq!(stage.state("").frozen_until, stage.now.engine + SECOND);
    // What went before only says for how long.
    let held = next(&mut stage);
    stage.nack(&held, NackReason::Released);
    stage.enqueue(vec![job("a"); 2]);
    let two = stage.lease(2);
    stage.throttle(&two[0], Some(0), None);
    let cut = learned(&stage, "");
    stage.throttle(&two[1], Some(0), Some(Span::from_secs(30)));
    assert_eq!(
        (learned(&stage, ""), stage.state("").frozen_until),
        (cut, stage.now.engine + Span::from_secs(30))
    );
}

#[test]
fn rate_that_nobody_knows_is_looked_for_from_a_few_a_second_on() {
    for (text, first) in [("", 5.0), ("a", 1.0)] {
        let mut stage = Stage::with(QueuePatch::default());
        stage.enqueue(vec![job(text); 2_000]);
        assert_eq!(stage.lease(500).len(), 500, "until somebody says that it is too much");
        let held = stage.lease(1).remove(0);
        stage.throttle(&held, None, None);
        assert!(is_about(learned(&stage, text), first));
        let began = stage.now.engine + SECOND;
        while stage.now.engine < began + Span::from_secs(4) {
            work(&mut stage, 1);
        }
        let found = learned(&stage, text);
        // It doubles each second; the first is less, for nothing is known before the first answer.
        assert!((8.0 * first..20.0 * first).contains(&found), "{found}");
        let held = next(&mut stage);
        let found = learned(&stage, text);
        stage.throttle(&held, None, None);
        assert!(is_about(learned(&stage, text), 0.7 * found), "it overshot by up to twice");
        let held = next(&mut stage);
        let found = learned(&stage, text);
        stage.throttle(&held, None, None);
        assert!(is_about(learned(&stage, text), 0.85 * found));
    }
}

#[test]
fn pauses_climb_only_while_nothing_goes_well() {
    let mut stage = Stage::with(of_queue(rate(10, 8)));
    stage.enqueue(vec![job(""); 100]);
    let mut pauses = Vec::new();
    for good in [0, 0, 0, 0, 0, 0, 2, 3, 0] {
        work(&mut stage, good);
        let held = next(&mut stage);
        stage.throttle(&held, None, None);
        pauses.push(stage.state("").frozen_until.since(stage.now.engine).0 / SECOND.0);
    }
    assert_eq!(pauses, [1, 2, 4, 8, 16, 16, 16, 1, 2]);
    // 8, 4, 2 and 1 at once, at last.
    let waiting = stage.wait(9);
    stage.pass_to_next();
    assert_eq!(stage.leased(waiting).unwrap().len(), 1);
}

#[test]
fn two_children_that_went_well_and_are_told_off_at_once_speak_against_their_parent() {
    let mut stage = Stage::with(QueuePatch::default());
    stage.enqueue(["p/a", "p/b", "p/c", "other"].iter().flat_map(|text| vec![job(text); 9]).collect());
    // "p" and "other" take turns.
    let held = stage.lease(6);
    held.iter().for_each(|held| stage.ack(held));
    let held = stage.lease(6);
    let of = |text: &str| held.iter().find(|held| held.key == text).unwrap();
    stage.throttle(of("p/a"), None, None);
    assert!(is_about(learned(&stage, "p/a"), 1.0), "one alone speaks for itself");
    stage.pass(Span::from_millis(900));
    stage.throttle(of("p/b"), None, Some(Span::from_secs(20)));
    assert!(is_about(learned(&stage, "p"), 1.0));
    assert_eq!(learned(&stage, "p/b"), f64::INFINITY);
    // The time that was named may be the child's alone.
    let until = |stage: &Stage, text: &str| stage.state(text).frozen_until.since(stage.now.engine);
    assert_eq!((until(&stage, "p"), until(&stage, "p/b")), (SECOND, Span::from_secs(20)));
    stage.throttle(of("p/c"), None, Some(Span::from_secs(40)));
    assert_eq!(learned(&stage, "p/c"), f64::INFINITY, "it went before the cut");
    assert_eq!((until(&stage, "p"), until(&stage, "p/c")), (SECOND, Span::from_secs(40)));
    assert_eq!(learned(&stage, ""), f64::INFINITY);
    assert_eq!(stage.lease(9).iter().filter(|held| held.key != "other").count(), 0);
}

#[test]
fn children_that_are_closed_anyway_say_nothing_of_their_parent() {
    let mut stage = Stage::with(of_queue(rate(1_000, 1_000)));
    let blocked: Vec<String> = (0..10).map(|n| format!("blocked{n}")).collect();
    stage.enqueue(blocked.iter().flat_map(|text| vec![job(text); 5]).collect());
    for _ in 0..4 {
        for held in stage.lease(100) {
            stage.throttle(&held, None, None);
        }
        stage.pass(Span::from_secs(20));
    }
    assert_eq!(learned(&stage, ""), f64::INFINITY);
    assert!(blocked.iter().all(|text| learned(&stage, text) < 1.0));
}

#[test]
fn node_that_the_worker_names_is_cut_and_no_other() {
    let mut stage = Stage::with(of_keys([("a", rate(10, 5))]));
    stage.enqueue(vec![job("a/x"); 9]);
    let held = next(&mut stage);
    stage.throttle(&held, Some(1), Some(Span::from_secs(7)));
    assert!(is_about(learned(&stage, "a"), 8.5));
    assert_eq!((learned(&stage, "a/x"), learned(&stage, "")), (f64::INFINITY, f64::INFINITY));
    assert_eq!(stage.state("a").frozen_until, stage.now.engine + Span::from_secs(7));
}

#[test]
fn learned_rate_is_told_as_what_stands_in_the_way() {
    let mut stage = Stage::with(of_keys([("a", rate(10, 1))]));
    let first = stage.enqueue(vec![job("a"); 9]);
    let held = next(&mut stage);
    stage.throttle(&held, None, None);
    let blocks = |stage: &Stage| {
        stage.blocks(JobId(first.0 + 2)).into_iter().map(|(kind, _)| kind).collect::<Vec<_>>()
    };
    assert_eq!(blocks(&stage), [BlockKind::Frozen, BlockKind::Rate]);
    work(&mut stage, 1);
    assert_eq!(blocks(&stage), [BlockKind::Adapted, BlockKind::Rate]);
}

#[test]
fn keys_adapt_as_their_queue_unless_they_say() {
    let said = |adaptive| NodeSettings { adaptive: Some(adaptive), ..rate(10, 5) };
    for (of_queue, of_key, learns) in [
        (Some(false), None, false),
        (Some(false), Some(true), true),
        (None, Some(false), false),
        (None, None, true),
    ] {
        let node = NodeSettings { adaptive: of_key, ..rate(10, 5) };
        let queue = of_queue.map_or_else(NodeSettings::default, said);
        let mut stage = Stage::with(QueuePatch { node: Some(queue), ..of_keys([("a", node)]) });
        stage.enqueue(vec![job("a"); 9]);
        let held = next(&mut stage);
        stage.throttle(&held, None, None);
        assert_eq!(learned(&stage, "a") < 10.0, learns, "queue {of_queue:?}, key {of_key:?}");
        assert_eq!(stage.state("a").frozen_until, stage.now.engine + SECOND);
        // What is not to learn any more forgets what it learned.
        stage.put(of_keys([("a", said(false))]));
        assert_eq!(learned(&stage, "a"), f64::INFINITY);
    }
}

#[test]
fn what_was_learned_is_forgotten_after_an_hour_of_quiet_or_when_somebody_says_so() {
    let mut stage = Stage::with(QueuePatch::default());
    stage.enqueue(vec![job("a"); 9]);
    let held = next(&mut stage);
    stage.throttle(&held, None, None);
    stage.pass(Span(bound::FEEDBACK_MEMORY.0 - 1));
    assert!(is_about(learned(&stage, "a"), 1.0));
    stage.pass(Span(1));
    assert_eq!(stage.state("a"), NodeState::default());
    let held = next(&mut stage);
    stage.throttle(&held, None, None);
    stage.ask(Command::ResetNode(NodeName::Key(queue(), key("a"))));
    assert_eq!(stage.state("a"), NodeState::default());
    assert_eq!(stage.lease(9).len(), 9);
}

#[test]
fn what_was_learned_survives_a_restart() {
    let mut stage = Stage::with(of_queue(rate(10, 4)));
    stage.enqueue(vec![job("a"); 99]);
    let held = next(&mut stage);
    stage.throttle(&held, Some(0), None);
    work(&mut stage, 20);
    let held = next(&mut stage);
    stage.throttle(&held, None, None);
    for _ in 0..3 {
        let (before, of_key) = (stage.state(""), stage.state("a"));
        assert!(
            before.rate_in_force(stage.now.engine).is_some()
                && of_key.rate_in_force(stage.now.engine).is_some()
        );
        stage.restart();
        assert_eq!((stage.state(""), stage.state("a")), (before, of_key));
        work(&mut stage, 2);
    }
}

/// A node of which two jobs failed in a row.
fn open(stage: &mut Stage) {
    for _ in 0..2 {
        let held = next(stage);
        stage.nack(&held, NackReason::Failed);
    }
}

fn breaker_of(stage: &Stage, text: &str) -> BreakerState {
    stage.state(text).breaker_state(stage.now.engine)
}

/// What failed does not come back meanwhile.
fn broken_after_two() -> QueuePatch {
    let later = Some(Span::from_secs(3_000));
    QueuePatch {
        retry: RetryPatch { initial_backoff: later, max_backoff: later, ..RetryPatch::default() },
        ..of_keys([("a", breaker(2, Span::from_secs(30)))])
    }
}

#[test]
fn failures_in_a_row_open_the_breaker_and_jobs_behind_it_wait_without_an_attempt() {
    let mut stage = Stage::with(broken_after_two());
    let first = stage.enqueue(vec![job("a/x"); 9]);
    for reason in [NackReason::Failed, NackReason::Rejected, NackReason::Failed, NackReason::Throttled] {
        let held = next(&mut stage);
        stage.nack(&held, reason);
    }
    assert_eq!(breaker_of(&stage, "a"), BreakerState::Closed);
    let held = next(&mut stage);
    stage.nack(&held, NackReason::Failed);
    assert_eq!(breaker_of(&stage, "a"), BreakerState::Open);
    stage.enqueue(vec![job("b")]);
    let id = JobId(first.0 + 8);
    assert_eq!(stage.blocks(id), [(BlockKind::Breaker, "a".to_owned())]);
    assert_eq!(stage.lease(9).iter().map(|held| held.key.as_str()).collect::<Vec<_>>(), ["b"]);
    let until = stage.engine.job(id, stage.now).unwrap().blocks[0].until;
    assert_eq!(until, Some(stage.now.wall + Span::from_secs(30)));
    assert_eq!(stage.engine.job(id, stage.now).unwrap().attempts, 0);
}

#[test]
fn expired_leases_are_failures() {
    let mut stage = Stage::with(QueuePatch { lease_duration: Some(SECOND), ..broken_after_two() });
    stage.enqueue(vec![job("a"); 4]);
    stage.lease(2);
    stage.pass(SECOND);
    assert_eq!(breaker_of(&stage, "a"), BreakerState::Open);
}

#[test]
fn one_probe_at_a_time_closes_the_breaker_or_opens_it_again() {
    let mut stage = Stage::with(broken_after_two());
    let first = stage.enqueue(vec![job("a"); 20]);
    let early = stage.lease(2);
    open(&mut stage);
    let waiting = stage.wait(9);
    assert_eq!(stage.pass_to_next(), Span::from_secs(30));
    let mut probe = stage.leased(waiting).unwrap();
    assert_eq!((probe.len(), breaker_of(&stage, "a")), (1, BreakerState::HalfOpen));
    assert_eq!(stage.blocks(JobId(first.0 + 19)), [(BlockKind::Breaker, "a".to_owned())]);
    // What went before it opened decides nothing.
    stage.ack(&early[0]);
    stage.nack(&early[1], NackReason::Failed);
    assert_eq!((stage.lease(9), breaker_of(&stage, "a")), (vec![], BreakerState::HalfOpen));
    // Given back, it leaves its place to another.
    let waiting = stage.wait(9);
    stage.nack(&probe.remove(0), NackReason::Released);
    let probe = stage.leased(waiting).unwrap();
    assert_eq!(probe.len(), 1);
    stage.nack(&probe[0], NackReason::Failed);
    assert_eq!(breaker_of(&stage, "a"), BreakerState::Open);
    let waiting = stage.wait(9);
    assert_eq!(stage.pass_to_next(), Span::from_secs(30));
    let probe = stage.leased(waiting).unwrap();
    let waiting = stage.wait(4);
    stage.ack(&probe[0]);
    assert_eq!(breaker_of(&stage, "a"), BreakerState::Closed);
    assert_eq!(stage.leased(waiting).unwrap().len(), 4);
}

#[test]
fn throttled_probe_neither_opens_nor_closes() {
    let mut stage = Stage::with(broken_after_two());
    stage.enqueue(vec![job("a"); 9]);
    open(&mut stage);
    let probe = next(&mut stage);
    stage.throttle(&probe, None, Some(Span::from_secs(5)));
    assert_eq!(breaker_of(&stage, "a"), BreakerState::HalfOpen);
    let waiting = stage.wait(9);
    assert_eq!(stage.pass_to_next(), Span::from_secs(5));
    assert_eq!(stage.leased(waiting).unwrap().len(), 1);
}

#[test]
fn breaker_survives_a_restart_wherever_it_stands() {
    let mut stage = Stage::with(broken_after_two());
    stage.enqueue(vec![job("a"); 9]);
    let held = next(&mut stage);
    stage.nack(&held, NackReason::Failed);
    stage.restart();
    let held = next(&mut stage);
    stage.nack(&held, NackReason::Failed);
    stage.restart();
    assert_eq!((breaker_of(&stage, "a"), stage.lease(9)), (BreakerState::Open, vec![]));
    let probe = next(&mut stage);
    stage.restart();
    assert_eq!((breaker_of(&stage, "a"), stage.lease(9)), (BreakerState::HalfOpen, vec![]));
    stage.ack(&probe);
    assert_eq!(breaker_of(&stage, "a"), BreakerState::Closed);
    stage.restart();
    assert_eq!(stage.lease(9).len(), 6);
}

#[test]
fn breaker_closes_when_it_is_told_to_or_is_no_more() {
    for undo in [
        |stage: &mut Stage| {
            stage.ask(Command::ResetNode(NodeName::Key(queue(), key("a"))));
        },
        |stage: &mut Stage| stage.put(of_keys([])),
    ] {
        let mut stage = Stage::with(broken_after_two());
        stage.enqueue(vec![job("a"); 9]);
        open(&mut stage);
        let probe = next(&mut stage);
        let waiting = stage.wait(4);
        assert_eq!(stage.leased(waiting), None);
        undo(&mut stage);
        assert_eq!(stage.leased(waiting).unwrap().len(), 4);
        stage.ack(&probe);
        assert_eq!(breaker_of(&stage, "a"), BreakerState::Closed);
    }
}
