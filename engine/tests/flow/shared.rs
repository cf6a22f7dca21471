//! Limits that queues share, and tokens without a job: one sentence a test.

use sluice_engine::*;

use crate::node::key;
use crate::stage::{SECOND, Stage, cost_quota, cost_rate, dear, job, of_queue, queue, quota, rate, slots};

pub(crate) fn named(text: &str) -> QueueName {
    QueueName::new(text).unwrap()
}

pub(crate) fn vendor() -> LimitName {
    named("vendor")
}

pub(crate) fn put_limit(stage: &mut Stage, node: NodeSettings) {
    let patch = LimitPatch { node: Some(node), priority_ageing: Some(Span::ZERO) };
    stage.done(Command::PutLimit(PutLimit { name: vendor(), patch, version: None }));
}

pub(crate) fn put_under(stage: &mut Stage, queue: &str, limit: Option<LimitName>) {
    let patch = QueuePatch { limit: Some(limit), priority_ageing: Some(Span::ZERO), ..QueuePatch::default() };
    stage.done(Command::PutQueue(PutQueue { name: named(queue), patch, version: None }));
}

/// Two queues under one limit.
pub(crate) fn shared(node: NodeSettings) -> Stage {
    let mut stage = Stage::with(QueuePatch::default());
    put_limit(&mut stage, node);
    put_under(&mut stage, "q1", Some(vendor()));
    put_under(&mut stage, "q2", Some(vendor()));
    stage
}

fn acquire(stage: &mut Stage, node: NodeName, cost: u64, wait: Span) -> Ticket {
    stage.ask(Command::Acquire(Acquire { node, cost, wait }))
}

/// What a call for tokens was told, if it is known by now.
fn acquired(stage: &mut Stage, ticket: Ticket) -> Option<Acquired> {
    stage.answer(ticket).map(|answer| match answer {
        Ok(Outcome::Acquired(acquired)) => acquired,
        other => panic!("{other:?}"),
    })
}

fn at_once(stage: &mut Stage, node: NodeName, cost: u64) -> Acquired {
    let ticket = acquire(stage, node, cost, Span::ZERO);
    acquired(stage, ticket).unwrap()
}

pub(crate) fn of_vendor() -> NodeName {
    NodeName::Limit(vendor())
}

#[test]
fn queues_share_what_their_limit_lets_through() {
    let mut stage = shared(rate(1, 3));
    stage.enqueue_to(named("q1"), vec![job("a"); 9]);
    let first = stage.enqueue_to(named("q2"), vec![job("a"); 9]);
    assert_eq!(stage.lease_from(named("q1"), 2).len(), 2);
    assert_eq!(stage.lease_from(named("q2"), 9).len(), 1);
    assert_eq!(stage.lease_from(named("q1"), 9).len(), 0);
    let block = stage.engine.job(JobId(first.0 + 1), stage.now).unwrap().blocks.remove(0);
    assert_eq!((block.kind, block.key, block.limit), (BlockKind::Rate, Key::default(), Some(vendor())));
}

#[test]
fn queues_under_a_limit_have_turns_while_both_are_leased_from() {
    let mut stage = shared(rate(1, 1));
    for queue in ["q1", "q2"] {
        stage.enqueue_to(named(queue), vec![job("a"); 9]);
    }
    assert_eq!(stage.lease_from(named("q1"), 1).len(), 1);
    let mut served = Vec::new();
    let mut waiting = ["q1", "q2"].map(|queue| stage.wait_from(named(queue), 1));
    for _ in 0..6 {
        stage.pass(SECOND);
        for (at, queue) in ["q1", "q2"].into_iter().enumerate() {
            if stage.leased(waiting[at]).is_some_and(|jobs| jobs.len() == 1) {
                served.push(queue);
                waiting[at] = stage.wait_from(named(queue), 1);
            }
        }
    }
    assert_eq!(served.iter().filter(|queue| **queue == "q1").count(), 3, "{served:?}");
    assert_eq!(served.len(), 6);
}

#[test]
fn queue_from_which_nobody_leases_stands_in_nobodys_way() {
    let mut stage = shared(rate(1, 1));
    stage.enqueue_to(named("q1"), vec![job("a"); 9]);
    stage.enqueue_to(named("q2"), vec![JobSpec { priority: Priority::HIGHEST, ..job("a") }]);
    for _ in 0..5 {
        assert_eq!(stage.lease_from(named("q1"), 9).len(), 1);
        stage.pass(SECOND);
    }
}

