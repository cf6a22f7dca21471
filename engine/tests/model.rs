//! The engine against a naive model: generated commands, and after every step both must agree on every
//! job, every count and every answer, and a replay of the mutations must give the same engine.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::collections::BTreeMap;

use bytes::Bytes;
use proptest::prelude::*;
use sluice_engine::*;

const QUEUES: [&str; 2] = ["a", "b"];
const KEYS: [&str; 5] = ["", "x", "y", "y/1", "y/2/z"];

#[derive(Clone, Debug)]
enum Step {
    Enqueue { queue: usize, jobs: Vec<(usize, u8, Wait)>, request: Option<u8> },
    Lease { queue: usize, max_jobs: u32, wait: u64, max_bytes: usize },
    Ack { pick: usize, stale: bool },
    Nack { pick: usize, reason: NackReason, retry_after: Option<u64>, stale: bool },
    Extend { pick: usize, seconds: u64 },
    Drain { queue: usize, max_jobs: u32, request: u8 },
    Requeue { queue: usize, max_jobs: u32 },
    Purge { queue: usize, state: usize, max_jobs: u32 },
    Put { queue: usize, max_attempts: u32, retention: u64, retention_bytes: u64, lease: u64 },
    Pass { millis: u64 },
    SetWall { seconds: i64 },
}

#[derive(Clone, Copy, Debug)]
enum Wait {
    None,
    After(u64),
    At(i64),
}

#[derive(Clone, Debug, PartialEq)]
struct ModelJob {
    queue: usize,
    key: usize,
    priority: u8,
    state: JobState,
    attempts: u32,
    deliveries: u32,
    requeues: u32,
    /// Order among its equals; none before it was first ready.
    order: Option<u64>,
    /// Engine time of a run time, a lease's end, or the end of its life.
    due: u64,
    /// Wall time of its run time.
    due_by_wall: Option<u64>,
    nacked: bool,
}

#[derive(Clone, Debug, Default, PartialEq)]
struct ModelTotals {
    enqueued: u64,
    completed: u64,
    failed_attempts: u64,
    dead: u64,
    throttled: u64,
    drained: u64,
    requeued: u64,
    removed: u64,
}

#[derive(Default)]
struct Model {
    jobs: BTreeMap<u64, ModelJob>,
    totals: [ModelTotals; 2],
    settings: [QueueSettings; 2],
    exists: [bool; 2],
    requests: BTreeMap<u8, (u64, Enqueued, Timestamp)>,
    drains: BTreeMap<u8, (usize, u32, Vec<u64>, u64)>,
    waiting: BTreeMap<Ticket, (usize, u32, u64)>,
    next_order: u64,
    last_tokens: BTreeMap<u64, u64>,
}

/// Drives both.
struct Harness {
    engine: Engine,
    model: Model,
    now: Now,
    ticket: u64,
    groups: Vec<(Now, Vec<Mutation>)>,
    /// Records as they were after a group, to be loaded in place of what came before.
    snapshots: Vec<Snapshot>,
}

#[derive(Clone)]
struct Snapshot {
    as_of: u64,
    serial: u64,
    queues: Vec<QueueRecord>,
    jobs: Vec<JobRecord>,
    drains: Vec<DrainRecord>,
}

fn name(queue: usize) -> QueueName {
    QueueName::new(QUEUES[queue]).unwrap()
}

