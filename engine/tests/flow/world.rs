//! The facts, as far as limits need them: followed by the mutations, and each delivery held against what was set.

use std::collections::{BTreeMap, BTreeSet};

use sluice_engine::*;

use crate::freeze::Freeze;
use crate::node::{Spot, settings_of, way};
use crate::tally::Tally;

/// A job.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Known {
    pub(crate) queue: QueueId,
    pub(crate) key: Key,
    pub(crate) priority: u8,
    pub(crate) cost: u64,
    pub(crate) bypass_limits: bool,
    pub(crate) state: JobState,
    pub(crate) sequence: u64,
    pub(crate) attempts: u32,
    pub(crate) deliveries: u32,
    /// While LEASED; else 0.
    pub(crate) leased_at: Timestamp,
}

/// A breaker.
#[derive(Clone, Copy, Debug, Default)]
struct Fuse {
    /// In a row.
    failures: u32,
    /// When it opened last, and until when it is.
    opened: Timestamp,
    until: Option<Timestamp>,
    /// When anything of this changed last.
    changed: Timestamp,
    /// The job that was sent to see.
    probe: Option<JobId>,
}

/// Everything.
#[derive(Default)]
pub(crate) struct World {
    pub(crate) jobs: BTreeMap<JobId, Known>,
    pub(crate) settings: BTreeMap<QueueId, QueueSettings>,
    /// When settings were put last.
    changed: BTreeMap<QueueId, Timestamp>,
    freezes: BTreeMap<Spot, Freeze>,
    fuses: BTreeMap<Spot, Fuse>,
    /// Nodes that were too much, as the engine said, and learn.
    adapted: BTreeSet<Spot>,
    tallies: BTreeMap<Spot, Vec<Tally>>,
}

impl Known {
    fn is_under(&self, (queue, key): &Spot) -> bool {
        self.queue == *queue && self.key.is_under(key)
    }
}

impl Fuse {
    fn end_delivery(
        &mut self,
        id: JobId,
        leased_at: Timestamp,
        is_good: Option<bool>,
        policy: BreakerPolicy,
        now: Timestamp,
    ) {
        let is_probe = self.probe == Some(id);
        if !is_probe && leased_at <= self.opened {
            return;
        }
        let before = self.failures;
        self.probe = self.probe.filter(|_| !is_probe);
        match is_good {
            Some(true) => (self.failures, self.until) = (0, None),
            Some(false) => self.failures += 1,
            None => {}
        }
        if self.failures != before || is_probe {
            self.changed = now;
        }
        if is_good == Some(false) && (is_probe || self.failures >= policy.consecutive_failures) {
            (self.opened, self.until, self.failures) = (now, Some(now + policy.open_duration), 0);
        }
    }

    /// After an hour without a change it is as if it had never been.
    fn forget(&mut self, now: Timestamp) {
        let last = self.changed.max(self.until.unwrap_or_default());
        if self.probe.is_none() && now.since(last) >= bound::FEEDBACK_MEMORY {
            *self = Fuse::default();
        }
    }
}

impl World {
    /// Jobs of a queue that are READY.
    pub(crate) fn ready(&self, queue: QueueId) -> impl Iterator<Item = (JobId, &Known)> {
        let ready = move |job: &Known| job.queue == queue && job.state == JobState::Ready;
        self.jobs.iter().filter(move |(_, job)| ready(job)).map(|(id, job)| (*id, job))
    }

    /// Jobs in one of these states.
    pub(crate) fn ids_in(&self, is_wanted: impl Fn(JobState) -> bool) -> Vec<JobId> {
        self.jobs.iter().filter(|(_, job)| is_wanted(job.state)).map(|(id, _)| *id).collect()
    }

    pub(crate) fn node(&self, (queue, key): &Spot) -> Option<&NodeSettings> {
        settings_of(&self.settings[queue], key)
    }

    /// What was set says that no more jobs of a node may be held.
    pub(crate) fn is_taken(&self, spot: &Spot) -> bool {
        let Some(node) = self.node(spot) else { return false };
        let count = |state| self.jobs.values().filter(|job| job.state == state && job.is_under(spot)).count();
        let leased = count(JobState::Leased);
        let is_full = node.max_in_flight.is_some_and(|most| leased >= most as usize);
        is_full || (node.ordered && leased + count(JobState::Retrying) > 0)
    }

