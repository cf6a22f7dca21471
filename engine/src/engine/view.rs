//! What people see.

use std::ops::Range;

use crate::bound::MAX_SWEEP_JOBS;
use crate::command::JobQuery;
use crate::engine::capacity::{Amount, level, utilization};
use crate::engine::{Engine, JobsPage};
use crate::id::{JobId, QueueId};
use crate::job::{Due, JobState, JobView};
use crate::ledger::Queue;
use crate::ledger::jobs::Job;
use crate::ledger::keys::Load;
use crate::name::{BatchName, Key, LimitName, QueueName};
use crate::queue::{BatchView, KeyStatus, KeysPage, Level, QueueRates, QueueStatus, QueueView};
use crate::retry::RetryPolicy;
use crate::settings::QueueSettings;
use crate::time::{Now, Span, Timestamp, WallTime};

impl Engine {
    /// A job; none when it never was or is gone.
    #[must_use]
    pub fn job(&self, id: JobId, now: Now) -> Option<JobView> {
        let job = self.ledger.jobs.get(id)?;
        (!self.ledger.queue(job.queue).record.deleted).then(|| self.view(job, now))
    }

    /// A page of the jobs that are looked for, by id, from `from` on: at most `limit`, after looking at no more
    /// than [`MAX_SWEEP_JOBS`].
    #[must_use]
    pub fn jobs(&self, query: &JobQuery, from: JobId, limit: usize, now: Now) -> JobsPage {
        let mut page = JobsPage::default();
        let queue = match query.queue.as_ref().map(|name| self.ledger.find_queue(name)) {
            Some(None) => return page,
            Some(Some(queue)) => Some(queue.record.id),
            None => None,
        };
        for (looked_at, (_, job)) in self.ledger.jobs.iter_from(from).enumerate() {
            if looked_at >= MAX_SWEEP_JOBS || page.jobs.len() >= limit {
                page.next = Some(job.id);
                break;
            }
            if queue.is_none_or(|queue| queue == job.queue) && self.is_wanted(job, query, now) {
                page.jobs.push(self.view(job, now));
            }
        }
        page
    }

    fn is_wanted(&self, job: &Job, query: &JobQuery, now: Now) -> bool {
        let is_ended = |ended: &Range<WallTime>| {
            job.state.is_at_rest() && ended.contains(&now.wall_at(Timestamp(job.due)))
        };
        query.states.contains(job.state)
            && query.created.contains(&job.create_time)
            && self.ledger.keys.text(job.key).is_under(&query.key_prefix)
            && query.ended.as_ref().is_none_or(is_ended)
            && !self.ledger.queue(job.queue).record.deleted
    }

    /// A page of the keys of a queue that have waiting or held jobs, by number, from `from` on: at most `limit`,
    /// after looking at no more than [`MAX_SWEEP_JOBS`].
    #[must_use]
    pub fn keys(&self, queue: &QueueName, prefix: &Key, from: u32, limit: usize, now: Now) -> KeysPage {
        let mut page = KeysPage::default();
        let Some(queue) = self.ledger.find_queue(queue) else { return page };
        let nodes = self.ledger.keys.of_queue(queue.record.id, from);
        for (looked_at, (number, node)) in nodes.enumerate() {
            if looked_at >= MAX_SWEEP_JOBS || page.keys.len() >= limit {
                page.next = Some(number);
                break;
            }
            if let Some((key, load)) = node
                && load.jobs() > 0
                && key.is_under(prefix)
            {
                let node = self.own_node(queue.record.id, key, now).map(Box::new);
                page.keys.push(KeyStatus { node, ..key_status(&queue.record.settings, key, load) });
            }
        }
        page
    }

    /// How a key stands, or what keys begin with.
    #[must_use]
    pub fn key(&self, queue: &QueueName, key: &Key) -> Option<KeyStatus> {
        let queue = self.ledger.find_queue(queue)?;
        let known = self.ledger.keys.find(queue.record.id, key);
        let load = known.map(|id| self.ledger.keys.load(id)).unwrap_or_default();
        Some(key_status(&queue.record.settings, key, load))
    }

    /// How a batch stands; none when it is not remembered.
    #[must_use]
    pub fn batch(&self, queue: &QueueName, batch: &BatchName) -> Option<BatchView> {
        let queue = self.ledger.find_queue(queue)?.record.id;
        self.ledger.batches.find(queue, batch).map(|id| self.ledger.batches.view(id))
    }

    /// A queue's settings.
    #[must_use]
    pub fn queue(&self, name: &QueueName) -> Option<QueueView> {
        self.ledger.find_queue(name).map(queue_view)
    }

    /// Queues by name, after `after`, at most `limit`.
    #[must_use]
    pub fn queues(&self, after: Option<&str>, limit: usize) -> Vec<QueueView> {
        self.ledger.queues_after(after).take(limit).map(queue_view).collect()
    }

