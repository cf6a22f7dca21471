//! How fast the engine alone is: `cargo bench -p sluice-engine`. A cycle is a dispatch, an ack, and the enqueue of another
//! job of the same key, so that what waits stays the same; each step takes a thousand of each, as a busy server's groups do.
//! What is set on nodes never closes anything (`limits_on`), closes every key with each dispatch (`every_dispatch_parks`), or
//! keeps all closed (`all_throttled`, where a cycle is a poll that gets nothing).

#![allow(clippy::unwrap_used, reason = "a benchmark that cannot go on has failed, and says where")]

use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use sluice_engine::*;

/// Cycles of a step.
const BATCH: usize = 1_000;
/// How many keys there are jobs of.
const KEYS: [usize; 4] = [1, 1_000, 100_000, 1_000_000];
/// What passes in a step.
const STEP: Span = Span::from_millis(1);

fn main() {
    divan::main();
}

/// How keys look.
#[derive(Clone, Copy)]
enum Shape {
    One,
    Three,
}

impl Shape {
    fn key(self, number: usize) -> Key {
        let text = match self {
            Shape::One => format!("k{number}"),
            Shape::Three => format!("a{}/b{}/c{number}", number >> 12, number >> 5),
        };
        Key::new(text).unwrap()
    }

    fn patterns(self) -> &'static [&'static str] {
        match self {
            Shape::One => &["*"],
            Shape::Three => &["*", "*/*", "*/*/*"],
        }
    }
}

struct Bench {
    engine: Engine,
    clock: u64,
}

impl Bench {
    /// Two jobs for each of so many keys and a step's worth, in an order that is not that of memory.
    fn new(keys: usize, shape: Shape, node: &NodeSettings, of_keys: &NodeSettings) -> Bench {
        let mut bench = Bench { engine: Engine::new(EngineConfig::default()), clock: 1_000_000_000_000 };
        let rule = |pattern: &&str| KeyRule {
            pattern: KeyPattern::new(pattern).unwrap(),
            capacity: Capacity::default(),
            overflow: None,
            node: of_keys.clone(),
        };
        let patch = QueuePatch {
            node: Some(node.clone()),
            key_rules: Some(shape.patterns().iter().map(rule).collect()),
            lease_duration: Some(bound::MAX_LEASE),
            // What is done is forgotten at once.
            retention: Some(Span::ZERO),
            ..QueuePatch::default()
        };
        bench.step(Command::PutQueue(PutQueue { name: queue(), patch, version: None }));
        for first in (0..(2 * keys).max(2 * BATCH)).step_by(BATCH) {
            // A prime that no number of keys has: each key comes once a round.
            let jobs = (first..first + BATCH).map(|n| job(shape.key(n * 618_970_019 % keys)));
            bench.enqueue(jobs.collect());
        }
        bench
    }

    /// A thousand cycles, or as many as there may be.
    fn cycle(&mut self) -> usize {
        let leased = self.lease();
        let acks = leased
            .iter()
            .map(|leased| Ack { id: leased.job.id, token: leased.token, result: None, actual_cost: None })
            .collect();
        self.step(Command::Ack(acks));
        let count = leased.len();
        self.enqueue(leased.into_iter().map(|leased| job(leased.job.key)).collect());
        count
    }

    fn lease(&mut self) -> Vec<LeasedJob> {
        self.clock += STEP.0;
        let lease = Lease {
            queue: queue(),
            max_jobs: u32::try_from(BATCH).unwrap(),
            max_bytes: usize::MAX,
            lease_duration: None,
            wait: Span::ZERO,
            worker: "bench".into(),
        };
        let Outcome::Leased(leased) = self.step(Command::Lease(lease)) else { unreachable!() };
        leased.jobs
    }

    fn enqueue(&mut self, jobs: Vec<JobSpec>) {
        let enqueue =
            Enqueue { queue: queue(), jobs, request: None, batch_totals: Vec::new(), wait: Span::ZERO };
        self.step(Command::Enqueue(enqueue));
    }

    fn step(&mut self, command: Command) -> Outcome {
        let now = Now { engine: Timestamp(self.clock), wall: WallTime(self.clock) };
        let mut effects = Effects::default();
        self.engine.apply(Ticket(self.clock), command, now, &mut effects);
        self.engine.wake(now, &mut effects);
        effects.answers.pop().expect("nothing waits here").1.expect("nothing is refused here")
    }
}

fn queue() -> QueueName {
    QueueName::new("bench").unwrap()
}

fn job(key: Key) -> JobSpec {
    JobSpec { key, ..JobSpec::default() }
}

/// So much in a span, and at once.
fn rate(amount: u32, period: Span, burst: u32) -> Window {
    Window { kind: WindowKind::Rate { burst }, amount, period, unit: Unit::Jobs }
}

/// Two windows that never close.
fn loose() -> NodeSettings {
    let window = rate(bound::MAX_AMOUNT, Span::from_millis(1), bound::MAX_AMOUNT);
    NodeSettings { windows: vec![window; 2], ..NodeSettings::default() }
}

fn run(bencher: Bencher<'_, '_>, keys: usize, shape: Shape, node: &NodeSettings, of_keys: &NodeSettings) {
    let mut bench = Bench::new(keys, shape, node, of_keys);
    // Once through all of them, so that nothing is done for the first time.
    for _ in 0..keys.div_ceil(BATCH) {
        bench.cycle();
    }
    bencher.counter(ItemsCount::new(BATCH)).bench_local(|| {
        assert_eq!(black_box(bench.cycle()), BATCH, "as many go as are asked for");
    });
}

#[divan::bench(args = KEYS)]
fn one_segment_limits_off(bencher: Bencher<'_, '_>, keys: usize) {
    run(bencher, keys, Shape::One, &NodeSettings::default(), &NodeSettings::default());
}

#[divan::bench(args = KEYS)]
fn one_segment_limits_on(bencher: Bencher<'_, '_>, keys: usize) {
    run(bencher, keys, Shape::One, &loose(), &loose());
}

#[divan::bench(args = KEYS)]
fn three_segments_limits_off(bencher: Bencher<'_, '_>, keys: usize) {
    run(bencher, keys, Shape::Three, &NodeSettings::default(), &NodeSettings::default());
}

#[divan::bench(args = KEYS)]
fn three_segments_limits_on(bencher: Bencher<'_, '_>, keys: usize) {
    run(bencher, keys, Shape::Three, &loose(), &loose());
}

/// Each key may send one at a time, and opens again just before its turn comes.
#[divan::bench(args = [1_000, 100_000, 1_000_000])]
fn every_dispatch_parks(bencher: Bencher<'_, '_>, keys: usize) {
    let round = Span(STEP.0 * (keys / BATCH) as u64);
    let one = NodeSettings { windows: vec![rate(1, round, 1)], ..NodeSettings::default() };
    run(bencher, keys, Shape::One, &NodeSettings::default(), &one);
}

/// Every key is at its limit, and stays there.
#[divan::bench(args = [1_000, 1_000_000])]
fn all_throttled(bencher: Bencher<'_, '_>, keys: usize) {
    let one = NodeSettings { windows: vec![rate(1, bound::MAX_PERIOD, 1)], ..NodeSettings::default() };
    let mut bench = Bench::new(keys, Shape::One, &NodeSettings::default(), &one);
    while !bench.lease().is_empty() {}
    bencher.counter(ItemsCount::new(1_usize)).bench_local(|| {
        assert_eq!(black_box(bench.lease()).len(), 0, "nothing may go");
    });
}