#[test]
fn more_urgent_job_of_another_queue_goes_first() {
    let mut stage = shared(rate(1, 1));
    stage.enqueue_to(named("q1"), vec![job("a"); 3]);
    assert_eq!(stage.lease_from(named("q1"), 1).len(), 1);
    let first = stage.wait_from(named("q1"), 1);
    let second = stage.wait_from(named("q2"), 1);
    stage.enqueue_to(named("q2"), vec![JobSpec { priority: Priority::HIGHEST, ..job("a") }]);
    stage.pass(SECOND);
    assert_eq!(stage.leased(first), None);
    assert_eq!(stage.leased(second).unwrap().len(), 1);
}

#[test]
fn weights_of_queues_count_under_their_limit() {
    let mut stage = shared(rate(1, 1));
    let heavy = NodeSettings { weight: 2, ..NodeSettings::default() };
    let patch = QueuePatch { limit: Some(Some(vendor())), ..of_queue(heavy) };
    stage.done(Command::PutQueue(PutQueue { name: named("q1"), patch, version: None }));
    for queue in ["q1", "q2"] {
        stage.enqueue_to(named(queue), vec![job("a"); 20]);
    }
    // Enough that somebody waits for each all the while.
    let tickets = ["q1", "q2"].map(|queue| [(); 12].map(|()| stage.wait_from(named(queue), 1)));
    for _ in 0..12 {
        stage.pass(SECOND);
    }
    let served =
        tickets.map(|of_queue| of_queue.into_iter().filter(|ticket| stage.leased(*ticket).is_some()).count());
    assert!(served[0].abs_diff(2 * served[1]) <= 2 && served[1] >= 4, "{served:?}");
}

#[test]
fn slots_of_a_limit_are_those_of_all_its_queues() {
    let mut stage = shared(slots(2));
    for queue in ["q1", "q2"] {
        stage.enqueue_to(named(queue), vec![job("a"); 9]);
    }
    let held = stage.lease_from(named("q1"), 1);
    assert_eq!(stage.lease_from(named("q2"), 9).len(), 1);
    let waiting = stage.wait_from(named("q2"), 1);
    assert_eq!(stage.leased(waiting), None);
    stage.ack(&held[0]);
    assert_eq!(stage.leased(waiting).unwrap().len(), 1);
}

#[test]
fn limit_that_changes_holds_at_once_and_keeps_what_went() {
    let mut stage = shared(rate(1, 5));
    stage.enqueue_to(named("q1"), vec![job("a"); 20]);
    assert_eq!(stage.lease_from(named("q1"), 3).len(), 3);
    put_limit(&mut stage, rate(1, 4));
    assert_eq!(stage.lease_from(named("q1"), 9).len(), 1);
    let waiting = stage.wait_from(named("q1"), 2);
    put_limit(&mut stage, rate(1, 6));
    assert_eq!(stage.leased(waiting).unwrap().len(), 2);
}

#[test]
fn what_went_through_a_limit_survives_a_restart() {
    for node in [rate(1, 3), quota(3, SECOND), slots(3)] {
        let mut stage = shared(node);
        stage.enqueue_to(named("q1"), vec![job("a"); 9]);
        stage.enqueue_to(named("q2"), vec![job("a"); 9]);
        assert_eq!(stage.lease_from(named("q1"), 2).len(), 2);
        stage.restart();
        assert_eq!(stage.lease_from(named("q2"), 9).len(), 1);
        assert_eq!(stage.lease_from(named("q1"), 9).len(), 0);
    }
}

#[test]
fn queue_that_leaves_a_limit_is_free_and_one_that_comes_is_not() {
    let mut stage = shared(rate(1, 1));
    stage.enqueue_to(named("q1"), vec![job("a"); 9]);
    assert_eq!(stage.lease_from(named("q1"), 9).len(), 1);
    put_under(&mut stage, "q1", None);
    assert_eq!(stage.lease_from(named("q1"), 2).len(), 2);
    let waiting = stage.wait_from(named("q1"), 9);
    assert!(stage.leased(waiting).is_some());
    stage.enqueue_to(named("q1"), vec![job("a"); 9]);
    put_under(&mut stage, "q1", Some(vendor()));
    assert_eq!(stage.lease_from(named("q1"), 9).len(), 0);
}

