//! Who goes next, held against the rules: of all that may go, at every level of the tree, the most urgent one by
//! priority and ageing; of equals the one that was served the longest ago. It is told of jobs and of closed gates,
//! keeps since when each node stands where it does, and shares nothing with the tree.
//!
//! All jobs cost one, so nothing is ever kept for a dear one, and work is conserved without exception. No key is both
//! a job's and the beginning of another's: where such jobs stand beside those of longer keys is an example's matter.

use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::option::weighted;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use sluice_engine::*;

use crate::cases;
use crate::node::key;
use crate::stage::{Held, SECOND, Stage, job, ordered};
use crate::turn::limit;

const KEYS: [&str; 9] = ["a/x", "a/y", "a/z", "b/x", "b/y", "c", "d/x/1", "d/x/2", "d/y/1"];
const PATTERNS: [&str; 6] = ["a", "c", "d", "*/x", "a/*", "d/*/*"];

#[derive(Clone, Debug)]
enum Step {
    Enqueue(Vec<(&'static str, u32)>),
    /// So many, one after another.
    Lease(u8),
    Ack(Index),
    Release(Index),
    Fail(Index),
    Throttle {
        pick: Index,
        scope: Option<u8>,
        millis: Option<u64>,
    },
    Cancel(Index),
    Urge {
        pick: Index,
        priority: u32,
    },
    Reset(&'static str),
    Pass(u64),
    ToNext,
}

fn priority() -> impl Strategy<Value = u32> {
    select(vec![2, 4, 4, 9])
}

fn step() -> impl Strategy<Value = Step> {
    let pick = any::<Index>;
    prop_oneof![
        5 => vec((select(&KEYS[..]), priority()), 1..6).prop_map(Step::Enqueue),
        8 => (1..6_u8).prop_map(Step::Lease),
        4 => pick().prop_map(Step::Ack),
        1 => pick().prop_map(Step::Release),
        1 => pick().prop_map(Step::Fail),
        1 => (pick(), weighted(0.4, 0..3_u8), weighted(0.6, 0..3_000_u64))
            .prop_map(|(pick, scope, millis)| Step::Throttle { pick, scope, millis }),
        1 => pick().prop_map(Step::Cancel),
        1 => (pick(), priority()).prop_map(|(pick, priority)| Step::Urge { pick, priority }),
        1 => select(vec!["", "a", "a/x", "c", "d/x/1"]).prop_map(Step::Reset),
        5 => (0..1_500_u64).prop_map(Step::Pass),
        3 => Just(Step::ToNext),
    ]
}

/// A job that is READY, and the keys whose gates are closed to it.
struct Waits {
    id: JobId,
    key: Key,
    priority: u8,
    sequence: u64,
    closed: Vec<Key>,
}

impl Waits {
    /// Whether nothing between it and a node, the node among them, is closed.
    fn reaches(&self, node: &Key) -> bool {
        self.key.is_under(node) && !self.closed.iter().any(|closed| closed.is_under(node))
    }
}

/// Since when who stands where.
#[derive(Default)]
struct Order {
    ageing: u64,
    now: Timestamp,
    /// Nodes from which something may go, but for what is above them: at their most urgent priority.
    standing: BTreeMap<Key, (u8, Timestamp)>,
    /// What waits of a key at one priority: since when its first is the first.
    lanes: BTreeMap<(Key, u8), Timestamp>,
}

impl Order {
    fn look(&mut self, waits: &[Waits], now: Timestamp) {
        self.now = now;
        let mut classes = BTreeMap::<Key, u8>::new();
        for job in waits {
            for node in nodes(&job.key).filter(|node| job.reaches(node)) {
                let class = classes.entry(node).or_default();
                *class = job.priority.max(*class);
            }
        }
        self.standing.retain(|node, (class, _)| classes.get(node) == Some(class));
        for (node, class) in classes {
            self.standing.entry(node).or_insert((class, now));
        }
        self.lanes.retain(|(key, priority), _| {
            waits.iter().any(|job| job.key == *key && job.priority == *priority)
        });
        for job in waits {
            self.lanes.entry((job.key.clone(), job.priority)).or_insert(now);
        }
    }

    /// A job goes: it must be the one. Turns end along its way.
    fn serve(&mut self, id: JobId, waits: &[Waits]) {
        let went = waits.iter().find(|job| job.id == id).expect("who goes was READY");
        assert!(went.reaches(&Key::default()), "{id} went through closed gates: {:?}", went.closed);
        for node in nodes(&went.key) {
            let place = self.standing[&node];
            let siblings = self.standing.iter().filter(|(other, _)| other.outer() == node.outer());
            for (other, rival) in siblings {
                assert!(
                    self.rank(place) >= self.rank(*rival),
                    "{node:?} {place:?} passed {other:?} {rival:?}"
                );
            }
        }
        let place = (went.priority, self.lanes[&(went.key.clone(), went.priority)]);
        for ((_, priority), since) in self.lanes.iter().filter(|((key, _), _)| *key == went.key) {
            let rival = (*priority, *since);
            assert!(self.rank(place) >= self.rank(rival), "{id} {place:?} passed {rival:?} of its key");
        }
        let mine = waits.iter().filter(|job| (&job.key, job.priority) == (&went.key, went.priority));
        let first = mine.min_by_key(|job| job.sequence).expect("it is one itself");
        assert_eq!(first.id, id, "who came first of its key and priority goes first");
        self.lanes.remove(&(went.key.clone(), went.priority));
        self.standing.retain(|node, _| !went.key.is_under(node));
    }

    /// More urgent is greater; of equals who waits longer, if nothing ages.
    fn rank(&self, (class, since): (u8, Timestamp)) -> (u64, u64) {
        let waited = self.now.since(since).0;
        match self.ageing {
            0 => (class.into(), waited),
            ageing => (u64::from(class) * ageing + waited, class.into()),
        }
    }
}

/// The nodes on a key's way, but for the queue.
fn nodes(key: &Key) -> impl Iterator<Item = Key> {
    std::iter::successors(Some(key.clone()), Key::outer).filter(|key| !key.is_empty())
}

/// The engine, and what is known of its order.
struct Race {
    stage: Stage,
    order: Order,
    held: Vec<Held>,
}

impl Race {
    fn run(&mut self, step: &Step) {
        match step {
            Step::Enqueue(jobs) => {
                let spec = |(name, priority): &(&str, u32)| JobSpec {
                    priority: Priority::new(*priority).unwrap(),
                    ..job(name)
                };
                self.stage.enqueue(jobs.iter().map(spec).collect());
            }
            Step::Lease(count) => {
                for _ in 0..*count {
                    self.lease();
                }
            }
            Step::Ack(pick) => self.settle(pick, |stage, held| stage.ack(held)),
            Step::Release(pick) => self.settle(pick, |stage, held| stage.nack(held, NackReason::Released)),
            Step::Fail(pick) => self.settle(pick, |stage, held| stage.nack(held, NackReason::Failed)),
            Step::Throttle { pick, scope, millis } => {
                self.settle(pick, |stage, held| stage.throttle(held, *scope, millis.map(Span::from_millis)))
            }
            Step::Cancel(pick) => {
                if let Some((id, _)) = self.pick(pick) {
                    self.stage.ask(Command::Cancel(id));
                }
            }
            Step::Urge { pick, priority } => {
                // To the same priority it would go to the end of nothing.
                if let Some((id, before)) = self.pick(pick)
                    && u32::from(before) != *priority
                {
                    let priority = Priority::new(*priority);
                    self.stage.ask(Command::Update(Update { id, priority, start: None }));
                }
            }
            Step::Reset(text) => {
                let reset = NodeName::Key(crate::stage::queue(), key(text));
                self.stage.ask(Command::ResetNode(reset));
            }
            Step::Pass(millis) => self.stage.pass(Span::from_millis(*millis)),
            Step::ToNext => {
                while self.lease() {}
                // Only while somebody waits does the engine say when.
                let waiting = self.stage.wait(1);
                assert_eq!(self.stage.leased(waiting), None, "a lease got nothing, and the next one did");
                let next = self.stage.engine.next_wake(self.stage.now).expect("the call ends some time");
                self.stage.ask(Command::Abandon(waiting));
                let wait = next.since(self.stage.now.engine).min(Span::from_secs(9));
                self.stage.pass(wait);
            }
        }
        self.look();
    }

    /// Whether anything went.
    fn lease(&mut self) -> bool {
        self.look();
        let waits = waits(&self.stage);
        let went = self.stage.lease(1).pop();
        match &went {
            Some(held) => self.order.serve(held.id, &waits),
            None => {
                let may_go = waits.iter().find(|job| job.reaches(&Key::default()));
                assert!(may_go.is_none(), "{} may go, and nothing went", may_go.unwrap().id);
            }
        }
        self.look();
        let is_served = went.is_some();
        self.held.extend(went);
        is_served
    }

    fn settle(&mut self, pick: &Index, settle: impl FnOnce(&mut Stage, &Held)) {
        if !self.held.is_empty() {
            let held = self.held.swap_remove(pick.index(self.held.len()));
            settle(&mut self.stage, &held);
        }
    }

    fn pick(&self, pick: &Index) -> Option<(JobId, u8)> {
        let waits = waits(&self.stage);
        (!waits.is_empty()).then(|| pick.get(&waits)).map(|job| (job.id, job.priority))
    }

    fn look(&mut self) {
        let now = self.stage.now.engine;
        self.order.look(&waits(&self.stage), now);
    }
}

/// Everything that is READY.
fn waits(stage: &Stage) -> Vec<Waits> {
    let ledger = stage.engine.ledger();
    let records = ledger.ids(0..=u64::MAX, usize::MAX).into_iter().filter_map(|id| ledger.record(id));
    let ready = records.filter(|record| record.state == JobState::Ready);
    ready
        .map(|record| {
            let blocks = stage.engine.job(record.id, stage.now).unwrap().blocks;
            Waits {
                id: record.id,
                key: record.key,
                priority: record.priority.get(),
                sequence: record.sequence,
                closed: blocks.into_iter().map(|block| block.key).collect(),
            }
        })
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(300), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn who_goes_is_who_is_to_go_by_the_rules(
        of_queue in weighted(0.4, limit()),
        rules in vec((select(&PATTERNS[..]), prop_oneof![6 => limit(), 1 => Just(ordered())]), 0..4),
        ageing in select(vec![0, 0, 300, 2_000]),
        steps in vec(step(), 1..60),
    ) {
        let mut stage = Stage::limited(of_queue, rules);
        stage.put(QueuePatch { priority_ageing: Some(Span::from_millis(ageing)), ..QueuePatch::default() });
        let order = Order { ageing: Span::from_millis(ageing).0, ..Order::default() };
        let mut race = Race { stage, order, held: Vec::new() };
        for step in &steps {
            race.run(step);
        }
        // Whatever is left goes, in order too.
        for _ in 0..200 {
            race.held.drain(..).for_each(|held| race.stage.ack(&held));
            race.run(&Step::Lease(5));
            if race.held.is_empty() {
                race.run(&Step::Pass(SECOND.0 / 1_000_000));
            }
        }
    }
}
