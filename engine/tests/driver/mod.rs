//! One engine that is driven step by step, its clock, its log, and what it said. It knows no rule.

use std::collections::BTreeMap;

use sluice_engine::*;

pub(crate) struct Driver {
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

impl Driver {
    /// A new engine, at so many seconds of its clock.
    pub(crate) fn at(seconds: u64) -> Driver {
        let engine = Timestamp::default() + Span::from_secs(seconds);
        let now = Now { engine, wall: WallTime(1_700_000_000_000_000_000) };
        let engine = Engine::new(EngineConfig::default());
        Driver { engine, now, groups: Vec::new(), answers: BTreeMap::new(), last_ticket: 0 }
    }

    /// Settings of the one queue.
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
