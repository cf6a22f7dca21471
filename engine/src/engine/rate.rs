//! What happens per second: counts over the last ten seconds, in half-second buckets.

use crate::bound::RATE_WINDOW;
use crate::queue::QueueRates;
use crate::time::Timestamp;

const BUCKETS: usize = 20;
const BUCKET_NANOS: u64 = RATE_WINDOW.0 / BUCKETS as u64;

/// What is counted.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Event {
    Enqueued,
    Dispatched,
    Acked,
    Failed,
}

/// One queue's counts.
#[derive(Default)]
pub(crate) struct Rates {
    buckets: [[u32; 4]; BUCKETS],
    /// The number of the newest bucket, and of the first that ever was.
    newest: u64,
    begun: Option<u64>,
}

impl Rates {
    pub(crate) fn count(&mut self, event: Event, number: usize, now: Timestamp) {
        let bucket = now.0 / BUCKET_NANOS;
        self.begun.get_or_insert(bucket);
        let passed = bucket.saturating_sub(self.newest).min(BUCKETS as u64);
        for empty in 0..passed {
            self.buckets[((bucket - empty) % BUCKETS as u64) as usize] = [0; 4];
        }
        self.newest = self.newest.max(bucket);
        let count = &mut self.buckets[(bucket % BUCKETS as u64) as usize][event as usize];
        *count = count.saturating_add(u32::try_from(number).unwrap_or(u32::MAX));
    }

    pub(crate) fn per_second(&self, now: Timestamp) -> QueueRates {
        let Some(begun) = self.begun else { return QueueRates::default() };
        let bucket = now.0 / BUCKET_NANOS;
        let oldest = (bucket + 1).saturating_sub(BUCKETS as u64).max(begun);
        let mut sums = [0u64; 4];
        for number in oldest..=bucket.min(self.newest) {
            for (sum, count) in sums.iter_mut().zip(self.buckets[(number % BUCKETS as u64) as usize]) {
                *sum += u64::from(count);
            }
        }
        // A queue that began a moment ago is not divided by time that it did not have.
        let nanos = now.0.saturating_sub(oldest * BUCKET_NANOS).max(BUCKET_NANOS);
        let rate = |event: Event| sums[event as usize] as f64 * 1e9 / nanos as f64;
        QueueRates {
            enqueued: rate(Event::Enqueued),
            dispatched: rate(Event::Dispatched),
            acked: rate(Event::Acked),
            failed: rate(Event::Failed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_steady_rate_is_seen_as_it_is_and_fades_when_it_ends() {
        let mut rates = Rates::default();
        let second = 1_000_000_000;
        for tick in 0..300 {
            rates.count(Event::Acked, 5, Timestamp(100 * second + tick * second / 10));
        }
        let seen = rates.per_second(Timestamp(130 * second));
        assert!((45.0..=55.0).contains(&seen.acked), "{seen:?}");
        assert_eq!(seen.enqueued, 0.0);
        assert_eq!(rates.per_second(Timestamp(145 * second)).acked, 0.0);
    }
}
