//! The rules one by one, then random loads against a model.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

use super::model::{Job, Model};
use super::*;
use crate::ledger::flow::Spot;
use crate::ledger::keys::Keys;
use crate::name::Key;

/// A world without limits.
struct Free<'a> {
    keys: &'a Keys,
    /// By slot; none: a job's slot is its sequence.
    sequences: Option<&'a [u64]>,
    now: Timestamp,
}

impl Facts for Free<'_> {
    fn now(&self) -> Timestamp {
        self.now
    }

    fn gate(&self, _: Spot, _: u64) -> Gate {
        Gate::Open
    }

    fn weight(&self, _: Spot) -> u32 {
        1
    }

    fn cost(&self, _: Slot) -> u64 {
        1
    }

    fn bypasses_limits(&self, _: Slot) -> bool {
        false
    }

    fn bypass_gate(&self, _: Spot) -> Gate {
        Gate::Open
    }

    fn sequence(&self, slot: Slot) -> u64 {
        self.sequences.map_or(slot.into(), |sequences| sequences[slot as usize])
    }

    fn keys(&self) -> &Keys {
        self.keys
    }
}

/// The job that goes next goes.
fn pop(tree: &mut Tree, queue: NodeId, facts: &impl Facts) -> Option<Slot> {
    let next = tree.next(queue, facts)?;
    let leaf = tree.take(next, facts);
    tree.served(leaf, false, facts);
    Some(next.slot)
}

/// A tree with one queue and everything that was ever pushed into it. A job's slot is its sequence.
struct Bench {
    tree: Tree,
    keys: Keys,
    queue: NodeId,
    now: Timestamp,
    next: u64,
}

impl Bench {
    fn new(ageing: Span) -> Bench {
        let mut tree = Tree::new();
        let queue = tree.add_root(QueueId(1), ageing);
        Bench { tree, keys: Keys::default(), queue, now: Timestamp(1_000), next: 1 }
    }

    fn push(&mut self, name: &str, priority: u32) -> u64 {
        let sequence = self.next;
        self.next += 1;
        self.put(name, priority, sequence);
        sequence
    }

    fn put(&mut self, name: &str, priority: u32, sequence: u64) {
        let priority = Priority::new(priority).unwrap();
        // A queue has its own keys.
        let of = self.tree.spot(self.queue).queue;
        let key = self.keys.retain(of, &key(name));
        let facts = Free { keys: &self.keys, sequences: None, now: self.now };
        self.tree.push(self.queue, key, sequence as Slot, priority, &facts);
    }

    fn pop(&mut self) -> Option<u64> {
        let facts = Free { keys: &self.keys, sequences: None, now: self.now };
        pop(&mut self.tree, self.queue, &facts).map(u64::from)
    }

    fn remove(&mut self, sequence: u64) {
        let facts = Free { keys: &self.keys, sequences: None, now: self.now };
        self.tree.remove(sequence as Slot, &facts);
    }

    fn drain(&mut self) -> Vec<u64> {
        std::iter::from_fn(|| self.pop()).collect()
    }
}

fn key(name: &str) -> Key {
    Key::new(name.to_owned()).unwrap()
}

#[test]
fn jobs_of_a_key_go_in_order() {
    let mut bench = Bench::new(Span::ZERO);
    let pushed: Vec<u64> = (0..100).map(|_| bench.push("a", 4)).collect();
    assert_eq!(bench.drain(), pushed);
}

#[test]
fn higher_priority_goes_first_whatever_its_key() {
    let mut bench = Bench::new(Span::ZERO);
    let low = bench.push("a", 0);
    let middle = bench.push("b/c", 4);
    let high = bench.push("a/d/e", 9);
    let none = bench.push("", 5);
    assert_eq!(bench.drain(), [high, none, middle, low]);
}

#[test]
fn keys_take_turns_however_much_one_has() {
    let mut bench = Bench::new(Span::ZERO);
    let greedy: Vec<u64> = (0..4).map(|_| bench.push("greedy", 4)).collect();
    let modest = bench.push("modest", 4);
    let other = bench.push("other", 4);
    assert_eq!(bench.drain(), [greedy[0], modest, other, greedy[1], greedy[2], greedy[3]]);
}

