//! Drives engine and model together, and compares them after every step.

use std::collections::BTreeSet;

use bytes::Bytes;
use sluice_engine::*;

use crate::replay::Log;
use crate::step::{BATCHES, KEYS, NODES, Spec, Step, batch, key, name};
use crate::world::Model;

pub(crate) struct Harness {
    pub(crate) engine: Engine,
    pub(crate) model: Model,
    pub(crate) now: Now,
    pub(crate) log: Log,
    ticket: u64,
}

impl Harness {
    pub(crate) fn new() -> Harness {
        let now = Now { engine: Timestamp(5_000_000_000), wall: WallTime(1_700_000_000_000_000_000) };
        let engine = Engine::new(EngineConfig::default());
        Harness { engine, model: Model::default(), now, log: Log::default(), ticket: 0 }
    }

    pub(crate) fn step(&mut self, step: &Step) {
        let mut effects = Effects::default();
        self.ticket += 1;
        let ticket = Ticket(self.ticket);
        // No two things happen at one nanosecond.
        self.now.engine.0 += 1;
        self.now.wall.0 += 1;
        let deletes = matches!(step, Step::Delete { .. });
        self.pass(step);
        // What is over is met by nobody.
        self.model.expire(self.now);
        if let Some(command) = self.command(step) {
            self.engine.apply(ticket, command.clone(), self.now, &mut effects);
            let mut answers = effects.answers.clone();
            // Answers of calls that waited longer come first; they are judged as such.
            let own = answers.iter().position(|(t, _)| *t == ticket).map(|at| answers.remove(at).1);
            for (waited, answer) in answers {
                self.model.waited(waited, &answer, deletes, self.now);
            }
            let taken = effects.mutations.iter().find_map(|mutation| match mutation {
                Mutation::Drained { jobs, .. } => Some(jobs.as_slice()),
                _ => None,
            });
            self.model.judge(step, &command, ticket, own, taken.unwrap_or_default(), self.now);
        }
        effects.answers.clear();
        self.engine.wake(self.now, &mut effects);
        if deletes {
            // What a deleted queue held goes in the step after.
            self.engine.wake(self.now, &mut effects);
        }
        self.model.pass(self.now);
        for (waited, answer) in std::mem::take(&mut effects.answers) {
            self.model.waited(waited, &answer, deletes, self.now);
        }
        self.model.time_out(self.now);
        self.log.push(self.now, effects.mutations, &self.engine);
        self.compare(&self.engine);
        for (name_index, name) in [name(0), name(1)].iter().enumerate() {
            let Some(status) = self.engine.status(name, self.now) else { continue };
            let queue = self.model.queue_of(name_index);
            let waits = self.model.calls.values().filter(|call| Some(call.queue) == queue).count();
            assert_eq!(status.waiting_enqueues, waits as u64);
        }
        self.wakes_in_time();
        self.rebuild();
    }

    /// The engine asks to be woken when there is something to do, and not before for ever.
    fn wakes_in_time(&mut self) {
        for _ in 0..5 {
            let Some(next) = self.engine.next_wake(self.now) else { return };
            let due_by_wall = self.model.jobs.values().filter_map(|job| job.due_by_wall);
            let is_due = due_by_wall.min().is_some_and(|time| time <= self.now.wall.0);
            if next > self.now.engine || is_due {
                return;
            }
            let mut effects = Effects::default();
            self.engine.wake(self.now, &mut effects);
            self.model.pass(self.now);
            for (waited, answer) in std::mem::take(&mut effects.answers) {
                self.model.waited(waited, &answer, false, self.now);
            }
            self.log.push(self.now, effects.mutations, &self.engine);
            self.compare(&self.engine);
        }
        panic!("next_wake spins");
    }

    fn pass(&mut self, step: &Step) {
        match step {
            Step::Pass { millis } => {
                self.now.engine.0 += millis * 1_000_000;
                self.now.wall.0 += millis * 1_000_000;
            }
            Step::SetWall { seconds } => {
                self.now.wall.0 = self.now.wall.0.wrapping_add_signed(seconds * 1_000_000_000);
            }
            _ => {}
        }
    }