    /// Until when nothing goes through a node, if it is so now.
    pub(crate) fn frozen_until(&self, spot: &Spot, now: Timestamp) -> Option<Timestamp> {
        self.freezes.get(spot).and_then(|freeze| freeze.holds(now))
    }

    /// Whether a node is to learn its rate.
    fn is_adaptive(&self, spot: &Spot) -> bool {
        let said = |spot: &Spot| self.node(spot).and_then(|node| node.adaptive);
        said(spot).or_else(|| said(&(spot.0, Key::default()))).unwrap_or(true)
    }

    /// Whether a node may have learned a rate.
    pub(crate) fn may_be_adapted(&self, spot: &Spot) -> bool {
        self.is_adaptive(spot) && self.adapted.contains(spot)
    }

    /// What a node's breaker says to jobs that come.
    pub(crate) fn breaker_block(&self, spot: &Spot, now: Now) -> Option<(BlockKind, Key, Option<WallTime>)> {
        let fuse = self.fuses.get(spot)?;
        let until = fuse.until.filter(|until| *until > now.engine).map(|until| now.wall_at(until));
        (fuse.probe.is_some() || until.is_some()).then(|| (BlockKind::Breaker, spot.1.clone(), until))
    }

    /// A delivery of a job has ended: well, badly, or neither.
    fn end_delivery(&mut self, id: JobId, is_good: Option<bool>, now: Timestamp) {
        let (job, leased_at) = (self.jobs[&id].clone(), self.jobs[&id].leased_at);
        self.jobs.get_mut(&id).unwrap().leased_at = Timestamp(0);
        for spot in way(job.queue, &job.key) {
            if let Some(policy) = self.node(&spot).and_then(|node| node.breaker) {
                let fuse = self.fuses.entry(spot).or_default();
                fuse.forget(now);
                fuse.end_delivery(id, leased_at, is_good, policy, now);
            }
        }
    }

    /// What went through the windows of a node that are in force.
    pub(crate) fn tallies(&self, spot: &Spot) -> Vec<Tally> {
        let windows = self.node(spot).map_or(&[][..], |node| &node.windows);
        match self.tallies.get(spot) {
            Some(tallies) => tallies.clone(),
            None => windows.iter().copied().map(Tally::new).collect(),
        }
    }

    /// Whether windows on the way of a key let a job that bypasses limits through; none: nobody can know.
    pub(crate) fn lets_bypass(&self, queue: QueueId, key: &Key, now: Timestamp) -> Option<bool> {
        let tallies: Vec<Tally> = way(queue, key).iter().flat_map(|spot| self.tallies(spot)).collect();
        if tallies.iter().any(|tally| tally.is_beyond(now)) {
            return Some(false);
        }
        tallies.iter().all(|tally| !tally.may_be_beyond(now)).then_some(true)
    }

    /// A delivery cost something else than was reserved for it.
    pub(crate) fn settle(&mut self, id: JobId, actual: Option<u32>, now: Timestamp) {
        let job = &self.jobs[&id];
        let Some(actual) = actual.map(u64::from).filter(|actual| *actual != job.cost) else { return };
        let (token, cost) = (LeaseToken(job.deliveries.into()), job.cost);
        for spot in way(job.queue, &job.key) {
            let mut tallies = self.tallies(&spot);
            for tally in tallies.iter_mut().filter(|tally| tally.window.unit == Unit::Cost) {
                match actual.checked_sub(cost) {
                    Some(more) => tally.add((id, LeaseToken(0)), more, self.changed[&job.queue], now),
                    None => tally.refund((id, token), cost - actual),
                }
            }
            self.tallies.insert(spot, tallies);
        }
    }

