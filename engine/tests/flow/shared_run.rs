//! Queues that share a limit, at random: no more goes than it lets through, whichever queue it goes from, whoever takes
//! tokens beside; nothing waits that may go; all of it over restarts.

use proptest::collection::vec;
use proptest::option::weighted;
use proptest::prelude::*;
use proptest::sample::select;
use sluice_engine::*;

use crate::cases;
use crate::stage::{Held, SECOND, Stage, job, quota, rate, slots};
use crate::tally::Tally;

const QUEUES: [&str; 3] = ["q1", "q2", "q3"];

#[derive(Clone, Debug)]
enum Step {
    Enqueue {
        queue: usize,
        jobs: usize,
        priority: u32,
    },
    Lease {
        queue: usize,
        jobs: u32,
        waits: bool,
    },
    Ack(usize),
    Acquire {
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
    prop_oneof![
        4 => (queue(), 1..6_usize, select(vec![2, 4, 9]))
            .prop_map(|(queue, jobs, priority)| Step::Enqueue { queue, jobs, priority }),
        6 => (queue(), 1..5_u32, any::<bool>()).prop_map(|(queue, jobs, waits)| Step::Lease { queue, jobs, waits }),
        3 => (1..5_usize).prop_map(Step::Ack),
        2 => any::<bool>().prop_map(|waits| Step::Acquire { waits }),
        1 => queue().prop_map(|queue| Step::Move { queue }),
        1 => (queue(), any::<bool>()).prop_map(|(queue, paused)| Step::Pause { queue, paused }),
        3 => (0..2_000_000_000_u64).prop_map(Step::Pass),
        4 => Just(Step::PassToNext),
        1 => Just(Step::Restart),
    ]
}

fn limit() -> impl Strategy<Value = NodeSettings> {
    prop_oneof![
        (1..5_u32, 1..4_u32).prop_map(|(amount, burst)| rate(amount, burst)),
        (1..5_u32, 20..2_000_u64).prop_map(|(amount, millis)| quota(amount, Span::from_millis(millis))),
        (1..4_u32).prop_map(slots),
    ]
}

struct Run {
    stage: Stage,
    limit: NodeSettings,
    went: Option<Tally>,
    under: [bool; QUEUES.len()],
    paused: [bool; QUEUES.len()],
    jobs: [Vec<JobId>; QUEUES.len()],
    held: Vec<(usize, Held)>,
    leases: Vec<(usize, Ticket)>,
    calls: Vec<Ticket>,
}

fn named(queue: usize) -> QueueName {
    QueueName::new(QUEUES[queue]).unwrap()
}

fn vendor() -> LimitName {
    LimitName::new("vendor").unwrap()
}

impl Run {
    fn new(limit: NodeSettings, own: Vec<Option<NodeSettings>>) -> Run {
        let mut stage = Stage::with(QueuePatch::default());
        let patch = LimitPatch { node: Some(limit.clone()), priority_ageing: Some(SECOND) };
        stage.done(Command::PutLimit(PutLimit { name: vendor(), patch, version: None }));
        let went = limit.windows.first().map(|window| Tally::new(*window));
        let (under, paused) = ([true; QUEUES.len()], [false; QUEUES.len()]);
        let (jobs, held) = (Default::default(), Vec::new());
        let mut run =
            Run { stage, limit, went, under, paused, jobs, held, leases: Vec::new(), calls: Vec::new() };
        for (queue, own) in own.into_iter().enumerate() {
            let patch = QueuePatch {
                lease_duration: Some(bound::MAX_LEASE),
                limit: Some(Some(vendor())),
                node: own,
                ..QueuePatch::default()
            };
            run.put(queue, patch);
        }
        run
    }

