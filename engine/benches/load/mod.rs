//! A queue full of jobs, as several benchmarks want it.

use sluice_engine::*;

/// Cycles of a step.
pub(crate) const BATCH: usize = 1_000;
/// How many keys there are jobs of.
pub(crate) const KEYS: [usize; 4] = [1, 1_000, 100_000, 1_000_000];
/// What passes in a step.
pub(crate) const STEP: Span = Span::from_millis(1);

/// The sizes, shapes and limits that each benchmark goes through, by its `run`.
macro_rules! by_size {
    () => {
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
    };
}
pub(crate) use by_size;

/// How keys look.
#[derive(Clone, Copy)]
pub(crate) enum Shape {
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

/// An engine, and its time.
pub(crate) struct Load {
    pub(crate) engine: Engine,
    pub(crate) clock: u64,
}

impl Load {
    /// Two jobs for each of so many keys, or two steps' worth, once through all of them: nothing is done for the first time
    /// after that.
    pub(crate) fn new(keys: usize, shape: Shape, node: &NodeSettings, of_keys: &NodeSettings) -> Load {
        let mut load = Load { engine: Engine::new(EngineConfig::default()), clock: 1_000_000_000_000 };
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
        load.step(Command::PutQueue(PutQueue { name: queue(), patch, version: None }));
        let count = keys.max(BATCH);
        for first in (0..count).step_by(BATCH) {
            load.enqueue((first..first + BATCH).map(|n| job(shape.key(n % keys))).collect());
        }
        // Those that are urgent go first, and their keys take turns in their order from then on: another than that of memory.
        for first in (0..count).step_by(BATCH) {
            // A prime that no number of keys has: each key comes once.
            let jobs = (first..first + BATCH).map(|n| job(shape.key(n * 618_970_019 % keys)));
            load.enqueue(jobs.map(|job| JobSpec { priority: Priority::HIGHEST, ..job }).collect());
        }
        for _ in (0..count).step_by(BATCH) {
            if load.cycle() == 0 {
                break;
            }
        }
        load
    }

    /// A thousand cycles, or as many as there may be.
    pub(crate) fn cycle(&mut self) -> usize {
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

    pub(crate) fn lease(&mut self) -> Vec<LeasedJob> {
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

    /// Does a command, and what is due.
    fn step(&mut self, command: Command) -> Outcome {
        let now = Now { engine: Timestamp(self.clock), wall: WallTime(self.clock) };
        let mut effects = Effects::default();
        self.engine.apply(Ticket(self.clock), command, now, &mut effects);
        self.engine.wake(now, &mut effects);
        effects.answers.pop().expect("nothing waits here").1.expect("nothing is refused here")
    }
}

/// The queue's name.
pub(crate) fn queue() -> QueueName {
    QueueName::new("bench").unwrap()
}

/// A job of a key.
fn job(key: Key) -> JobSpec {
    JobSpec { key, ..JobSpec::default() }
}

/// So much in a span, and at once.
pub(crate) fn rate(amount: u32, period: Span, burst: u32) -> Window {
    Window { kind: WindowKind::Rate { burst }, amount, period, unit: Unit::Jobs }
}

/// Two windows that never close.
pub(crate) fn loose() -> NodeSettings {
    let window = rate(bound::MAX_AMOUNT, Span::from_millis(1), bound::MAX_AMOUNT);
    NodeSettings { windows: vec![window; 2], ..NodeSettings::default() }
}