#[test]
fn tenants_take_turns_however_many_users_one_has() {
    let mut bench = Bench::new(Span::ZERO);
    let crowd: Vec<u64> = (0..3).map(|user| bench.push(&format!("crowd/{user}"), 4)).collect();
    let single: Vec<u64> = (0..2).map(|_| bench.push("single/0", 4)).collect();
    assert_eq!(bench.drain(), [crowd[0], single[0], crowd[1], single[1], crowd[2]]);
}

#[test]
fn jobs_of_an_inner_key_are_one_child_among_the_others() {
    let mut bench = Bench::new(Span::ZERO);
    let own: Vec<u64> = (0..2).map(|_| bench.push("bot", 4)).collect();
    let chat: Vec<u64> = (0..2).map(|_| bench.push("bot/chat", 4)).collect();
    let late = bench.push("bot", 4);
    assert_eq!(bench.drain(), [own[0], chat[0], own[1], chat[1], late]);
}

#[test]
fn key_keeps_its_turn_when_nodes_appear_below_it() {
    let mut bench = Bench::new(Span::ZERO);
    let bot = bench.push("bot", 4);
    let other = bench.push("other", 4);
    let chat = bench.push("bot/chat", 4);
    assert_eq!(bench.drain(), [bot, other, chat]);
}

#[test]
fn returned_job_goes_to_its_old_place() {
    let mut bench = Bench::new(Span::ZERO);
    let jobs: Vec<u64> = (0..6).map(|_| bench.push("a", 4)).collect();
    assert_eq!([bench.pop(), bench.pop(), bench.pop()], [Some(jobs[0]), Some(jobs[1]), Some(jobs[2])]);
    bench.put("a", 4, jobs[2]);
    bench.put("a", 4, jobs[0]);
    assert_eq!(bench.pop(), Some(jobs[0]));
    bench.remove(jobs[4]);
    bench.put("a", 4, jobs[1]);
    assert_eq!(bench.drain(), [jobs[1], jobs[2], jobs[3], jobs[5]]);
}

#[test]
fn removed_job_is_passed_over_wherever_it_stood() {
    for gone in 0..5 {
        let mut bench = Bench::new(Span::ZERO);
        let mut jobs: Vec<u64> = (0..5).map(|_| bench.push("a", 4)).collect();
        bench.remove(jobs.remove(gone));
        assert_eq!(bench.drain(), jobs);
    }
}

#[test]
fn hundred_thousand_jobs_may_return_in_any_order() {
    const PRIME: u64 = 2_654_435_761;
    let mut bench = Bench::new(Span::ZERO);
    let jobs: Vec<u64> = (0..100_000).map(|_| bench.push("a", 4)).collect();
    assert_eq!(bench.drain(), jobs);
    for i in 0..jobs.len() as u64 {
        bench.put("a", 4, jobs[(i * PRIME % jobs.len() as u64) as usize]);
    }
    assert_eq!(bench.drain(), jobs);
}

#[test]
fn jobs_before_are_known_without_a_walk() {
    let mut bench = Bench::new(Span::ZERO);
    let pushed: Vec<u64> = (0..100).map(|_| bench.push("a", 4)).collect();
    let before = |bench: &Bench, sequence: u64| {
        let key = bench.keys.find(bench.tree.spot(bench.queue).queue, "a").unwrap();
        let facts = Free { keys: &bench.keys, sequences: None, now: bench.now };
        let priority = Priority::new(4).unwrap();
        bench.tree.survey(bench.queue, key, priority, Some(sequence as Slot), &facts).before
    };
    let taken: Vec<u64> = (0..10).filter_map(|_| bench.pop()).collect();
    assert_eq!((before(&bench, pushed[10]), before(&bench, pushed[60])), (0, 50));
    bench.put("a", 4, taken[3]);
    bench.put("a", 4, taken[1]);
    assert_eq!(
        (before(&bench, taken[3]), before(&bench, pushed[10]), before(&bench, pushed[60])),
        (1, 2, 52)
    );
    // Those that go from between are counted as evenly spread.
    (20..40).for_each(|at| bench.remove(pushed[at]));
    assert!((30..=52).contains(&before(&bench, pushed[60])), "{}", before(&bench, pushed[60]));
    assert_eq!(before(&bench, pushed[99]), 90 + 2 - 20 - 1);
}

#[test]
fn low_priority_rises_by_one_with_each_step_of_ageing() {
    let mut bench = Bench::new(Span(100));
    let old = bench.push("a", 0);
    let start = bench.now;
    for waited in (0..900).step_by(50) {
        bench.now = start + Span(waited);
        let urgent = bench.push("b", 9);
        assert_eq!(bench.pop(), Some(urgent), "passed after {waited}");
    }
    bench.now = start + Span(901);
    let urgent = bench.push("b", 9);
    assert_eq!(bench.drain(), [old, urgent]);
}