    fn command(&mut self, step: &Step) -> Option<Command> {
        Some(match step {
            Step::Enqueue { queue, jobs, request, total, wait } => Command::Enqueue(Enqueue {
                queue: name(*queue),
                jobs: jobs.iter().map(|spec| self.spec(spec)).collect(),
                request: request.map(|id| RequestKey {
                    id: *queue as u128 * 10 + u128::from(id) + 1,
                    content: jobs.len() as u64,
                }),
                batch_totals: total.iter().map(|(index, total)| (batch(*index), *total)).collect(),
                wait: Span::from_secs(*wait),
            }),
            Step::Lease { queue, max_jobs, wait, max_bytes } => Command::Lease(Lease {
                queue: name(*queue),
                max_jobs: *max_jobs,
                max_bytes: *max_bytes,
                lease_duration: None,
                wait: Span::from_secs(*wait),
                worker: "w".into(),
            }),
            Step::Abandon { pick } => {
                let waiting: Vec<Ticket> =
                    self.model.calls.keys().chain(self.model.waiting.keys()).copied().collect();
                Command::Abandon(*waiting.get(pick % waiting.len().max(1))?)
            }
            Step::Ack { pick, stale } => {
                let (id, token) = self.model.pick(*pick, *stale)?;
                Command::Ack(vec![Ack {
                    id,
                    token,
                    result: Some(Bytes::from_static(b"ok")),
                    actual_cost: None,
                }])
            }
            Step::Nack { pick, reason, retry_after, stale } => {
                let (id, token) = self.model.pick(*pick, *stale)?;
                let retry_after = retry_after.map(Span);
                // What a queue learns that an enqueue made is not the model's.
                let learns = *reason == NackReason::Throttled && self.model.is_adaptive(id);
                let reason = if learns { NackReason::Released } else { *reason };
                Command::Nack(vec![Nack {
                    id,
                    token,
                    reason,
                    error: None,
                    retry_after,
                    scope: None,
                    actual_cost: None,
                }])
            }
            Step::Extend { pick, seconds } => {
                let (id, token) = self.model.pick(*pick, false)?;
                let lease_duration = Some(Span::from_secs(*seconds));
                Command::Extend(vec![Extension { id, token, lease_duration }])
            }
            Step::Drain { queue, max_jobs, request } => Command::Drain(Drain {
                queue: name(*queue),
                request: RequestKey { id: drain_id(*queue, *request), content: u64::from(*max_jobs) },
                max_jobs: *max_jobs,
            }),
            Step::Cancel { pick } => Command::Cancel(self.any_job(*pick)?),
            Step::Update { pick, priority, wait } => Command::Update(Update {
                id: self.any_job(*pick)?,
                priority: priority.map(|priority| Priority::new(u32::from(priority)).unwrap()),
                start: wait.map(|wait| wait.start(self.now)),
            }),
            Step::Requeue { queue, most, interval } => {
                let states = [JobState::Dead, JobState::Drained, JobState::Dropped];
                let jobs = self.model.in_states(*queue, JobState::is_requeueable, *most);
                let sweep = Sweep { queue: name(*queue), states: states.into_iter().collect(), jobs };
                Command::Requeue(Requeue { sweep, interval: Span(*interval) })
            }
            Step::Purge { queue, state, most } => {
                let state = JobState::ALL[*state];
                let jobs = self.model.in_states(*queue, |other| other == state, *most);
                Command::Purge(Sweep { queue: name(*queue), states: [state].into_iter().collect(), jobs })
            }
            Step::Delete { queue, force } => {
                Command::DeleteQueue(DeleteQueue { name: name(*queue), force: *force })
            }
            Step::Put { queue, patch } => {
                Command::PutQueue(PutQueue { name: name(*queue), patch: patch.clone(), version: None })
            }
            Step::Pass { .. } | Step::SetWall { .. } => return None,
        })
    }

    fn any_job(&self, pick: usize) -> Option<JobId> {
        let ids: Vec<u64> = self.model.jobs.keys().copied().collect();
        ids.get(pick % ids.len().max(1)).map(|id| JobId(*id))
    }

    fn spec(&self, spec: &Spec) -> JobSpec {
        JobSpec {
            payload: Bytes::from(vec![b'p'; spec.bytes]),
            key: key(KEYS[spec.key]),
            priority: Priority::new(u32::from(spec.priority)).unwrap(),
            start: spec.wait.start(self.now),
            ttl: spec.ttl.map(Span),
            idempotency: spec.idempotency.map(u128::from),
            batch: spec.batch.map(batch),
            bypass_limits: spec.bypass_limits,
            ..JobSpec::default()
        }
    }

