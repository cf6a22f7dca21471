//! Something to do: commands drawn by a seed, every kind of them.

use bytes::Bytes;
use sluice_engine::{
    Ack, Answer, Attributes, BatchName, Command, Cost, DeleteQueue, Drain, Enqueue, Extension, JobError,
    JobId, JobSpec, JobState, Key, KeyPattern, KeyRule, Lease, LeaseToken, Nack, NackReason, NodeSettings,
    Outcome, OverflowPolicy, Priority, PutQueue, QueueName, QueuePatch, RequestKey, Requeue, RetryPatch,
    Span, Start, StateSet, Sweep, Ticket, Unit, Update, Window, WindowKind,
};

use super::rig::Rig;
use crate::idempotency;

/// Draws commands and does them.
#[derive(Clone)]
pub(super) struct Workload {
    state: u64,
    held: Vec<(JobId, LeaseToken)>,
    requests: u64,
    steps: usize,
    /// The drained sets so far.
    pub(super) sets: Vec<u128>,
    /// Enqueues with a request id so far, to be repeated.
    pub(super) repeatable: Vec<(Enqueue, Outcome)>,
}

/// Repeatable enqueues kept: the last ones.
const MAX_REPEATABLE: usize = 40;
/// Queues: `gamma` lets the oldest go, calls wait for room in `delta`, `omega` is deleted now and then.
pub(super) const QUEUES: [&str; 5] = ["alpha", "beta", "gamma", "delta", "omega"];
/// Different idempotency keys.
const KEYS: usize = 60;
/// Different batches; each is in use for a while, and again after all the others.
const BATCHES: usize = 8;
const STEPS_OF_A_BATCH: usize = 25;

pub(super) fn queue(name: &str) -> QueueName {
    QueueName::new(name).unwrap()
}

/// Every batch there may be.
pub(super) fn batch_names() -> impl Iterator<Item = BatchName> {
    (0..BATCHES).map(batch_name)
}

fn batch_name(number: usize) -> BatchName {
    BatchName::new(&format!("batch{number}")).unwrap()
}

/// An enqueue with nothing special.
pub(super) fn enqueue(name: &str, jobs: Vec<JobSpec>) -> Command {
    let (queue, batch_totals) = (queue(name), Vec::new());
    Command::Enqueue(Enqueue { queue, jobs, request: None, batch_totals, wait: Span::ZERO })
}

/// A job that comes in once.
fn keyed(key: usize) -> JobSpec {
    let key = format!("key{key}");
    JobSpec {
        idempotency: Some(idempotency::hash(&key)),
        attributes: Attributes { idempotency_key: key.into(), ..Attributes::default() },
        ..JobSpec::default()
    }
}

/// Asks every queue for every idempotency key: which jobs are there, and which are new.
pub(super) fn probe(rig: &mut Rig) -> Vec<Answer> {
    let names = ["alpha", "beta", "omega"].into_iter();
    let names: Vec<_> = names.filter(|name| rig.engine.queue(&queue(name)).is_some()).collect();
    names.into_iter().map(|name| rig.apply(enqueue(name, (0..KEYS).map(keyed).collect()))).collect()
}

impl Workload {
    pub(super) fn new(seed: u64) -> Workload {
        let (held, sets, repeatable) = (Vec::new(), Vec::new(), Vec::new());
        Workload { state: seed, held, requests: 0, steps: 0, sets, repeatable }
    }

    /// Does `count` commands.
    pub(super) fn run(&mut self, rig: &mut Rig, count: usize) {
        for _ in 0..count {
            self.step(rig);
        }
    }

    fn step(&mut self, rig: &mut Rig) {
        let wait = [0, 5, 300, 2_000, 2_000, 20_000, 90_000][self.below(7)];
        rig.pass(Span::from_millis(wait));
        self.steps += 1;
        let name = queue(QUEUES[self.below(QUEUES.len())]);
        if rig.engine.queue(&name).is_none() {
            self.put_queue(rig, name.clone());
        }
        match self.below(100) {
            0..38 => self.enqueue(rig, name),
            38..54 => self.lease(rig, name),
            54..64 => self.ack(rig),
            64..77 => self.nack(rig),
            77..80 => self.extend(rig),
            80..83 => self.drain(rig, name),
            83..87 => self.sweep(rig, name, true),
            87..89 => self.sweep(rig, name, false),
            89..91 => self.put_queue(rig, name),
            91..94 => self.cancel(rig, &name),
            94..97 => self.update(rig, &name),
            97 => self.delete(rig),
            _ => rig.wake(),
        }
    }

