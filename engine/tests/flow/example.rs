//! Rules of flow control, one sentence a test.

use sluice_engine::*;

use crate::stage::{
    SECOND, Stage, cost_rate, dear, job, of_keys, of_queue, ordered, queue, quota, rate, slots,
};

#[test]
fn burst_goes_at_once_and_then_one_at_a_time_to_the_nanosecond() {
    let mut stage = Stage::with(of_queue(rate(3, 2)));
    stage.enqueue(vec![job("a"); 4]);
    assert_eq!(stage.lease(9).len(), 2);
    let waiting = stage.wait(9);
    // Rounded up: never faster than was said.
    assert_eq!(stage.pass_to_next(), Span(333_333_334));
    assert_eq!(stage.leased(waiting).unwrap().len(), 1);
}

#[test]
fn quota_lets_no_more_through_in_any_minute() {
    let minute = Span::from_secs(60);
    let mut stage = Stage::with(of_queue(quota(20, minute)));
    stage.enqueue(vec![job("a"); 60]);
    assert_eq!(stage.lease(15).len(), 15);
    stage.pass(Span::from_secs(50));
    assert_eq!(stage.lease(60).len(), 5);
    stage.pass(Span::from_secs(9));
    assert_eq!(stage.lease(60).len(), 0);
    stage.pass(Span::from_secs(6));
    // Those of the beginning count no more, those of second 50 do.
    assert_eq!(stage.lease(60).len(), 15);
}

#[test]
fn polls_that_get_nothing_are_charged_nothing() {
    let mut stage = Stage::with(of_queue(rate(1, 2)));
    for _ in 0..10 {
        assert_eq!(stage.lease(9), []);
    }
    stage.enqueue(vec![job("a"); 3]);
    assert_eq!(stage.lease(9).len(), 2);
    for _ in 0..10 {
        assert_eq!(stage.lease(9), []);
    }
    stage.pass(SECOND);
    assert_eq!(stage.lease(9).len(), 1);
}

#[test]
fn lease_finds_what_opened_while_nobody_waited() {
    let mut stage = Stage::with(of_keys([("a", rate(1, 1))]));
    stage.enqueue(vec![job("a"); 2]);
    assert_eq!(stage.lease(9).len(), 1);
    // Nobody waits, so nobody wakes the engine when the time has come.
    stage.now.engine = stage.now.engine + SECOND;
    assert_eq!(stage.lease(9).len(), 1);
}

#[test]
fn key_at_its_limit_stands_in_nobodys_way() {
    let mut stage = Stage::with(of_keys([("bot1", rate(1, 1))]));
    stage.enqueue(vec![job("bot1/x"), job("bot1"), job("bot1/y"), job("bot2"), job("bot2")]);
    // What is under a key counts there, and so do jobs of the key itself.
    let keys: Vec<_> = stage.lease(9).into_iter().map(|held| held.key).collect();
    assert_eq!(keys, ["bot1/x", "bot2", "bot2"]);
}

#[test]
fn blocks_name_every_closed_gate_the_deepest_first() {
    let mut stage = Stage::with(QueuePatch {
        key_rules: of_keys([("a", rate(1, 1)), ("a/x", slots(1))]).key_rules,
        ..of_queue(quota(1, SECOND))
    });
    let first = stage.enqueue(vec![job("a/x"); 2]);
    stage.lease(1);
    let blocks = stage.blocks(JobId(first.0 + 1));
    let expected = [(BlockKind::InFlight, "a/x"), (BlockKind::Rate, "a"), (BlockKind::Quota, "")];
    assert_eq!(blocks, expected.map(|(kind, key)| (kind, key.to_owned())));
}

#[test]
fn dear_job_is_not_passed_for_ever_by_cheap_ones() {
    let mut stage = Stage::with(of_keys([("a", cost_rate(1, 5))]));
    stage.enqueue(vec![dear("a/x", 1), dear("a/x", 5)]);
    stage.enqueue(vec![dear("a/y", 1); 9]);
    assert_eq!(stage.lease(2).len(), 2);
    // 3 are left: enough for a/y, but it is a/x's turn.
    assert_eq!(stage.lease(9), []);
    let waiting = stage.wait(1);
    assert_eq!(stage.pass_to_next(), Span::from_secs(2));
    assert_eq!(stage.leased(waiting).unwrap()[0].key, "a/x");
}

#[test]
fn more_urgent_job_need_not_wait_for_a_dear_one() {
    for (key, other) in [("a/x", "a/y"), ("a", "a")] {
        let mut stage = Stage::with(of_keys([("a", cost_rate(1, 5))]));
        stage.enqueue(vec![dear(key, 2), dear(key, 5)]);
        assert_eq!(stage.lease(9).len(), 1);
        let urgent = stage.enqueue(vec![JobSpec { priority: Priority::HIGHEST, ..dear(other, 1) }]);
        assert_eq!(stage.lease(9)[0].id, urgent);
    }
}

