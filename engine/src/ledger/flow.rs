//! What limits know: how much went through each node of late, and how long it is frozen. Facts, for a restart must
//! not let a burst through that was through already.
//!
//! A node has a gate here while something of it counts; what is past is forgotten bit by bit, and nobody could tell.

mod adaptation;
mod answers;
mod breaker;
mod meter;

pub use adaptation::Adaptation;
pub(crate) use adaptation::Ceiling;
pub(crate) use answers::{Answers, Last};
pub(crate) use breaker::Verdict;
pub use breaker::{Breaker, BreakerState, Phase};
pub use meter::{Meter, Quota};

use crate::bound::{FIRST_FREEZE, FREEZE_MEMORY, MAX_FREEZE_DOUBLINGS, MIN_GATES_SWEPT_PER_STEP};
use crate::id::QueueId;
use crate::ledger::keys::KeyId;
use crate::limit::{BreakerPolicy, Unit, Window};
use crate::time::{Span, Timestamp};

/// The number of a gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct GateId(u32);

/// A node of the dispatch tree: a key of a queue, or the queue itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Spot {
    pub(crate) queue: QueueId,
    /// [`KeyId::NONE`]: the queue itself.
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
    /// What it learned from answers. Most nodes never have reason to.
    pub feedback: Option<Box<Feedback>>,
}