fn key(index: usize) -> Key {
    Key::new(KEYS[index].to_owned()).unwrap()
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let queue = 0..2usize;
    let wait = prop_oneof![
        5 => Just(Wait::None),
        1 => (1..20_000_000_000u64).prop_map(Wait::After),
        1 => (-5..20i64).prop_map(Wait::At),
    ];
    let reason = prop_oneof![
        4 => Just(NackReason::Failed),
        1 => Just(NackReason::Throttled),
        1 => Just(NackReason::Rejected),
        1 => Just(NackReason::Released),
    ];
    let step = prop_oneof![
        6 => (queue.clone(), prop::collection::vec((0..KEYS.len(), 0..4u8, wait), 1..6), prop::option::weighted(0.2, 0..4u8))
            .prop_map(|(queue, jobs, request)| Step::Enqueue { queue, jobs, request }),
        8 => (queue.clone(), 1..5u32, prop_oneof![Just(0), 1..10u64], prop_oneof![4 => Just(usize::MAX), 1 => Just(1200usize)])
            .prop_map(|(queue, max_jobs, wait, max_bytes)| Step::Lease { queue, max_jobs, wait, max_bytes }),
        5 => (any::<usize>(), prop::bool::weighted(0.2)).prop_map(|(pick, stale)| Step::Ack { pick, stale }),
        5 => (any::<usize>(), reason, prop::option::weighted(0.3, 0..5_000_000_000u64), prop::bool::weighted(0.2))
            .prop_map(|(pick, reason, retry_after, stale)| Step::Nack { pick, reason, retry_after, stale }),
        1 => (any::<usize>(), 1..100u64).prop_map(|(pick, seconds)| Step::Extend { pick, seconds }),
        1 => (queue.clone(), 1..8u32, 0..3u8).prop_map(|(queue, max_jobs, request)| Step::Drain { queue, max_jobs, request }),
        1 => (queue.clone(), 1..4u32).prop_map(|(queue, max_jobs)| Step::Requeue { queue, max_jobs }),
        1 => (queue.clone(), 0..7usize, 1..4u32).prop_map(|(queue, state, max_jobs)| Step::Purge { queue, state, max_jobs }),
        1 => (queue, 1..4u32, 1..100u64, 0..6u64, 1..50u64).prop_map(|(queue, max_attempts, retention, bytes, lease)|
            Step::Put { queue, max_attempts, retention, retention_bytes: bytes * 128, lease }),
        4 => prop_oneof![0..2_000u64, 0..60_000u64, 0..4_000_000u64].prop_map(|millis| Step::Pass { millis }),
        1 => (-100_000..100_000i64).prop_map(|seconds| Step::SetWall { seconds }),
    ];
    prop::collection::vec(step, 1..80)
}

impl Harness {
    fn new() -> Harness {
        let now = Now { engine: Timestamp(5_000_000_000), wall: WallTime(1_700_000_000_000_000_000) };
        Harness {
            engine: Engine::new(EngineConfig::default()),
            model: Model::default(),
            now,
            ticket: 0,
            groups: Vec::new(),
            snapshots: Vec::new(),
        }
    }

    fn step(&mut self, step: &Step) {
        let mut effects = Effects::default();
        self.ticket += 1;
        let ticket = Ticket(self.ticket);
        // No two things happen at one nanosecond.
        self.now.engine.0 += 1;
        self.now.wall.0 += 1;
        if let Some(command) = self.command(step) {
            self.engine.apply(ticket, command.clone(), self.now, &mut effects);
            let mut answers = effects.answers.clone();
            // Answers of calls that waited longer come first; they are judged as such.
            let own = answers.iter().position(|(t, _)| *t == ticket).map(|at| answers.remove(at).1);
            for (waited, answer) in answers {
                self.model.waited(waited, &answer, self.now);
            }
            let taken = effects.mutations.iter().find_map(|mutation| match mutation {
                Mutation::Drained { jobs, .. } => Some(jobs.as_slice()),
                _ => None,
            });
            self.model.judge(step, &command, ticket, own, taken.unwrap_or_default(), self.now);
        }
        effects.answers.clear();
        self.engine.wake(self.now, &mut effects);
        self.model.pass(self.now);
        for (waited, answer) in std::mem::take(&mut effects.answers) {
            self.model.waited(waited, &answer, self.now);
        }
        self.model.time_out(self.now);
        self.groups.push((self.now, effects.mutations));
        self.compare(&self.engine);
        if self.groups.len().is_multiple_of(7) {
            self.snapshots.push(snapshot(&self.engine, self.groups.len() as u64));
        }
        self.rebuild();
    }