#[test]
fn cheap_jobs_go_at_once_when_the_dear_one_before_them_is_given_up() {
    for give_up in [Command::Cancel, |id| {
        Command::Purge(Sweep { queue: queue(), states: StateSet::ALL, jobs: vec![id] })
    }] {
        let mut stage = Stage::with(of_keys([("a", cost_rate(1, 5))]));
        let first = stage.enqueue(vec![dear("a", 2), dear("a", 5), dear("a", 1)]);
        assert_eq!(stage.lease(1).len(), 1);
        let waiting = stage.wait(1);
        assert_eq!(stage.leased(waiting), None);
        stage.ask(give_up(JobId(first.0 + 1)));
        assert_eq!(stage.leased(waiting).unwrap()[0].id, JobId(first.0 + 2));
    }
}

#[test]
fn job_that_comes_back_before_the_dear_one_does_not_wait_for_it() {
    let mut stage = Stage::with(of_keys([("a", cost_rate(1, 5))]));
    let first = stage.enqueue(vec![dear("a", 1), dear("a", 5)]);
    let held = stage.lease(1).remove(0);
    let waiting = stage.wait(1);
    assert_eq!(stage.leased(waiting), None, "what is left is kept for the dear one");
    stage.nack(&held, NackReason::Released);
    assert_eq!(stage.leased(waiting).unwrap()[0].id, first);
}

#[test]
fn what_is_reserved_for_an_aged_job_is_free_when_nothing_ages_any_more() {
    let ageing = |span| QueuePatch { priority_ageing: Some(span), ..QueuePatch::default() };
    let mut stage = Stage::with(of_keys([("a", cost_rate(1, 5))]));
    stage.put(ageing(SECOND));
    stage.enqueue(vec![dear("a/x", 4)]);
    assert_eq!(stage.lease(1).len(), 1);
    // Aged past the urgent one, and too dear for now.
    stage.enqueue(vec![dear("a/y", 5)]);
    stage.pass(Span::from_millis(1_500));
    let urgent = stage.enqueue(vec![JobSpec { priority: Priority::new(5).unwrap(), ..dear("a/z", 1) }]);
    assert_eq!(stage.lease(9), []);
    stage.put(ageing(Span::ZERO));
    assert_eq!(stage.lease(1)[0].id, urgent);
}

#[test]
fn job_dearer_than_ever_fits_goes_when_all_is_repaid_and_is_repaid_whole() {
    let mut stage = Stage::with(of_queue(cost_rate(1, 2)));
    stage.enqueue(vec![dear("a", 1), dear("a", 7), dear("a", 1)]);
    assert_eq!(stage.lease(9).len(), 1);
    let waiting = stage.wait(9);
    assert_eq!(stage.pass_to_next(), SECOND);
    assert_eq!(stage.leased(waiting).unwrap().len(), 1);
    let waiting = stage.wait(9);
    assert_eq!(stage.pass_to_next(), Span::from_secs(6));
    assert_eq!(stage.leased(waiting).unwrap().len(), 1);
}

#[test]
fn limit_that_is_lifted_while_nothing_is_ready_is_gone_at_once() {
    let day = Span::from_secs(86_400);
    for (before, after) in [(quota(1, day), NodeSettings::default()), (slots(1), slots(2))] {
        let mut stage = Stage::with(of_queue(before));
        stage.enqueue(vec![job("a")]);
        assert_eq!(stage.lease(9).len(), 1);
        stage.put(of_queue(after));
        stage.enqueue(vec![job("a")]);
        assert_eq!(stage.lease(9).len(), 1);
    }
}

#[test]
fn lifted_limit_reaches_however_many_keys_in_steps_of_bounded_length() {
    let slice = bound::MAX_NODES_SWEPT_PER_STEP;
    let keys = 3 * slice;
    let mut stage = Stage::with(of_keys([("k*", quota(1, Span::from_secs(86_400)))]));
    let jobs = || (0..keys).map(|number| job(&format!("k{number}"))).collect();
    stage.enqueue(jobs());
    stage.enqueue(jobs());
    assert_eq!(stage.lease(u32::MAX).len(), keys);
    stage.lease(1);
    stage.put(of_keys([("k*", NodeSettings::default())]));
    let first = stage.lease(u32::MAX).len();
    assert!((1..=3 * slice - 1).contains(&first), "{first} at once");
    let mut leased = first;
    while leased < keys {
        let waiting = stage.wait(u32::MAX);
        stage.pass_to_next();
        leased += stage.leased(waiting).expect("one who waits is served at once").len();
    }
    assert_eq!((leased, stage.lease(1).len()), (keys, 0));
}

