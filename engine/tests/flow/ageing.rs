//! Nobody starves: a job is never passed by one that came so much later that it has aged past it.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use sluice_engine::*;

use crate::cases;
use crate::stage::{SECOND, Stage, job, rate, slots};

#[derive(Clone, Copy, Debug)]
enum Step {
    /// Jobs of this priority, each of a key of its own.
    Enqueue(u32, u8),
    Lease(u32),
    /// So many of those in hand are done.
    Ack(usize),
    Pass(u64),
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (select(vec![0, 2, 4, 7, 9]), 1..3_u8).prop_map(|(priority, jobs)| Step::Enqueue(priority, jobs)),
        8 => (1..4_u32).prop_map(Step::Lease),
        5 => (0..5_usize).prop_map(Step::Ack),
        7 => (0..1_500_u64).prop_map(Step::Pass),
        1 => Just(Step::Restart),
    ]
}

/// A job that waits: when it came, and how urgent it is.
#[derive(Clone, Copy, Debug)]
struct Waits {
    id: JobId,
    came: Timestamp,
    priority: u64,
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(300), failure_persistence: None, ..ProptestConfig::default() })]

    /// Who is less urgent by so many priorities is passed by those that came at most as many steps of ageing after it,
    /// and by nobody else; also when the queue is at its limit, and across restarts.
    #[test]
    fn nobody_is_passed_by_one_that_it_has_aged_past(
        node in prop_oneof![(1..8_u32, 1..3_u32).prop_map(|(amount, burst)| rate(amount, burst)), (1..4_u32).prop_map(slots)],
        millis in prop_oneof![50..2_000_u64, Just(60_000)],
        steps in vec(step(), 1..150),
    ) {
        let ageing = Span::from_millis(millis);
        let mut stage = Stage::with(QueuePatch {
            lease_duration: Some(bound::MAX_LEASE),
            ..crate::stage::of_queue(node)
        });
        stage.put(QueuePatch { priority_ageing: Some(ageing), ..QueuePatch::default() });
        let (mut waiting, mut held, mut keys) = (Vec::<Waits>::new(), Vec::new(), 0);
        for step in steps {
            match step {
                Step::Enqueue(priority, jobs) => {
                    for _ in 0..jobs {
                        keys += 1;
                        let spec = JobSpec { priority: Priority::new(priority).unwrap(), ..job(&format!("k{keys}")) };
                        let id = stage.enqueue(vec![spec]);
                        waiting.push(Waits { id, came: stage.now.engine, priority: priority.into() });
                    }
                }
                Step::Lease(jobs) => {
                    for leased in stage.lease(jobs) {
                        let at = waiting.iter().position(|waits| waits.id == leased.id).expect("it waited");
                        let went = waiting.remove(at);
                        for other in &waiting {
                            // Both sides are of what is not negative.
                            let (later, sooner) = (went.came.0 + other.priority * ageing.0, other.came.0 + went.priority * ageing.0);
                            prop_assert!(later <= sooner, "{went:?} passed {other:?} by steps of {ageing:?}");
                        }
                        held.push(leased);
                    }
                }
                Step::Ack(jobs) => {
                    let jobs = jobs.min(held.len());
                    held.drain(..jobs).for_each(|held| stage.ack(&held));
                }
                Step::Pass(millis) => stage.pass(Span::from_millis(millis)),
                Step::Restart => stage.restart(),
            }
        }
    }
}

/// Of a key that is throttled all the time, too.
#[test]
fn key_at_its_limit_does_not_starve_what_is_less_urgent_in_it() {
    let mut stage = Stage::with(crate::stage::of_keys([("a", rate(1, 1))]));
    stage.put(QueuePatch { priority_ageing: Some(SECOND), ..QueuePatch::default() });
    let low = stage.enqueue(vec![JobSpec { priority: Priority::new(2).unwrap(), ..job("a") }]);
    let mut goes = || {
        stage.enqueue(vec![JobSpec { priority: Priority::new(7).unwrap(), ..job("a") }; 2]);
        let went = stage.lease(1).remove(0);
        stage.ack(&went);
        stage.pass(SECOND);
        went.id
    };
    // It is five priorities less urgent than one that has waited for a second since its turn, and one goes each second.
    assert_eq!((0..20).position(|_| goes() == low), Some(7));
}
