//! Queues that share a limit, at random: no more goes than it lets through, whichever queue it goes from, whoever takes
//! tokens beside, whatever jobs cost in the end and whoever says that it was too much; nothing waits that may go; all of
//! it over restarts.

use std::collections::BTreeSet;

use proptest::collection::vec;
use proptest::option::weighted;
use proptest::prelude::*;
use proptest::sample::select;
use sluice_engine::*;

use crate::cases;
use crate::log::states;
use crate::shared::{named, of_vendor, vendor};
use crate::shared_judge::LimitJudge;
use crate::stage::{Held, SECOND, Stage, cost_quota, cost_rate, dear, quota, rate, slots};

const QUEUES: [&str; 3] = ["q1", "q2", "q3"];

#[derive(Clone, Debug)]
enum Step {
    Enqueue {
        queue: usize,
        jobs: usize,
        priority: u32,
        cost: u32,
    },
    Lease {
        queue: usize,
        jobs: u32,
        waits: bool,
    },
    Ack {
        pick: usize,
        jobs: usize,
        actual: Option<u32>,
    },
    /// It was too much: for the limit, or nobody says for what.
    Throttle {
        pick: usize,
        is_named: bool,
        retry_after: Option<Span>,
        actual: Option<u32>,
    },
    Release {
        pick: usize,
    },
    Acquire {
        cost: u64,
        waits: bool,
    },
    /// Out of the limit and, the next time, back.
    Move {
        queue: usize,
    },
    Pause {
        queue: usize,
        paused: bool,
    },
    Pass(u64),
    PassToNext,
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    let queue = || 0..QUEUES.len();
    let actual = || weighted(0.4, 0..9_u32);
    let cost = || prop_oneof![2 => Just(1), 1 => 1..6_u32];
    prop_oneof![
        4 => (queue(), 1..6_usize, select(vec![2, 4, 9]), cost())
            .prop_map(|(queue, jobs, priority, cost)| Step::Enqueue { queue, jobs, priority, cost }),
        6 => (queue(), 1..5_u32, any::<bool>()).prop_map(|(queue, jobs, waits)| Step::Lease { queue, jobs, waits }),
        3 => (any::<usize>(), 1..5_usize, actual()).prop_map(|(pick, jobs, actual)| Step::Ack { pick, jobs, actual }),
        1 => (any::<usize>(), any::<bool>(), weighted(0.4, 0..3_000_u64), actual()).prop_map(
            |(pick, is_named, millis, actual)| {
                Step::Throttle { pick, is_named, retry_after: millis.map(Span::from_millis), actual }
            }
        ),
        1 => any::<usize>().prop_map(|pick| Step::Release { pick }),
        2 => (cost(), any::<bool>()).prop_map(|(cost, waits)| Step::Acquire { cost: cost.into(), waits }),
        1 => queue().prop_map(|queue| Step::Move { queue }),
        1 => (queue(), any::<bool>()).prop_map(|(queue, paused)| Step::Pause { queue, paused }),
        3 => (0..2_000_000_000_u64).prop_map(Step::Pass),
        4 => Just(Step::PassToNext),
        1 => Just(Step::Restart),
    ]
}

fn window() -> impl Strategy<Value = NodeSettings> {
    let period = || (20..2_000_u64).prop_map(Span::from_millis);
    prop_oneof![
        (1..5_u32, 1..4_u32).prop_map(|(amount, burst)| rate(amount, burst)),
        (1..5_u32, period()).prop_map(|(amount, period)| quota(amount, period)),
        (1..9_u32, 1..9_u32).prop_map(|(amount, burst)| cost_rate(amount, burst)),
        (1..9_u32, period()).prop_map(|(amount, period)| cost_quota(amount, period)),
    ]
}

fn node() -> impl Strategy<Value = NodeSettings> {
    let most = prop_oneof![
        4 => vec(window(), 1..3).prop_map(|windows| (windows, None)),
        1 => (vec(window(), 0..2), (1..4_u32).prop_map(Some)),
    ];
    (most, weighted(0.6, Just(false))).prop_map(|((windows, most), adaptive)| {
        let windows = windows.into_iter().flat_map(|node| node.windows).collect();
        NodeSettings { windows, adaptive, ..most.map_or_else(NodeSettings::default, slots) }
    })
}

