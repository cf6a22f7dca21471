//! What THROTTLED did to a node.

use sluice_engine::*;

/// Nothing goes for a while.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Freeze {
    until: Timestamp,
    /// When it was said last, and how often in a row.
    last: Timestamp,
    step: u32,
}

impl Freeze {
    /// A worker says it of a node that does not adapt. None: that says nothing new.
    pub(crate) fn said(known: Option<Freeze>, retry_after: Option<Span>, now: Timestamp) -> Option<Freeze> {
        let recent = known.filter(|freeze| now.since(freeze.last) < bound::FREEZE_MEMORY);
        let (wait, step) = match (retry_after, recent) {
            (Some(wait), recent) => (wait, recent.map_or(0, |freeze| freeze.step)),
            (None, _) if known.is_some_and(|freeze| freeze.until > now) => return None,
            // 1, 2, 4, 8, 16 s.
            (None, recent) => {
                let step = recent.map_or(0, |freeze| (freeze.step + 1).min(4));
                (Span(1_000_000_000 << step), step)
            }
        };
        let until = known.map_or(Timestamp(0), |freeze| freeze.until).max(now + wait);
        Some(Freeze { until, last: now, step })
    }

    /// The engine says until when a node that adapts is frozen: never less than it was.
    pub(crate) fn learned(known: Option<Freeze>, state: &NodeState, now: Timestamp) -> Freeze {
        let until = state.frozen_until;
        let before = known.map_or(Timestamp(0), |freeze| freeze.until);
        assert!(before <= until.max(now), "it thaws though nobody said so");
        Freeze { until, last: Timestamp(0), step: 0 }
    }

    /// Until when, if it is so now.
    pub(crate) fn holds(&self, now: Timestamp) -> Option<Timestamp> {
        Some(self.until).filter(|until| *until > now)
    }
}