    /// The model and `engine` agree on everything that is there.
    pub(crate) fn compare(&self, engine: &Engine) {
        self.compare_jobs(engine);
        for index in 0..2 {
            let (queue, name) = (self.model.queue_of(index), name(index));
            let status = engine.status(&name, self.now);
            assert_eq!(status.is_some(), queue.is_some());
            let (Some(queue), Some(status)) = (queue, status) else { continue };
            let known = &self.model.queues[&queue];
            let mut accounted = status.totals.removed;
            for state in JobState::ALL {
                let of_state = self.model.jobs.values().filter(|j| j.queue == queue && j.state == state);
                let expected = of_state.count() as u64;
                assert_eq!(status.counts.get(state), expected, "{state:?} in {queue}");
                accounted += expected;
            }
            assert_eq!(accounted, status.totals.enqueued, "every job is accounted for");
            let failed_by_code = status.totals.failed_by_code.clone();
            assert_eq!(status.totals, QueueTotals { failed_by_code, ..known.totals.clone() });
            assert_eq!(status.paused, known.settings.paused);
            let live = self.model.jobs.values().filter(|j| j.queue == queue && j.is_live());
            let held = live.fold((0, 0), |held, job| (held.0 + 1, held.1 + job.bytes));
            assert_eq!((status.counts.live(), status.bytes), held);
            let used = utilization(&known.settings.capacity, held);
            assert_eq!(status.utilization, used);
            let is_full = used.is_some_and(|used| used >= 1.0);
            assert!(!is_full || status.level == Level::Critical);
            assert!(used.is_some_and(|used| used >= 0.95) || status.level != Level::Critical);
            self.compare_keys(engine, queue, &name);
            for batch_index in 0..BATCHES.len() {
                let seen = engine.batch(&name, &batch(batch_index));
                assert_eq!(seen, self.model.batch_view(queue, batch_index), "batch {batch_index} of {queue}");
            }
        }
        for index in 0..2 {
            for request in 0..3u8 {
                let page = engine.drain_page(drain_id(index, request), 0, 1_000, self.now);
                let set = self.model.drains.get(&(index, request)).map(|drain| {
                    let is_drained =
                        |id: &u64| self.model.jobs.get(id).is_some_and(|j| j.state == JobState::Drained);
                    drain.jobs.iter().copied().filter(is_drained).collect::<Vec<u64>>()
                });
                assert_eq!(page.map(|(jobs, _)| jobs.iter().map(|job| job.id.0).collect()), set);
            }
        }
    }

    fn compare_jobs(&self, engine: &Engine) {
        let ledger = engine.ledger();
        let ids: Vec<u64> = ledger.ids(0..=u64::MAX, usize::MAX).iter().map(|id| id.0).collect();
        let expected: Vec<u64> = self.model.jobs.keys().copied().collect();
        assert_eq!(ids, expected, "jobs that exist");
        assert_eq!(ledger.serial(), self.model.serial);
        for (id, job) in &self.model.jobs {
            let record = ledger.record(JobId(*id)).unwrap();
            let mut seen = job.clone();
            (seen.queue, seen.key) = (record.queue.0, record.key.clone());
            (seen.priority, seen.state) = (record.priority.get(), record.state);
            (seen.attempts, seen.deliveries, seen.requeues) =
                (record.attempts, record.deliveries, record.requeues);
            (seen.sequence, seen.nacked) = (record.sequence, record.nacked);
            (seen.cancel_requested, seen.bytes) = (record.cancel_requested, u64::from(record.bytes));
            seen.batch.clone_from(&record.batch);
            (seen.due, seen.due_by_wall) = match record.due {
                Some(Due::Engine(time)) => (time.0, None),
                Some(Due::Wall(time)) => (0, Some(time.0)),
                None => (0, None),
            };
            if !ledger.is_detail_at_rest(JobId(*id)) {
                let detail = record.detail.clone().unwrap_or_default();
                seen.expire = detail.expire.map(|time| time.0);
                seen.ttl = detail.ttl.map(|ttl| ttl.0);
                seen.history =
                    detail.history.iter().map(|attempt| (attempt.token.0, attempt.cause)).collect();
            }
            assert_eq!(&seen, job, "job {id}");
            let view = engine.job(JobId(*id), self.now).unwrap();
            assert_eq!(view.bypass_limits, job.bypass_limits, "of job {id}");
            assert_eq!(view.position, self.model.position(*id), "position of job {id}");
        }
    }

    fn compare_keys(&self, engine: &Engine, queue: u32, name: &QueueName) {
        let mut expected = BTreeSet::new();
        for node in NODES {
            let status = engine.key(name, &key(node)).unwrap();
            let of_key = || self.model.jobs.values().filter(|j| j.is_under(queue, node) && j.is_live());
            for state in JobState::ALL {
                let count = of_key().filter(|job| job.state == state).count() as u64;
                assert_eq!(status.counts.get(state), count, "{state:?} under {node}");
            }
            let held = (of_key().count() as u64, of_key().map(|job| job.bytes).sum());
            assert_eq!(status.bytes, held.1);
            let settings = &self.model.queues[&queue].settings;
            let rule = settings.key_rules.iter().find(|rule| rule.pattern.matches(node));
            assert_eq!(status.utilization, rule.and_then(|rule| utilization(&rule.capacity, held)));
            if held.0 > 0 {
                expected.insert(key(node));
            }
        }
        let page = engine.keys(name, &Key::default(), 0, 1_000, self.now);
        assert_eq!(page.keys.iter().map(|status| status.key.clone()).collect::<BTreeSet<_>>(), expected);
    }
}

pub(crate) fn drain_id(queue: usize, request: u8) -> u128 {
    1_000 + queue as u128 * 10 + u128::from(request)
}

fn utilization(capacity: &Capacity, (jobs, bytes): (u64, u64)) -> Option<f64> {
    let part = |held: u64, limit: Option<u64>| limit.map(|limit| held as f64 / limit as f64);
    match (part(jobs, capacity.jobs), part(bytes, capacity.bytes)) {
        (Some(jobs), Some(bytes)) => Some(jobs.max(bytes)),
        (jobs, bytes) => jobs.or(bytes),
    }
}
