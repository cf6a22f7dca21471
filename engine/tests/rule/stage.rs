//! An engine that is driven step by step, and what it said. It knows no rule.

use std::collections::BTreeMap;

use bytes::Bytes;
use sluice_engine::*;

/// One engine, its clock, and its log.
pub(crate) struct Stage {
    pub(crate) engine: Engine,
    pub(crate) now: Now,
    /// The groups of its log, as a store would keep them.
    pub(crate) groups: Vec<(Now, Vec<Mutation>)>,
    answers: BTreeMap<Ticket, Answer>,
    last_ticket: u64,
}

pub(crate) fn queue() -> QueueName {
    QueueName::new("q").unwrap()
}

pub(crate) fn key(text: &str) -> Key {
    Key::new(text.to_owned()).unwrap()
}

/// A job of ten bytes with this key.
pub(crate) fn job(text: &str) -> JobSpec {
    JobSpec { payload: Bytes::from_static(b"0123456789"), key: key(text), ..JobSpec::default() }
}

/// Jobs for the queue; the call waits for room up to a minute.
pub(crate) fn enqueue(jobs: Vec<JobSpec>) -> Enqueue {
    Enqueue { queue: queue(), jobs, request: None, batch_totals: Vec::new(), wait: Span::from_secs(60) }
}

/// A capacity in jobs for the keys that match.
pub(crate) fn rule(pattern: &str, jobs: u64, overflow: OverflowPolicy) -> KeyRule {
    KeyRule {
        pattern: KeyPattern::new(pattern).unwrap(),
        capacity: Capacity { jobs: Some(jobs), bytes: None },
        overflow: Some(overflow),
        node: NodeSettings::default(),
    }
}

impl Stage {
    pub(crate) fn new() -> Stage {
        let now = Now { engine: Timestamp(1_000_000_000), wall: WallTime(1_700_000_000_000_000_000) };
        let engine = Engine::new(EngineConfig::default());
        Stage { engine, now, groups: Vec::new(), answers: BTreeMap::new(), last_ticket: 0 }
    }

    /// A queue with these settings.
    pub(crate) fn with(patch: QueuePatch) -> Stage {
        let mut stage = Stage::new();
        stage.put(patch);
        stage
    }

    pub(crate) fn put(&mut self, patch: QueuePatch) {
        self.done(Command::PutQueue(PutQueue { name: queue(), patch, version: None }));
    }

    /// One step with one command. Its answer may come later.
    pub(crate) fn ask(&mut self, command: Command) -> Ticket {
        self.last_ticket += 1;
        let ticket = Ticket(self.last_ticket);
        self.step(Some((ticket, command)));
        ticket
    }

    /// One step whose command is answered at once.
    pub(crate) fn answered(&mut self, command: Command) -> Answer {
        let ticket = self.ask(command);
        self.answer(ticket).expect("it is answered at once")
    }

    /// One step whose command does what it is to do at once.
    pub(crate) fn done(&mut self, command: Command) -> Outcome {
        self.answered(command).expect("nothing stands in its way")
    }

    /// What came of a command, if it is known by now.
    pub(crate) fn answer(&mut self, ticket: Ticket) -> Option<Answer> {
        self.answers.remove(&ticket)
    }

    /// Time passes, and the engine is woken once at the end of it.
    pub(crate) fn pass(&mut self, span: Span) {
        self.now.engine = self.now.engine + span;
        self.now.wall = self.now.wall + span;
        self.step(None);
    }

    /// Puts jobs in; they find room.
    pub(crate) fn enqueue(&mut self, jobs: Vec<JobSpec>) -> Enqueued {
        let Outcome::Enqueued(enqueued) = self.done(Command::Enqueue(enqueue(jobs))) else { unreachable!() };
        enqueued
    }

    /// Leases up to so many.
    pub(crate) fn lease(&mut self, max_jobs: u32) -> Vec<(JobId, LeaseToken)> {
        let lease = Lease {
            queue: queue(),
            max_jobs,
            max_bytes: usize::MAX,
            lease_duration: None,
            wait: Span::ZERO,
            worker: "w".into(),
        };
        let Outcome::Leased(leased) = self.done(Command::Lease(lease)) else { unreachable!() };
        leased.jobs.iter().map(|leased| (leased.job.id, leased.token)).collect()
    }

    pub(crate) fn ack(&mut self, (id, token): (JobId, LeaseToken)) {
        self.done(Command::Ack(vec![Ack { id, token, result: None }]));
    }

    pub(crate) fn nack(&mut self, (id, token): (JobId, LeaseToken), reason: NackReason) {
        self.done(Command::Nack(vec![Nack {
            id,
            token,
            reason,
            error: None,
            retry_after: None,
            scope: None,
        }]));
    }

    pub(crate) fn state(&self, id: JobId) -> Option<JobState> {
        self.engine.job(id, self.now).map(|job| job.state)
    }

    fn step(&mut self, command: Option<(Ticket, Command)>) {
        let mut effects = Effects::default();
        if let Some((ticket, command)) = command {
            self.engine.apply(ticket, command, self.now, &mut effects);
        }
        self.engine.wake(self.now, &mut effects);
        self.answers.extend(effects.answers);
        self.groups.push((self.now, effects.mutations));
    }
}
