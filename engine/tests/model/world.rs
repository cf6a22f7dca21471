//! The facts as the model knows them, in plain maps, and how they change.

use std::collections::BTreeMap;

use sluice_engine::*;

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ModelJob {
    pub(crate) queue: u32,
    pub(crate) key: Key,
    pub(crate) priority: u8,
    pub(crate) bypass_limits: bool,
    pub(crate) state: JobState,
    pub(crate) attempts: u32,
    pub(crate) deliveries: u32,
    pub(crate) requeues: u32,
    /// Order among its equals; 0 before it was first ready.
    pub(crate) sequence: u64,
    /// Engine time of a run time, a lease's end, or the end of its life.
    pub(crate) due: u64,
    /// Wall time of its run time.
    pub(crate) due_by_wall: Option<u64>,
    pub(crate) nacked: bool,
    pub(crate) cancel_requested: bool,
    pub(crate) ttl: Option<u64>,
    pub(crate) expire: Option<u64>,
    pub(crate) bytes: u64,
    pub(crate) batch: Option<BatchName>,
    /// What its ack gave, in bytes.
    pub(crate) result: u64,
    /// Deliveries that came back: the token and why.
    pub(crate) history: Vec<(u64, ReturnCause)>,
    /// In which order it came to rest.
    pub(crate) ended: u64,
    /// In which order it came to wait for its time: of equal times the first goes first.
    pub(crate) placed: u64,
}

pub(crate) struct ModelQueue {
    pub(crate) name: usize,
    pub(crate) settings: QueueSettings,
    pub(crate) totals: QueueTotals,
}

#[derive(Default)]
pub(crate) struct ModelBatch {
    pub(crate) total: Option<u64>,
    pub(crate) gone: BTreeMap<JobState, u64>,
    pub(crate) change_time: u64,
}

/// A drained set.
pub(crate) struct ModelDrain {
    pub(crate) queue: u32,
    pub(crate) max_jobs: u32,
    pub(crate) jobs: Vec<u64>,
    pub(crate) time: u64,
}

/// An enqueue that waits for room.
pub(crate) struct ModelCall {
    pub(crate) queue: u32,
    pub(crate) enqueue: Enqueue,
    pub(crate) timeout: u64,
}

#[derive(Default)]
pub(crate) struct Model {
    pub(crate) jobs: BTreeMap<u64, ModelJob>,
    /// Every queue that is there, by its number.
    pub(crate) queues: BTreeMap<u32, ModelQueue>,
    pub(crate) last_queue: u32,
    pub(crate) requests: BTreeMap<(usize, u8), (u64, Enqueued, Timestamp)>,
    pub(crate) drains: BTreeMap<(usize, u8), ModelDrain>,
    pub(crate) batches: BTreeMap<(u32, BatchName), ModelBatch>,
    pub(crate) idempotency: BTreeMap<(u32, u128), (u64, u64)>,
    /// By queue and key: frozen until then; when it was said last, and how often in a row.
    pub(crate) frozen: BTreeMap<(u32, String), (u64, u64, u32)>,
    /// Leases that wait.
    pub(crate) waiting: BTreeMap<Ticket, (usize, u32, u64)>,
    /// Enqueues that wait.
    pub(crate) calls: BTreeMap<Ticket, ModelCall>,
    pub(crate) serial: u64,
    pub(crate) endings: u64,
    pub(crate) placings: u64,
    pub(crate) last_tokens: BTreeMap<u64, u64>,
}

/// How urgent a job will be.
pub(crate) fn priority(spec: &JobSpec) -> u8 {
    if spec.bypass_limits { 9 } else { spec.priority.get() }
}

impl ModelJob {
    /// Its place in the order of dropping.
    pub(crate) fn place(&self, id: u64) -> u64 {
        if self.sequence == 0 { id } else { self.sequence }
    }

    pub(crate) fn is_live(&self) -> bool {
        !self.state.is_at_rest()
    }

    pub(crate) fn is_under(&self, queue: u32, node: &str) -> bool {
        self.queue == queue && self.key.is_under(&Key::new(node.to_owned()).unwrap())
    }
}

impl Model {
    pub(crate) fn queue_of(&self, name: usize) -> Option<u32> {
        self.queues.iter().find(|(_, queue)| queue.name == name).map(|(id, _)| *id)
    }

    pub(crate) fn totals(&mut self, queue: u32) -> &mut QueueTotals {
        &mut self.queues.get_mut(&queue).unwrap().totals
    }

    pub(crate) fn ensure_queue(&mut self, name: usize) -> u32 {
        if let Some(queue) = self.queue_of(name) {
            return queue;
        }
        self.last_queue += 1;
        let queue = ModelQueue { name, settings: QueueSettings::default(), totals: QueueTotals::default() };
        self.queues.insert(self.last_queue, queue);
        self.last_queue
    }

    pub(crate) fn next_serial(&mut self) -> u64 {
        self.serial += 1;
        self.serial
    }

