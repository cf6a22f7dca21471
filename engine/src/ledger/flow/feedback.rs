//! What answers of the downstream did to a node: what it learned, and its breaker. Kept apart, for most nodes never have
//! reason to.

use super::{Adaptation, Breaker, BreakerState, Ceiling, NodeState, Verdict};
use crate::limit::{BreakerPolicy, Unit};
use crate::time::{Span, Timestamp};

/// What answers of the downstream did to a node.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Feedback {
    /// The rate that it learned, if it ever was too much.
    pub adaptation: Option<Adaptation>,
    /// Its breaker, if anything failed.
    pub breaker: Option<Breaker>,
}

/// What an answer did to a node at one moment.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Turn {
    /// Its rate was cut.
    Cut {
        /// Units a second that it goes on with.
        rate: f64,
    },
    /// Its breaker opened.
    Opened,
    /// Its breaker closed again.
    Closed,
}

impl NodeState {
    /// What an answer did to it at this very moment.
    pub fn turns(&self, now: Timestamp) -> impl Iterator<Item = Turn> + '_ {
        let ceiling = self.ceiling();
        let adaptation = self.adaptation(now).filter(|adaptation| adaptation.cut_at == now);
        let cut = adaptation.map(|adaptation| Turn::Cut { rate: adaptation.rate_under(&ceiling) });
        let breaker = self.breaker(now).and_then(|breaker| breaker.turn(now));
        cut.into_iter().chain(breaker)
    }

    /// When such a job may go, as far as answers are concerned.
    pub(super) fn learned(&self, cost: u64, now: Timestamp) -> Timestamp {
        self.adapted(cost, now).max(self.broken_until(now))
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
    pub(super) fn breaker(&self, now: Timestamp) -> Option<&Breaker> {
        self.feedback.as_ref()?.breaker.as_ref().filter(|breaker| !breaker.is_past(now))
    }

    /// What was set on it, as a rate.
    pub(crate) fn ceiling(&self) -> Ceiling {
        Ceiling::of(self.meters.iter().map(|(window, _)| window))
    }

    /// Jobs went through.
    pub(super) fn charge_feedback(&mut self, jobs: u64, cost: u64, now: Timestamp) {
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

    /// What of it still counts.
    pub(super) fn feedback_as_of(&self, now: Timestamp) -> Option<Box<Feedback>> {
        let (adaptation, breaker) = (self.adaptation(now).cloned(), self.breaker(now).cloned());
        let feedback = Feedback { adaptation, breaker };
        (feedback != Feedback::default()).then(|| Box::new(feedback))
    }
}
