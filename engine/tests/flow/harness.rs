//! Drives an engine, and judges after every step.

use std::collections::{BTreeMap, BTreeSet};

use proptest::sample::Index;
use sluice_engine::*;

use crate::judge::{Outlook, jobs_are_known};
use crate::log::{Log, states};
use crate::node::key;
use crate::step::{Pass, Step, name};
use crate::world::World;

const QUEUES: [QueueId; 2] = [QueueId(1), QueueId(2)];
const DAY: u64 = 86_400_000_000_000;

pub(crate) struct Harness {
    engine: Engine,
    world: World,
    now: Now,
    log: Log,
    /// Leases that are not answered.
    asked: BTreeMap<Ticket, Asked>,
    ticket: u64,
}

/// A lease call.
#[derive(Clone, Copy)]
struct Asked {
    queue: QueueId,
    max_jobs: u32,
    max_bytes: usize,
}

/// What leases got, by queue.
#[derive(Default)]
struct Got {
    /// Less than they asked for.
    short: BTreeSet<QueueId>,
    /// The least urgent.
    lowest: BTreeMap<QueueId, u8>,
    /// The priorities of all of it, in order of dispatch.
    priorities: Vec<u8>,
}

impl Harness {
    pub(crate) fn new() -> Harness {
        let now = Now { engine: Timestamp(500_000_000_000), wall: WallTime(1_700_000_000_000_000_000) };
        let engine = Engine::new(EngineConfig::default());
        let (world, log, asked) = (World::default(), Log::default(), BTreeMap::new());
        Harness { engine, world, now, log, asked, ticket: 0 }
    }

    pub(crate) fn step(&mut self, step: &Step) {
        match step {
            Step::Pass(Pass::Nanos(nanos)) => self.pass(*nanos),
            Step::Pass(Pass::ToNext(times)) => {
                (0..*times).for_each(|_| self.pass(self.until_next().unwrap_or(0)))
            }
            Step::Pass(Pass::BeforeNext) => self.pass(self.until_next().unwrap_or(0).saturating_sub(1)),
            Step::SetWall { days } => {
                self.now.wall.0 = self.now.wall.0.wrapping_add_signed(days * DAY as i64);
                self.turn(None);
            }
            Step::Restart => self.restart(),
            _ => {
                if let Some(command) = self.command(step) {
                    self.turn(Some(command));
                }
            }
        }
    }

    /// Everything that can go goes, in as many steps as there are things to happen.
    pub(crate) fn finish(&mut self) {
        // Whoever waits for a time of day has waited enough.
        self.now.wall.0 += 1_000 * DAY;
        for queue in QUEUES {
            let patch = QueuePatch { paused: Some(false), ..QueuePatch::default() };
            self.turn(Some(Command::PutQueue(PutQueue { name: name(queue), patch, version: None })));
        }
        let live = |harness: &Harness| harness.world.ids_in(|state| !state.is_at_rest()).len();
        for _ in 0..30 * live(self) + 100 {
            let held = self.held();
            if !held.is_empty() {
                self.turn(Some(Command::Ack(held.into_iter().map(|held| ack(held, None)).collect())));
            }
            if live(self) == 0 {
                return;
            }
            for queue in QUEUES {
                if self.asked.values().all(|asked| asked.queue != queue) {
                    let step =
                        Step::Lease { queue: queue.0, max_jobs: 3, max_bytes: usize::MAX, wait: 10_000_000 };
                    self.step(&step);
                }
            }
            if self.held().is_empty() {
                let wait = self.until_next().expect("something is to happen yet");
                assert!(wait < DAY, "nothing is to happen for {wait} ns");
                self.pass(wait);
            }
        }
        panic!("what is left never goes: {:?}", self.world.jobs.values().find(|job| !job.state.is_at_rest()));
    }

    fn pass(&mut self, nanos: u64) {
        self.now.engine.0 += nanos;
        self.now.wall.0 += nanos;
        self.turn(None);
    }

    fn until_next(&self) -> Option<u64> {
        self.engine.next_wake(self.now).map(|time| time.since(self.now.engine).0)
    }

    /// One step of the engine, with one command or none. What leases got.
    fn turn(&mut self, command: Option<Command>) -> Vec<u8> {
        let mut group = Vec::new();
        let mut priorities = Vec::new();
        if let Some(command) = command {
            self.ticket += 1;
            let ticket = Ticket(self.ticket);
            self.foresee(ticket, &command);
            let looks_at = self.asked.get(&ticket).map(|asked| asked.queue);
            let mut effects = Effects::default();
            self.engine.apply(ticket, command, self.now, &mut effects);
            priorities.extend(self.take_in(&effects, |queue| Some(queue) == looks_at));
            group.append(&mut effects.mutations);
        }
        let mut effects = Effects::default();
        self.engine.wake(self.now, &mut effects);
        priorities.extend(self.take_in(&effects, |_| true));
        group.append(&mut effects.mutations);
        self.log.push(self.now, group);
        self.judge();
        priorities
    }

