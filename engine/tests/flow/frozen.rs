//! Rules of nodes that do not adapt: what THROTTLED does there, one sentence a test.

use sluice_engine::*;

use crate::stage::{Held, SECOND, Stage, cost_rate, dear, job, of_queue};

/// A queue whose rate stays as it is, and so many jobs of it in hand.
fn unlearned<const N: usize>(node: NodeSettings) -> (Stage, [Held; N]) {
    let mut stage = Stage::with(of_queue(NodeSettings { adaptive: Some(false), ..node }));
    stage.enqueue(vec![job("a"); N]);
    let held = stage.lease(N as u32).try_into().unwrap();
    (stage, held)
}

#[test]
fn freeze_is_as_long_as_the_longest_that_was_said() {
    let (mut stage, [first, second]) = unlearned(NodeSettings::default());
    stage.throttle(&first, None, Some(Span::from_secs(10)));
    stage.throttle(&second, None, Some(SECOND));
    let waiting = stage.wait(1);
    assert_eq!(stage.pass_to_next(), Span::from_secs(10));
    assert_eq!(stage.leased(waiting).unwrap().len(), 1);
}

#[test]
fn many_that_were_on_their_way_together_are_one_reason_to_freeze() {
    let (mut stage, held) = unlearned::<3>(NodeSettings::default());
    for held in &held {
        stage.throttle(held, None, None);
    }
    stage.wait(1);
    assert_eq!(stage.pass_to_next(), SECOND);
    let held = stage.lease(1).remove(0);
    stage.throttle(&held, None, None);
    stage.wait(1);
    assert_eq!(stage.pass_to_next(), Span::from_secs(2), "it is the second, and not the fourth");
}

#[test]
fn what_is_reserved_for_a_job_is_free_for_others_while_its_key_is_frozen() {
    let (mut stage, [held]) = unlearned(cost_rate(1, 5));
    stage.enqueue(vec![dear("a", 5)]);
    let waiting = stage.wait(1);
    stage.enqueue(vec![job("b")]);
    assert_eq!(stage.leased(waiting), None, "the dear job has waited longer");
    stage.throttle(&held, None, Some(Span::from_secs(600)));
    assert_eq!(stage.leased(waiting).unwrap()[0].key, "b");
}