    /// How a queue stands; none when it does not exist.
    #[must_use]
    pub fn status(&self, name: &QueueName, now: Now) -> Option<QueueStatus> {
        let queue = self.ledger.find_queue(name)?;
        let desk = self.index.desks.get(&queue.record.id)?;
        let rates = desk.rates_at(now.engine);
        let settings = &queue.record.settings;
        let waits = queue.counts.live() - queue.counts.get(JobState::Leased);
        Some(QueueStatus {
            counts: queue.counts,
            ready_by_priority: desk.ready.by_priority(),
            oldest_ready_age: self
                .index
                .oldest_ready(&self.ledger, queue.record.id)
                .map(|create_time| now.wall.since(create_time)),
            bytes: queue.bytes,
            utilization: utilization(&settings.capacity, Amount::held_in(queue)),
            level: self.level(queue, desk, &rates),
            paused: settings.paused,
            flow_hint: settings.flow_hint,
            waiting_enqueues: self.room.len_of(queue.record.id) as u64,
            rates,
            time_to_empty: time_to_empty(waits, &rates),
            totals: queue.record.totals.clone(),
            waiting_leases: self.waiting.len_of(name) as u64,
            nodes: self.nodes(name, &Key::default(), now),
            status_time: now.wall,
        })
    }

    /// The queue of a job; none when the job is gone.
    #[must_use]
    pub fn queue_of(&self, id: JobId) -> Option<&QueueName> {
        self.queue_name(self.ledger.jobs.get(id)?.queue)
    }

    /// The name of a queue.
    #[must_use]
    pub fn queue_name(&self, id: QueueId) -> Option<&QueueName> {
        self.index.desks.contains_key(&id).then(|| &self.ledger.queue(id).record.name)
    }

    /// The name of a shared limit.
    #[must_use]
    pub fn limit_name(&self, id: QueueId) -> Option<&LimitName> {
        self.ledger.limits.get(id).map(|limit| &limit.record.name)
    }

    /// The jobs of a drained set from position `from` on, at most `limit`; none when there is no such
    /// set. Jobs that are DRAINED no more are left out; the number is the position after the last one looked at.
    #[must_use]
    pub fn drain_page(&self, set: u128, from: u64, limit: usize, now: Now) -> Option<(Vec<JobView>, u64)> {
        let drain = self.ledger.drain(set)?;
        let from = usize::try_from(from).unwrap_or(usize::MAX).min(drain.jobs.len());
        let until = from.saturating_add(limit).min(drain.jobs.len());
        let jobs = drain.jobs[from..until].iter().filter_map(|id| self.ledger.jobs.get(*id));
        let drained = jobs.filter(|job| job.state == JobState::Drained);
        Some((drained.map(|job| self.view(job, now)).collect(), until as u64))
    }

    pub(super) fn view(&self, job: &Job, now: Now) -> JobView {
        let queue = &self.ledger.queue(job.queue).record;
        let due = job.due().map(|due| match due {
            Due::Engine(time) => now.wall_at(time),
            Due::Wall(time) => time,
        });
        let due_while =
            |states: &[JobState]| -> Option<WallTime> { due.filter(|_| states.contains(&job.state)) };
        let desk = self.index.desks.get(&job.queue);
        JobView {
            id: job.id,
            queue: queue.name.clone(),
            key: self.ledger.keys.text(job.key).clone(),
            priority: job.priority,
            state: job.state,
            create_time: job.create_time,
            run_time: due_while(&[JobState::Scheduled, JobState::Retrying]),
            lease_expire_time: due_while(&[JobState::Leased]),
            expire_time: job.expire().map(|time| now.wall_at(time)),
            cancel_requested: job.cancel_requested,
            batch: self.ledger.batches.name(job.batch).cloned(),
            bytes: job.bytes,
            deliveries: job.deliveries,
            attempts: u32::from(job.attempts),
            requeues: job.requeues,
            cost: job.cost(),
            bypass_limits: job.bypasses_limits(),
            blocks: self.blocks(job, now),
            position: desk
                .filter(|_| job.state == JobState::Ready)
                .map(|desk| desk.ready.position(job.priority, job.sequence)),
            eta: None,
            policy: self.policy(job),
            detail: job.detail.clone(),
            detail_at_rest: job.detail_at_rest,
        }
    }

    /// The policy in force: the queue's, with what the job says.
    pub(super) fn policy(&self, job: &Job) -> RetryPolicy {
        let base = &self.ledger.queue(job.queue).record.settings.retry;
        let said = job.detail.as_ref().and_then(|detail| detail.retry.as_ref());
        said.map_or(*base, |patch| patch.over(base))
    }
}

fn key_status(settings: &QueueSettings, key: &Key, load: Load) -> KeyStatus {
    let rule = settings.rule_for(key);
    let utilization = rule.and_then(|rule| utilization(&rule.capacity, Amount::held_under(&load)));
    KeyStatus {
        key: key.clone(),
        counts: load.counts(),
        bytes: load.bytes,
        utilization,
        level: level(Level::Ok, utilization, None),
        node: None,
    }
}

fn queue_view(queue: &Queue) -> QueueView {
    let record = &queue.record;
    QueueView {
        name: record.name.clone(),
        settings: record.settings.clone(),
        version: record.version(),
        create_time: record.create_time,
    }
}

/// How long what waits will take at the present rates; none when it grows or stands still.
fn time_to_empty(waits: u64, rates: &QueueRates) -> Option<Span> {
    let shrinks = rates.dispatched - rates.enqueued;
    if waits == 0 {
        return Some(Span::ZERO);
    }
    let seconds = waits as f64 / shrinks;
    let bounded = shrinks > 0.0 && seconds < crate::bound::MAX_SPAN.0 as f64 / 1e9;
    bounded.then_some(Span((seconds * 1e9) as u64))
}
