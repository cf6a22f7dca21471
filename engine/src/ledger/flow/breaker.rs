//! A circuit breaker: after so many failures in a row a node lets nothing through, then one job to see.
//!
//! ```text
//! CLOSED ── so many failures in a row ──► OPEN ── its time passes ──► HALF OPEN ── a job goes ──► PROBING
//!
//! PROBING ── answered ──► CLOSED      PROBING ── failed ──► OPEN      PROBING ── given back ──► HALF OPEN
//! ```

use super::feedback::Turn;
use crate::bound::FEEDBACK_MEMORY;
use crate::limit::BreakerPolicy;
use crate::time::Timestamp;

/// What a breaker remembers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Breaker {
    /// Where it stands.
    pub phase: Phase,
    /// When it opened last. Answers to jobs that went before do not count.
    pub opened_at: Timestamp,
    /// When it changed last.
    pub changed_at: Timestamp,
}

/// Where a breaker stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// All goes, after so many failures in a row.
    Closed {
        /// So many.
        failures: u32,
    },
    /// Nothing goes until then; then one job.
    Open {
        /// Then.
        until: Timestamp,
    },
    /// That job is with a worker.
    Probing,
}

/// How a breaker stands, for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BreakerState {
    /// All goes.
    Closed,
    /// Nothing goes.
    Open,
    /// One job goes, to see.
    HalfOpen,
}

/// What a delivery's end says of the service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It answers.
    Good,
    /// It fails.
    Bad,
    /// Nothing.
    None,
}

impl Default for Phase {
    fn default() -> Phase {
        Phase::Closed { failures: 0 }
    }
}

impl Breaker {
    /// A delivery of a job that was leased then has ended. Whether that changes anything.
    pub(crate) fn note(
        &mut self,
        verdict: Verdict,
        leased_at: Timestamp,
        policy: &BreakerPolicy,
        now: Timestamp,
    ) -> bool {
        if self.opened_at > Timestamp(0) && leased_at <= self.opened_at {
            return false;
        }
        let Some(phase) = self.next(verdict, policy, now) else { return false };
        if matches!(phase, Phase::Open { until } if until > now) {
            self.opened_at = now;
        }
        self.phase = phase;
        self.changed_at = now;
        true
    }

    /// Something goes through: if that is because its time has passed, it is the probe.
    pub(crate) fn charge(&mut self, now: Timestamp) {
        if matches!(self.phase, Phase::Open { until } if until <= now) {
            self.phase = Phase::Probing;
            self.changed_at = now;
        }
    }

    /// Until when nothing goes.
    pub(crate) fn open_until(&self) -> Timestamp {
        match self.phase {
            Phase::Open { until } => until,
            Phase::Closed { .. } | Phase::Probing => Timestamp(0),
        }
    }

    /// Whether nothing goes before the probe is back.
    pub(crate) fn is_probing(&self) -> bool {
        self.phase == Phase::Probing
    }

    /// Whether all is well, and was.
    pub(crate) fn is_calm(&self) -> bool {
        self.phase == Phase::default()
    }

    /// Whether it opened, or closed again, at this very moment.
    pub(super) fn turn(&self, now: Timestamp) -> Option<Turn> {
        match self.phase {
            Phase::Open { .. } => (self.opened_at == now).then_some(Turn::Opened),
            // Before it opened first there was nothing to close.
            Phase::Closed { failures: 0 } => {
                (self.changed_at == now && self.opened_at > Timestamp(0)).then_some(Turn::Closed)
            }
            Phase::Closed { .. } | Phase::Probing => None,
        }
    }

    /// How it stands.
    pub(crate) fn state(&self, now: Timestamp) -> BreakerState {
        match self.phase {
            Phase::Closed { .. } => BreakerState::Closed,
            Phase::Open { until } if until > now => BreakerState::Open,
            Phase::Open { .. } | Phase::Probing => BreakerState::HalfOpen,
        }
    }

    /// Whether nobody could tell any more.
    pub(crate) fn is_past(&self, now: Timestamp) -> bool {
        let since = self.changed_at.max(self.open_until());
        !self.is_probing() && now.since(since) >= FEEDBACK_MEMORY
    }

    fn next(&self, verdict: Verdict, policy: &BreakerPolicy, now: Timestamp) -> Option<Phase> {
        let open = Phase::Open { until: now + policy.open_duration };
        match (self.phase, verdict) {
            (Phase::Closed { failures }, Verdict::Bad) => {
                let failures = failures.saturating_add(1);
                Some(if failures >= policy.consecutive_failures { open } else { Phase::Closed { failures } })
            }
            (Phase::Closed { failures: 0 }, Verdict::Good) => None,
            (Phase::Closed { .. } | Phase::Probing, Verdict::Good) => Some(Phase::default()),
            (Phase::Probing, Verdict::Bad) => Some(open),
            // Half open again: another may go.
            (Phase::Probing, Verdict::None) => Some(Phase::Open { until: now }),
            (Phase::Closed { .. }, Verdict::None) | (Phase::Open { .. }, _) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Span;

    const POLICY: BreakerPolicy = BreakerPolicy { consecutive_failures: 2, open_duration: Span(10) };

    fn note(breaker: &mut Breaker, verdict: Verdict, leased_at: u64, now: u64) -> bool {
        breaker.note(verdict, Timestamp(leased_at), &POLICY, Timestamp(now))
    }

    #[test]
    fn failures_in_a_row_open_it_and_the_probe_decides() {
        let mut breaker = Breaker::default();
        assert!(!note(&mut breaker, Verdict::Good, 1, 2));
        for (verdict, failures) in [(Verdict::Bad, 1), (Verdict::Good, 0), (Verdict::Bad, 1)] {
            assert!(note(&mut breaker, verdict, 1, 2));
            assert_eq!(breaker.phase, Phase::Closed { failures });
        }
        assert!(note(&mut breaker, Verdict::Bad, 1, 5));
        assert_eq!((breaker.state(Timestamp(14)), breaker.open_until()), (BreakerState::Open, Timestamp(15)));
        assert_eq!(breaker.state(Timestamp(15)), BreakerState::HalfOpen);
        // Those that went before it opened say nothing, neither now nor when it is probed.
        assert!(!note(&mut breaker, Verdict::Good, 4, 6));
        breaker.charge(Timestamp(15));
        assert!(breaker.is_probing() && !note(&mut breaker, Verdict::None, 4, 16));
        assert!(note(&mut breaker, Verdict::None, 15, 16));
        assert_eq!((breaker.state(Timestamp(16)), breaker.is_probing()), (BreakerState::HalfOpen, false));
        breaker.charge(Timestamp(17));
        assert!(note(&mut breaker, Verdict::Bad, 17, 20));
        assert_eq!(breaker.open_until(), Timestamp(30));
        breaker.charge(Timestamp(30));
        assert!(note(&mut breaker, Verdict::Good, 30, 31));
        assert_eq!(breaker.phase, Phase::default());
        assert!(!note(&mut breaker, Verdict::Bad, 20, 32), "it went before the last opening");
    }
}