    fn put(&mut self, queue: usize, patch: QueuePatch) {
        self.stage.done(Command::PutQueue(PutQueue { name: named(queue), patch, version: None }));
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Enqueue { queue, jobs, priority } => {
                let job = JobSpec { priority: Priority::new(priority).unwrap(), ..job("a") };
                let first = self.stage.enqueue_to(named(queue), vec![job; jobs]);
                self.jobs[queue].extend((first.0..first.0 + jobs as u64).map(JobId));
            }
            Step::Lease { queue, jobs, waits } => {
                let ticket = if waits {
                    self.stage.wait_from(named(queue), jobs)
                } else {
                    self.stage.try_from(named(queue), jobs)
                };
                self.leases.push((queue, ticket));
            }
            Step::Ack(count) => {
                for _ in 0..count.min(self.held.len()) {
                    let (_, held) = self.held.remove(0);
                    self.stage.ack(&held);
                    self.look();
                }
            }
            Step::Acquire { waits } => {
                let wait = if waits { Span::from_secs(3_600) } else { Span::ZERO };
                let node = NodeName::Limit(vendor());
                self.calls.push(self.stage.ask(Command::Acquire(Acquire { node, cost: 1, wait })));
            }
            Step::Move { queue } => {
                // What is in flight goes with its queue: then the cap may be passed, as when it is lowered.
                if self.limit.max_in_flight.is_none() {
                    self.under[queue] = !self.under[queue];
                    let limit = self.under[queue].then(vendor);
                    self.put(queue, QueuePatch { limit: Some(limit), ..QueuePatch::default() });
                }
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
                for ticket in self
                    .leases
                    .drain(..)
                    .map(|(_, ticket)| ticket)
                    .chain(self.calls.drain(..))
                    .collect::<Vec<_>>()
                {
                    self.stage.ask(Command::Abandon(ticket));
                }
                self.stage.restart();
            }
        }
        self.look();
    }

    /// Takes in what was answered, and judges.
    fn look(&mut self) {
        let now = self.stage.now.engine;
        let mut goes = Vec::new();
        let leases = std::mem::take(&mut self.leases);
        for (queue, ticket) in leases {
            match self.stage.leased(ticket) {
                Some(jobs) => goes.extend(jobs.into_iter().map(|held| (queue, held))),
                None => self.leases.push((queue, ticket)),
            }
        }
        let from_paused = goes.iter().find(|(queue, _)| self.paused[*queue]);
        assert!(from_paused.is_none(), "{from_paused:?} goes from a queue that is paused");
        let mut taken = 0;
        let calls = std::mem::take(&mut self.calls);
        for ticket in calls {
            match self.stage.answer(ticket) {
                Some(Ok(Outcome::Acquired(acquired))) => taken += usize::from(acquired.retry_after.is_none()),
                Some(other) => panic!("{other:?}"),
                None => self.calls.push(ticket),
            }
        }
        let charged = goes.iter().filter(|(queue, _)| self.under[*queue]).count() + taken;
        if let Some(went) = &mut self.went {
            for _ in 0..charged {
                assert!(!went.would_exceed(1, now), "more goes through {:?} than may", self.limit);
                went.add((JobId(0), LeaseToken(0)), 1, Timestamp(0), now);
            }
        }
        self.held.extend(goes);
        // Some time a lease ends by itself.
        let engine = &self.stage.engine;
        let is_held = |held: &Held| {
            engine
                .job(held.id, self.stage.now)
                .is_some_and(|job| job.state == JobState::Leased && u64::from(job.deliveries) == held.token.0)
        };
        self.held.retain(|(_, held)| is_held(held));
        let in_flight = self.held.iter().filter(|(queue, _)| self.under[*queue]).count();
        let most = self.limit.max_in_flight.map_or(usize::MAX, |most| most as usize);
        assert!(in_flight <= most, "{in_flight} in flight");
        for (queue, _) in &self.leases {
            for id in &self.jobs[*queue] {
                let Some(job) = self.stage.engine.job(*id, self.stage.now) else { continue };
                let may_go = job.state == JobState::Ready && job.blocks.is_empty();
                assert!(!may_go, "{id} of {} may go, and somebody waits for it", QUEUES[*queue]);
                let by_limit = job.blocks.iter().any(|block| block.limit.is_some());
                let is_closed = self.went.as_ref().is_none_or(|went| went.may_hold_back(1, now));
                assert!(!by_limit || is_closed, "{id} is held back by a limit that is open");
            }
        }
        let holds_back = self.went.as_ref().is_some_and(|went| went.may_hold_back(1, now));
        assert!(self.calls.is_empty() || holds_back, "somebody waits for tokens that are there");
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
            self.step(&Step::Ack(usize::MAX));
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

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(300), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn shared_limit_holds_and_nothing_waits_that_may_go(
        limit in limit(),
        own in vec(weighted(0.4, limit()), QUEUES.len()),
        steps in vec(step(), 1..80),
    ) {
        let mut run = Run::new(limit, own);
        steps.iter().for_each(|step| run.step(step));
        run.finish();
    }
}
