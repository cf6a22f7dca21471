//! What the writer does with a group, as a plain value: no thread, no clock. Whoever drives it decides
//! what comes when.

use std::collections::HashMap;
use std::mem;
use std::sync::Arc;

use sluice_engine::{
    Answer, Command, Effects, Engine, JobError, JobId, LeaseToken, Leased, Mutation, Nack, NackReason, Now,
    Outcome, QueueName, Refusal, Span, Ticket, Timestamp,
};
use tokio::sync::{oneshot, watch};

use super::delivery::{Delivery, LeaseGuard};
use super::event;
use super::handle::Shared;
use super::many::ChangedQueues;
use super::message::{Message, Read, Returned, Watched};
use super::post::Addressed;
use super::rest::{self, RestWaiters};
use super::watcher::Watchers;
use crate::bound::IDLE_UPKEEP;
use crate::planted::{self, Bug};
use crate::store::{Pressure, Store, StoreError};

/// The engine, its store, and those who wait for answers.
pub struct Step {
    engine: Engine,
    store: Box<dyn Store>,
    shared: Arc<Shared>,
    replies: HashMap<Ticket, Reply>,
    watchers: Watchers,
    rest: RestWaiters,
    effects: Effects,
    /// From upkeep, for the next group.
    upkeep: Vec<Mutation>,
    /// Whether upkeep has more to do at once.
    more_upkeep: bool,
    next_upkeep: Timestamp,
}

/// When the next step is due, if no message comes before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wake(pub Timestamp);

/// What of a group waits until it is durable, besides the answers.
#[derive(Default)]
struct After {
    abandoned: Vec<Ticket>,
    reads: Vec<Read>,
    watches: Vec<(QueueName, oneshot::Sender<Watched>)>,
    rests: Vec<(Ticket, Vec<JobId>, rest::Reply)>,
    many: Vec<oneshot::Sender<watch::Receiver<u64>>>,
    changed: Vec<(u64, usize, oneshot::Sender<ChangedQueues>)>,
}

enum Reply {
    Call(oneshot::Sender<Answer>),
    Lease(oneshot::Sender<Result<Delivery, Refusal>>),
}

impl Step {
    pub(super) fn new(engine: Engine, store: Box<dyn Store>, shared: Arc<Shared>) -> Step {
        Step {
            engine,
            store,
            shared,
            replies: HashMap::new(),
            watchers: Watchers::default(),
            rest: RestWaiters::default(),
            effects: Effects::default(),
            upkeep: Vec::new(),
            more_upkeep: true,
            next_upkeep: Timestamp::default(),
        }
    }

    /// Does a group: all of it is durable before anybody hears of any of it.
    ///
    /// # Errors
    /// When the store fails. Nobody has been answered; nothing may be asked of this value any more.
    pub fn step(&mut self, group: impl IntoIterator<Item = Message>, now: Now) -> Result<Wake, StoreError> {
        let mut after = After::default();
        for message in group {
            self.apply(message, now, &mut after);
        }
        self.engine.wake(now, &mut self.effects);

        // For the judge of histories to find: the tests' proof that it would.
        if planted::has(Bug::EarlyAnswer) {
            self.answer_too_early();
        }
        let committed = self.commit(now)?;

        // Whoever hears that a policy is in force meets it with the next call.
        self.publish_hints(&committed);
        self.answer();
        for ticket in after.abandoned {
            self.replies.remove(&ticket);
        }
        for read in after.reads {
            read(&self.engine, &*self.store, now);
        }
        for (queue, reply) in after.watches {
            drop(reply.send(self.watchers.watch(queue, &self.engine, now)));
        }
        self.rest.note(&committed, &self.engine, now);
        for (ticket, jobs, reply) in after.rests {
            self.rest.add(ticket, jobs, reply, &self.engine, now);
        }
        event::tell(&committed, &self.engine, now);
        event::tell_levels(&mem::take(&mut self.effects.levels), &self.engine);
        self.watchers.touch(&self.effects.touched, &self.engine, now);
        self.effects.touched.clear();
        for reply in after.many {
            drop(reply.send(self.watchers.many.watch()));
        }
        for (number, limit, reply) in after.changed {
            drop(reply.send(self.watchers.many.after(number, limit, &self.engine, now)));
        }
        self.watchers.publish(&self.engine, now);

        if !committed.is_empty() || self.more_upkeep || now.engine >= self.next_upkeep {
            self.keep_up(now)?;
        }
        self.publish_pressure();
        Ok(self.next_wake(now))
    }

    /// Ends in good order: what the store wanted noted is noted, and nothing may be asked any more.
    ///
    /// # Errors
    /// When the store fails.
    pub fn close(&mut self, now: Now) -> Result<(), StoreError> {
        self.commit(now)?;
        self.store.close(now)
    }

    #[cfg(test)]
    pub(super) fn watched_queues(&self) -> usize {
        self.watchers.len()
    }

    #[cfg(test)]
    pub(super) fn engine(&self) -> &Engine {
        &self.engine
    }

    #[cfg(test)]
    pub(super) fn store(&self) -> &dyn Store {
        &*self.store
    }