    fn command(&mut self, step: &Step) -> Option<Command> {
        Some(match step {
            Step::Enqueue { queue, jobs, request } => Command::Enqueue(Enqueue {
                queue: name(*queue),
                jobs: jobs.iter().map(|(k, p, wait)| self.spec(*k, *p, *wait)).collect(),
                request: request.map(|id| RequestKey { id: u128::from(id) + 1, content: *queue as u64 }),
                batch_totals: Vec::new(),
                wait: Span::ZERO,
            }),
            Step::Lease { queue, max_jobs, wait, max_bytes } => Command::Lease(Lease {
                queue: name(*queue),
                max_jobs: *max_jobs,
                max_bytes: *max_bytes,
                lease_duration: None,
                wait: Span::from_secs(*wait),
                worker: "w".into(),
            }),
            Step::Ack { pick, stale } => {
                let (id, token) = self.model.pick(*pick, *stale)?;
                Command::Ack(vec![Ack { id, token, result: Some(Bytes::from_static(b"ok")) }])
            }
            Step::Nack { pick, reason, retry_after, stale } => {
                let (id, token) = self.model.pick(*pick, *stale)?;
                Command::Nack(vec![Nack {
                    id,
                    token,
                    reason: *reason,
                    error: None,
                    retry_after: retry_after.map(Span),
                }])
            }
            Step::Extend { pick, seconds } => {
                let (id, token) = self.model.pick(*pick, false)?;
                Command::Extend(vec![Extension {
                    id,
                    token,
                    lease_duration: Some(Span::from_secs(*seconds)),
                }])
            }
            Step::Drain { queue, max_jobs, request } => Command::Drain(Drain {
                queue: name(*queue),
                request: RequestKey {
                    id: 100 + u128::from(*request),
                    content: *queue as u64 * 100 + u64::from(*max_jobs),
                },
                max_jobs: *max_jobs,
            }),
            Step::Requeue { queue, max_jobs } => {
                let sweep = self.sweep(*queue, &[JobState::Dead, JobState::Drained], *max_jobs);
                Command::Requeue(Requeue { sweep, interval: Span::ZERO })
            }
            Step::Purge { queue, state, max_jobs } => {
                Command::Purge(self.sweep(*queue, &[JobState::ALL[*state]], *max_jobs))
            }
            Step::Put { queue, max_attempts, retention, retention_bytes, lease } => {
                Command::PutQueue(PutQueue {
                    name: name(*queue),
                    patch: QueuePatch {
                        retry: RetryPatch { max_attempts: Some(*max_attempts), ..RetryPatch::default() },
                        retention: Some(Span::from_secs(*retention)),
                        dead_retention: Some(Span::from_secs(retention * 50)),
                        retention_bytes: Some(*retention_bytes),
                        lease_duration: Some(Span::from_secs(*lease)),
                        priority_ageing: Some(Span::ZERO),
                        ..QueuePatch::default()
                    },
                    version: None,
                })
            }
            Step::Pass { millis } => {
                self.now.engine.0 += millis * 1_000_000;
                self.now.wall.0 += millis * 1_000_000;
                return None;
            }
            Step::SetWall { seconds } => {
                self.now.wall.0 = self.now.wall.0.wrapping_add_signed(seconds * 1_000_000_000);
                return None;
            }
        })
    }

    fn sweep(&self, queue: usize, states: &[JobState], max_jobs: u32) -> Sweep {
        let jobs = self.model.in_states(queue, states, max_jobs).into_iter().map(JobId).collect();
        Sweep { queue: name(queue), states: states.iter().copied().collect(), jobs }
    }

    fn spec(&self, k: usize, p: u8, wait: Wait) -> JobSpec {
        JobSpec {
            payload: Bytes::from_static(b"payload"),
            key: key(k),
            priority: Priority::new(u32::from(p)).unwrap(),
            start: match wait {
                Wait::None => Start::Now,
                Wait::After(nanos) => Start::After(Span(nanos)),
                Wait::At(seconds) => {
                    Start::At(WallTime(self.now.wall.0.wrapping_add_signed(seconds * 1_000_000_000)))
                }
            },
            ..JobSpec::default()
        }
    }