#[test]
fn limit_is_deleted_only_when_no_queue_hangs_under_it() {
    let mut stage = shared(rate(1, 1));
    assert_eq!(stage.answered(Command::DeleteLimit(vendor())), Err(Refusal::LimitInUse));
    put_under(&mut stage, "q1", None);
    stage.done(Command::DeleteQueue(DeleteQueue { name: named("q2"), force: true }));
    stage.done(Command::DeleteLimit(vendor()));
    assert_eq!(stage.answered(Command::DeleteLimit(vendor())), Err(Refusal::LimitNotFound));
    let patch = QueuePatch { limit: Some(Some(vendor())), ..QueuePatch::default() };
    let put = Command::PutQueue(PutQueue { name: named("q1"), patch, version: None });
    assert_eq!(stage.answered(put), Err(Refusal::LimitNotFound));
}

#[test]
fn drain_takes_what_a_limit_holds_back() {
    let mut stage = shared(quota(1, Span::from_secs(60)));
    stage.enqueue_to(named("q1"), vec![job("a"); 5]);
    stage.enqueue_to(named("q2"), vec![job("a"); 5]);
    assert_eq!(stage.lease_from(named("q1"), 9).len(), 1);
    let request = RequestKey { id: 1, content: 0 };
    let drain = Command::Drain(Drain { queue: named("q1"), request, max_jobs: 100 });
    let Outcome::Drained(drained) = stage.done(drain) else { panic!() };
    assert_eq!(drained.total, 4);
    stage.pass(Span::from_secs(70));
    assert_eq!(stage.lease_from(named("q2"), 9).len(), 1);
}

#[test]
fn limit_that_a_worker_names_is_frozen_and_can_be_let_go_on() {
    let mut stage = shared(NodeSettings::default());
    stage.enqueue_to(named("q1"), vec![job("a"); 3]);
    stage.enqueue_to(named("q2"), vec![job("a"); 3]);
    let held = stage.lease_from(named("q1"), 1).remove(0);
    let nack = |limit: &str| {
        Command::Nack(vec![Nack {
            id: held.id,
            token: held.token,
            reason: NackReason::Throttled,
            error: None,
            retry_after: Some(Span::from_secs(60)),
            scope: Some(ThrottleScope::Limit(named(limit))),
            actual_cost: None,
        }])
    };
    let Outcome::Nacked(results) = stage.done(nack("other")) else { panic!() };
    assert_eq!(results, [Err(ItemRefusal::LimitNotFound)]);
    stage.done(nack("vendor"));
    assert_eq!(stage.lease_from(named("q2"), 9).len(), 0);
    let waiting = stage.wait_from(named("q2"), 9);
    stage.done(Command::ResetNode(of_vendor()));
    assert_eq!(stage.leased(waiting).unwrap().len(), 3);
}

#[test]
fn tokens_are_taken_of_a_node_and_all_above_it() {
    let mut stage = shared(cost_rate(1, 5));
    let of_key = NodeName::Key(named("q1"), key("a/x"));
    assert_eq!(at_once(&mut stage, of_key, 2), Acquired { retry_after: None, tokens: Some(3) });
    assert_eq!(at_once(&mut stage, of_vendor(), 1), Acquired { retry_after: None, tokens: Some(2) });
    stage.enqueue_to(named("q2"), vec![job("a"); 9]);
    assert_eq!(stage.lease_from(named("q2"), 9).len(), 2);
    let refused = at_once(&mut stage, of_vendor(), 1);
    assert_eq!(refused, Acquired { retry_after: Some(SECOND), tokens: Some(0) });
}

#[test]
fn calls_wait_for_tokens_in_order_of_arrival_until_they_have_waited_enough() {
    let mut stage = shared(cost_rate(1, 2));
    assert_eq!(at_once(&mut stage, of_vendor(), 2).retry_after, None);
    let first = acquire(&mut stage, of_vendor(), 2, Span::from_secs(10));
    let second = acquire(&mut stage, of_vendor(), 1, Span::from_secs(10));
    let third = acquire(&mut stage, of_vendor(), 1, SECOND);
    stage.pass(SECOND);
    assert!(acquired(&mut stage, third).unwrap().retry_after.is_some());
    // One token is there, but not two.
    assert_eq!((acquired(&mut stage, first), acquired(&mut stage, second)), (None, None));
    stage.pass_to_next();
    assert_eq!(acquired(&mut stage, first).unwrap().retry_after, None);
    stage.ask(Command::Abandon(second));
    assert_eq!(stage.engine.next_wake(stage.now), None);
}