/// What answers of the downstream did to a node.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Feedback {
    /// The rate that it learned, if it ever was too much.
    pub adaptation: Option<Adaptation>,
    /// Its breaker, if anything failed.
    pub breaker: Option<Breaker>,
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
        if self.feedback.is_none() {
            set
        } else {
            set.max(self.adapted(cost, now)).max(self.broken_until(now))
        }
    }

    /// When the learned rate lets such a job through.
    pub(crate) fn adapted(&self, cost: u64, now: Timestamp) -> Timestamp {
        let ceiling = self.ceiling();
        let units = if ceiling.unit == Unit::Jobs { 1 } else { cost };
        self.adaptation(now).map_or(Timestamp(0), |adaptation| adaptation.opens(&ceiling, units))
    }

    /// Until when its breaker is open.
    pub(crate) fn broken_until(&self, now: Timestamp) -> Timestamp {
        self.breaker(now).map_or(Timestamp(0), Breaker::open_until)
    }

    /// Whether its breaker waits for what comes of one job.
    pub(crate) fn is_probing(&self) -> bool {
        let breaker = self.feedback.as_ref().and_then(|feedback| feedback.breaker.as_ref());
        breaker.is_some_and(Breaker::is_probing)
    }

    /// Units a second that it lets through after what it learned; none while that is no less than what was set on it.
    #[must_use]
    pub fn rate_in_force(&self, now: Timestamp) -> Option<f64> {
        let ceiling = self.ceiling();
        let rate = self.adaptation(now)?.rate_under(&ceiling);
        ceiling.rate.is_none_or(|most| rate < most).then_some(rate)
    }

    /// How its breaker stands.
    #[must_use]
    pub fn breaker_state(&self, now: Timestamp) -> BreakerState {
        self.breaker(now).map_or(BreakerState::Closed, |breaker| breaker.state(now))
    }

    /// What it learned, while that matters.
    pub(crate) fn adaptation(&self, now: Timestamp) -> Option<&Adaptation> {
        let adaptation = self.feedback.as_ref()?.adaptation.as_ref();
        adaptation.filter(|adaptation| !adaptation.is_past(&self.ceiling(), now))
    }

    /// What its breaker remembers, while that matters.
    fn breaker(&self, now: Timestamp) -> Option<&Breaker> {
        self.feedback.as_ref()?.breaker.as_ref().filter(|breaker| !breaker.is_past(now))
    }

    /// What was set on it, as a rate.
    pub(crate) fn ceiling(&self) -> Ceiling {
        Ceiling::of(self.meters.iter().map(|(window, _)| window))
    }

    /// Jobs went through. The windows are those in force.
    pub(crate) fn charge(&mut self, windows: &[Window], jobs: u64, cost: u64, now: Timestamp) {
        self.follow(windows, now);
        for (window, meter) in &mut self.meters {
            meter.charge(window, window.units(jobs, cost), now);
        }
        if self.feedback.is_some() {
            self.charge_feedback(jobs, cost, now);
        }
    }

    fn charge_feedback(&mut self, jobs: u64, cost: u64, now: Timestamp) {
        self.forget_feedback(now);
        let ceiling = self.ceiling();
        let units = if ceiling.unit == Unit::Jobs { jobs } else { cost };
        let Some(feedback) = &mut self.feedback else { return };
        if let Some(adaptation) = &mut feedback.adaptation {
            adaptation.charge(&ceiling, units, now);
        }
        if let Some(breaker) = &mut feedback.breaker {
            breaker.charge(now);
        }
    }

    /// The downstream said that it was too much: the rate is cut, and nothing goes for a while.
    pub(crate) fn cut(&mut self, first: f64, retry_after: Option<Span>, now: Timestamp) {
        let cut = Adaptation::cut(self.adaptation(now), &self.ceiling(), first, now);
        self.pause(now + retry_after.unwrap_or_else(|| cut.pause()));
        self.feedback.get_or_insert_default().adaptation = Some(cut);
    }

    /// Nothing goes before `until`.
    pub(crate) fn pause(&mut self, until: Timestamp) {
        self.frozen_until = self.frozen_until.max(until);
    }

    /// A delivery of a job that was leased then has ended. Whether that changes anything. `policy` is that of its
    /// breaker, if it has one.
    pub(crate) fn note(
        &mut self,
        verdict: Verdict,
        leased_at: Timestamp,
        policy: Option<&BreakerPolicy>,
        now: Timestamp,
    ) -> bool {
        self.forget_feedback(now);
        let adapts = |feedback: &mut Box<Feedback>| {
            let adaptation = feedback.adaptation.as_mut();
            adaptation.is_some_and(|adaptation| verdict == Verdict::Good && adaptation.note_answer(leased_at))
        };
        let is_adapted = self.feedback.as_mut().is_some_and(adapts);
        let breaks = policy.is_some_and(|policy| {
            let mut breaker = self.breaker(now).cloned().unwrap_or_default();
            let changes = breaker.note(verdict, leased_at, policy, now);
            if changes {
                self.feedback.get_or_insert_default().breaker = Some(breaker);
            }
            changes
        });
        is_adapted || breaks
    }

    /// Whether an answer that is no failure may change anything.
    pub(crate) fn listens_to(&self, verdict: Verdict, now: Timestamp) -> bool {
        let awaits = |adaptation: &Adaptation| verdict == Verdict::Good && adaptation.awaits_answers();
        self.adaptation(now).is_some_and(awaits)
            || self.breaker(now).is_some_and(|breaker| !breaker.is_calm())
    }

    /// What of it can be in force: what a node learned, its breaker.
    pub(crate) fn heed(&mut self, is_adaptive: bool, has_breaker: bool) {
        let Some(feedback) = &mut self.feedback else { return };
        feedback.adaptation.take_if(|_| !is_adaptive);
        feedback.breaker.take_if(|_| !has_breaker);
        self.feedback.take_if(|feedback| **feedback == Feedback::default());
    }

    fn forget_feedback(&mut self, now: Timestamp) {
        self.heed(self.adaptation(now).is_some(), self.breaker(now).is_some());
    }

    /// These windows are in force now. What went through before counts on, in the same place of the list.
    pub(crate) fn follow(&mut self, windows: &[Window], now: Timestamp) {
        if self.meters.iter().map(|(window, _)| window).eq(windows) {
            return;
        }
        let before = std::mem::take(&mut self.meters);
        self.meters = windows
            .iter()
            .enumerate()
            .map(|(at, window)| {
                let meter = match before.get(at) {
                    Some((before, meter)) => meter.follow(before, window, now),
                    None => Meter::new(window),
                };
                (*window, meter)
            })
            .collect();
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
            frozen_until: if self.frozen_until > now { self.frozen_until } else { Timestamp(0) },
            throttled: self.remembered(now),
            feedback: self.feedback_as_of(now),
        }
    }

    fn feedback_as_of(&self, now: Timestamp) -> Option<Box<Feedback>> {
        let (adaptation, breaker) = (self.adaptation(now).cloned(), self.breaker(now).cloned());
        let feedback = Feedback { adaptation, breaker };
        (feedback != Feedback::default()).then(|| Box::new(feedback))
    }

    /// Whether nothing of it counts any more.
    pub(crate) fn is_past(&self, now: Timestamp) -> bool {
        self.frozen_until <= now
            && self.remembered(now).is_none()
            && self.adaptation(now).is_none()
            && self.breaker(now).is_none()
            && self.meters.iter().all(|(window, meter)| meter.is_past(window, now))
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