    /// The model and `engine` agree on every job and count.
    fn compare(&self, engine: &Engine) {
        let ids: Vec<u64> = engine.ledger().ids(0..=u64::MAX, usize::MAX).iter().map(|id| id.0).collect();
        let expected: Vec<u64> = self.model.jobs.keys().copied().collect();
        assert_eq!(ids, expected, "jobs that exist");
        for (id, job) in &self.model.jobs {
            let record = engine.ledger().record(JobId(*id)).unwrap();
            let seen = ModelJob {
                queue: job.queue,
                key: job.key,
                priority: record.priority.get(),
                state: record.state,
                attempts: record.attempts,
                deliveries: record.deliveries,
                requeues: record.requeues,
                order: job.order,
                due: match record.due {
                    Some(Due::Engine(time)) => time.0,
                    _ => 0,
                },
                due_by_wall: match record.due {
                    Some(Due::Wall(time)) => Some(time.0),
                    _ => None,
                },
                nacked: record.nacked,
            };
            assert_eq!(&seen, job, "job {id}");
            assert_eq!(record.key, key(job.key));
            let view = engine.job(JobId(*id), self.now).unwrap();
            assert_eq!(view.position, self.model.position(*id), "position of job {id}");
        }
        for queue in 0..2 {
            let status = engine.status(&name(queue), self.now);
            assert_eq!(status.is_some(), self.model.exists[queue]);
            let Some(status) = status else { continue };
            let mut enqueued = status.totals.removed;
            for state in JobState::ALL {
                let expected =
                    self.model.jobs.values().filter(|j| j.queue == queue && j.state == state).count();
                assert_eq!(status.counts.get(state), expected as u64, "{state:?} in {queue}");
                enqueued += expected as u64;
            }
            let totals = ModelTotals {
                enqueued: status.totals.enqueued,
                completed: status.totals.completed,
                failed_attempts: status.totals.failed_attempts,
                dead: status.totals.dead,
                throttled: status.totals.throttled,
                drained: status.totals.drained,
                requeued: status.totals.requeued,
                removed: status.totals.removed,
            };
            assert_eq!(totals, self.model.totals[queue]);
            assert_eq!(enqueued, status.totals.enqueued, "every job is accounted for");
            assert_eq!(status.bytes, 7 * status.counts.live());
        }
    }

    /// What the store would hold gives the same engine: from the log alone, and from records with the
    /// log after them, and with the log they already include.
    fn rebuild(&self) {
        let mut sources = vec![None];
        sources.extend(self.snapshots.last().map(Some));
        for snapshot in sources {
            let mut loader = Loader::new(EngineConfig::default());
            let mut skip = 0;
            if let Some(s) = snapshot {
                loader.serial(s.serial);
                s.queues.iter().for_each(|q| loader.queue(q.clone(), s.as_of));
                s.jobs.iter().for_each(|j| loader.job(j.clone(), s.as_of).unwrap());
                s.drains.iter().for_each(|d| loader.drain(d.clone(), s.as_of));
                // Some of what the records include is still in the log.
                skip = (s.as_of as usize).saturating_sub(3);
            }
            for (number, (now, mutations)) in self.groups.iter().enumerate().skip(skip) {
                loader.group(number as u64 + 1, *now, mutations.clone()).unwrap();
            }
            let engine = loader.finish(self.now).unwrap();
            // A lease that nobody waits for any more does not change a job.
            self.compare(&engine);
            for id in self.model.jobs.keys() {
                let (live, rebuilt) =
                    (self.engine.ledger().record(JobId(*id)), engine.ledger().record(JobId(*id)));
                let (mut live, mut rebuilt) = (live.unwrap(), rebuilt.unwrap());
                if engine.ledger().is_detail_at_rest(JobId(*id)) {
                    (live.detail, rebuilt.detail) = (None, None);
                }
                assert_eq!(live, rebuilt);
            }
            assert_eq!(self.engine.ledger().serial(), engine.ledger().serial());
            for queue in self.engine.ledger().queue_ids() {
                assert_eq!(self.engine.ledger().queue_record(queue), engine.ledger().queue_record(queue));
            }
            for request in 0..3u8 {
                let set = 100 + u128::from(request);
                assert_eq!(self.engine.ledger().drain_record(set), engine.ledger().drain_record(set));
            }
            assert_eq!(engine.next_wake(self.now).is_some(), self.next_wake_without_waiting());
        }
    }

    fn next_wake_without_waiting(&self) -> bool {
        self.model.jobs.values().any(|job| job.state != JobState::Ready) || !self.model.drains.is_empty()
    }
}

fn snapshot(engine: &Engine, as_of: u64) -> Snapshot {
    let ledger = engine.ledger();
    Snapshot {
        as_of,
        serial: ledger.serial(),
        queues: ledger.queue_ids().map(|id| ledger.queue_record(id).unwrap()).collect(),
        jobs: ledger.ids(0..=u64::MAX, usize::MAX).into_iter().map(|id| ledger.record(id).unwrap()).collect(),
        drains: (0..3u8).filter_map(|request| ledger.drain_record(100 + u128::from(request))).collect(),
    }
}

