//! What limits know: how much went through each node of late, and how long it is frozen. Facts, for a restart must
//! not let a burst through that was through already.
//!
//! A node has a gate here while something of it counts; what is past is forgotten bit by bit, and nobody could tell.

mod adaptation;
mod answers;
mod breaker;
mod feedback;
mod meter;
mod trace;

pub use adaptation::Adaptation;
pub(crate) use adaptation::Ceiling;
pub(crate) use answers::{Answers, Last};
pub(crate) use breaker::Verdict;
pub use breaker::{Breaker, BreakerState, Phase};
pub use feedback::{Feedback, Turn};
pub use meter::{Meter, Quota};
pub use trace::Trace;

use crate::bound::{FIRST_FREEZE, FREEZE_MEMORY, MAX_FREEZE_DOUBLINGS, MIN_GATES_SWEPT_PER_STEP};
use crate::id::QueueId;
use crate::ledger::keys::KeyId;
use crate::limit::{Unit, Window};
use crate::time::{Span, Timestamp};

/// The number of a gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct GateId(u32);

/// A node of the dispatch tree: a key of a queue, the queue itself, or a shared limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Spot {
    /// The queue's number, or the shared limit's.
    pub(crate) queue: QueueId,
    /// [`KeyId::NONE`]: the queue itself, or the limit.
    pub(crate) key: KeyId,
}

/// What is known of a node, as the store keeps it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NodeState {
    /// What went through each of its windows.
    pub meters: Vec<(Window, Meter)>,
    /// Nothing goes before: the downstream said so.
    pub frozen_until: Timestamp,
    /// When a worker said THROTTLED last, and how often without 60 s of quiet between.
    pub throttled: Option<(Timestamp, u8)>,
    /// Of each window what refunds need to know; empty where none counts cost.
    pub traces: Vec<Trace>,
    /// What it learned from answers. Most nodes never have reason to.
    pub feedback: Option<Box<Feedback>>,
}

/// A node of which something is known.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Gate {
    pub(crate) spot: Spot,
    pub(crate) state: NodeState,
}

/// All gates.
#[derive(Default)]
pub(crate) struct Flow {
    gates: Vec<Option<Gate>>,
    free: Vec<u32>,
    /// Where the next sweep begins.
    swept: usize,
    /// Gates made since the last one.
    made: usize,
}

impl Default for GateId {
    fn default() -> GateId {
        GateId::NONE
    }
}

impl GateId {
    /// No gate: nothing is known of the node.
    pub(crate) const NONE: GateId = GateId(u32::MAX);

    pub(crate) fn number(self) -> u32 {
        self.0
    }
}

impl NodeState {
    /// When a job that costs so much may go, as far as the past is concerned.
    pub(crate) fn opens(&self, cost: u64, now: Timestamp) -> Timestamp {
        let opens = self.meters.iter().map(|(window, meter)| meter.opens(window, window.units(1, cost), now));
        let set = opens.fold(self.frozen_until, Timestamp::max);
        if self.feedback.is_some() { set.max(self.learned(cost, now)) } else { set }
    }

    /// Whether a job that costs no more than the least may go, and nothing was learned that says more than times do.
    pub(crate) fn is_plainly_open(&self, now: Timestamp) -> bool {
        self.feedback.is_none() && self.opens(1, now) <= now
    }

    /// Until when the downstream said that nothing goes, if it still holds.
    pub(crate) fn frozen(&self, now: Timestamp) -> Option<Timestamp> {
        Some(self.frozen_until).filter(|until| *until > now)
    }

    /// When a job that bypasses limits may go, as far as windows are concerned: while not too much is owed.
    pub(crate) fn bypass_opens(&self, now: Timestamp) -> Timestamp {
        let opens = self.meters.iter().map(|(window, meter)| meter.bypass_opens(window, now));
        opens.fold(Timestamp(0), Timestamp::max)
    }

    /// Jobs went through. The windows are those in force; those of which nothing is known are so `since` then.
    pub(crate) fn charge(
        &mut self,
        windows: &[Window],
        jobs: u64,
        cost: u64,
        since: Timestamp,
        now: Timestamp,
    ) {
        self.follow(windows, since, now);
        let mut traces = self.traces.iter_mut();
        for (window, meter) in &mut self.meters {
            if let Some(trace) = traces.next()
                && window.unit == Unit::Cost
            {
                trace.note(meter.owed(now), now);
            }
            meter.charge(window, window.units(jobs, cost), now);
        }
        if self.feedback.is_some() {
            self.charge_feedback(jobs, cost, now);
        }
    }

    /// A job that was `charged` so much then cost something else. What is more is charged now; what is less is given back,
    /// as far as it was charged here and is not repaid.
    pub(crate) fn settle(
        &mut self,
        windows: &[Window],
        charged: Timestamp,
        (reserved, actual): (u64, u64),
        since: Timestamp,
        now: Timestamp,
    ) {
        self.follow(windows, since, now);
        let metered = self.meters.iter_mut().zip(&mut self.traces);
        for ((window, meter), trace) in metered.filter(|((window, _), _)| window.unit == Unit::Cost) {
            if actual > reserved {
                trace.note(meter.owed(now), now);
                meter.charge(window, actual - reserved, now);
            } else if trace.knows(charged) {
                meter.refund(window, reserved - actual, charged, trace, now);
            }
        }
    }

