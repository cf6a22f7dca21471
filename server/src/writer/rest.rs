//! Calls that wait until jobs are at rest.

use std::collections::HashMap;

use sluice_engine::{Engine, JobId, Mutation, Next, Now, Ticket};
use tokio::sync::oneshot;

use super::handle::CallError;

/// Calls that may wait at a time: each costs some hundred bytes, and 16 a job.
const MAX_CALLS: usize = 100_000;

/// All that wait.
#[derive(Default)]
pub(super) struct RestWaiters {
    calls: HashMap<Ticket, Call>,
    by_job: HashMap<JobId, Vec<Ticket>>,
}

/// Where a call is told.
pub(super) type Reply = oneshot::Sender<Result<(), CallError>>;

struct Call {
    jobs: Vec<JobId>,
    /// How many of them are not at rest yet.
    left: usize,
    reply: Reply,
}

impl RestWaiters {
    /// Lets a call wait for those of `jobs` that are not at rest.
    pub(super) fn add(
        &mut self,
        ticket: Ticket,
        mut jobs: Vec<JobId>,
        reply: Reply,
        engine: &Engine,
        now: Now,
    ) {
        jobs.sort_unstable();
        jobs.dedup();
        jobs.retain(|id| engine.job(*id, now).is_some_and(|job| !job.state.is_at_rest()));
        if jobs.is_empty() {
            return tell(reply, Ok(()));
        }
        if self.calls.len() >= MAX_CALLS {
            return tell(reply, Err(CallError::Overloaded));
        }
        for id in &jobs {
            self.by_job.entry(*id).or_default().push(ticket);
        }
        let left = jobs.len();
        self.calls.insert(ticket, Call { jobs, left, reply });
    }

    /// Whoever held the ticket is gone.
    pub(super) fn remove(&mut self, ticket: Ticket) {
        let Some(call) = self.calls.remove(&ticket) else { return };
        for id in call.jobs {
            if let Some(tickets) = self.by_job.get_mut(&id) {
                tickets.retain(|other| *other != ticket);
                if tickets.is_empty() {
                    self.by_job.remove(&id);
                }
            }
        }
    }

    /// Tells those whose jobs have all come to rest or are gone.
    pub(super) fn note(&mut self, mutations: &[Mutation], engine: &Engine, now: Now) {
        if self.calls.is_empty() {
            return;
        }
        for mutation in mutations {
            match mutation {
                Mutation::Acked { id, .. }
                | Mutation::Cancelled { id }
                | Mutation::Returned { id, next: Next::Dead | Next::Cancelled | Next::Expired, .. } => {
                    self.ended(*id)
                }
                Mutation::Expired { jobs }
                | Mutation::Dropped { jobs }
                | Mutation::Drained { jobs, .. }
                | Mutation::Purged { jobs } => jobs.iter().for_each(|id| self.ended(*id)),
                // Its jobs go bit by bit, but nobody sees them any more.
                Mutation::QueueDeleted { .. } => {
                    let is_gone = |id: &JobId| engine.job(*id, now).is_none();
                    let gone: Vec<JobId> = self.by_job.keys().copied().filter(is_gone).collect();
                    gone.into_iter().for_each(|id| self.ended(id));
                }
                _ => {}
            }
        }
    }

    fn ended(&mut self, id: JobId) {
        for ticket in self.by_job.remove(&id).unwrap_or_default() {
            let Some(call) = self.calls.get_mut(&ticket) else { continue };
            call.left -= 1;
            if call.left == 0
                && let Some(call) = self.calls.remove(&ticket)
            {
                tell(call.reply, Ok(()));
            }
        }
    }

    #[cfg(test)]
    fn len(&self) -> (usize, usize) {
        (self.calls.len(), self.by_job.len())
    }
}

fn tell(reply: Reply, answer: Result<(), CallError>) {
    // Who has gone meanwhile misses an answer, and no more.
    let _ = reply.send(answer);
}

#[cfg(test)]
mod tests {
    use sluice_engine::{Command, Effects, EngineConfig, Enqueue, JobSpec, QueueName, Span};

    use super::*;

    /// An engine with jobs 1 to 3, none of them at rest.
    fn engine() -> Engine {
        let mut engine = Engine::new(EngineConfig::default());
        let enqueue = Enqueue {
            queue: QueueName::new("q").unwrap(),
            jobs: vec![JobSpec::default(); 3],
            request: None,
            batch_totals: Vec::new(),
            wait: Span::ZERO,
        };
        engine.apply(Ticket(0), Command::Enqueue(enqueue), Now::default(), &mut Effects::default());
        engine
    }

    fn await_rest(
        waiters: &mut RestWaiters,
        ticket: u64,
        jobs: &[u64],
    ) -> oneshot::Receiver<Result<(), CallError>> {
        let (reply, told) = oneshot::channel();
        let jobs = jobs.iter().map(|id| JobId(*id)).collect();
        waiters.add(Ticket(ticket), jobs, reply, &engine(), Now::default());
        told
    }

    #[test]
    fn call_is_told_when_the_last_of_its_jobs_rests() {
        let mut waiters = RestWaiters::default();
        let mut told = await_rest(&mut waiters, 1, &[1, 2, 2]);
        waiters.note(&[Mutation::Acked { id: JobId(1), result: None }], &engine(), Now::default());
        assert!(told.try_recv().is_err());
        waiters.note(&[Mutation::Dropped { jobs: vec![JobId(2), JobId(3)] }], &engine(), Now::default());
        assert_eq!(told.try_recv(), Ok(Ok(())));
        assert_eq!(waiters.len(), (0, 0));
    }

    #[test]
    fn call_for_jobs_that_are_not_there_is_told_at_once() {
        let mut waiters = RestWaiters::default();
        assert_eq!(await_rest(&mut waiters, 1, &[99]).try_recv(), Ok(Ok(())));
    }

    #[test]
    fn call_that_is_gone_leaves_no_trace() {
        let mut waiters = RestWaiters::default();
        let _one = await_rest(&mut waiters, 1, &[1, 2]);
        let mut other = await_rest(&mut waiters, 2, &[2]);
        waiters.remove(Ticket(1));
        assert_eq!(waiters.len(), (1, 1));
        waiters.note(&[Mutation::Purged { jobs: vec![JobId(2)] }], &engine(), Now::default());
        assert_eq!(other.try_recv(), Ok(Ok(())));
    }
}