impl Model {
    fn pick(&self, pick: usize, stale: bool) -> Option<(JobId, LeaseToken)> {
        let delivered: Vec<_> = self.jobs.iter().filter(|(_, job)| job.deliveries > 0).collect();
        let leased: Vec<_> = delivered.iter().filter(|(_, job)| job.state == JobState::Leased).collect();
        if !leased.is_empty() && !stale {
            let (id, job) = leased[pick % leased.len()];
            return Some((JobId(**id), LeaseToken(u64::from(job.deliveries))));
        }
        let (id, job) = delivered.get(pick % delivered.len().max(1))?;
        Some((
            JobId(**id),
            LeaseToken(u64::from(job.deliveries) - u64::from(stale && pick.is_multiple_of(2))),
        ))
    }

    fn order(&mut self) -> u64 {
        self.next_order += 1;
        self.next_order
    }

    fn position(&self, id: u64) -> Option<u64> {
        let job = &self.jobs[&id];
        let ready = |other: &&ModelJob| other.state == JobState::Ready && other.queue == job.queue;
        let before = |other: &&ModelJob| {
            other.priority > job.priority || (other.priority == job.priority && other.order < job.order)
        };
        (job.state == JobState::Ready)
            .then(|| 1 + self.jobs.values().filter(ready).filter(before).count() as u64)
    }

    /// Whether `id` may be the next to go: nobody ready is more urgent, or before it with its key.
    fn take_next(&mut self, id: u64, queue: usize) {
        let job = self.jobs.get(&id).unwrap_or_else(|| panic!("job {id} does not exist")).clone();
        assert_eq!((job.state, job.queue), (JobState::Ready, queue), "job {id} is not ready there");
        for (other_id, other) in &self.jobs {
            if other.state == JobState::Ready && other.queue == queue {
                assert!(other.priority <= job.priority, "{other_id} is more urgent than {id}");
                if other.key == job.key && other.priority == job.priority {
                    assert!(other.order >= job.order, "{other_id} was before {id}");
                }
            }
        }
    }

    fn leased(&mut self, leased: &Leased, queue: usize, max_jobs: u32, now: Now) {
        assert!(leased.jobs.len() <= max_jobs as usize);
        for given in &leased.jobs {
            let id = given.job.id.0;
            self.take_next(id, queue);
            let lease = self.settings[queue].lease_duration;
            let job = self.jobs.get_mut(&id).unwrap();
            job.state = JobState::Leased;
            job.deliveries += 1;
            job.nacked = false;
            job.due = (now.engine + lease).0;
            assert_eq!(given.token.0, u64::from(job.deliveries));
            let before = self.last_tokens.insert(id, given.token.0);
            assert!(before.is_none_or(|before| before < given.token.0), "tokens grow");
        }
    }

    fn waited(&mut self, ticket: Ticket, answer: &Answer, now: Now) {
        let (queue, max_jobs, timeout) =
            self.waiting.remove(&ticket).expect("only those that wait are answered later");
        let Ok(Outcome::Leased(leased)) = answer else { panic!("{answer:?}") };
        if leased.jobs.is_empty() {
            assert!(timeout <= now.engine.0, "answered before its time");
            assert!(!self.jobs.values().any(|j| j.queue == queue && j.state == JobState::Ready));
        }
        self.leased(leased, queue, max_jobs, now);
    }

    fn time_out(&mut self, now: Now) {
        for (queue, _, timeout) in self.waiting.values() {
            assert!(*timeout > now.engine.0, "its time has passed");
            let ready = self.jobs.values().any(|j| j.queue == *queue && j.state == JobState::Ready);
            assert!(!ready, "waits though there is work");
        }
    }

