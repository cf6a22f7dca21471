//! Whether there is room, looked at as the contract says it: by counting everything.

use std::collections::BTreeSet;

use sluice_engine::*;

use crate::world::{Model, ModelCall, priority};

/// What an enqueue should meet.
#[derive(Debug, PartialEq)]
pub(crate) enum Expected {
    /// Room, in these nodes (the empty one: the queue) once the oldest have gone down to so many jobs and bytes.
    Room(Vec<(String, u64, u64)>),
    Wait(Full),
    Full(Full),
    Never(Full),
}

struct Asked {
    jobs: u64,
    bytes: u64,
    ordinary_jobs: u64,
    ordinary_bytes: u64,
    largest: u64,
}

/// The nodes of these jobs' keys, the outer before the inner ones, and the queue at the end.
fn nodes(jobs: &[JobSpec]) -> Vec<String> {
    let mut nodes = BTreeSet::new();
    for job in jobs {
        let mut next = (!job.key.is_empty()).then(|| job.key.clone());
        while let Some(key) = next {
            next = key.outer();
            nodes.insert(key.to_string());
        }
    }
    nodes.into_iter().chain([String::new()]).collect()
}

fn is_urgent(jobs: &[JobSpec], settings: &QueueSettings) -> bool {
    settings.reserve.is_some_and(|reserve| jobs.iter().all(|job| priority(job) >= reserve.min_priority.get()))
}

impl Model {
    /// What holds for a node of a queue, if anything.
    fn capacity(&self, queue: u32, node: &str) -> Option<(Capacity, OverflowPolicy)> {
        let settings = &self.queues[&queue].settings;
        let found = if node.is_empty() {
            Some((settings.capacity, settings.overflow))
        } else {
            let rule = settings.key_rules.iter().find(|rule| rule.pattern.matches(node));
            rule.map(|rule| (rule.capacity, rule.overflow.unwrap_or(settings.overflow)))
        };
        found.filter(|(capacity, _)| !capacity.is_unlimited())
    }

    pub(crate) fn room(&self, queue: u32, jobs: &[JobSpec]) -> Expected {
        let mut overflowing = Vec::new();
        let mut waits = None;
        for node in nodes(jobs) {
            let Some((capacity, policy)) = self.capacity(queue, &node) else { continue };
            let what = if node.is_empty() { Full::Queue } else { Full::Key };
            match self.room_at(queue, &node, capacity, policy, jobs) {
                Ok(None) => {}
                Ok(Some((jobs, bytes))) => overflowing.push((node, jobs, bytes)),
                Err(true) => return Expected::Never(what),
                Err(false) if policy == OverflowPolicy::Wait => waits = waits.or(Some(what)),
                Err(false) => return Expected::Full(what),
            }
        }
        waits.map_or(Expected::Room(overflowing), Expected::Wait)
    }

    /// Room, or down to what the oldest must go; or whether it never fits.
    fn room_at(
        &self,
        queue: u32,
        node: &str,
        capacity: Capacity,
        policy: OverflowPolicy,
        jobs: &[JobSpec],
    ) -> Result<Option<(u64, u64)>, bool> {
        let reserve = self.queues[&queue].settings.reserve;
        let asked = self.asked(queue, node, jobs);
        let percent = match reserve {
            Some(reserve) if asked.ordinary_jobs < asked.jobs => u64::from(reserve.percent),
            _ => 0,
        };
        let limit = |amount: Option<u64>| amount.unwrap_or(1 << 50);
        let (jobs, bytes) = (limit(capacity.jobs), limit(capacity.bytes));
        let (most_jobs, most_bytes) =
            (jobs + (jobs * percent).div_ceil(100), bytes + (bytes * percent).div_ceil(100));
        let (mut held, mut leased) = ((0, 0), (0, 0));
        for job in self.jobs.values().filter(|job| job.is_under(queue, node) && job.is_live()) {
            held = (held.0 + 1, held.1 + job.bytes);
            if job.state == JobState::Leased {
                leased = (leased.0 + 1, leased.1 + job.bytes);
            }
        }
        if policy == OverflowPolicy::DropOldest {
            if asked.largest > most_bytes {
                return Err(true);
            }
            if leased.0 >= most_jobs || leased.1 + asked.largest > most_bytes {
                return Err(false);
            }
            let overflows = held.0 + asked.jobs > most_jobs || held.1 + asked.bytes > most_bytes;
            return Ok(overflows.then_some((most_jobs, most_bytes)));
        }
        if asked.ordinary_jobs > jobs
            || asked.ordinary_bytes > bytes
            || asked.jobs > most_jobs
            || asked.bytes > most_bytes
        {
            return Err(true);
        }
        let ordinary_fits = (asked.ordinary_jobs == 0 || held.0 + asked.ordinary_jobs <= jobs)
            && (asked.ordinary_bytes == 0 || held.1 + asked.ordinary_bytes <= bytes);
        if ordinary_fits && held.0 + asked.jobs <= most_jobs && held.1 + asked.bytes <= most_bytes {
            Ok(None)
        } else {
            Err(false)
        }
    }