#[test]
fn without_ageing_low_priority_waits_for_ever() {
    let mut bench = Bench::new(Span::ZERO);
    let old = bench.push("a", 0);
    bench.now = Timestamp(u64::MAX);
    let urgent = bench.push("a", 1);
    assert_eq!(bench.drain(), [urgent, old]);
}

#[test]
fn ageing_may_be_changed_at_any_time() {
    let mut bench = Bench::new(Span::ZERO);
    let old = bench.push("a", 0);
    bench.now = bench.now + Span(1_000);
    let urgent = bench.push("a", 9);
    bench.tree.set_ageing(bench.queue, Span(100));
    assert_eq!(bench.drain(), [old, urgent]);
}

#[test]
fn queues_do_not_see_each_other() {
    let mut bench = Bench::new(Span::ZERO);
    let first = bench.queue;
    let second = bench.tree.add_root(QueueId(2), Span::ZERO);
    let here = bench.push("a", 4);
    bench.queue = second;
    assert!(!bench.tree.is_there(second) && bench.tree.is_there(first));
    let there = bench.push("a", 4);
    assert_eq!(bench.drain(), [there]);
    bench.queue = first;
    assert_eq!(bench.drain(), [here]);
}

#[test]
fn long_ageing_and_late_times_do_not_overflow() {
    let mut bench = Bench::new(crate::bound::MAX_SPAN);
    bench.now = Timestamp(u64::MAX - 1);
    let low = bench.push("a", 8);
    let high = bench.push("b", 9);
    bench.now = Timestamp(u64::MAX);
    assert_eq!(bench.drain(), [high, low]);
}

#[test]
fn live_key_costs_at_most_120_bytes_in_the_tree() {
    let node = size_of::<Node>() + size_of::<Lane>();
    // A table is half full just after it grew. A node with limits costs a gate besides.
    let entry = Directory::ENTRY_BYTES * 2;
    assert!(node + entry <= 120, "{node} + {entry}");
    // A number besides its neighbours: who is before it is told without a walk.
    assert!(size_of::<Link>() <= 16);
}

const KEYS: [&str; 12] =
    ["", "a", "b", "c", "a/x", "a/y", "b/x", "a/x/1", "a/x/2", "a/y/1", "b/x/1", "c/z/1"];

#[derive(Clone, Debug)]
enum Step {
    Push { queue: usize, key: &'static str, priority: u32, jobs: u8 },
    Pop { queue: usize },
    Return(Index),
    Remove(Index),
    Pass(u64),
    SetAgeing { queue: usize, ageing: u64 },
}

fn step() -> impl Strategy<Value = Step> {
    let push = (0..2_usize, select(&KEYS[..]), select(vec![0, 3, 4, 4, 4, 9]), 1..4_u8);
    prop_oneof![
        5 => push.prop_map(|(queue, key, priority, jobs)| Step::Push { queue, key, priority, jobs }),
        8 => (0..2_usize).prop_map(|queue| Step::Pop { queue }),
        2 => any::<Index>().prop_map(Step::Return),
        2 => any::<Index>().prop_map(Step::Remove),
        3 => (0..60_u64).prop_map(Step::Pass),
        1 => (0..2_usize, select(vec![0, 7, 50])).prop_map(|(queue, ageing)| Step::SetAgeing { queue, ageing }),
    ]
}

/// The tree beside its model, queue by queue. Slots are given again, as the engine does.
struct Race {
    tree: Tree,
    keys: Keys,
    queues: Vec<(NodeId, Model)>,
    /// By slot.
    sequences: Vec<u64>,
    free: Vec<Slot>,
    taken: Vec<(usize, Job)>,
    now: Timestamp,
    next: u64,
}

impl Race {
    fn new(ageing: [u64; 2]) -> Race {
        let mut tree = Tree::new();
        let mut number = 0;
        let queues = ageing.map(|ageing| {
            number += 1;
            (tree.add_root(QueueId(number), Span(ageing)), Model::new(Span(ageing)))
        });
        let (sequences, free, taken) = (Vec::new(), Vec::new(), Vec::new());
        Race {
            tree,
            keys: Keys::default(),
            queues: queues.into(),
            sequences,
            free,
            taken,
            now: Timestamp(1_000),
            next: 1,
        }
    }