    fn judge(
        &mut self,
        step: &Step,
        command: &Command,
        ticket: Ticket,
        answer: Option<Answer>,
        taken: &[JobId],
        now: Now,
    ) {
        match (step, command) {
            (Step::Enqueue { queue, request, .. }, Command::Enqueue(enqueue)) => {
                self.requests.retain(|_, (_, _, time)| now.engine.since(*time) < Span::from_secs(24 * 3600));
                if let Some((content, known, _)) = request.and_then(|r| self.requests.get(&r)) {
                    let expected = if *content == *queue as u64 {
                        Ok(Outcome::Enqueued(known.clone()))
                    } else {
                        Err(Refusal::RequestIdReused)
                    };
                    return assert_eq!(answer, Some(expected));
                }
                let Some(Ok(Outcome::Enqueued(enqueued))) = answer else { panic!("{answer:?}") };
                assert_eq!(enqueued.count as usize, enqueue.jobs.len());
                self.exists[*queue] = true;
                self.totals[*queue].enqueued += enqueue.jobs.len() as u64;
                for (id, spec) in (enqueued.first.0..).zip(&enqueue.jobs) {
                    let (due, due_by_wall) = match spec.start {
                        Start::Now => (0, None),
                        Start::After(span) => ((now.engine + span).0, None),
                        Start::At(time) => (0, (time > now.wall).then_some(time.0)),
                    };
                    let ready = due == 0 && due_by_wall.is_none();
                    let order = ready.then(|| self.order());
                    let job = ModelJob {
                        queue: *queue,
                        key: KEYS.iter().position(|k| *k == &*spec.key).unwrap(),
                        priority: spec.priority.get(),
                        state: if ready { JobState::Ready } else { JobState::Scheduled },
                        attempts: 0,
                        deliveries: 0,
                        requeues: 0,
                        order,
                        due,
                        due_by_wall,
                        nacked: false,
                    };
                    assert!(self.jobs.insert(id, job).is_none(), "ids are given once");
                }
                if let Some(request) = request {
                    self.requests.insert(*request, (*queue as u64, enqueued, now.engine));
                }
            }
            (Step::Lease { queue, max_jobs, wait, .. }, _) => match answer {
                None => {
                    assert!(*wait > 0);
                    self.waiting.insert(ticket, (*queue, *max_jobs, (now.engine + Span::from_secs(*wait)).0));
                }
                Some(Ok(Outcome::Leased(leased))) => {
                    let ready = self.jobs.values().any(|j| j.queue == *queue && j.state == JobState::Ready);
                    assert_eq!(leased.jobs.is_empty(), !ready, "work is given when there is some");
                    self.leased(&leased, *queue, *max_jobs, now);
                }
                other => panic!("{other:?}"),
            },
            (Step::Ack { .. }, Command::Ack(acks)) => {
                let Some(Ok(Outcome::Acked(results))) = answer else { panic!("{answer:?}") };
                let job = self.jobs.get_mut(&acks[0].id.0).unwrap();
                let present = u64::from(job.deliveries) == acks[0].token.0 && acks[0].token.0 > 0;
                if present && job.state == JobState::Leased {
                    job.state = JobState::Completed;
                    job.due = now.engine.0;
                    self.totals[job.queue].completed += 1;
                    assert_eq!(results, [Ok(())]);
                } else if present && job.state == JobState::Completed {
                    assert_eq!(results, [Ok(())]);
                } else {
                    assert_eq!(results, [Err(ItemRefusal::LeaseLost)]);
                }
            }
            (Step::Nack { .. }, Command::Nack(nacks)) => {
                let Some(Ok(Outcome::Nacked(results))) = answer else { panic!("{answer:?}") };
                let nack = &nacks[0];
                let job = &self.jobs[&nack.id.0];
                let present = u64::from(job.deliveries) == nack.token.0 && nack.token.0 > 0;
                if present && job.state == JobState::Leased {
                    self.give_back(nack.id.0, nack.reason, nack.retry_after, now);
                    assert_eq!(results[0].unwrap().state, self.jobs[&nack.id.0].state);
                } else if present && job.nacked && job.state != JobState::Drained {
                    assert_eq!(results[0].unwrap().state, job.state);
                } else {
                    assert_eq!(results, [Err(ItemRefusal::LeaseLost)]);
                }
            }
            (Step::Extend { seconds, .. }, Command::Extend(extensions)) => {
                let Some(Ok(Outcome::Extended(results))) = answer else { panic!("{answer:?}") };
                let job = self.jobs.get_mut(&extensions[0].id.0).unwrap();
                if job.state == JobState::Leased && u64::from(job.deliveries) == extensions[0].token.0 {
                    job.due = (now.engine + Span::from_secs(*seconds)).0;
                    let expire_time = now.wall + Span::from_secs(*seconds);
                    assert_eq!(results, [Ok(Extended { expire_time, cancel_requested: false })]);
                } else {
                    assert_eq!(results, [Err(ItemRefusal::LeaseLost)]);
                }
            }
            (Step::Drain { queue, max_jobs, request }, _) => {
                self.drain((*queue, *max_jobs, *request), answer, taken, now)
            }
            (Step::Requeue { queue, max_jobs }, _) => {
                let ids = self.in_states(*queue, &[JobState::Dead, JobState::Drained], *max_jobs);
                self.swept(*queue, ids.len(), answer.clone());
                for id in ids {
                    let order = self.order();
                    let job = self.jobs.get_mut(&id).unwrap();
                    (job.state, job.attempts, job.due, job.nacked) = (JobState::Ready, 0, 0, false);
                    job.requeues += 1;
                    job.order = Some(order);
                    self.totals[*queue].requeued += 1;
                }
            }
            (Step::Purge { queue, state, max_jobs }, _) => {
                let states = [JobState::ALL[*state]];
                let mut ids = self.in_states(*queue, &states, *max_jobs);
                if states == [JobState::Leased] {
                    ids.clear();
                }
                self.swept(*queue, ids.len(), answer.clone());
                for id in ids {
                    self.jobs.remove(&id);
                    self.totals[*queue].removed += 1;
                }
            }
            (Step::Put { queue, .. }, Command::PutQueue(put)) => {
                self.exists[*queue] = true;
                self.settings[*queue] = put.patch.over(&self.settings[*queue]);
                let Some(Ok(Outcome::QueuePut(view))) = answer else { panic!("{answer:?}") };
                assert_eq!(view.settings, self.settings[*queue]);
            }
            (step, command) => panic!("{step:?} {command:?}"),
        }
    }