    fn asked(&self, queue: u32, node: &str, jobs: &[JobSpec]) -> Asked {
        let reserve = self.queues[&queue].settings.reserve;
        let mut asked = Asked { jobs: 0, bytes: 0, ordinary_jobs: 0, ordinary_bytes: 0, largest: 0 };
        let prefix = Key::new(node.to_owned()).unwrap();
        for job in jobs.iter().filter(|job| job.key.is_under(&prefix)) {
            let bytes = job.payload.len() as u64;
            asked.jobs += 1;
            asked.bytes += bytes;
            asked.largest = asked.largest.max(bytes);
            if reserve.is_none_or(|reserve| priority(job) < reserve.min_priority.get()) {
                asked.ordinary_jobs += 1;
                asked.ordinary_bytes += bytes;
            }
        }
        asked
    }

    /// Who goes so that `node` holds no more than this.
    pub(crate) fn drop_oldest(
        &mut self,
        queue: u32,
        (node, jobs, bytes): &(String, u64, u64),
        now: Now,
    ) -> Vec<JobId> {
        let mut dropped = Vec::new();
        loop {
            let under = |job: &&crate::world::ModelJob| job.is_under(queue, node);
            let live = self.jobs.values().filter(under).filter(|job| job.is_live());
            let (count, sum) = live.fold((0, 0), |(count, sum), job| (count + 1, sum + job.bytes));
            if count <= *jobs && sum <= *bytes {
                return dropped;
            }
            let waits = self.jobs.iter().filter(|(_, job)| under(job) && job.state.is_waiting());
            let Some((_, _, id)) = waits.map(|(id, job)| (job.priority, job.place(*id), *id)).min() else {
                return dropped;
            };
            self.end(id, JobState::Dropped, now);
            dropped.push(JobId(id));
        }
    }

    /// Whether somebody who waits since before `ticket`, with no less right to the reserve, may want the same room.
    pub(crate) fn may_stand_behind(&self, ticket: Ticket, queue: u32, jobs: &[JobSpec]) -> bool {
        let settings = &self.queues[&queue].settings;
        let wanted = |jobs: &[JobSpec]| -> BTreeSet<String> {
            nodes(jobs).into_iter().filter(|node| self.capacity(queue, node).is_some()).collect()
        };
        let mine = wanted(jobs);
        self.calls.range(..ticket).any(|(_, call)| {
            call.queue == queue
                && (is_urgent(&call.enqueue.jobs, settings) || !is_urgent(jobs, settings))
                && !wanted(&call.enqueue.jobs).is_disjoint(&mine)
        })
    }

    /// Nobody waits for room who has it, or after its time.
    pub(crate) fn nobody_waits_in_vain(&self, now: Now) {
        for (ticket, call) in &self.calls {
            let ModelCall { queue, enqueue, timeout } = call;
            assert!(*timeout > now.engine.0, "{ticket:?} waits for room though its time has passed");
            if self.may_stand_behind(*ticket, *queue, &enqueue.jobs) {
                continue;
            }
            let new = self.new_ones(Some(*queue), &enqueue.jobs, now).1;
            let room = self.room(*queue, &new);
            // A key that refuses may have become full meanwhile: that is told when room is made where it waits.
            let waits = matches!(room, Expected::Wait(_) | Expected::Full(_));
            assert!(waits, "{ticket:?} waits though it meets {room:?}");
        }
    }
}
