//! Something to do: commands drawn by a seed, every kind of them.

use bytes::Bytes;
use sluice_engine::{
    Ack, Attributes, Command, Drain, Enqueue, Extension, JobError, JobId, JobSpec, JobState, Key, Lease,
    LeaseToken, Nack, NackReason, Outcome, Priority, PutQueue, QueueName, QueuePatch, RequestKey, RetryPatch,
    Span, Start, StateSet, Sweep,
};

use super::rig::Rig;

/// Draws commands and does them.
#[derive(Clone)]
pub(super) struct Workload {
    state: u64,
    held: Vec<(JobId, LeaseToken)>,
    requests: u64,
    /// The drained sets so far.
    pub(super) sets: Vec<u128>,
    /// Enqueues with a request id so far, to be repeated.
    pub(super) repeatable: Vec<(Enqueue, Outcome)>,
}

/// Repeatable enqueues kept: the last ones.
const MAX_REPEATABLE: usize = 40;

pub(super) fn queue(name: &str) -> QueueName {
    QueueName::new(name).unwrap()
}

impl Workload {
    pub(super) fn new(seed: u64) -> Workload {
        Workload { state: seed, held: Vec::new(), requests: 0, sets: Vec::new(), repeatable: Vec::new() }
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
        let name = queue(["alpha", "beta"][self.below(2)]);
        match self.below(100) {
            0..40 => self.enqueue(rig, name),
            40..58 => self.lease(rig, name),
            58..70 => self.ack(rig),
            70..84 => self.nack(rig),
            84..88 => self.extend(rig),
            88..91 => self.drain(rig, name),
            91..94 => self.sweep(rig, name, true),
            94..96 => self.sweep(rig, name, false),
            96..98 => self.put_queue(rig, name),
            _ => rig.wake(),
        }
    }

    fn enqueue(&mut self, rig: &mut Rig, queue: QueueName) {
        let jobs = (0..1 + self.below(12)).map(|_| self.spec(rig)).collect();
        let request = (self.below(2) == 0).then(|| self.request());
        let enqueue = Enqueue { queue, jobs, request };
        let outcome = rig.apply(Command::Enqueue(enqueue.clone())).unwrap();
        if request.is_some() {
            self.repeatable.push((enqueue, outcome));
            let surplus = self.repeatable.len().saturating_sub(MAX_REPEATABLE);
            self.repeatable.drain(..surplus);
        }
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
        JobSpec {
            payload: Bytes::from(vec![fill; size]),
            attributes: Attributes { labels, content_type: ["", "text/plain"][self.below(2)].into() },
            key: Key::new(["", "bot1", "bot1/chat2", "bot2/a/b"][self.below(4)].to_owned()).unwrap(),
            priority: Priority::new(self.below(10) as u32).unwrap(),
            start,
            retry: (self.below(3) == 0)
                .then(|| Box::new(RetryPatch { max_attempts: Some(2), ..RetryPatch::default() })),
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
            Ack { id, token, result }
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
        let states: StateSet = [JobState::Dead, JobState::Drained].into_iter().collect();
        let sweep = Sweep { queue, states, max_jobs: 1 + self.below(60) as u32, from: JobId(0) };
        let command = if is_requeue { Command::Requeue(sweep) } else { Command::Purge(sweep) };
        // A queue that is not there yet has nothing to sweep.
        let _ = rig.apply(command);
    }

    fn put_queue(&mut self, rig: &mut Rig, name: QueueName) {
        let patch = QueuePatch {
            retention: Some(Span::from_secs([20, 900][self.below(2)])),
            dead_retention: Some(Span::from_secs([2_000, 90_000][self.below(2)])),
            ..QueuePatch::default()
        };
        rig.apply(Command::PutQueue(PutQueue { name, patch, version: None })).unwrap();
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