    fn swept(&self, queue: usize, changed: usize, answer: Option<Answer>) {
        match answer {
            Some(Ok(Outcome::Swept(swept))) => assert_eq!(swept as usize, changed),
            Some(Err(Refusal::QueueNotFound)) => assert!(!self.exists[queue]),
            other => panic!("{other:?}"),
        }
    }

    fn in_states(&self, queue: usize, states: &[JobState], most: u32) -> Vec<u64> {
        let chosen = self.jobs.iter().filter(|(_, j)| j.queue == queue && states.contains(&j.state));
        chosen.map(|(id, _)| *id).take(most as usize).collect()
    }

    fn drain(&mut self, step: (usize, u32, u8), answer: Option<Answer>, taken: &[JobId], now: Now) {
        let (queue, max_jobs, request) = step;
        if let Some((known_queue, known_max, jobs, _)) = self.drains.get(&request) {
            if (*known_queue, *known_max) == (queue, max_jobs) {
                let Some(Ok(Outcome::Drained(drained))) = answer else { panic!("{answer:?}") };
                assert_eq!(drained.total, jobs.len() as u64);
            } else {
                assert_eq!(answer, Some(Err(Refusal::RequestIdReused)));
            }
            return;
        }
        let Some(Ok(Outcome::Drained(drained))) = answer else { panic!("{answer:?}") };
        if !self.exists[queue] {
            return assert_eq!(drained.total, 0);
        }
        let waits =
            |j: &ModelJob| matches!(j.state, JobState::Ready | JobState::Scheduled | JobState::Retrying);
        let waiting = self.jobs.values().filter(|j| j.queue == queue && waits(j)).count();
        assert_eq!(drained.total, waiting.min(max_jobs as usize) as u64);
        assert_eq!(taken.len() as u64, drained.total);
        let mut last_run_time = None;
        for id in taken.iter().map(|id| id.0) {
            if self.jobs[&id].state == JobState::Ready {
                assert_eq!(last_run_time, None, "ready jobs come first");
                self.take_next(id, queue);
            } else {
                let ready = |j: &ModelJob| j.queue == queue && j.state == JobState::Ready;
                assert!(!self.jobs.values().any(ready), "ready jobs come first");
                let job = &self.jobs[&id];
                let run_time = job.due_by_wall.unwrap_or_else(|| now.wall_at(Timestamp(job.due)).0);
                assert!(last_run_time.is_none_or(|last| last <= run_time), "the others come by run time");
                last_run_time = Some(run_time);
            }
            let job = self.jobs.get_mut(&id).unwrap();
            (job.state, job.due, job.due_by_wall) = (JobState::Drained, now.engine.0, None);
        }
        self.totals[queue].drained += drained.total;
        self.drains.insert(request, (queue, max_jobs, taken.iter().map(|id| id.0).collect(), now.engine.0));
    }