    fn enqueue(&mut self, rig: &mut Rig, queue: QueueName) {
        let jobs = (0..1 + self.below(12)).map(|_| self.spec(rig)).collect();
        let request = (self.below(2) == 0).then(|| self.request());
        let batch_totals = match self.below(8) {
            0 => vec![(self.batch(), 500)],
            _ => Vec::new(),
        };
        let enqueue = Enqueue { queue, jobs, request, batch_totals, wait: Span::from_secs(1) };
        let ticket = rig.begin(Command::Enqueue(enqueue.clone()));
        let answer = rig.answer(ticket).or_else(|| self.make_room(rig, &enqueue.queue, ticket));
        // A queue may be full of jobs that are held.
        if let Some(Ok(outcome)) = answer
            && request.is_some()
        {
            self.repeatable.push((enqueue, outcome));
            let surplus = self.repeatable.len().saturating_sub(MAX_REPEATABLE);
            self.repeatable.drain(..surplus);
        }
    }

    /// The call waits: what is in its way goes, or who made it does.
    fn make_room(&mut self, rig: &mut Rig, queue: &QueueName, ticket: Ticket) -> Option<Answer> {
        if self.below(3) > 0 {
            let jobs = rig.find(queue, StateSet::ALL, 10_000);
            rig.apply(Command::Purge(Sweep { queue: queue.clone(), states: StateSet::ALL, jobs })).unwrap();
        }
        let answer = rig.answer(ticket);
        if answer.is_none() {
            rig.abandon(ticket);
        }
        answer
    }

    fn batch(&self) -> BatchName {
        batch_name(self.steps / STEPS_OF_A_BATCH % BATCHES)
    }

    fn spec(&mut self, rig: &Rig) -> JobSpec {
        let size = [0, 10, 300, 2_000, 9_000][self.below(5)];
        let fill = self.next() as u8;
        let labels = match self.below(3) {
            0 => vec![("event".into(), "push".into()), ("from".into(), "test".into())],
            _ => Vec::new(),
        };
        let start = match self.below(6) {
            0 => Start::After(Span::from_secs(5)),
            1 => Start::After(Span::from_secs(3_000)),
            2 => Start::At(rig.now.wall + Span::from_secs(600)),
            _ => Start::Now,
        };
        let (idempotency, idempotency_key) = match self.below(4) {
            0 => {
                let once = keyed(self.below(KEYS));
                (once.idempotency, once.attributes.idempotency_key)
            }
            _ => (None, "".into()),
        };
        let content_type = ["", "text/plain"][self.below(2)].into();
        JobSpec {
            payload: Bytes::from(vec![fill; size]),
            attributes: Attributes { labels, content_type, idempotency_key },
            idempotency,
            ttl: (self.below(5) == 0).then(|| Span::from_secs([30, 4_000][self.below(2)])),
            batch: (self.below(3) == 0).then(|| self.batch()),
            key: Key::new(["", "bot1", "bot1/chat2", "bot2/a/b"][self.below(4)].to_owned()).unwrap(),
            priority: Priority::new(self.below(10) as u32).unwrap(),
            cost: Cost::new([1, 1, 3][self.below(3)]).unwrap(),
            start,
            retry: (self.below(3) == 0)
                .then(|| Box::new(RetryPatch { max_attempts: Some(2), ..RetryPatch::default() })),
            bypass_limits: self.below(10) == 0,
        }
    }

    fn lease(&mut self, rig: &mut Rig, queue: QueueName) {
        let lease = Lease {
            queue,
            max_jobs: 1 + self.below(25) as u32,
            max_bytes: 100_000,
            lease_duration: (self.below(2) == 0).then(|| Span::from_secs(60)),
            wait: Span::ZERO,
            worker: ["w1", "w2"][self.below(2)].into(),
        };
        if let Ok(Outcome::Leased(leased)) = rig.apply(Command::Lease(lease)) {
            self.held.extend(leased.jobs.iter().map(|leased| (leased.job.id, leased.token)));
        }
    }

    fn ack(&mut self, rig: &mut Rig) {
        let acks = self.take_held(12).into_iter().map(|(id, token)| {
            let result = match self.below(4) {
                0 => Some(Bytes::from(vec![b'r'; 2_000])),
                1 => Some(Bytes::from_static(b"ok")),
                _ => None,
            };
            let actual_cost = (self.below(3) == 0).then(|| self.below(5) as u32);
            Ack { id, token, result, actual_cost }
        });
        let acks = acks.collect();
        rig.apply(Command::Ack(acks)).unwrap();
    }

    fn nack(&mut self, rig: &mut Rig) {
        let nacks = self.take_held(12).into_iter().map(|(id, token)| {
            let reasons =
                [NackReason::Failed, NackReason::Throttled, NackReason::Rejected, NackReason::Released];
            let error = JobError {
                code: ["E1", "E2"][self.below(2)].into(),
                message: "m".repeat([5, 4_000][self.below(2)]).into(),
            };
            Nack {
                id,
                token,
                reason: reasons[self.below(4)],
                error: (self.below(3) > 0).then(|| Box::new(error)),
                retry_after: (self.below(3) == 0).then(|| Span::from_secs(400)),
                scope: None,
                actual_cost: None,
            }
        });
        let nacks = nacks.collect();
        rig.apply(Command::Nack(nacks)).unwrap();
    }

