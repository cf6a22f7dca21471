//! How one queue stood, second by second, as far back as a screen is wide. Told when a second has passed;
//! knows no clock.

use std::collections::VecDeque;

use super::measure::{MEASURES, Measure};
use crate::proto::QueueStatus;

/// Samples that are kept: the columns of a wide screen, four minutes. The oldest goes first.
pub(super) const MAX_SAMPLES: usize = 240;

/// Single precision, for there may be many queues and a graph has eight steps a row.
type Sample = [f32; MEASURES];

#[derive(Clone, Debug, Default)]
pub(super) struct History {
    /// Newest first. None: nothing was known at that time.
    samples: VecDeque<Option<Sample>>,
}

impl History {
    /// A second has passed: this is how it stands, if that is known.
    pub(super) fn push(&mut self, status: Option<&QueueStatus>) {
        self.samples.truncate(MAX_SAMPLES - 1);
        let sample = |status: &QueueStatus| Measure::ALL.map(|measure| measure.of(status) as f32);
        self.samples.push_front(status.map(sample));
        debug_assert!(self.samples.len() <= MAX_SAMPLES);
    }

    /// Newest first.
    pub(super) fn values(&self, measure: Measure) -> impl Iterator<Item = Option<f32>> {
        self.samples.iter().map(move |sample| sample.map(|sample| sample[measure as usize]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::StateCounts;

    fn ready(ready: u64) -> QueueStatus {
        QueueStatus { counts: Some(StateCounts { ready, ..Default::default() }), ..Default::default() }
    }

    #[test]
    fn history_is_bounded_and_forgets_the_oldest() {
        let mut history = History::default();
        for second in 0..MAX_SAMPLES as u64 + 10 {
            history.push(Some(&ready(second)));
        }
        let values: Vec<_> = history.values(Measure::Ready).collect();
        assert_eq!(values.len(), MAX_SAMPLES);
        assert_eq!((values[0], values[MAX_SAMPLES - 1]), (Some(249.0), Some(10.0)));
    }

    #[test]
    fn unknown_second_is_a_gap() {
        let mut history = History::default();
        history.push(Some(&ready(1)));
        history.push(None);
        assert_eq!(history.values(Measure::Ready).collect::<Vec<_>>(), [None, Some(1.0)]);
    }
}
