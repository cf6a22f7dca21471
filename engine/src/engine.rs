//! Decides. Everything it changes it says in mutations: the ledger changes by them, and what is derived
//! from the facts (the [`Index`]) follows.

mod acquire;
mod block;
mod capacity;
mod change;
mod deletion;
mod desk;
#[cfg(feature = "bench")]
mod dispatcher;
mod doors;
mod due;
mod enqueue;
mod eta;
mod explain;
mod feedback;
mod freeze;
mod grant;
mod history;
mod index;
mod lease;
mod limit;
mod line;
mod node;
mod queue;
mod rate;
mod removal;
mod room;
mod settle;
mod traffic;
mod view;
mod waiting;
mod witness;

#[cfg(feature = "bench")]
pub use dispatcher::Dispatcher;

use crate::bound::{DEFAULT_IDEMPOTENCY_KEYS, MAX_NODES_RESTATED, MAX_WAKES_PER_STEP};
use crate::command::Command;
use crate::engine::acquire::Acquires;
use crate::engine::doors::Doors;
use crate::engine::index::Index;
use crate::engine::room::WaitingRoom;
use crate::engine::waiting::Waiting;
use crate::engine::witness::Witnesses;
use crate::id::{JobId, QueueId, Ticket};
use crate::job::JobView;
use crate::ledger::{Ledger, Uncovered};
use crate::mutation::Mutation;
use crate::outcome::{Answer, Outcome};
use crate::queue::Level;
use crate::time::{Now, Timestamp};

/// What an operator set for the whole engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EngineConfig {
    /// Whether Lease and Drain refuse a queue that does not exist.
    pub strict_queues: bool,
    /// Idempotency keys that are remembered, over all queues.
    pub max_idempotency_keys: u64,
}

impl Default for EngineConfig {
    fn default() -> EngineConfig {
        EngineConfig { strict_queues: false, max_idempotency_keys: DEFAULT_IDEMPOTENCY_KEYS }
    }
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
    /// Queues that are fuller or emptier now, as a word.
    pub levels: Vec<(QueueId, Level)>,
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
pub struct Engine {
    config: EngineConfig,
    ledger: Ledger,
    index: Index,
    waiting: Waiting,
    room: WaitingRoom,
    acquires: Acquires,
    /// The deleted queue that is being cleared away, whose jobs before this one are gone.
    clearing: Option<(QueueId, JobId)>,
    /// Whether a queue was deleted in this step.
    just_deleted: bool,
    /// Queues where a job became ready in this step: a waiting lease may take it.
    stirred: Vec<QueueId>,
    /// Who was told off by the downstream of late.
    witnesses: Witnesses,
}

impl Engine {
    /// An engine with nothing in it.
    #[must_use]
    pub fn new(config: EngineConfig) -> Engine {
        Engine::from_ledger(config, Ledger::default(), Now::default())
    }

    /// An engine with these facts; what follows from them is derived.
    pub(crate) fn from_ledger(config: EngineConfig, mut ledger: Ledger, now: Now) -> Engine {
        // The index takes note of all of them.
        drop(ledger.take_emptied());
        ledger.follow_all_settings(now.engine);
        let index = Index::of(&ledger, now);
        Engine {
            config,
            ledger,
            index,
            waiting: Waiting::default(),
            room: WaitingRoom::default(),
            acquires: Acquires::default(),
            clearing: None,
            just_deleted: false,
            stirred: Vec::new(),
            witnesses: Witnesses::default(),
        }
    }