struct Run {
    stage: Stage,
    limit: LimitJudge,
    /// Whether priorities age.
    ages: bool,
    under: [bool; QUEUES.len()],
    paused: [bool; QUEUES.len()],
    jobs: [Vec<JobId>; QUEUES.len()],
    held: Vec<(usize, Held)>,
    leases: Vec<(usize, Ticket)>,
    /// What they cost, in order of arrival.
    calls: Vec<(Ticket, u64)>,
    /// Groups of the log that were looked at.
    followed: usize,
}

/// A READY job.
struct Waits {
    priority: Priority,
    sequence: u64,
    cost: u64,
    blocks: Vec<Block>,
}

impl Run {
    fn new(node: NodeSettings, own: Vec<Option<NodeSettings>>, ages: bool) -> Run {
        let mut stage = Stage::with(QueuePatch::default());
        let priority_ageing = Some(if ages { SECOND } else { Span::ZERO });
        let patch = LimitPatch { node: Some(node.clone()), priority_ageing };
        stage.done(Command::PutLimit(PutLimit { name: vendor(), patch, version: None }));
        let put = stage.groups.iter().flat_map(|(_, group)| group).find_map(|mutation| match mutation {
            Mutation::LimitPut(record) => Some(record.id),
            _ => None,
        });
        let limit = LimitJudge::new(put.unwrap(), node, stage.now.engine);
        let mut run = Run {
            stage,
            limit,
            ages,
            under: [true; QUEUES.len()],
            paused: [false; QUEUES.len()],
            jobs: Default::default(),
            held: Vec::new(),
            leases: Vec::new(),
            calls: Vec::new(),
            followed: 0,
        };
        for (queue, own) in own.into_iter().enumerate() {
            let patch = QueuePatch {
                lease_duration: Some(bound::MAX_LEASE),
                limit: Some(Some(vendor())),
                node: own,
                priority_ageing,
                ..QueuePatch::default()
            };
            run.put(queue, patch);
        }
        run
    }