    /// What a command will do that no mutation says by itself.
    fn foresee(&mut self, ticket: Ticket, command: &Command) {
        match command {
            Command::Lease(lease) => {
                let queue = QUEUES.into_iter().find(|queue| name(*queue) == lease.queue).unwrap();
                let asked = Asked { queue, max_jobs: lease.max_jobs, max_bytes: lease.max_bytes };
                self.asked.insert(ticket, asked);
            }
            Command::Abandon(gone) => drop(self.asked.remove(gone)),
            Command::Ack(acks) => {
                for ack in acks {
                    self.world.settle(ack.id, ack.actual_cost, self.now.engine);
                }
            }
            Command::Nack(nacks) => {
                for nack in nacks {
                    self.world.settle(nack.id, nack.actual_cost, self.now.engine);
                }
                for nack in nacks.iter().filter(|nack| nack.reason == NackReason::Throttled) {
                    self.world.throttle(nack.id, nack.scope.as_ref(), nack.retry_after, self.now.engine);
                }
            }
            _ => {}
        }
    }

    /// Follows what the engine says it did. Where a lease waits, or got less than it asked for, nothing may be left
    /// that could go: if the engine `looked` there. The priorities of what went.
    fn take_in(&mut self, effects: &Effects, looked: impl Fn(QueueId) -> bool) -> Vec<u8> {
        let mut got = Got::default();
        let mut leased = effects.answers.iter().filter_map(|(ticket, answer)| match answer {
            Ok(Outcome::Leased(leased)) => {
                let asked = self.asked.remove(ticket).unwrap();
                let is_cut = asked.max_bytes != usize::MAX && !leased.jobs.is_empty();
                if leased.jobs.len() < asked.max_jobs as usize && !is_cut {
                    got.short.insert(asked.queue);
                }
                (!leased.jobs.is_empty()).then_some((asked.queue, leased))
            }
            Ok(_) => None,
            Err(refusal) => panic!("{refusal:?}"),
        });
        for mutation in &effects.mutations {
            let Mutation::Leased { jobs, .. } = mutation else {
                self.world.follow(mutation, self.now.engine);
                continue;
            };
            let (queue, answer) = leased.next().expect("somebody is told of every delivery");
            assert!(answer.jobs.iter().map(|leased| leased.job.id).eq(jobs.iter().copied()));
            for leased in &answer.jobs {
                let priority = leased.job.priority.get();
                let lowest = got.lowest.entry(queue).or_insert(priority);
                *lowest = priority.min(*lowest);
                got.priorities.push(priority);
                self.world.deliver(leased.job.id, leased.token, self.now.engine);
            }
        }
        assert!(leased.next().is_none(), "somebody got what no mutation tells of");
        drop(leased);
        got.short.extend(self.asked.values().map(|asked| asked.queue).filter(|queue| looked(*queue)));
        for queue in self.queues() {
            let outlook = Outlook::new(&self.world, &self.engine, queue, self.now);
            if got.short.contains(&queue) {
                outlook.is_exhausted();
            }
            if self.world.settings[&queue].priority_ageing == Span::ZERO
                && let Some(lowest) = got.lowest.get(&queue)
            {
                outlook.has_nothing_above(*lowest);
            }
        }
        got.priorities
    }

    fn judge(&self) {
        jobs_are_known(&self.world, &self.engine);
        for queue in self.queues() {
            let outlook = Outlook::new(&self.world, &self.engine, queue, self.now);
            outlook.blocks_are_true();
            if self.asked.values().any(|asked| asked.queue == queue) {
                outlook.is_awaited(self.engine.next_wake(self.now));
            }
        }
    }

    /// The engine goes on from what a store would hold of it.
    fn restart(&mut self) {
        let waiting: Vec<Ticket> = self.asked.keys().copied().collect();
        for ticket in waiting {
            self.turn(Some(Command::Abandon(ticket)));
        }
        let replayed = self.log.replayed(self.now);
        assert_eq!(states(&replayed, self.now.engine), states(&self.engine, self.now.engine));
        let mut before = std::mem::replace(&mut self.engine, replayed);
        for queue in self.queues() {
            let ages = self.world.settings[&queue].priority_ageing != Span::ZERO;
            let are_alike = self.world.ready(queue).all(|(_, job)| job.cost == 1);
            let lease = lease(queue, 1_000, usize::MAX, 0);
            let mut effects = Effects::default();
            before.apply(Ticket(u64::MAX), lease.clone(), self.now, &mut effects);
            let mut expected = effects
                .answers
                .iter()
                .flat_map(|(_, answer)| match answer {
                    Ok(Outcome::Leased(leased)) => leased.jobs.as_slice(),
                    _ => &[],
                })
                .map(|leased| leased.job.priority.get())
                .collect::<Vec<_>>();
            let mut got = self.turn(Some(lease));
            // Turns are not remembered. So others may go, but as many and as urgent ones: what limits let through
            // of jobs that cost the same does not depend on their order.
            if !ages && are_alike {
                expected.sort_unstable();
                got.sort_unstable();
                assert_eq!(got, expected, "after a restart other jobs go");
            }
        }
    }