    fn give_back(&mut self, id: u64, reason: NackReason, retry_after: Option<Span>, now: Now) {
        let job = self.jobs.get_mut(&id).unwrap();
        let (totals, policy) = (&mut self.totals[job.queue], self.settings[job.queue].retry);
        job.nacked = true;
        let wait = match reason {
            NackReason::Failed => {
                job.attempts += 1;
                totals.failed_attempts += 1;
                (job.attempts < policy.max_attempts)
                    .then(|| retry_after.unwrap_or_else(|| policy.backoff(JobId(id), job.attempts)))
            }
            NackReason::Throttled => {
                totals.throttled += 1;
                Some(retry_after.unwrap_or(Span::from_secs(1)))
            }
            NackReason::Rejected => {
                job.attempts += 1;
                totals.failed_attempts += 1;
                None
            }
            NackReason::Released => Some(Span::ZERO),
        };
        (job.state, job.due) = match wait {
            None => (JobState::Dead, now.engine.0),
            Some(Span::ZERO) => (JobState::Ready, 0),
            Some(wait) => (JobState::Retrying, (now.engine + wait).0),
        };
        totals.dead += u64::from(job.state == JobState::Dead);
    }

    /// What time brings, in the order of time.
    fn pass(&mut self, now: Now) {
        let mut by_wall: Vec<(u64, u64)> = Vec::new();
        let mut by_engine: Vec<(u64, u64)> = Vec::new();
        for (id, job) in &self.jobs {
            match job.state {
                JobState::Scheduled | JobState::Retrying | JobState::Leased => match job.due_by_wall {
                    Some(time) if time <= now.wall.0 => by_wall.push((time, *id)),
                    None if job.due <= now.engine.0 => by_engine.push((job.due, *id)),
                    _ => {}
                },
                _ => {}
            }
        }
        by_wall.sort_unstable();
        by_engine.sort_unstable();
        for (_, id) in by_wall.into_iter().chain(by_engine) {
            if self.jobs[&id].state == JobState::Leased {
                self.give_back(id, NackReason::Failed, None, now);
                let job = self.jobs.get_mut(&id).unwrap();
                job.nacked = false;
                // A back-off of nothing is due at once.
                continue;
            }
            let order = self.jobs[&id].order.unwrap_or_else(|| self.next_order + 1);
            self.next_order = self.next_order.max(order);
            let job = self.jobs.get_mut(&id).unwrap();
            (job.state, job.due, job.due_by_wall, job.order) = (JobState::Ready, 0, None, Some(order));
        }
        for queue in 0..2 {
            let settings = self.settings[queue].clone();
            let mut finished: Vec<(u64, u64)> = self
                .jobs
                .iter()
                .filter(|(_, j)| j.queue == queue && j.state == JobState::Completed)
                .map(|(id, j)| (j.due, *id))
                .collect();
            finished.sort_unstable();
            let mut bytes = finished.len() as u64 * 130;
            for (end, id) in finished {
                if bytes > settings.retention_bytes || end + settings.retention.0 <= now.engine.0 {
                    self.jobs.remove(&id);
                    self.totals[queue].removed += 1;
                    bytes -= 130;
                }
            }
            let gone: Vec<u64> = self
                .jobs
                .iter()
                .filter(|(_, j)| j.queue == queue && matches!(j.state, JobState::Dead | JobState::Drained))
                .filter(|(_, j)| j.due + settings.dead_retention.0 <= now.engine.0)
                .map(|(id, _)| *id)
                .collect();
            for id in gone {
                self.jobs.remove(&id);
                self.totals[queue].removed += 1;
            }
            self.drains
                .retain(|_, (q, _, _, time)| *q != queue || *time + settings.dead_retention.0 > now.engine.0);
        }
        // 24 hours are never reached by a run's clock but in leaps.
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn engine_agrees_with_a_naive_model_and_with_its_own_replay(steps in steps()) {
        let mut harness = Harness::new();
        for queue in 0..2 {
            // Without ageing the model knows who may go.
            harness.step(&Step::Put { queue, max_attempts: 3, retention: 3600, retention_bytes: 1 << 20, lease: 30 });
        }
        for step in &steps {
            harness.step(step);
        }
    }
}