    /// Does `command`. Its answer, under `ticket`, is in `effects` now, or after a later step when it waits.
    pub fn apply(&mut self, ticket: Ticket, command: Command, now: Now, effects: &mut Effects) {
        // Nobody is to get or to meet what is over already.
        let mut budget = MAX_WAKES_PER_STEP;
        self.expire_waiting(&mut budget, now, effects);
        let answer = match command {
            Command::PutQueue(put) => self.put_queue(put, now, effects),
            Command::Enqueue(enqueue) => return self.enqueue(ticket, enqueue, now, effects),
            Command::Lease(lease) => return self.lease(ticket, lease, now, effects),
            Command::Abandon(gone) => return self.abandon(gone, now, effects),
            Command::Ack(acks) => self.ack(acks, now, effects),
            Command::Nack(nacks) => self.nack(nacks, now, effects),
            Command::Extend(extensions) => self.extend(extensions, now, effects),
            Command::Drain(drain) => self.drain(drain, now, effects),
            Command::Cancel(id) => self.cancel(id, now, effects),
            Command::Update(update) => self.update(update, now, effects),
            Command::Requeue(requeue) => self.requeue(requeue, now, effects),
            Command::Purge(sweep) => self.purge(sweep, now, effects),
            Command::DeleteQueue(delete) => self.delete_queue(&delete, now, effects),
            Command::ResetNode(node) => self.reset_node(&node, now, effects),
            Command::PutLimit(put) => self.put_limit(put, now, effects),
            Command::DeleteLimit(name) => self.delete_limit(&name, now, effects),
            Command::Acquire(acquire) => return self.acquire(ticket, acquire, now, effects),
            Command::RestateNodes(first) => self.restate_nodes(first, now, effects),
        };
        effects.answers.push((ticket, answer));
    }

    /// Does what is due: promotions, expiries, retention, waiting leases. To be called once a step,
    /// after its commands.
    pub fn wake(&mut self, now: Now, effects: &mut Effects) {
        self.wake_due(now, effects);
        self.index.tree.wake(MAX_WAKES_PER_STEP, &Doors::new(&self.ledger, now.engine));
        self.ledger.forget_past_gates(now.engine);
        self.forget(now, effects);
        self.clear_deleted(now, effects);
        self.serve_room(now, effects);
        self.begin_acquires(now, effects);
        self.serve_waiting(now, effects);
        self.end_acquires(now, effects);
        self.update_levels(now, effects);
    }

    /// What was said again changes nothing.
    fn restate_nodes(&self, first: u32, now: Now, effects: &mut Effects) -> Answer {
        let (mut states, next) = self.ledger.node_states(first, MAX_NODES_RESTATED, now.engine);
        effects.mutations.append(&mut states);
        Ok(Outcome::NodesRestated(next))
    }

    /// Whoever waited under this ticket is gone.
    fn abandon(&mut self, gone: Ticket, now: Now, effects: &mut Effects) {
        if let Some(lease) = self.waiting.take(gone)
            && let Some(queue) = self.ledger.find_queue(&lease.queue)
        {
            self.follow_want(queue.record.id, now);
        }
        self.acquires.remove(gone);
        if let Some(queue) = self.room.remove(gone) {
            effects.touch(queue);
        }
    }

    /// When [`Engine::wake`] has something to do, if nothing comes before. May be in the past.
    #[must_use]
    pub fn next_wake(&self, now: Now) -> Option<Timestamp> {
        let clearing = self.ledger.first_deleted().map(|_| now.engine);
        let timeouts = [self.waiting.next_timeout(), self.room.next_timeout(), self.acquires.next_wake()];
        let parked = self.next_parked();
        [self.next_due(now), self.next_forget(), clearing, parked].into_iter().chain(timeouts).flatten().min()
    }

    /// The facts, for the store.
    #[must_use]
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// The store holds these jobs' details as they are now: the engine lets go of those at rest.
    pub fn release_details(&mut self, ids: &[JobId]) {
        for id in ids {
            if let Some(slot) = self.ledger.jobs.slot(*id) {
                let job = self.ledger.jobs.at_mut(slot);
                // A completed job's result counts in its queue's history, which is bounded anyway.
                if job.state.is_buried() {
                    job.let_go_of_detail();
                }
            }
        }
    }

    /// Changes the facts. Whoever calls has checked that the change follows from them.
    fn record(&mut self, mutation: Mutation, now: Now, effects: &mut Effects) {
        let applied = self.ledger.apply(&mutation, now, &Uncovered);
        debug_assert_eq!(applied, Ok(()), "{mutation:?}");
        effects.mutations.push(mutation);
    }

    /// The number that the next job or place gets.
    fn next_serial(&self) -> u64 {
        self.ledger.serial() + 1
    }
}

impl Effects {
    fn touch(&mut self, queue: QueueId) {
        if self.touched.last() != Some(&queue) {
            self.touched.push(queue);
        }
    }
}
