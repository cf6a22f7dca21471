//! What is drawn over time: one number of a status each. Knows nothing of screens.

use crate::proto::QueueStatus;

/// How many there are.
pub(super) const MEASURES: usize = Measure::ALL.len();

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Measure {
    Ready,
    Scheduled,
    Retrying,
    Leased,
    Dead,
    Enqueued,
    Dispatched,
    Acked,
    Failed,
}

impl Measure {
    /// In the order of their discriminants: samples are indexed by them.
    pub(super) const ALL: [Measure; 9] = [
        Measure::Ready,
        Measure::Scheduled,
        Measure::Retrying,
        Measure::Leased,
        Measure::Dead,
        Measure::Enqueued,
        Measure::Dispatched,
        Measure::Acked,
        Measure::Failed,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Measure::Ready => "ready",
            Measure::Scheduled => "scheduled",
            Measure::Retrying => "retrying",
            Measure::Leased => "leased",
            Measure::Dead => "dead",
            Measure::Enqueued => "enqueued/s",
            Measure::Dispatched => "dispatched/s",
            Measure::Acked => "acked/s",
            Measure::Failed => "failed/s",
        }
    }

    pub(super) fn is_rate(self) -> bool {
        match self {
            Measure::Ready | Measure::Scheduled | Measure::Retrying | Measure::Leased | Measure::Dead => {
                false
            }
            Measure::Enqueued | Measure::Dispatched | Measure::Acked | Measure::Failed => true,
        }
    }

    pub(super) fn of(self, status: &QueueStatus) -> f64 {
        let counts = status.counts.unwrap_or_default();
        let rates = status.rates.unwrap_or_default();
        match self {
            Measure::Ready => counts.ready as f64,
            Measure::Scheduled => counts.scheduled as f64,
            Measure::Retrying => counts.retrying as f64,
            Measure::Leased => counts.leased as f64,
            Measure::Dead => counts.dead as f64,
            Measure::Enqueued => rates.enqueued,
            Measure::Dispatched => rates.dispatched,
            Measure::Acked => rates.acked,
            Measure::Failed => rates.failed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_of_all_is_that_of_the_indices() {
        for (index, measure) in Measure::ALL.into_iter().enumerate() {
            assert_eq!(measure as usize, index);
        }
    }
}