    /// A job waits for a time, or for another one than before.
    pub(crate) fn place(&mut self, id: u64) {
        self.placings += 1;
        self.jobs.get_mut(&id).unwrap().placed = self.placings;
    }

    /// Whether a job is READY and no node above it is frozen.
    pub(crate) fn can_go(&self, job: &ModelJob, now: Now) -> bool {
        let is_frozen = |((queue, node), (until, ..)): (&(u32, String), &(u64, u64, u32))| {
            job.is_under(*queue, node) && *until > now.engine.0
        };
        job.state == JobState::Ready && !self.frozen.iter().any(is_frozen)
    }

    /// Whether the queue of a job learns from THROTTLED.
    pub(crate) fn is_adaptive(&self, id: JobId) -> bool {
        let queue = self.jobs.get(&id.0).map(|job| &self.queues[&job.queue]);
        queue.is_some_and(|queue| queue.settings.node.adaptive != Some(false))
    }

    /// The downstream said that it was too much for a job's key.
    pub(crate) fn throttle(&mut self, id: u64, retry_after: Option<Span>, now: Now) {
        let job = &self.jobs[&id];
        let node = (job.queue, job.key.to_string());
        let now = now.engine.0;
        let known = self.frozen.get(&node).copied();
        let recent = known.filter(|(_, last, _)| now - last < 60_000_000_000);
        let (wait, step) = match (retry_after, recent) {
            (Some(wait), recent) => (wait.0, recent.map_or(0, |(_, _, step)| step)),
            (None, _) if known.is_some_and(|(until, ..)| until > now) => return,
            (None, Some((_, _, step))) => (1_000_000_000 << (step + 1).min(4), (step + 1).min(4)),
            (None, None) => (1_000_000_000, 0),
        };
        let until = known.map_or(0, |(until, ..)| until).max(now + wait);
        self.frozen.insert(node, (until, now, step));
    }

    /// A job comes to rest.
    pub(crate) fn end(&mut self, id: u64, state: JobState, now: Now) {
        self.endings += 1;
        let ended = self.endings;
        let job = self.jobs.get_mut(&id).unwrap();
        (job.state, job.due, job.due_by_wall, job.ended) = (state, now.engine.0, None, ended);
        let totals = &mut self.queues.get_mut(&job.queue).unwrap().totals;
        match state {
            JobState::Completed => totals.completed += 1,
            JobState::Dead => totals.dead += 1,
            JobState::Cancelled => totals.cancelled += 1,
            JobState::Expired => totals.expired += 1,
            JobState::Dropped => totals.dropped += 1,
            JobState::Drained => totals.drained += 1,
            other => panic!("{other:?} is not at rest"),
        }
    }

    /// A job is removed for good.
    pub(crate) fn remove(&mut self, id: u64, now: Now) {
        let job = self.jobs.remove(&id).unwrap();
        self.totals(job.queue).removed += 1;
        if let Some(batch) = job.batch {
            let batch = self.batches.get_mut(&(job.queue, batch)).unwrap();
            let state = if job.state.is_at_rest() { job.state } else { JobState::Cancelled };
            *batch.gone.entry(state).or_default() += 1;
            batch.change_time = now.engine.0;
        }
    }

    pub(crate) fn delete_queue(&mut self, queue: u32) {
        if let Some(queue) = self.queues.remove(&queue) {
            self.requests.retain(|(name, _), _| *name != queue.name);
        }
        self.jobs.retain(|_, job| job.queue != queue);
        self.batches.retain(|(of, _), _| *of != queue);
        self.idempotency.retain(|(of, _), _| *of != queue);
        self.drains.retain(|_, drain| drain.queue != queue);
        self.frozen.retain(|(of, _), _| *of != queue);
    }