    fn run(&mut self, step: Step) {
        match step {
            Step::Push { queue, key, priority, jobs } => {
                for _ in 0..jobs {
                    let slot = self.free.pop().unwrap_or_else(|| {
                        self.sequences.push(0);
                        self.sequences.len() as Slot - 1
                    });
                    let key = key.split('/').filter(|s| !s.is_empty()).map(str::to_owned).collect();
                    let job = Job { key, priority: priority as u8, sequence: self.next, slot };
                    self.sequences[slot as usize] = self.next;
                    self.next += 1;
                    self.push(queue, job);
                }
            }
            Step::Pop { queue } => {
                if let Some(job) = self.pop(queue) {
                    self.taken.push((queue, job));
                }
            }
            Step::Return(index) if !self.taken.is_empty() => {
                let (queue, job) = self.taken.swap_remove(index.index(self.taken.len()));
                self.push(queue, job);
            }
            Step::Remove(index) => {
                let ready: Vec<(usize, Slot)> = (0..self.queues.len())
                    .flat_map(|queue| self.queues[queue].1.jobs.iter().map(move |job| (queue, job.slot)))
                    .collect();
                if !ready.is_empty() {
                    let (queue, slot) = ready[index.index(ready.len())];
                    let facts = Free { keys: &self.keys, sequences: Some(&self.sequences), now: self.now };
                    self.tree.remove(slot, &facts);
                    self.queues[queue].1.remove(slot, self.now);
                    self.free.push(slot);
                }
            }
            Step::Pass(span) => self.now = self.now + Span(span),
            Step::SetAgeing { queue, ageing } => {
                self.tree.set_ageing(self.queues[queue].0, Span(ageing));
                self.queues[queue].1.ageing = Span(ageing);
            }
            Step::Return(_) => {}
        }
    }

    /// What is told of a job is what counting all jobs gives.
    fn check_surveys(&self) {
        let facts = Free { keys: &self.keys, sequences: Some(&self.sequences), now: self.now };
        for (number, (node, model)) in (1..).zip(&self.queues) {
            let Some(job) = model.jobs.get(model.jobs.len() / 2) else { continue };
            let path = job.key.join("/");
            let id = match &*path {
                "" => KeyId::NONE,
                path => self.keys.find(QueueId(number), path).unwrap(),
            };
            let priority = Priority::new(job.priority.into()).unwrap();
            let survey = self.tree.survey(*node, id, priority, Some(job.slot), &facts);
            let of_key = |of: u8| model.jobs.iter().filter(move |it| it.key == job.key && it.priority == of);
            // Exact unless jobs were taken out from between: those are counted as evenly spread.
            assert!(survey.before < of_key(job.priority).count() as u64, "{job:?} {survey:?}");
            let above = (job.priority + 1..10).map(|of| of_key(of).count() as u64).sum::<u64>();
            assert_eq!(survey.above, above, "{job:?} {survey:?}");
            for step in &survey.steps {
                self.check_step(step, job, model);
            }
        }
    }

    fn check_step(&self, step: &super::Step, job: &Job, model: &Model) {
        let text = self.keys.text(step.key).to_string();
        let at: Vec<&str> = text.split('/').filter(|segment| !segment.is_empty()).collect();
        if !step.is_gated {
            return;
        }
        let below = |it: &&Job| it.key.len() >= at.len() && it.key.iter().zip(&at).all(|(a, b)| a == b);
        let all: Vec<&Job> = model.jobs.iter().filter(below).collect();
        assert_eq!(step.jobs, all.len() as u64, "{text:?} {step:?}");
        assert_eq!(step.cost, step.jobs);
        // What hangs beside the way, by its child and priority.
        let child = |it: &Job| it.key.get(at.len()).cloned();
        let mut beside = std::collections::BTreeMap::new();
        for it in all.iter().filter(|it| child(it) != child(job) && it.priority >= job.priority) {
            *beside.entry((child(it), it.priority)).or_insert(0u32) += 1;
        }
        for (heaps, is_higher) in [(&step.higher, true), (&step.equal, false)] {
            let expected = beside.iter().filter(|((_, of), _)| (*of > job.priority) == is_higher);
            let expected: Vec<u32> = expected.map(|(_, jobs)| *jobs).collect();
            let each = |(least, heap): &(u32, Heap)| vec![*least; heap.children as usize];
            let mut least: Vec<u32> = heaps.iter().flat_map(each).collect();
            let mut wanted: Vec<u32> = expected.iter().map(|jobs| 1 << jobs.ilog2()).collect();
            least.sort_unstable();
            wanted.sort_unstable();
            assert_eq!(least, wanted, "{text:?} {step:?} {beside:?}");
            let sum: u32 = heaps.iter().map(|(_, heap)| heap.jobs).sum();
            assert_eq!(sum, expected.iter().sum::<u32>(), "{text:?} {step:?}");
        }
        let lower: u64 = step.lower.iter().map(|lower| lower.jobs).sum();
        assert_eq!(lower, all.iter().filter(|it| it.priority < job.priority).count() as u64, "{step:?}");
    }