    /// A worker says that it was too much, for the node of so many segments.
    pub(crate) fn throttle(
        &mut self,
        id: JobId,
        scope: Option<&ThrottleScope>,
        retry_after: Option<Span>,
        now: Timestamp,
    ) {
        let job = &self.jobs[&id];
        let mut way = way(job.queue, &job.key);
        if let Some(scope) = scope {
            let ThrottleScope::Segments(most) = scope else { panic!("{scope:?} is not generated") };
            way.retain(|(_, key)| key.segments().count() <= usize::from(*most));
        }
        let spot = way.swap_remove(0);
        if self.is_adaptive(&spot) {
            // Which node it is for, and for how long, the engine says.
            return;
        }
        if let Some(freeze) = Freeze::said(self.freezes.get(&spot).copied(), retry_after, now) {
            self.freezes.insert(spot, freeze);
        }
    }

    /// A job goes to a worker: nothing may stand in its way.
    pub(crate) fn deliver(&mut self, id: JobId, token: LeaseToken, now: Timestamp) {
        let job = self.jobs[&id].clone();
        assert_eq!(job.state, JobState::Ready, "{id} was given");
        assert!(!self.settings[&job.queue].paused, "{id} went though its queue is paused");
        for (other, waits) in self.ready(job.queue) {
            let is_equal = (&waits.key, waits.priority) == (&job.key, job.priority);
            // Who bypasses limits passes who does not.
            let is_ahead = waits.sequence < job.sequence && (waits.bypass_limits || !job.bypass_limits);
            assert!(!(is_equal && is_ahead), "{id} passed {other} of its key");
        }
        let bypasses = job.bypass_limits && self.lets_bypass(job.queue, &job.key, now) != Some(false);
        for spot in way(job.queue, &job.key) {
            if let Some(fuse) = self.fuses.get_mut(&spot) {
                assert!(
                    fuse.until.is_none_or(|until| until <= now),
                    "{id} went through {spot:?}, which is open"
                );
                assert_eq!(fuse.probe, None, "{id} went through {spot:?} beside the probe");
                fuse.forget(now);
                if fuse.until.is_some() {
                    (fuse.probe, fuse.changed) = (Some(id), now);
                }
            }
            assert_eq!(self.frozen_until(&spot, now), None, "{id} went through {spot:?}, which is frozen");
            assert!(
                !self.is_taken(&spot),
                "{id} went through {spot:?}, which had no room: {:?}",
                self.node(&spot)
            );
            let mut tallies = self.tallies(&spot);
            for tally in &mut tallies {
                assert!(
                    bypasses || !tally.would_exceed(job.cost, now),
                    "{id} for {} at {now:?} was too much for {spot:?}: {tally:?}",
                    job.cost
                );
                tally.add((id, token), job.cost, self.changed[&job.queue], now);
            }
            self.tallies.insert(spot, tallies);
        }
        let job = self.jobs.get_mut(&id).unwrap();
        job.state = JobState::Leased;
        job.deliveries += 1;
        job.leased_at = now;
        assert_eq!(token.0, u64::from(job.deliveries));
    }