    fn put(&mut self, queue: usize, patch: QueuePatch) {
        self.stage.done(Command::PutQueue(PutQueue { name: named(QUEUES[queue]), patch, version: None }));
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Enqueue { queue, jobs, priority, cost } => {
                let job = JobSpec { priority: Priority::new(priority).unwrap(), ..dear("a", cost) };
                let first = self.stage.enqueue_to(named(QUEUES[queue]), vec![job; jobs]);
                self.jobs[queue].extend((first.0..first.0 + jobs as u64).map(JobId));
            }
            Step::Lease { queue, jobs, waits } => {
                let ticket = if waits {
                    self.stage.wait_from(named(QUEUES[queue]), jobs)
                } else {
                    self.stage.try_from(named(QUEUES[queue]), jobs)
                };
                self.leases.push((queue, ticket));
            }
            Step::Ack { pick, jobs, actual } => {
                for _ in 0..jobs.min(self.held.len()) {
                    if let Some((queue, held)) = self.take(pick) {
                        self.settle(queue, &held, actual);
                        self.stage.ack_for(&held, actual);
                        self.look();
                    }
                }
            }
            Step::Throttle { pick, is_named, retry_after, actual } => {
                if let Some((queue, held)) = self.take(pick) {
                    self.settle(queue, &held, actual);
                    let is_named = is_named && self.under[queue];
                    if is_named {
                        self.limit.throttle(retry_after, self.stage.now.engine);
                    }
                    let scope = is_named.then(|| ThrottleScope::Limit(vendor()));
                    self.nack(&held, NackReason::Throttled, scope, retry_after, actual);
                }
            }
            Step::Release { pick } => {
                if let Some((_, held)) = self.take(pick) {
                    self.nack(&held, NackReason::Released, None, None, None);
                }
            }
            Step::Acquire { cost, waits } => {
                let wait = if waits { Span::from_secs(3_600) } else { Span::ZERO };
                let acquire = Acquire { node: of_vendor(), cost, wait };
                self.calls.push((self.stage.ask(Command::Acquire(acquire)), cost));
            }
            Step::Move { queue } => {
                self.under[queue] = !self.under[queue];
                if self.under[queue] {
                    self.limit.take_in(self.stage.now.engine);
                }
                let limit = self.under[queue].then(vendor);
                self.put(queue, QueuePatch { limit: Some(limit), ..QueuePatch::default() });
            }
            Step::Pause { queue, paused } => {
                self.paused[queue] = paused;
                self.put(queue, QueuePatch { paused: Some(paused), ..QueuePatch::default() });
            }
            Step::Pass(nanos) => self.stage.pass(Span(nanos)),
            Step::PassToNext => {
                if self.stage.engine.next_wake(self.stage.now).is_some() {
                    self.stage.pass_to_next();
                }
            }
            Step::Restart => {
                let first = |run: &Run| {
                    let lease = run.leases.first().map(|(_, ticket)| *ticket);
                    lease.or_else(|| run.calls.first().map(|(ticket, _)| *ticket))
                };
                while let Some(gone) = first(self) {
                    self.leases.retain(|(_, ticket)| *ticket != gone);
                    self.calls.retain(|(ticket, _)| *ticket != gone);
                    self.stage.ask(Command::Abandon(gone));
                    self.look();
                }
                let now = self.stage.now.engine;
                let before = states(&self.stage.engine, now);
                self.stage.restart();
                assert_eq!(states(&self.stage.engine, now), before, "what is known after a restart");
            }
        }
        self.look();
    }

    /// One of the jobs in hand.
    fn take(&mut self, pick: usize) -> Option<(usize, Held)> {
        let at = pick.checked_rem(self.held.len())?;
        Some(self.held.remove(at))
    }

    /// A worker is about to say what a job cost.
    fn settle(&mut self, queue: usize, held: &Held, actual: Option<u32>) {
        if let Some(actual) = actual.filter(|_| self.under[queue]) {
            let reserved = self.cost(held.id);
            self.limit.settle((held.id, held.token), reserved, actual.into(), self.stage.now.engine);
        }
    }

    fn nack(
        &mut self,
        held: &Held,
        reason: NackReason,
        scope: Option<ThrottleScope>,
        retry_after: Option<Span>,
        actual_cost: Option<u32>,
    ) {
        let Held { id, token, .. } = *held;
        let nack = Nack { id, token, reason, error: None, retry_after, scope, actual_cost };
        self.stage.ask(Command::Nack(vec![nack]));
    }

    /// What was said that a job costs.
    fn cost(&self, id: JobId) -> u64 {
        let detail = self.stage.engine.ledger().record(id).and_then(|record| record.detail);
        detail.map_or(Cost::DEFAULT, |detail| detail.cost).get().into()
    }

    /// Takes in what was answered, and judges.
    fn look(&mut self) {
        let now = self.stage.now.engine;
        for (time, group) in &self.stage.groups[self.followed..] {
            group.iter().for_each(|mutation| self.limit.follow(mutation, time.engine));
        }
        self.followed = self.stage.groups.len();
        // Some time a lease ends by itself.
        let engine = &self.stage.engine;
        let is_held = |held: &Held| {
            engine
                .job(held.id, self.stage.now)
                .is_some_and(|job| job.state == JobState::Leased && u64::from(job.deliveries) == held.token.0)
        };
        self.held.retain(|(_, held)| is_held(held));
        self.take_in_leases(now);
        self.take_in_calls(now);
        let limit = self.stage.engine.limit(&vendor(), self.stage.now).unwrap();
        assert_eq!(limit.node.in_flight, self.in_flight() as u64, "in flight");
        self.judge();
    }

    /// Jobs under the limit that workers hold.
    fn in_flight(&self) -> usize {
        self.held.iter().filter(|(queue, _)| self.under[*queue]).count()
    }

    fn take_in_leases(&mut self, now: Timestamp) {
        for (queue, ticket) in std::mem::take(&mut self.leases) {
            let Some(jobs) = self.stage.leased(ticket) else {
                self.leases.push((queue, ticket));
                continue;
            };
            for held in jobs {
                assert!(!self.paused[queue], "{held:?} goes from a queue that is paused");
                let (id, token) = (held.id, held.token);
                self.held.push((queue, held));
                if self.under[queue] {
                    self.limit.goes((id, token), self.cost(id), now);
                    // What comes with a queue may be too much; then nothing goes.
                    let in_flight = self.in_flight();
                    assert!(self.limit.has_room_for(in_flight), "{in_flight} in flight, and {id} goes");
                }
            }
        }
    }

    fn take_in_calls(&mut self, now: Timestamp) {
        for (ticket, cost) in std::mem::take(&mut self.calls) {
            match self.stage.answer(ticket) {
                Some(Ok(Outcome::Acquired(Acquired { retry_after: None, .. }))) => {
                    self.limit.goes((JobId(0), LeaseToken(ticket.0)), cost, now);
                }
                Some(Ok(Outcome::Acquired(_))) => {}
                Some(other) => panic!("{other:?}"),
                None => self.calls.push((ticket, cost)),
            }
        }
    }

    /// READY jobs of a queue.
    fn waiting(&self, queue: usize) -> Vec<Waits> {
        let engine = &self.stage.engine;
        let waits = |id: &JobId| {
            let job = engine.job(*id, self.stage.now).filter(|job| job.state == JobState::Ready)?;
            let sequence = engine.ledger().record(*id)?.sequence;
            Some(Waits { priority: job.priority, sequence, cost: self.cost(*id), blocks: job.blocks })
        };
        self.jobs[queue].iter().filter_map(waits).collect()
    }

    fn judge(&self) {
        let (now, in_flight) = (self.stage.now, self.in_flight());
        let waiting: Vec<Vec<Waits>> = (0..QUEUES.len()).map(|queue| self.waiting(queue)).collect();
        for queue in (0..QUEUES.len()).filter(|queue| self.under[*queue]) {
            let mut costs = BTreeSet::new();
            for job in waiting[queue].iter().filter(|job| costs.insert(job.cost)) {
                self.limit.blocks_are_true(job.cost, in_flight, &job.blocks, now);
            }
        }
        let wanted: BTreeSet<usize> = self.leases.iter().map(|(queue, _)| *queue).collect();
        let dear: Vec<(usize, &Waits)> = wanted
            .iter()
            .flat_map(|queue| firsts(&waiting[*queue]).map(|job| (*queue, job)))
            .filter(|(_, job)| job.blocks.first().is_some_and(is_window))
            .collect();
        let next_wake = self.stage.engine.next_wake(now);
        for queue in &wanted {
            for job in &waiting[*queue] {
                // A node on its way may be kept for a dearer job, for which it is the deepest closed one.
                let is_behind = dear.iter().any(|(of, dear)| {
                    let is_on_its_way =
                        if dear.blocks[0].limit.is_some() { self.under[*queue] } else { of == queue };
                    is_on_its_way && dear.cost > job.cost && (self.ages || dear.priority >= job.priority)
                });
                if is_behind {
                    continue;
                }
                let name = QUEUES[*queue];
                assert!(
                    !job.blocks.is_empty(),
                    "{} of {name} may go, and somebody waits for it",
                    job.sequence
                );
                let untils = job.blocks.iter().map(|block| block.until).collect::<Option<Vec<_>>>();
                if let Some(opens) = untils.and_then(|untils| untils.into_iter().max()) {
                    let opens = now.engine + opens.since(now.wall);
                    let is_awaited = next_wake.is_some_and(|time| time <= opens);
                    assert!(is_awaited, "{} of {name} may go at {opens:?}, not {next_wake:?}", job.sequence);
                }
            }
        }
        if let Some((_, cost)) = self.calls.first() {
            let is_kept = dear.iter().any(|(_, dear)| dear.blocks[0].limit.is_some() && dear.cost > 1);
            let may_wait = is_kept || self.limit.may_hold_back(*cost, now.engine);
            assert!(may_wait, "somebody waits for {cost} tokens that are there");
        }
    }

    /// All goes in the end, and nothing is left to do.
    fn finish(&mut self) {
        for queue in 0..QUEUES.len() {
            self.step(&Step::Pause { queue, paused: false });
        }
        for _ in 0..4_000 {
            for queue in 0..QUEUES.len() {
                if self.leases.iter().all(|(of, _)| *of != queue) {
                    self.step(&Step::Lease { queue, jobs: 9, waits: true });
                }
            }
            self.step(&Step::Ack { pick: 0, jobs: usize::MAX, actual: None });
            let is_done = |id: &JobId| {
                self.stage.engine.job(*id, self.stage.now).is_none_or(|job| job.state.is_at_rest())
            };
            if self.jobs.iter().flatten().all(is_done) && self.calls.is_empty() {
                return;
            }
            self.step(&Step::PassToNext);
        }
        panic!("what is left never goes");
    }
}

/// The first of each priority.
fn firsts(jobs: &[Waits]) -> impl Iterator<Item = &Waits> {
    let is_first = |job: &&Waits| {
        jobs.iter().all(|other| other.priority != job.priority || other.sequence >= job.sequence)
    };
    jobs.iter().filter(is_first)
}

fn is_window(block: &Block) -> bool {
    matches!(block.kind, BlockKind::Rate | BlockKind::Quota | BlockKind::Adapted)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(300), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn shared_limit_holds_and_nothing_waits_that_may_go(
        limit in node(),
        own in vec(weighted(0.4, node()), QUEUES.len()),
        ages in any::<bool>(),
        steps in vec(step(), 1..80),
    ) {
        let mut run = Run::new(limit, own, ages);
        steps.iter().for_each(|step| run.step(step));
        run.finish();
    }
}