#[test]
fn somebody_who_waits_is_served_from_the_last_key_that_a_lifted_limit_reaches() {
    // Those that are reached in the first step, and in the one after it, have nothing left.
    let keys = 3 * bound::MAX_NODES_SWEPT_PER_STEP;
    let mut stage = Stage::with(of_keys([("k*", quota(1, Span::from_secs(86_400)))]));
    let jobs = || (0..keys).map(|number| job(&format!("k{number}"))).collect();
    stage.enqueue(jobs());
    let first = stage.enqueue(jobs());
    assert_eq!(stage.lease(u32::MAX).len(), keys);
    let waiting = stage.wait(1);
    for number in first.0..first.0 + keys as u64 - 1 {
        stage.done(Command::Cancel(JobId(number)));
    }
    stage.put(of_keys([("k*", NodeSettings::default())]));
    assert_eq!(stage.leased(waiting), None, "its key is the last");
    while stage.engine.next_wake(stage.now) <= Some(stage.now.engine) {
        stage.pass(Span::ZERO);
    }
    assert_eq!(stage.leased(waiting).unwrap().len(), 1);
}

#[test]
fn job_of_a_time_of_day_goes_within_a_second_of_it_to_whatever_the_clock_is_set() {
    let mut stage = Stage::with(QueuePatch::default());
    let time = stage.now.wall + Span::from_secs(3_600);
    stage.enqueue(vec![JobSpec { start: Start::At(time), ..job("a") }]);
    let waiting = stage.wait(1);
    // Nobody tells the engine: it looks when it said it would.
    let looks = stage.engine.next_wake(stage.now).unwrap().since(stage.now.engine);
    assert!(looks <= SECOND, "{looks:?}");
    stage.now.wall = time;
    stage.pass(looks);
    assert_eq!(stage.leased(waiting).unwrap().len(), 1);
}

#[test]
fn debt_keeps_its_units_when_a_limit_changes() {
    let mut stage = Stage::with(of_queue(rate(10, 4)));
    stage.enqueue(vec![job("a"); 9]);
    assert_eq!(stage.lease(3).len(), 3);
    stage.put(of_queue(rate(1, 4)));
    assert_eq!(stage.lease(9).len(), 1);
    stage.put(of_queue(quota(6, SECOND)));
    assert_eq!(stage.lease(9).len(), 2);
}

#[test]
fn debt_survives_a_restart() {
    for node in [rate(1, 3), quota(3, SECOND), cost_rate(1, 3)] {
        let mut stage = Stage::with(of_queue(node));
        stage.enqueue(vec![job("a"); 9]);
        assert_eq!(stage.lease(2).len(), 2);
        stage.restart();
        assert_eq!(stage.lease(9).len(), 1);
        assert_eq!(stage.lease(9).len(), 0);
    }
}

#[test]
fn slot_is_free_again_however_its_job_ends() {
    let mut stage = Stage::with(QueuePatch { lease_duration: Some(SECOND), ..of_keys([("a", slots(1))]) });
    let first = stage.enqueue(vec![job("a"); 5]);
    let ends: [fn(&mut Stage, &crate::stage::Held); 4] = [
        |stage, held| stage.ack(held),
        |stage, held| stage.nack(held, NackReason::Failed),
        |stage, held| stage.nack(held, NackReason::Rejected),
        |stage, _| stage.pass(SECOND),
    ];
    let mut held = stage.lease(9).remove(0);
    for (end, id) in ends.into_iter().zip(first.0 + 1..) {
        let waiting = stage.wait(9);
        assert_eq!(stage.leased(waiting), None);
        end(&mut stage, &held);
        held = stage.leased(waiting).unwrap().remove(0);
        // What failed is not ready so soon.
        assert_eq!(held.id, JobId(id));
    }
}

#[test]
fn lowered_cap_holds_for_what_goes_from_then_on() {
    let mut stage = Stage::with(of_queue(slots(3)));
    stage.enqueue(vec![job("a"); 9]);
    let held = stage.lease(3);
    stage.put(of_queue(slots(1)));
    stage.ack(&held[0]);
    stage.ack(&held[1]);
    assert_eq!(stage.lease(9).len(), 0);
    stage.ack(&held[2]);
    assert_eq!(stage.lease(9).len(), 1);
}

#[test]
fn job_that_is_retried_holds_its_ordered_key() {
    let mut stage = Stage::with(of_keys([("a", ordered())]));
    let first = stage.enqueue(vec![job("a"), job("a"), job("b")]);
    let held = stage.lease(9);
    assert_eq!(held.iter().map(|held| held.key.as_str()).collect::<Vec<_>>(), ["a", "b"]);
    stage.nack(&held[0], NackReason::Failed);
    assert_eq!(stage.lease(9), []);
    assert_eq!(stage.blocks(JobId(first.0 + 1)), [(BlockKind::Ordered, "a".to_owned())]);
    let waiting = stage.wait(9);
    stage.pass(Span::from_secs(2));
    assert_eq!(stage.leased(waiting).unwrap()[0].id, first);
}

