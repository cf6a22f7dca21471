//! A simulated vendor that counts as nginx does, and an engine in front of it that was told wrong limits, or none: it finds out.

use std::collections::BTreeMap;

use sluice_engine::*;

use crate::stage::{Held, Stage, job};

const CHATS: usize = 100;
const MINUTE: u64 = 60_000_000_000;
const MILLISECOND: u64 = 1_000_000;
/// Calls that are on their way at a time.
const WORKERS: usize = 20;

/// A leaky bucket of requests, in thousandths of one.
struct Zone {
    a_second: u64,
    burst: u64,
    /// Of each key: how much is in it, and since when, in milliseconds.
    buckets: BTreeMap<String, (u64, u64)>,
}

/// A call on its way there, or back with its answer.
enum Call {
    Going(Held),
    Answered(Held, bool),
}

/// What came of a run.
#[derive(Debug, Default)]
struct Outcome {
    calls: usize,
    refused: usize,
    /// After the first minute: what went through, and what the vendor would have taken.
    used: f64,
    allowed: f64,
    seconds: u64,
}

struct Simulation {
    stage: Stage,
    zones: [Zone; 2],
    calls: BTreeMap<(u64, usize), Call>,
    free: usize,
    waiting: Option<Ticket>,
    random: u64,
    left: BTreeMap<String, usize>,
    outcome: Outcome,
}

impl Zone {
    fn new(a_second: u64, burst: u64) -> Zone {
        Zone { a_second, burst, buckets: BTreeMap::new() }
    }

    /// What would be in the bucket of a key with one request more, if that is not too much.
    fn look(&self, key: &str, millis: u64) -> Option<u64> {
        let Some((filled, since)) = self.buckets.get(key) else { return Some(0) };
        let filled = (filled + 1_000).saturating_sub(self.a_second * (millis - since) / 1_000);
        (filled <= 1_000 * self.burst).then_some(filled)
    }
}

impl Simulation {
    fn new(patch: QueuePatch, messages: usize, seed: u64) -> Simulation {
        let mut stage = Stage::with(QueuePatch { lease_duration: Some(bound::MAX_LEASE), ..patch });
        let chat = |n: usize| format!("chat{}", n % CHATS);
        stage.enqueue((0..messages).map(|n| job(&chat(n))).collect());
        let mut left = BTreeMap::new();
        (0..messages).for_each(|n| *left.entry(chat(n)).or_default() += 1);
        let zones = [Zone::new(30_000, 5), Zone::new(333, 2)];
        let (calls, outcome) = (BTreeMap::new(), Outcome::default());
        Simulation { stage, zones, calls, free: WORKERS, waiting: None, random: seed, left, outcome }
    }

    /// Until every message is sent.
    fn run(mut self) -> Outcome {
        let began = self.stage.now.engine.0;
        while !self.left.is_empty() {
            self.lease();
            let call = self.calls.first_key_value().map(|((time, _), _)| *time);
            let wake = self.stage.engine.next_wake(self.stage.now).map(|time| time.0);
            let now = self.stage.now.engine.0;
            let next = [call, wake].into_iter().flatten().min().unwrap().max(now);
            if now > began + MINUTE {
                let most = (30.0_f64).min(self.left.len() as f64 / 3.0);
                self.outcome.allowed += most * (next - now) as f64 / 1e9;
            }
            self.stage.pass(Span(next - now));
            while let Some(entry) = self.calls.first_entry().filter(|entry| entry.key().0 <= next) {
                match entry.remove() {
                    Call::Going(held) => self.arrive(held, next),
                    Call::Answered(held, is_taken) => self.settle(&held, is_taken, next > began + MINUTE),
                }
            }
        }
        self.outcome.seconds = (self.stage.now.engine.0 - began) / 1_000_000_000;
        self.outcome
    }

    /// Whoever is free asks for a job.
    fn lease(&mut self) {
        while self.free > 0 {
            let ticket = *self.waiting.get_or_insert_with(|| self.stage.wait(1));
            let Some(held) = self.stage.leased(ticket) else { return };
            self.waiting = None;
            self.free -= held.len();
            let now = self.stage.now.engine.0;
            held.into_iter().for_each(|held| self.send(Call::Going(held), now));
        }
    }

    /// Takes 1 to 6 ms.
    fn send(&mut self, call: Call, now: u64) {
        self.random =
            self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let span = MILLISECOND + (self.random >> 33) % (5 * MILLISECOND);
        self.outcome.calls += usize::from(matches!(call, Call::Going(_)));
        self.calls.insert((now + span, self.random as usize), call);
    }

    fn arrive(&mut self, held: Held, now: u64) {
        let (keys, millis) = (["all", held.key.as_str()], now / MILLISECOND);
        let filled: Option<Vec<u64>> =
            self.zones.iter().zip(keys).map(|(zone, key)| zone.look(key, millis)).collect();
        let is_taken = filled.is_some();
        for ((zone, key), filled) in self.zones.iter_mut().zip(keys).zip(filled.unwrap_or_default()) {
            zone.buckets.insert(key.to_owned(), (filled, millis));
        }
        self.send(Call::Answered(held, is_taken), now);
    }

    fn settle(&mut self, held: &Held, is_taken: bool, is_counted: bool) {
        self.free += 1;
        if !is_taken {
            self.outcome.refused += 1;
            return self.stage.throttle(held, None, None);
        }
        self.stage.ack(held);
        let job = self.stage.engine.job(held.id, self.stage.now).unwrap();
        assert_eq!((job.state, job.attempts), (JobState::Completed, 0), "a 429 spends no attempt");
        self.outcome.used += f64::from(u8::from(is_counted));
        let left = self.left.get_mut(&held.key).unwrap();
        *left -= 1;
        if *left == 0 {
            self.left.remove(&held.key);
        }
    }
}

fn window(amount: u32, seconds: u64, burst: u32) -> NodeSettings {
    let period = Span::from_secs(seconds);
    let window = Window { kind: WindowKind::Rate { burst }, amount, period, unit: Unit::Jobs };
    NodeSettings { windows: vec![window], ..NodeSettings::default() }
}

fn limits(queue: NodeSettings, chat: NodeSettings) -> QueuePatch {
    QueuePatch { node: Some(queue), ..crate::stage::of_keys([("chat*", chat)]) }
}

/// Every seed finds the rate by asking, and without asking too much.
fn finds_its_rate(patch: &QueuePatch) {
    for seed in 1..=3 {
        let outcome = Simulation::new(patch.clone(), 5_000, seed).run();
        let refused = outcome.refused as f64 / outcome.calls as f64;
        let used = outcome.used / outcome.allowed;
        assert!(refused < 0.03, "{refused:.4} of calls were too much: {outcome:?}");
        assert!(used >= 0.9, "{used:.4} of what could be was used: {outcome:?}");
    }
}

#[test]
fn twice_the_vendors_limits_are_cut_to_what_it_takes() {
    finds_its_rate(&limits(window(60, 1, 4), window(40, 60, 2)));
}

#[test]
fn without_any_limit_what_the_vendor_takes_is_found() {
    finds_its_rate(&QueuePatch::default());
}

#[test]
fn the_vendors_own_limits_are_never_too_much() {
    let outcome = Simulation::new(limits(window(30, 1, 2), window(20, 60, 1)), 2_000, 7).run();
    assert_eq!(outcome.refused, 0, "{outcome:?}");
    assert!(outcome.used >= 0.98 * outcome.allowed, "{outcome:?}");
}
