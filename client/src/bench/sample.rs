//! What was counted and timed. Knows nothing of calls.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

/// Precision of quantiles: three digits.
const DIGITS: u8 = 3;
/// Longer ones count as this: an hour.
const LONGEST_NS: u64 = 3_600_000_000_000;

/// Counts, times and latencies of one slice, or of several.
#[derive(Clone, Debug, Default)]
pub(super) struct Sample {
    pub(super) jobs: u64,
    pub(super) calls: u64,
    pub(super) seconds: f64,
    slices: u32,
    latencies_ns: Vec<u64>,
}

/// Quantiles in microseconds.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Quantiles {
    pub(super) p50: f64,
    p99: f64,
    p999: f64,
}

impl Sample {
    pub(super) fn record(&mut self, latency: Duration) {
        self.latencies_ns.push(u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX));
    }

    pub(super) fn add(&mut self, mut other: Sample) {
        self.jobs += other.jobs;
        self.calls += other.calls;
        self.seconds += other.seconds;
        self.slices += 1;
        self.latencies_ns.append(&mut other.latencies_ns);
    }

    /// How long a slice took, on average.
    pub(super) fn mean_seconds(&self) -> f64 {
        if self.slices == 0 { 0.0 } else { self.seconds / f64::from(self.slices) }
    }

    pub(super) fn quantiles(&self) -> Quantiles {
        let mut histogram =
            Histogram::<u64>::new_with_max(LONGEST_NS, DIGITS).expect("the constants are possible");
        for latency in &self.latencies_ns {
            histogram.saturating_record(*latency);
        }
        let quantile = |quantile| {
            let micros = histogram.value_at_quantile(quantile) as f64 / 1_000.0;
            (micros * 10.0).round() / 10.0
        };
        Quantiles { p50: quantile(0.5), p99: quantile(0.99), p999: quantile(0.999) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_those_of_all_slices() {
        let mut whole = Sample::default();
        for slice in 0..2 {
            let mut sample = Sample { jobs: 500, calls: 500, seconds: 1.0, ..Sample::default() };
            (1..=500).for_each(|n| sample.record(Duration::from_micros(slice * 500 + n)));
            whole.add(sample);
        }
        let Quantiles { p50, p99, p999 } = whole.quantiles();
        let near = |value: f64, expected: f64| (value - expected).abs() / expected < 0.002;
        assert!(near(p50, 500.0) && near(p99, 990.0) && near(p999, 999.0), "{p50} {p99} {p999}");
        assert_eq!((whole.jobs, whole.mean_seconds()), (1000, 1.0));
    }
}