    fn extend(&mut self, rig: &mut Rig) {
        let held = self.take_held(5);
        let extensions = held
            .iter()
            .map(|(id, token)| Extension { id: *id, token: *token, lease_duration: None })
            .collect();
        rig.apply(Command::Extend(extensions)).unwrap();
        self.held.extend(held);
    }

    fn drain(&mut self, rig: &mut Rig, queue: QueueName) {
        let request = self.request();
        let max_jobs = 1 + self.below(400) as u32;
        if let Ok(Outcome::Drained(drained)) = rig.apply(Command::Drain(Drain { queue, request, max_jobs })) {
            self.sets.push(drained.set);
        }
    }

    fn sweep(&mut self, rig: &mut Rig, queue: QueueName, is_requeue: bool) {
        let states: StateSet = [JobState::Dead, JobState::Drained, JobState::Dropped].into_iter().collect();
        let jobs = rig.find(&queue, states, 1 + self.below(60));
        let sweep = Sweep { queue, states, jobs };
        let interval = [Span::ZERO, Span::from_secs(2), Span::from_secs(100)][self.below(3)];
        let command = match is_requeue {
            true => Command::Requeue(Requeue { sweep, interval }),
            false => Command::Purge(sweep),
        };
        rig.apply(command).unwrap();
    }

    fn put_queue(&mut self, rig: &mut Rig, name: QueueName) {
        let (max_jobs, overflow) = match &*name {
            "gamma" => (Some(50), OverflowPolicy::DropOldest),
            "delta" => (Some(30), OverflowPolicy::Wait),
            _ => (None, OverflowPolicy::Reject),
        };
        let rule = KeyRule {
            pattern: KeyPattern::new("bot1/*").unwrap(),
            capacity: sluice_engine::Capacity { jobs: Some(12), bytes: None },
            overflow: Some(OverflowPolicy::DropOldest),
            node: limits(WindowKind::Quota, Unit::Cost),
        };
        let node = match &*name {
            "alpha" => limits(WindowKind::Rate { burst: 200 }, Unit::Jobs),
            _ => NodeSettings::default(),
        };
        let patch = QueuePatch {
            retention: Some(Span::from_secs([20, 900][self.below(2)])),
            dead_retention: Some(Span::from_secs([2_000, 90_000][self.below(2)])),
            max_jobs: Some(max_jobs),
            overflow: Some(overflow),
            node: Some(node),
            key_rules: Some(if &*name == "gamma" { vec![rule] } else { Vec::new() }),
            paused: Some(self.below(9) == 0),
            idempotency_window: Some(Span::from_secs(3_000)),
            ..QueuePatch::default()
        };
        rig.apply(Command::PutQueue(PutQueue { name, patch, version: None })).unwrap();
    }

    fn cancel(&mut self, rig: &mut Rig, queue: &QueueName) {
        if let Some(id) = self.pick(rig, queue) {
            // What is at rest cannot be cancelled.
            let _ = rig.apply(Command::Cancel(id));
        }
    }

    fn update(&mut self, rig: &mut Rig, queue: &QueueName) {
        if let Some(id) = self.pick(rig, queue) {
            let start = match self.below(4) {
                0 => Some(Start::Now),
                1 => Some(Start::After(Span::from_secs(3_000))),
                2 => Some(Start::At(rig.now.wall + Span::from_secs(600))),
                _ => None,
            };
            let priority = Priority::new(self.below(10) as u32);
            // What does not wait cannot be changed.
            let _ = rig.apply(Command::Update(Update { id, priority, start }));
        }
    }

    fn delete(&mut self, rig: &mut Rig) {
        let name = queue(["gamma", "omega", "omega"][self.below(3)]);
        // What it answered says nothing about the next of its name.
        self.repeatable.retain(|(enqueue, _)| enqueue.queue != name);
        // It may be gone already.
        let _ = rig.apply(Command::DeleteQueue(DeleteQueue { name, force: true }));
    }

    fn pick(&mut self, rig: &Rig, queue: &QueueName) -> Option<JobId> {
        let jobs = rig.find(queue, StateSet::ALL, 10_000);
        (!jobs.is_empty()).then(|| jobs[self.below(jobs.len())])
    }

    fn take_held(&mut self, most: usize) -> Vec<(JobId, LeaseToken)> {
        let count = self.held.len().min(most);
        self.held.drain(..count).collect()
    }

    fn request(&mut self) -> RequestKey {
        self.requests += 1;
        RequestKey { id: u128::from(self.requests) << 70 | 7, content: self.requests }
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    /// splitmix64.
    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut x = self.state;
        x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        x ^ (x >> 31)
    }
}

/// Limits that remember for long what went through them.
fn limits(kind: WindowKind, unit: Unit) -> NodeSettings {
    let window = Window { kind, amount: 500, period: Span::from_secs(3_000), unit };
    NodeSettings { windows: vec![window], ..NodeSettings::default() }
}