    fn push(&mut self, queue: usize, job: Job) {
        let (node, model) = &mut self.queues[queue];
        let priority = Priority::new(job.priority.into()).unwrap();
        let key = self.keys.retain(QueueId(queue as u32 + 1), &key(&job.key.join("/")));
        let facts = Free { keys: &self.keys, sequences: Some(&self.sequences), now: self.now };
        self.tree.push(*node, key, job.slot, priority, &facts);
        model.push(job, self.now);
    }

    fn pop(&mut self, queue: usize) -> Option<Job> {
        let (node, model) = &mut self.queues[queue];
        let waiting = model.jobs.clone();
        assert_eq!(self.tree.is_there(*node), !waiting.is_empty());
        let facts = Free { keys: &self.keys, sequences: Some(&self.sequences), now: self.now };
        let slot = pop(&mut self.tree, *node, &facts);
        let Some(slot) = slot else {
            assert!(waiting.is_empty(), "nothing was given while {waiting:?} waited");
            return None;
        };
        let given = waiting.iter().find(|job| job.slot == slot).expect("what is given waits");
        for other in &waiting {
            if other.key == given.key && other.priority == given.priority {
                assert!(other.sequence >= given.sequence, "{given:?} passed {other:?} of its key");
            }
            if model.ageing == Span::ZERO {
                assert!(other.priority <= given.priority, "{given:?} passed {other:?}, more urgent");
            }
        }
        let expected = model.pop(self.now).expect("something waits");
        assert_eq!(given.sequence, expected.sequence, "{given:?} went instead of {expected:?}");
        Some(expected)
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn tree_gives_what_the_model_gives(
        ageing in select(vec![[0, 0], [0, 20], [5, 200]]),
        steps in vec(step(), 1..250),
    ) {
        let mut race = Race::new(ageing);
        for step in steps {
            race.run(step);
            race.check_surveys();
        }
        for queue in 0..2 {
            while race.pop(queue).is_some() {}
            prop_assert!(race.queues[queue].1.jobs.is_empty());
        }
        prop_assert_eq!(race.tree.nodes.len(), 2, "nodes outlived their jobs");
        prop_assert_eq!(race.tree.lanes.len(), 0, "lanes outlived their jobs");
        prop_assert_eq!(race.tree.crowds.len(), 2, "crowds outlived their nodes");
    }

    #[test]
    fn services_of_equal_keys_differ_by_at_most_one(
        tenants in vec(1..5_usize, 1..5),
        rounds in 1..60_usize,
        ageing in select(vec![0, 30]),
    ) {
        let mut bench = Bench::new(Span(ageing));
        let mut names = Vec::new();
        for (tenant, users) in tenants.iter().enumerate() {
            names.extend((0..*users).map(|user| (tenant, format!("{tenant}/{user}"))));
        }
        let mut owner = vec![usize::MAX];
        for (at, (_, name)) in names.iter().enumerate() {
            for _ in 0..rounds {
                bench.push(name, 4);
                owner.push(at);
            }
        }
        let (mut by_tenant, mut by_user) = (vec![0_usize; tenants.len()], vec![0_usize; names.len()]);
        // As long as every key has something left.
        for _ in 0..rounds {
            bench.now = bench.now + Span(1);
            let at = owner[bench.pop().unwrap() as usize];
            by_user[at] += 1;
            by_tenant[names[at].0] += 1;
            prop_assert!(by_tenant.iter().max().unwrap() - by_tenant.iter().min().unwrap() <= 1);
            for (tenant, _) in tenants.iter().enumerate() {
                let users = || (0..names.len()).filter(|at| names[*at].0 == tenant).map(|at| by_user[at]);
                prop_assert!(users().max().unwrap() - users().min().unwrap() <= 1);
            }
        }
    }
}
