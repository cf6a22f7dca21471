//! What random histories found once, each as short as it could be told.

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use sluice_engine::*;

use crate::harness::Harness;
use crate::stage::{SECOND, bypass, cost_rate, job, of_keys, of_queue, rate};
use crate::step::{Pass, Step};

fn holds(steps: impl IntoIterator<Item = Step>) {
    let mut harness = Harness::new();
    steps.into_iter().for_each(|step| harness.step(&step));
    harness.finish();
}

fn put(patch: QueuePatch) -> Step {
    let (lease_duration, priority_ageing) = (Some(SECOND), Some(Span::ZERO));
    let patch = QueuePatch { lease_duration, priority_ageing, ..patch };
    Step::Put { queue: 1, patch }
}

fn enqueue(jobs: Vec<JobSpec>) -> Step {
    Step::Enqueue { queue: 1, jobs }
}

fn lease_one() -> Step {
    Step::Lease { queue: 1, max_jobs: 1, max_bytes: usize::MAX, wait: 0 }
}

/// Of those that are held.
fn the_first() -> prop::sample::Index {
    let mut least = any::<prop::sample::Index>().new_tree(&mut TestRunner::deterministic()).unwrap();
    while least.simplify() {}
    least.current()
}

fn throttle_the_first(actual_cost: Option<u32>) -> Step {
    let (pick, reason) = (the_first(), NackReason::Throttled);
    Step::Nack { pick, reason, retry_after: None, scope: None, actual_cost }
}

fn ack_the_first_for_nothing() -> Step {
    Step::Ack { pick: the_first(), jobs: 1, actual_cost: Some(0) }
}

#[test]
fn bypass_that_waits_goes_in_time_though_another_went_in_the_same_search() {
    holds([
        put(QueuePatch::default()),
        enqueue(vec![bypass("b"), bypass("")]),
        lease_one(),
        put(of_keys([("b", cost_rate(1, 1))])),
        throttle_the_first(Some(4)),
        lease_one(),
        Step::Pass(Pass::ToNext(1)),
    ]);
}

#[test]
fn refund_is_the_same_whether_what_was_past_at_other_settings_was_forgotten_before_or_after() {
    let a_minute = Window { period: Span::from_secs(60), ..rate(1, 1).windows[0] };
    let both = NodeSettings { windows: vec![cost_rate(1, 1).windows[0], a_minute], ..rate(1, 1) };
    holds([
        put(of_queue(both)),
        enqueue(vec![job(""); 3]),
        lease_one(),
        Step::Pass(Pass::Nanos(SECOND.0)),
        put(of_queue(cost_rate(1, 1))),
        lease_one(),
        ack_the_first_for_nothing(),
        Step::Restart,
    ]);
}

#[test]
fn refund_is_the_same_whether_nothing_went_through_a_node_before_a_restart_or_without_one() {
    holds([
        put(QueuePatch::default()),
        enqueue(vec![job("a"), job("")]),
        lease_one(),
        put(QueuePatch {
            node: Some(NodeSettings { adaptive: Some(false), ..NodeSettings::default() }),
            ..of_keys([("a", cost_rate(1, 1))])
        }),
        throttle_the_first(None),
        Step::Pass(Pass::Nanos(SECOND.0)),
        Step::Restart,
        ack_the_first_for_nothing(),
        Step::Restart,
    ]);
}