    fn apply(&mut self, message: Message, now: Now, after: &mut After) {
        match message {
            Message::Call { ticket, command, reply } => {
                self.replies.insert(ticket, Reply::Call(reply));
                self.engine.apply(ticket, command, now, &mut self.effects);
            }
            // Nobody is there any more to take the jobs.
            Message::Lease { reply, .. } if reply.is_closed() => {}
            Message::Lease { ticket, lease, reply } => {
                self.replies.insert(ticket, Reply::Lease(reply));
                self.engine.apply(ticket, Command::Lease(lease), now, &mut self.effects);
            }
            Message::Abandon(ticket) => {
                self.rest.remove(ticket);
                if self.replies.contains_key(&ticket) {
                    let own = self.shared.ticket();
                    self.engine.apply(own, Command::Abandon(ticket), now, &mut self.effects);
                    // Its reply stays until this group is answered: if an earlier message of the group
                    // found jobs for it, the failing reply is what sends them back.
                    after.abandoned.push(ticket);
                }
            }
            Message::WatchMany { reply } => after.many.push(reply),
            Message::Changed { after: number, limit, reply } => after.changed.push((number, limit, reply)),
            Message::Return { ticket, jobs, how } => {
                self.engine.apply(ticket, returned(&jobs, how), now, &mut self.effects);
            }
            Message::Read(read) => after.reads.push(read),
            Message::Watch { queue, reply } => after.watches.push((queue, reply)),
            // Nobody is there any more to be told.
            Message::AwaitRest { reply, .. } if reply.is_closed() => {}
            Message::AwaitRest { ticket, jobs, reply } => after.rests.push((ticket, jobs, reply)),
            Message::Stop => {}
        }
    }

    /// Makes what changed durable, and says what it was.
    fn commit(&mut self, now: Now) -> Result<Vec<Mutation>, StoreError> {
        let mut mutations = mem::take(&mut self.upkeep);
        mutations.append(&mut self.effects.mutations);
        if !mutations.is_empty() {
            self.store.commit(now, &mutations)?;
        }
        Ok(mutations)
    }

    fn answer(&mut self) {
        let mut answers = Vec::with_capacity(self.effects.answers.len());
        for (ticket, answer) in self.effects.answers.drain(..) {
            match self.replies.remove(&ticket) {
                Some(Reply::Call(reply)) => answers.push(Addressed::Call(reply, answer)),
                Some(Reply::Lease(reply)) => {
                    answers.push(Addressed::Lease(reply, deliver(answer, &*self.store, &self.shared)));
                }
                // A delivery that came back, an abandoned wait: nobody listens.
                None => {}
            }
        }
        self.shared.post.send(answers);
    }

    fn answer_too_early(&mut self) {
        self.answer();
        if !self.effects.mutations.is_empty() {
            // A disk that is slow enough to be killed while it writes.
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }

    fn keep_up(&mut self, now: Now) -> Result<(), StoreError> {
        let upkeep = self.store.upkeep(self.engine.ledger(), now)?;
        self.upkeep = upkeep.mutations;
        self.more_upkeep = upkeep.more;
        self.engine.release_details(&upkeep.at_rest);
        let idle = Span(IDLE_UPKEEP.as_nanos() as u64);
        self.next_upkeep = now.engine + upkeep.again_in.unwrap_or(idle).min(idle);
        Ok(())
    }

    /// What callers are asked to do is told with their answers, which must not ask the writer for it.
    fn publish_hints(&self, committed: &[Mutation]) {
        let is_about_it = |mutation: &Mutation| {
            matches!(mutation, Mutation::QueuePut { .. } | Mutation::QueueDeleted { .. })
        };
        if !committed.iter().any(is_about_it) {
            return;
        }
        self.shared.hints.send_modify(|hints| {
            let hints = Arc::make_mut(hints);
            for mutation in committed {
                match mutation {
                    Mutation::QueuePut { name, settings, .. } => match settings.flow_hint {
                        Some(policy) => drop(hints.insert(name.clone(), policy)),
                        None => drop(hints.remove(name)),
                    },
                    Mutation::QueueDeleted { queue } => {
                        if let Some(name) = self.engine.queue_name(*queue)
                            && self.engine.queue(name).is_none()
                        {
                            hints.remove(name);
                        }
                    }
                    _ => {}
                }
            }
        });
    }

    fn publish_pressure(&self) {
        let pressure: Pressure = self.store.pressure();
        self.shared.pressure.send_if_modified(|shown| {
            let changed = *shown != pressure;
            *shown = pressure;
            changed
        });
    }

    fn next_wake(&self, now: Now) -> Wake {
        if self.more_upkeep || !self.upkeep.is_empty() {
            return Wake(now.engine);
        }
        let others = [self.engine.next_wake(now), self.watchers.next_due()];
        Wake(others.into_iter().flatten().fold(self.next_upkeep, Timestamp::min))
    }
}

/// The answer to a lease with what it needs on its way out.
fn deliver(answer: Answer, store: &dyn Store, shared: &Arc<Shared>) -> Result<Delivery, Refusal> {
    let leased = match answer? {
        Outcome::Leased(leased) => leased,
        // An engine that answers a lease with anything else has leased nothing.
        _ => Leased::default(),
    };
    let ids: Vec<JobId> = leased.jobs.iter().map(|leased| leased.job.id).collect();
    Ok(Delivery {
        places: store.locate(&ids),
        guard: LeaseGuard::new(&leased.jobs, shared.clone()),
        jobs: leased.jobs,
        retry_after: leased.retry_after,
    })
}

/// Gives back jobs that never reached a worker, or whose worker broke off.
fn returned(jobs: &[(JobId, LeaseToken)], how: Returned) -> Command {
    let (reason, error) = match how {
        Returned::Released => (NackReason::Released, None),
        Returned::Broken => {
            let message = "the stream of its worker broke off".into();
            (NackReason::Failed, Some(Box::new(JobError { code: "STREAM_BROKEN".into(), message })))
        }
    };
    let nack = |&(id, token)| Nack {
        id,
        token,
        reason,
        error: error.clone(),
        retry_after: None,
        scope: None,
        actual_cost: None,
    };
    Command::Nack(jobs.iter().map(nack).collect())
}