    /// What was charged up to now gives nothing back: nobody knows any more whose it was.
    pub(crate) fn forget_charges(&mut self, now: Timestamp) {
        self.traces.iter_mut().for_each(|trace| trace.since = after(now));
    }

    /// These windows are in force now. What went through before counts on, in the same place of the list. What is new
    /// there counts `since` then.
    pub(crate) fn follow(&mut self, windows: &[Window], since: Timestamp, now: Timestamp) {
        let is_same = self.meters.iter().map(|(window, _)| window).eq(windows);
        let counts_cost = windows.iter().any(|window| window.unit == Unit::Cost);
        if is_same && self.traces.len() == if counts_cost { windows.len() } else { 0 } {
            return;
        }
        let (meters, traces) = (std::mem::take(&mut self.meters), std::mem::take(&mut self.traces));
        for (at, window) in windows.iter().enumerate() {
            let (meter, trace) = match meters.get(at) {
                Some((before, meter)) => {
                    let trace = traces.get(at).filter(|_| before.is_counted_as(window));
                    let trace = trace.map(|trace| trace.follow(before, window, now));
                    (meter.follow(before, window, now), trace)
                }
                None => (Meter::new(window), None),
            };
            self.meters.push((*window, meter));
            if counts_cost {
                self.traces.push(trace.unwrap_or_else(|| Trace::new(window, since)));
            }
        }
    }

    /// How often in a row it was frozen longer, as far as that is remembered.
    pub(crate) fn freezes(&self, now: Timestamp) -> u8 {
        self.remembered(now).map_or(0, |(_, step)| step)
    }

    /// The downstream said that it was too much. How long to freeze it when it did not say.
    pub(crate) fn next_freeze(&self, now: Timestamp) -> (Span, u8) {
        let step = self.remembered(now).map_or(0, |(_, step)| (step + 1).min(MAX_FREEZE_DOUBLINGS));
        (Span(FIRST_FREEZE.0 << step), step)
    }

    /// What of it still counts.
    pub(crate) fn as_of(&self, now: Timestamp) -> NodeState {
        NodeState {
            meters: self.meters.iter().map(|(window, meter)| (*window, meter.as_of(window, now))).collect(),
            frozen_until: self.frozen(now).unwrap_or(Timestamp(0)),
            throttled: self.remembered(now),
            traces: self.traces.clone(),
            feedback: self.feedback_as_of(now),
        }
    }

    /// Whether nothing of it counts any more.
    pub(crate) fn is_past(&self, now: Timestamp) -> bool {
        self.frozen(now).is_none()
            && self.remembered(now).is_none()
            && self.adaptation(now).is_none()
            && self.breaker(now).is_none()
            && self.meters.iter().all(|(window, meter)| meter.is_past(window, now))
    }

    /// What is past is forgotten, sooner or later: here at the latest, where it could be told when.
    pub(crate) fn begin_anew_if_past(&mut self, now: Timestamp) {
        if self.is_past(now) {
            *self = NodeState::default();
        }
    }

    /// When THROTTLED was said last, and how often, while that matters.
    fn remembered(&self, now: Timestamp) -> Option<(Timestamp, u8)> {
        self.throttled.filter(|(last, _)| now.since(*last) < FREEZE_MEMORY)
    }
}

impl Flow {
    pub(crate) fn get(&self, id: GateId) -> Option<&Gate> {
        self.gates.get(id.0 as usize)?.as_ref()
    }

    pub(crate) fn get_mut(&mut self, id: GateId) -> Option<&mut Gate> {
        self.gates.get_mut(id.0 as usize)?.as_mut()
    }

    pub(crate) fn insert(&mut self, gate: Gate) -> GateId {
        self.made += 1;
        match self.free.pop() {
            Some(index) => {
                self.gates[index as usize] = Some(gate);
                GateId(index)
            }
            None => {
                self.gates.push(Some(gate));
                GateId(u32::try_from(self.gates.len() - 1).expect("memory ends before gates do"))
            }
        }
    }

    pub(crate) fn remove(&mut self, id: GateId) -> Option<Gate> {
        let gate = self.gates.get_mut(id.0 as usize)?.take()?;
        self.free.push(id.0);
        Some(gate)
    }

    /// Gates by number, from this one on.
    pub(crate) fn from(&self, first: u32) -> impl Iterator<Item = (GateId, &Gate)> {
        let gates = self.gates.iter().enumerate().skip(first as usize);
        gates.filter_map(|(index, gate)| Some((GateId(index as u32), gate.as_ref()?)))
    }

    /// Some gates of which nothing counts any more: another few each time, and more of them than were made.
    pub(crate) fn past(&mut self, now: Timestamp) -> Vec<GateId> {
        if self.swept >= self.gates.len() {
            self.swept = 0;
        }
        let looked_at = MIN_GATES_SWEPT_PER_STEP + 2 * std::mem::take(&mut self.made);
        let end = (self.swept + looked_at).min(self.gates.len());
        let swept = std::mem::replace(&mut self.swept, end)..end;
        let is_past = |index: &usize| self.gates[*index].as_ref().is_some_and(|gate| gate.state.is_past(now));
        swept.filter(is_past).map(|index| GateId(index as u32)).collect()
    }
}

/// The next moment.
pub(super) fn after(time: Timestamp) -> Timestamp {
    Timestamp(time.0.saturating_add(1))
}
