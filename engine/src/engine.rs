//! Decides. Everything it changes it says in mutations.

use crate::command::{Command, StateSet};
use crate::id::{JobId, QueueId, Ticket};
use crate::job::JobView;
use crate::ledger::Ledger;
use crate::mutation::Mutation;
use crate::name::QueueName;
use crate::outcome::Answer;
use crate::queue::{QueueStatus, QueueView};
use crate::time::{Now, Timestamp};

/// What an operator set for the whole engine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EngineConfig {
    /// Whether Lease and Drain refuse a queue that does not exist.
    pub strict_queues: bool,
}

/// What commands did, collected over a group: nobody hears of it before it is durable.
#[derive(Debug, Default)]
pub struct Effects {
    /// What changed, in order.
    pub mutations: Vec<Mutation>,
    /// Outcomes of calls, those of earlier groups that waited among them.
    pub answers: Vec<(Ticket, Answer)>,
    /// Queues whose status changed. May name one more than once.
    pub touched: Vec<QueueId>,
}

/// A page of jobs.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct JobsPage {
    /// By id.
    pub jobs: Vec<JobView>,
    /// Where the next page begins; none: that was all.
    pub next: Option<JobId>,
}

/// The queue.
pub struct Engine {}

impl Engine {
    /// An engine with nothing in it.
    #[must_use]
    pub fn new(_config: EngineConfig) -> Engine {
        todo!()
    }

    /// Does `command`. Its answer, under `ticket`, is in `effects` now, or after a later step when it waits.
    pub fn apply(&mut self, _ticket: Ticket, _command: Command, _now: Now, _effects: &mut Effects) {
        todo!()
    }

    /// Does what is due: promotions, expiries, retention, waiting leases. To be called once a step,
    /// after its commands.
    pub fn wake(&mut self, _now: Now, _effects: &mut Effects) {
        todo!()
    }

    /// When [`Engine::wake`] has something to do, if nothing comes before. May be in the past.
    #[must_use]
    pub fn next_wake(&self, _now: Now) -> Option<Timestamp> {
        todo!()
    }

    /// A job; none when it never was or is gone.
    #[must_use]
    pub fn job(&self, _id: JobId, _now: Now) -> Option<JobView> {
        todo!()
    }

    /// A page of jobs by id, from `from` on: at most `limit`, after looking at no more than
    /// [`crate::bound::MAX_SWEEP_JOBS`].
    #[must_use]
    pub fn jobs(
        &self,
        _queue: Option<&QueueName>,
        _states: StateSet,
        _from: JobId,
        _limit: usize,
        _now: Now,
    ) -> JobsPage {
        todo!()
    }

    /// A queue's settings.
    #[must_use]
    pub fn queue(&self, _name: &QueueName) -> Option<QueueView> {
        todo!()
    }

    /// Queues by name, after `after`, at most `limit`.
    #[must_use]
    pub fn queues(&self, _after: Option<&str>, _limit: usize) -> Vec<QueueView> {
        todo!()
    }

    /// How a queue stands; none when it does not exist.
    #[must_use]
    pub fn status(&self, _name: &QueueName, _now: Now) -> Option<QueueStatus> {
        todo!()
    }

    /// The name of a queue.
    #[must_use]
    pub fn queue_name(&self, _id: QueueId) -> Option<&QueueName> {
        todo!()
    }

    /// The jobs of a drained set from position `from` on, at most `limit`; none when there is no such
    /// set. Jobs that are DRAINED no more are left out; the number is the position after the last one looked at.
    #[must_use]
    pub fn drain_page(
        &self,
        _set: u128,
        _from: u64,
        _limit: usize,
        _now: Now,
    ) -> Option<(Vec<JobView>, u64)> {
        todo!()
    }

    /// The facts, for the store.
    #[must_use]
    pub fn ledger(&self) -> &Ledger {
        todo!()
    }

    /// The store holds these jobs' details as they are now: the engine may let go of them.
    pub fn release_details(&mut self, _ids: &[JobId]) {
        todo!()
    }
}
