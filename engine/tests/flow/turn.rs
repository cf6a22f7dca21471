//! Turns: who shares a limit gets as much of it, or as much as was weighed.

use proptest::collection::vec;
use proptest::option::weighted;
use proptest::prelude::*;
use sluice_engine::*;

use crate::cases;
use crate::stage::{Held, Stage, job, of_keys, quota, rate, slots};

/// One limit, which the keys share.
pub(crate) fn limit() -> impl Strategy<Value = NodeSettings> {
    prop_oneof![
        (1..20_u32, 1..6_u32).prop_map(|(amount, burst)| rate(amount, burst)),
        (1..6_u32, 1..2_000_u64).prop_map(|(amount, millis)| quota(amount, Span::from_millis(millis))),
        (1..5_u32).prop_map(slots),
        Just(NodeSettings::default()),
    ]
}

/// So much time passes, so many are asked for, and so many of those in hand are done.
fn polls() -> impl Strategy<Value = Vec<(u64, u32, usize)>> {
    vec((0..800_u64, 1..5_u32, 0..5_usize), 1..60)
}

/// Which keys got something, in order.
fn served(stage: &mut Stage, polls: Vec<(u64, u32, usize)>) -> Vec<String> {
    let (mut held, mut served) = (Vec::<Held>::new(), Vec::new());
    for (millis, max_jobs, done) in polls {
        stage.pass(Span::from_millis(millis));
        let done = done.min(held.len());
        held.drain(..done).for_each(|held| stage.ack(&held));
        let leased = stage.lease(max_jobs);
        served.extend(leased.iter().map(|held| held.key.clone()));
        held.extend(leased);
    }
    served
}

fn patch(limit: NodeSettings, rules: Vec<(String, NodeSettings)>, is_of_queue: bool) -> QueuePatch {
    let mut patch = QueuePatch { lease_duration: Some(bound::MAX_LEASE), ..of_keys([]) };
    for (pattern, node) in rules {
        let [rule] = of_keys([(pattern.as_str(), node)]).key_rules.unwrap().try_into().unwrap();
        patch.key_rules.get_or_insert_default().push(rule);
    }
    if is_of_queue {
        patch.node = Some(limit);
    } else {
        let [rule] = of_keys([("p", limit)]).key_rules.unwrap().try_into().unwrap();
        patch.key_rules.get_or_insert_default().push(rule);
    }
    patch
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(200), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn equal_keys_are_served_equally_often(
        keys in 2..6_usize,
        limit in limit(),
        is_of_queue in any::<bool>(),
        polls in polls(),
        again in weighted(0.3, 1..4_usize),
    ) {
        let mut stage = Stage::with(patch(limit, Vec::new(), is_of_queue));
        let names: Vec<String> = (0..keys).map(|key| format!("p/{key}")).collect();
        for name in &names {
            stage.enqueue(vec![job(name); 300]);
        }
        let mut counts = vec![0_usize; keys];
        for key in served(&mut stage, polls) {
            counts[names.iter().position(|name| *name == key).unwrap()] += 1;
            let (most, least) = (counts.iter().max().unwrap(), counts.iter().min().unwrap());
            prop_assert!(most - least <= 1, "{counts:?}");
        }
        // Whoever comes later begins with the others.
        if let Some(later) = again {
            stage.enqueue(vec![job("p/later"); 300]);
            stage.pass(Span::from_secs(1_000));
            let keys = served(&mut stage, vec![(60_000, 1, 1_000); later * (keys + 1)]);
            let count = keys.iter().filter(|key| *key == "p/later").count();
            prop_assert_eq!(count, keys.len() / (names.len() + 1));
        }
    }

    #[test]
    fn weights_are_how_many_go_in_a_turn(
        weights in vec(1..5_u32, 2..4),
        limit in limit(),
        is_of_queue in any::<bool>(),
        polls in polls(),
    ) {
        let name = |key: usize| format!("p/{key}");
        let weigh = |(key, weight): (usize, &u32)| (name(key), NodeSettings { weight: *weight, ..NodeSettings::default() });
        let rules = weights.iter().enumerate().map(weigh).collect();
        let mut stage = Stage::with(patch(limit, rules, is_of_queue));
        for key in 0..weights.len() {
            stage.enqueue(vec![job(&name(key)); 300]);
        }
        let turn = |(key, weight): (usize, &u32)| vec![name(key); *weight as usize];
        let turns = weights.iter().enumerate().flat_map(turn).collect::<Vec<_>>();
        let served = served(&mut stage, polls);
        let expected: Vec<_> = turns.iter().cycle().take(served.len()).cloned().collect();
        prop_assert_eq!(served, expected);
    }
}
