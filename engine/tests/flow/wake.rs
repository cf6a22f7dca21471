//! The engine is woken when it asks to be, and at no other time: then a job that waits for a window goes at the moment
//! it may, to the nanosecond, and nothing goes before; and nobody is woken for nothing time and again.

use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::option::weighted;
use proptest::prelude::*;
use proptest::sample::select;
use sluice_engine::*;

use crate::cases;
use crate::node::{key, settings_of, way};
use crate::stage::{Stage, job, quota, rate};
use crate::tally::Tally;

const KEYS: [&str; 6] = ["", "a", "a/x", "a/y", "b/x", "b/x/1"];
const PATTERNS: [&str; 6] = ["a", "*", "a/*", "*/x", "b/*", "*/*/*"];
/// More nodes than there can be.
const NODES: usize = 9;
const QUEUE: QueueId = QueueId(1);

fn limit() -> impl Strategy<Value = NodeSettings> {
    let windows = prop_oneof![
        (1..9_u32, 1..4_u32).prop_map(|(amount, burst)| rate(amount, burst)),
        (1..5_u32, 1..3_000_u64).prop_map(|(amount, millis)| quota(amount, Span::from_millis(millis))),
    ];
    vec(windows, 1..3).prop_map(|nodes| NodeSettings {
        windows: nodes.into_iter().flat_map(|node| node.windows).collect(),
        ..NodeSettings::default()
    })
}

#[derive(Clone, Debug)]
enum Step {
    Enqueue(Vec<&'static str>),
    Pass(u64),
    /// So many are waited for, one after another.
    Take(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => vec(select(&KEYS[..]), 1..6).prop_map(Step::Enqueue),
        1 => (0..2_000_u64).prop_map(Step::Pass),
        4 => (1..6_usize).prop_map(Step::Take),
    ]
}

/// What went through every node.
struct Count {
    settings: QueueSettings,
    tallies: BTreeMap<Key, Vec<Tally>>,
}

impl Count {
    fn of(&self, node: &Key) -> Vec<Tally> {
        let windows = settings_of(&self.settings, node).map_or(&[][..], |node| &node.windows);
        let known = self.tallies.get(node).cloned();
        known.unwrap_or_else(|| windows.iter().copied().map(Tally::new).collect())
    }

    fn add(&mut self, key: &Key, now: Timestamp) {
        for (_, node) in way(QUEUE, key) {
            let mut tallies = self.of(&node);
            tallies.iter_mut().for_each(|tally| tally.add((JobId(0), LeaseToken(0)), 1, Timestamp(0), now));
            self.tallies.insert(node, tallies);
        }
    }

    /// When the first of these keys opens, if it is later than `now`.
    fn opens(
        &self,
        keys: &[Key],
        now: Timestamp,
        is_closed: fn(&Tally, u64, Timestamp) -> bool,
    ) -> Timestamp {
        let opens = |key: &Key| {
            let tallies: Vec<_> = way(QUEUE, key).iter().flat_map(|(_, node)| self.of(node)).collect();
            let is_closed = |time| tallies.iter().any(|tally| is_closed(tally, 1, time));
            // Once open it stays so: the time is found by halves.
            let (mut open, mut closed) = (now.0 + 10_000_000_000_000, now.0);
            if !is_closed(now) {
                return now;
            }
            while open - closed > 1 {
                let middle = closed + (open - closed) / 2;
                if is_closed(Timestamp(middle)) { closed = middle } else { open = middle }
            }
            Timestamp(open)
        };
        keys.iter().map(opens).min().expect("somebody waits")
    }
}

/// Waits for one job as a worker does. Its key.
fn take(stage: &mut Stage, count: &Count, keys: &[Key]) -> Key {
    let began = stage.now.engine;
    let first = count.opens(keys, began, Tally::would_exceed);
    let last = count.opens(keys, began, Tally::may_hold_back);
    let waiting = stage.wait(1);
    for _ in 0..NODES {
        let now = stage.now.engine;
        if let Some(held) = stage.leased(waiting) {
            assert!((first..=last).contains(&now), "it went at {now:?}, not {first:?} to {last:?}");
            return key(&held[0].key);
        }
        let next = stage.engine.next_wake(stage.now).expect("somebody waits for what time brings");
        assert!(
            next > now && next <= last,
            "at {now:?} asked for {next:?}, though something opens at {last:?}"
        );
        stage.pass(Span(next.0 - 1 - now.0));
        assert_eq!(stage.leased(waiting), None, "it was not to go before {next:?}");
        stage.pass(Span(1));
    }
    panic!("woken {NODES} times for nothing");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(200), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_waits_for_a_window_goes_at_the_moment_it_opens(
        of_queue in weighted(0.5, limit()),
        rules in vec((select(&PATTERNS[..]), limit()), 1..4),
        steps in vec(step(), 1..30),
    ) {
        let mut stage = Stage::limited(of_queue, rules);
        let settings = stage.engine.ledger().queue_record(QUEUE).unwrap().settings;
        let mut count = Count { settings, tallies: BTreeMap::new() };
        let mut keys = Vec::new();
        for step in steps {
            match step {
                Step::Enqueue(texts) => {
                    stage.enqueue(texts.iter().map(|text| job(text)).collect());
                    keys.extend(texts.into_iter().map(key));
                }
                Step::Pass(millis) => stage.pass(Span::from_millis(millis)),
                Step::Take(jobs) => {
                    for _ in 0..jobs.min(keys.len()) {
                        let went = take(&mut stage, &count, &keys);
                        count.add(&went, stage.now.engine);
                        let at = keys.iter().position(|key| *key == went).expect("it waited");
                        keys.remove(at);
                    }
                }
            }
        }
    }
}