    fn command(&self, step: &Step) -> Option<Command> {
        Some(match step {
            Step::Put { queue, patch } => Command::PutQueue(PutQueue {
                name: name(QueueId(*queue)),
                patch: patch.clone(),
                version: None,
            }),
            Step::Enqueue { queue, jobs } => Command::Enqueue(Enqueue {
                queue: name(QueueId(*queue)),
                jobs: jobs.clone(),
                request: None,
                batch_totals: Vec::new(),
                wait: Span::ZERO,
            }),
            Step::Lease { queue, max_jobs, max_bytes, wait } => {
                lease(QueueId(*queue), *max_jobs, *max_bytes, *wait)
            }
            Step::Ack { pick, jobs, actual_cost } => {
                let held = self.held();
                let first = some(held.len(), pick)?;
                let acked = held.into_iter().skip(first).take(*jobs);
                Command::Ack(acked.map(|held| ack(held, *actual_cost)).collect())
            }
            Step::Nack { pick, reason, retry_after, scope, actual_cost } => {
                let held = self.held();
                let (id, token) = held[some(held.len(), pick)?];
                let (retry_after, scope) = (retry_after.map(Span), scope.map(ThrottleScope::Segments));
                let (reason, actual_cost) = (*reason, *actual_cost);
                Command::Nack(vec![Nack { id, token, reason, error: None, retry_after, scope, actual_cost }])
            }
            Step::Cancel { pick } => Command::Cancel(self.pick(pick, |state| !state.is_at_rest())?),
            Step::Update { pick, priority, start } => Command::Update(Update {
                id: self.pick(pick, JobState::is_waiting)?,
                priority: priority.and_then(Priority::new),
                start: *start,
            }),
            Step::Drain { queue, max_jobs } => {
                let request = RequestKey { id: u128::from(self.ticket) + 1, content: 0 };
                Command::Drain(Drain { queue: name(QueueId(*queue)), request, max_jobs: *max_jobs })
            }
            Step::Requeue { queue } => {
                let jobs = self.world.ids_in(JobState::is_requeueable);
                let sweep = Sweep { queue: name(QueueId(*queue)), states: StateSet::ALL, jobs };
                Command::Requeue(Requeue { sweep, interval: Span::ZERO })
            }
            Step::Purge { pick } => {
                let id = self.pick(pick, JobState::is_waiting)?;
                let queue = name(self.world.jobs[&id].queue);
                Command::Purge(Sweep { queue, states: StateSet::ALL, jobs: vec![id] })
            }
            Step::Reset { queue, key: text } => {
                Command::ResetNode(NodeName::Key(name(QueueId(*queue)), key(text)))
            }
            Step::Pass(_) | Step::SetWall { .. } | Step::Restart => return None,
        })
    }

    /// Those that are there.
    fn queues(&self) -> Vec<QueueId> {
        self.world.settings.keys().copied().collect()
    }

    fn held(&self) -> Vec<(JobId, LeaseToken)> {
        let held = self.world.jobs.iter().filter(|(_, job)| job.state == JobState::Leased);
        held.map(|(id, job)| (*id, LeaseToken(job.deliveries.into()))).collect()
    }

    fn pick(&self, pick: &Index, is_wanted: impl Fn(JobState) -> bool) -> Option<JobId> {
        let ids = self.world.ids_in(is_wanted);
        some(ids.len(), pick).map(|at| ids[at])
    }
}

fn some(count: usize, pick: &Index) -> Option<usize> {
    (count > 0).then(|| pick.index(count))
}

fn ack((id, token): (JobId, LeaseToken), actual_cost: Option<u32>) -> Ack {
    Ack { id, token, result: None, actual_cost }
}

fn lease(queue: QueueId, max_jobs: u32, max_bytes: usize, wait: u64) -> Command {
    Command::Lease(Lease {
        queue: name(queue),
        max_jobs,
        max_bytes,
        lease_duration: None,
        wait: Span::from_secs(wait),
        worker: "w".into(),
    })
}