    /// Anything but a delivery.
    pub(crate) fn follow(&mut self, mutation: &Mutation, now: Timestamp) {
        match mutation {
            Mutation::QueuePut { queue, settings, .. } => {
                self.settings.insert(*queue, (**settings).clone());
                self.changed.insert(*queue, now);
                self.follow_settings(*queue, now);
            }
            Mutation::Enqueued { queue, first, jobs } => {
                for (id, spec) in (first.0..).zip(jobs) {
                    let is_ready = spec.start == Start::Now;
                    let job = Known {
                        queue: *queue,
                        key: spec.key.clone(),
                        priority: if spec.bypass_limits { 9 } else { spec.priority.get() },
                        cost: spec.cost.get().into(),
                        bypass_limits: spec.bypass_limits,
                        state: if is_ready { JobState::Ready } else { JobState::Scheduled },
                        sequence: if is_ready { id } else { 0 },
                        attempts: 0,
                        deliveries: 0,
                        leased_at: Timestamp(0),
                    };
                    self.jobs.insert(JobId(id), job);
                }
            }
            Mutation::Promoted { id, sequence } => {
                let job = self.jobs.get_mut(id).unwrap();
                (job.state, job.sequence) = (JobState::Ready, *sequence);
            }
            Mutation::Updated { id, priority, due, sequence } => {
                let job = self.jobs.get_mut(id).unwrap();
                (job.priority, job.sequence) = (priority.get(), *sequence);
                job.state = match (due, job.state) {
                    (None, _) => JobState::Ready,
                    (Some(_), JobState::Retrying) => JobState::Retrying,
                    (Some(_), _) => JobState::Scheduled,
                };
            }
            Mutation::Returned { id, cause, next, .. } => {
                let is_good = match cause {
                    ReturnCause::Rejected => Some(true),
                    ReturnCause::Failed | ReturnCause::Expired => Some(false),
                    ReturnCause::Throttled | ReturnCause::Released => None,
                };
                self.end_delivery(*id, is_good, now);
                let job = self.jobs.get_mut(id).unwrap();
                // It is its node that waits.
                let waits = *cause == ReturnCause::Throttled && matches!(next, Next::Retry(_) | Next::Dead);
                assert!(!waits, "{id} was throttled and waits by itself");
                job.attempts += u32::from(cause.spends_attempt());
                job.state = match next {
                    Next::Ready => JobState::Ready,
                    Next::Retry(_) => JobState::Retrying,
                    Next::Dead => JobState::Dead,
                    Next::Cancelled => JobState::Cancelled,
                    Next::Expired => JobState::Expired,
                };
            }
            Mutation::Requeued { id, sequence } => {
                let job = self.jobs.get_mut(id).unwrap();
                (job.state, job.sequence, job.attempts) = (JobState::Ready, *sequence, 0);
            }
            Mutation::Acked { id, .. } => {
                self.end_delivery(*id, Some(true), now);
                self.end(&[*id], JobState::Completed);
            }
            Mutation::Cancelled { id } => self.end(&[*id], JobState::Cancelled),
            Mutation::Expired { jobs } => self.end(jobs, JobState::Expired),
            Mutation::Drained { jobs, .. } => self.end(jobs, JobState::Drained),
            Mutation::Purged { jobs } | Mutation::Forgotten { jobs } => {
                self.jobs.retain(|id, _| !jobs.contains(id))
            }
            Mutation::NodeReset { queue, key } => {
                let spot = (*queue, key.clone());
                self.freezes.remove(&spot);
                self.fuses.remove(&spot);
                self.adapted.remove(&spot);
            }
            Mutation::NodeState { queue, key, state } => self.learn((*queue, key.clone()), state, now),
            Mutation::Charged { .. }
            | Mutation::Settled { .. }
            | Mutation::Frozen { .. }
            | Mutation::CancelRequested { .. }
            | Mutation::DrainForgotten { .. } => {}
            other => panic!("{other:?} was not asked for"),
        }
    }

    /// An answer did something to a node, as the engine says.
    fn learn(&mut self, spot: Spot, state: &NodeState, now: Timestamp) {
        if self.is_adaptive(&spot) {
            let freeze = Freeze::learned(self.freezes.get(&spot).copied(), state, now);
            self.freezes.insert(spot.clone(), freeze);
        }
        if state.feedback.as_ref().is_some_and(|feedback| feedback.adaptation.is_some()) {
            assert!(self.is_adaptive(&spot), "{spot:?} is not to learn");
            self.adapted.insert(spot);
        }
    }

    fn end(&mut self, ids: &[JobId], state: JobState) {
        ids.iter().for_each(|id| self.jobs.get_mut(id).unwrap().state = state);
    }

    /// Other windows may be in force at the nodes of a queue.
    fn follow_settings(&mut self, queue: QueueId, now: Timestamp) {
        let mut adapted = std::mem::take(&mut self.adapted);
        adapted.retain(|spot| self.is_adaptive(spot));
        self.adapted = adapted;
        let settings = &self.settings[&queue];
        let has_breaker = |key: &Key| settings_of(settings, key).is_some_and(|node| node.breaker.is_some());
        self.fuses.retain(|(of, key), _| *of != queue || has_breaker(key));
        for ((_, key), tallies) in self.tallies.iter_mut().filter(|((of, _), _)| *of == queue) {
            let windows = settings_of(settings, key).map_or(&[][..], |node| &node.windows);
            let before = std::mem::take(tallies);
            let follow = |(at, window): (usize, &Window)| match before.get(at) {
                Some(tally) if tally.window == *window => tally.clone(),
                Some(tally) => tally.follow(*window, now),
                None => Tally::new(*window),
            };
            *tallies = windows.iter().enumerate().map(follow).collect();
        }
    }
}