#[test]
fn calls_for_tokens_and_jobs_have_turns() {
    let mut stage = shared(rate(1, 1));
    stage.enqueue_to(named("q1"), vec![job("a"); 9]);
    assert_eq!(stage.lease_from(named("q1"), 1).len(), 1);
    let calls: Vec<_> = (0..9).map(|_| acquire(&mut stage, of_vendor(), 1, Span::from_secs(60))).collect();
    let (mut jobs, mut waiting) = (0, stage.wait_from(named("q1"), 1));
    for _ in 0..8 {
        stage.pass(SECOND);
        if let Some(leased) = stage.leased(waiting) {
            jobs += leased.len();
            waiting = stage.wait_from(named("q1"), 1);
        }
    }
    let got = calls.into_iter().filter(|call| acquired(&mut stage, *call).is_some()).count();
    assert_eq!((jobs, got), (4, 4));
}

#[test]
fn cheap_calls_do_not_pass_a_dear_job_for_ever() {
    let mut stage = shared(cost_rate(1, 5));
    stage.enqueue_to(named("q1"), vec![dear("a", 5); 3]);
    assert_eq!(stage.lease_from(named("q1"), 1).len(), 1);
    let waiting = stage.wait_from(named("q1"), 1);
    for _ in 0..60 {
        acquire(&mut stage, of_vendor(), 1, Span::from_secs(600));
    }
    for _ in 0..15 {
        stage.pass(SECOND);
    }
    assert_eq!(stage.leased(waiting).unwrap().len(), 1);
    // And dear jobs do not hold the calls back for ever.
    let waiting = stage.wait_from(named("q1"), 1);
    let call = acquire(&mut stage, of_vendor(), 1, Span::from_secs(600));
    for _ in 0..200 {
        stage.pass(SECOND);
    }
    assert!(stage.leased(waiting).is_some() && acquired(&mut stage, call).is_some());
}

#[test]
fn calls_need_not_wait_for_a_dear_job_that_is_gone() {
    let mut stage = shared(cost_rate(1, 5));
    let first = stage.enqueue_to(named("q1"), vec![dear("a", 5); 2]);
    assert_eq!(stage.lease_from(named("q1"), 1).len(), 1);
    stage.wait_from(named("q1"), 1);
    let calls = [(); 3].map(|()| acquire(&mut stage, of_vendor(), 1, Span::from_secs(60)));
    for _ in 0..3 {
        stage.pass(SECOND);
    }
    let told = calls.map(|call| acquired(&mut stage, call).is_some());
    assert_eq!(told, [true, false, false], "one has had its turn, and now it is the job's");
    stage.done(Command::Cancel(JobId(first.0 + 1)));
    assert!(calls[1..].iter().all(|call| acquired(&mut stage, *call).is_some()));
}

#[test]
fn calls_need_not_wait_for_a_dear_call_that_is_gone() {
    let mut stage = shared(cost_rate(1, 5));
    assert_eq!(at_once(&mut stage, of_vendor(), 4).retry_after, None);
    let dear = acquire(&mut stage, of_vendor(), 5, Span::from_secs(60));
    let cheap = acquire(&mut stage, of_vendor(), 1, Span::from_secs(60));
    assert_eq!(acquired(&mut stage, cheap), None);
    stage.ask(Command::Abandon(dear));
    assert_eq!(acquired(&mut stage, cheap), Some(Acquired { retry_after: None, tokens: Some(0) }));
}

#[test]
fn tokens_that_a_job_gives_back_are_had_at_once() {
    let mut stage = shared(cost_rate(1, 5));
    stage.pass(Span(1));
    stage.enqueue_to(named("q1"), vec![dear("a", 5)]);
    let held = stage.lease_from(named("q1"), 1);
    let call = acquire(&mut stage, of_vendor(), 3, Span::from_secs(60));
    assert_eq!(acquired(&mut stage, call), None);
    stage.ack_for(&held[0], Some(1));
    assert_eq!(acquired(&mut stage, call), Some(Acquired { retry_after: None, tokens: Some(1) }));
}