#[test]
fn throttled_job_spends_no_attempt_and_its_key_waits_for_it() {
    let mut stage = Stage::with(QueuePatch::default());
    let first = stage.enqueue(vec![job("a"), job("a"), job("b")]);
    let held = stage.lease(1).remove(0);
    stage.throttle(&held, None, None);
    let view = stage.engine.job(first, stage.now).unwrap();
    assert_eq!((view.state, view.attempts), (JobState::Ready, 0));
    assert_eq!(stage.lease(9).iter().map(|held| held.key.as_str()).collect::<Vec<_>>(), ["b"]);
    let waiting = stage.wait(9);
    assert_eq!(stage.pass_to_next(), SECOND);
    let ids: Vec<_> = stage.leased(waiting).unwrap().iter().map(|held| held.id).collect();
    assert_eq!(ids, [first, JobId(first.0 + 1)]);
}

#[test]
fn worker_says_which_node_was_too_much() {
    for (scope, waits) in [(0, vec!["a/x", "a/y", "b"]), (1, vec!["a/x", "a/y"]), (2, vec!["a/x"])] {
        let mut stage = Stage::with(QueuePatch::default());
        let first = stage.enqueue(vec![job("a/x"), job("a/y"), job("b")]);
        let held = stage.lease(1).remove(0);
        stage.throttle(&held, Some(scope), Some(Span::from_secs(9)));
        let ids = first.0..first.0 + 3;
        let blocked = ids.map(JobId).filter(|id| !stage.blocks(*id).is_empty());
        let keys: Vec<_> =
            blocked.map(|id| stage.engine.job(id, stage.now).unwrap().key.to_string()).collect();
        assert_eq!(keys, waits);
    }
}

#[test]
fn freezes_without_a_time_grow_until_there_is_a_minute_of_quiet() {
    let mut stage = Stage::with(of_queue(NodeSettings { adaptive: Some(false), ..NodeSettings::default() }));
    stage.enqueue(vec![job("a")]);
    let mut waits = Vec::new();
    for _ in 0..7 {
        let held = stage.lease(1).remove(0);
        stage.throttle(&held, None, None);
        let waiting = stage.wait(1);
        waits.push(stage.pass_to_next().0 / SECOND.0);
        let held = stage.leased(waiting).unwrap().remove(0);
        stage.nack(&held, NackReason::Released);
    }
    assert_eq!(waits, [1, 2, 4, 8, 16, 16, 16]);
    stage.pass(Span::from_secs(60));
    let held = stage.lease(1).remove(0);
    stage.throttle(&held, None, None);
    stage.wait(1);
    assert_eq!(stage.pass_to_next(), SECOND);
}

#[test]
fn frozen_node_goes_on_when_it_is_told_to() {
    let mut stage = Stage::with(of_keys([("a", rate(1, 1))]));
    stage.enqueue(vec![job("a")]);
    let held = stage.lease(1).remove(0);
    stage.throttle(&held, None, Some(Span::from_secs(600)));
    let waiting = stage.wait(1);
    stage.pass(SECOND);
    assert_eq!(stage.leased(waiting), None);
    stage.ask(Command::ResetNode(NodeName::Key(queue(), crate::node::key("a"))));
    assert_eq!(stage.leased(waiting).unwrap().len(), 1);
    // What went through its windows counts on.
    stage.enqueue(vec![job("a")]);
    assert_eq!(stage.lease(1).len(), 0);
}

#[test]
fn job_that_may_go_is_found_behind_however_many_that_may_not() {
    // More than the call and the step that it comes in look at.
    let keys = 3 * bound::MAX_PARKED_PER_STEP + 100;
    let mut stage = Stage::with(of_keys([("k*", cost_rate(1, 5))]));
    let name = |key: usize| format!("k{key}");
    stage.enqueue((0..keys).map(|key| dear(&name(key), 2)).collect());
    for _ in 0..keys / 1_000 + 1 {
        stage.lease(1_000);
    }
    // Each would let something cheap through.
    stage.enqueue((0..keys).map(|key| dear(&name(key), 5)).collect());
    stage.enqueue(vec![job("free")]);
    let waiting = stage.wait(1);
    for _ in 0..4 {
        if stage.engine.next_wake(stage.now) <= Some(stage.now.engine) {
            stage.pass(Span::ZERO);
        }
    }
    assert_eq!(stage.leased(waiting).unwrap()[0].key, "free");
}