    pub(crate) fn in_batch<'a>(
        &'a self,
        queue: u32,
        name: &'a BatchName,
    ) -> impl Iterator<Item = &'a ModelJob> {
        self.jobs.values().filter(move |job| job.queue == queue && job.batch.as_ref() == Some(name))
    }

    /// 1 = the next by priority, then order.
    pub(crate) fn position(&self, id: u64) -> Option<u64> {
        let job = &self.jobs[&id];
        let ready = |other: &&ModelJob| other.state == JobState::Ready && other.queue == job.queue;
        let before = |other: &&ModelJob| {
            other.priority > job.priority || (other.priority == job.priority && other.sequence < job.sequence)
        };
        (job.state == JobState::Ready)
            .then(|| 1 + self.jobs.values().filter(ready).filter(before).count() as u64)
    }

    pub(crate) fn give_back(&mut self, id: u64, cause: ReturnCause, retry_after: Option<Span>, now: Now) {
        let job = self.jobs.get_mut(&id).unwrap();
        let queue = self.queues.get_mut(&job.queue).unwrap();
        job.nacked = cause != ReturnCause::Expired;
        job.history.push((u64::from(job.deliveries), cause));
        if job.history.len() > 10 {
            job.history.remove(0);
        }
        if cause.spends_attempt() {
            job.attempts += 1;
            queue.totals.failed_attempts += 1;
        }
        queue.totals.throttled += u64::from(cause == ReturnCause::Throttled);
        let policy = queue.settings.retry;
        let was_cancelled = std::mem::replace(&mut job.cancel_requested, false);
        if was_cancelled {
            return self.end(id, JobState::Cancelled, now);
        }
        if job.expire.is_some_and(|time| time <= now.engine.0) {
            return self.end(id, JobState::Expired, now);
        }
        let wait = match cause {
            ReturnCause::Failed | ReturnCause::Expired => (job.attempts < policy.max_attempts)
                .then(|| retry_after.unwrap_or_else(|| policy.backoff(JobId(id), job.attempts))),
            ReturnCause::Rejected => None,
            ReturnCause::Released | ReturnCause::Throttled => Some(Span::ZERO),
        };
        if wait.is_some() {
            self.placings += 1;
            job.placed = self.placings;
        }
        match wait {
            None => self.end(id, JobState::Dead, now),
            Some(Span::ZERO) => (job.state, job.due) = (JobState::Ready, 0),
            Some(wait) => (job.state, job.due) = (JobState::Retrying, (now.engine + wait).0),
        }
    }

    /// Waiting jobs whose time to live has passed.
    pub(crate) fn expire(&mut self, now: Now) {
        let over =
            |job: &ModelJob| job.state.is_waiting() && job.expire.is_some_and(|time| time <= now.engine.0);
        let mut ids: Vec<_> = self
            .jobs
            .iter()
            .filter(|(_, job)| over(job))
            .map(|(id, job)| (job.expire, job.placed, *id))
            .collect();
        ids.sort_unstable();
        for (_, _, id) in ids {
            self.end(id, JobState::Expired, now);
        }
    }

    /// What time brings, in the order of time.
    pub(crate) fn pass(&mut self, now: Now) {
        self.expire(now);
        let mut by_wall: Vec<(u64, u64, u64)> = Vec::new();
        let mut by_engine: Vec<(u64, u64, u64)> = Vec::new();
        for (id, job) in &self.jobs {
            if let JobState::Scheduled | JobState::Retrying | JobState::Leased = job.state {
                match job.due_by_wall {
                    Some(time) if time <= now.wall.0 => by_wall.push((time, job.placed, *id)),
                    None if job.due <= now.engine.0 => by_engine.push((job.due, job.placed, *id)),
                    _ => {}
                }
            }
        }
        by_wall.sort_unstable();
        by_engine.sort_unstable();
        for (_, _, id) in by_wall.into_iter().chain(by_engine) {
            if self.jobs[&id].state == JobState::Leased {
                self.give_back(id, ReturnCause::Expired, None, now);
                continue;
            }
            let sequence = self.jobs[&id].sequence;
            let sequence = if sequence == 0 { self.next_serial() } else { sequence };
            let job = self.jobs.get_mut(&id).unwrap();
            (job.state, job.due, job.due_by_wall, job.sequence) = (JobState::Ready, 0, None, sequence);
            self.place(id);
        }
        let queues: Vec<u32> = self.queues.keys().copied().collect();
        for queue in queues {
            self.forget(queue, now);
        }
    }

    fn forget(&mut self, queue: u32, now: Now) {
        let settings = self.queues[&queue].settings.clone();
        let size =
            |job: &ModelJob| 128 + job.result + if job.state == JobState::Dropped { job.bytes } else { 0 };
        let of_queue =
            |jobs: &BTreeMap<u64, ModelJob>, wanted: fn(JobState) -> bool| -> Vec<(u64, u64, u64, u64)> {
                let jobs = jobs.iter().filter(|(_, job)| job.queue == queue && wanted(job.state));
                let mut found: Vec<_> = jobs.map(|(id, job)| (job.ended, job.due, *id, size(job))).collect();
                found.sort_unstable();
                found
            };
        let finished = of_queue(&self.jobs, JobState::is_finished);
        let mut bytes: u64 = finished.iter().map(|(.., size)| size).sum();
        for (_, end, id, size) in finished {
            if bytes > settings.retention_bytes || end + settings.retention.0 <= now.engine.0 {
                self.remove(id, now);
                bytes -= size;
            }
        }
        for (_, end, id, _) in of_queue(&self.jobs, JobState::is_buried) {
            if end + settings.dead_retention.0 <= now.engine.0 {
                self.remove(id, now);
            }
        }
        self.drains
            .retain(|_, drain| drain.queue != queue || drain.time + settings.dead_retention.0 > now.engine.0);
        let jobs = &self.jobs;
        self.batches.retain(|(of, name), batch| {
            let has_jobs = jobs.values().any(|job| job.queue == *of && job.batch.as_ref() == Some(name));
            *of != queue || has_jobs || batch.change_time + settings.retention.0 > now.engine.0
        });
    }
}