#[test]
fn what_was_kept_for_a_dear_job_is_free_as_soon_as_nobody_leases_from_its_queue() {
    let mut stage = shared(cost_quota(6, Span::from_secs(60)));
    put_under(&mut stage, "q3", Some(vendor()));
    stage.pass(Span(1));
    stage.enqueue_to(named("q1"), vec![dear("a", 6)]);
    stage.enqueue_to(named("q2"), vec![JobSpec { priority: Priority::HIGHEST, ..dear("a", 4) }; 2]);
    stage.enqueue_to(named("q3"), vec![job("a")]);
    let held = stage.lease_from(named("q1"), 1);
    let (dear, cheap) = (stage.wait_from(named("q2"), 2), stage.wait_from(named("q3"), 1));
    // The first of the dear ones goes; the second is too much, and its lease is answered without it.
    stage.ack_for(&held[0], Some(0));
    assert_eq!(stage.leased(dear).unwrap().len(), 1);
    assert_eq!(stage.leased(cheap).expect("in the same step").len(), 1);
}

#[test]
fn tokens_of_what_is_not_there_are_free_and_of_an_unknown_limit_refused() {
    let mut stage = Stage::with(QueuePatch::default());
    let unknown = NodeName::Key(named("nowhere"), Key::default());
    assert_eq!(at_once(&mut stage, unknown, 7), Acquired { retry_after: None, tokens: None });
    let refused = Command::Acquire(Acquire { node: of_vendor(), cost: 1, wait: Span::ZERO });
    assert_eq!(stage.answered(refused), Err(Refusal::LimitNotFound));
    assert_eq!(stage.lease_from(queue(), 1), []);
}

#[test]
fn emergency_passes_windows_of_a_limit_and_is_owed_there_but_not_its_slots() {
    let emergency = || vec![JobSpec { bypass_limits: true, ..job("a") }];
    let mut stage = shared(quota(1, Span::from_secs(60)));
    stage.enqueue_to(named("q1"), vec![job("a"); 3]);
    assert_eq!(stage.lease_from(named("q1"), 9).len(), 1);
    let waiting = stage.wait_from(named("q2"), 1);
    stage.enqueue_to(named("q2"), emergency());
    assert_eq!(stage.leased(waiting).unwrap().len(), 1);

    let mut stage = shared(slots(1));
    stage.enqueue_to(named("q1"), vec![job("a")]);
    let held = stage.lease_from(named("q1"), 1);
    let waiting = stage.wait_from(named("q2"), 1);
    stage.enqueue_to(named("q2"), emergency());
    assert_eq!(stage.leased(waiting), None);
    stage.ack(&held[0]);
    assert_eq!(stage.leased(waiting).unwrap().len(), 1);
}

#[test]
fn what_a_job_cost_is_settled_at_its_limit_too() {
    let mut stage = shared(cost_rate(1, 10));
    // What goes in the moment of a change is not told from what went before.
    stage.pass(Span(1));
    stage.enqueue_to(named("q1"), vec![dear("a", 8)]);
    stage.enqueue_to(named("q2"), vec![dear("a", 9)]);
    let held = stage.lease_from(named("q1"), 1);
    let waiting = stage.wait_from(named("q2"), 1);
    assert_eq!(stage.leased(waiting), None);
    stage.ack_for(&held[0], Some(1));
    assert_eq!(stage.leased(waiting).unwrap().len(), 1);
}

#[test]
fn limit_counts_in_what_is_foreseen_and_explained() {
    let mut stage = shared(rate(1, 1));
    let first = stage.enqueue_to(named("q1"), vec![job("a"); 31]);
    assert_eq!(stage.lease_from(named("q1"), 1).len(), 1);
    stage.wait_from(named("q1"), 1);
    let last = JobId(first.0 + 30);
    let range = |stage: &Stage| {
        let eta = stage.engine.foresee(last, stage.now).unwrap().eta.unwrap();
        (
            eta.earliest.since(stage.now.wall).0 / SECOND.0,
            eta.latest.map(|time| time.since(stage.now.wall).0 / SECOND.0),
        )
    };
    let alone = range(&stage);
    assert!(
        (24..=30).contains(&alone.0) && alone.1.is_some_and(|latest| (30..40).contains(&latest)),
        "{alone:?}"
    );
    // Another queue that is leased from takes every other turn.
    stage.enqueue_to(named("q2"), vec![job("a"); 100]);
    stage.wait_from(named("q2"), 1);
    let beside = range(&stage);
    assert!(beside.1.is_some_and(|latest| latest >= 55), "{beside:?}");
    let gates = stage.engine.explain(last, stage.now).unwrap().gates;
    assert_eq!(gates.last().map(|gate| (gate.gate.limit.clone(), gate.closed)), Some((Some(vendor()), true)));
}
