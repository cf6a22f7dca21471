//! What came and went of late, for estimates: how many jobs a second become READY at each priority, how fast workers take
//! them, and how long they keep them. Begins anew at a start.

use crate::bound::{ARRIVAL_WINDOW, MAX_LEASE};
use crate::job::Priority;
use crate::ledger::keys::KeyId;
use crate::time::{Span, Timestamp};

const PARTS: usize = 10;
const PART_NANOS: u64 = ARRIVAL_WINDOW.0 / PARTS as u64;
/// How long the rate at which workers take jobs is remembered.
const PACE_MEMORY: f64 = 120.0;
/// How much of the mean a new time in flight is.
const FLIGHT_WEIGHT: f64 = 1.0 / 16.0;
/// Jobs of a part that are never taken for one great delivery.
const FEW: u64 = 2;
/// The latest arrivals whose keys are remembered: they say whose what comes is.
const REMEMBERED: usize = 512;

/// One queue's.
#[derive(Debug)]
pub(crate) struct Traffic {
    /// Counts of the latest parts of the window, by their numbers modulo [`PARTS`].
    arrived: [[u32; Priority::COUNT]; PARTS],
    newest: u64,
    begun: u64,
    /// The latest arrivals, in a ring.
    latest: Vec<(KeyId, Priority)>,
    oldest: usize,
    /// Dispatches a second, fading, as of the time of the last one.
    pace: f64,
    paced: Option<(Timestamp, Timestamp)>,
    /// The mean time in flight, in seconds.
    flight: Option<f64>,
}

impl Traffic {
    /// Nothing came or went before `now`.
    pub(crate) fn since(now: Timestamp) -> Traffic {
        let part = now.0 / PART_NANOS;
        Traffic {
            arrived: Default::default(),
            newest: part,
            begun: part,
            latest: Vec::new(),
            oldest: 0,
            pace: 0.0,
            paced: None,
            flight: None,
        }
    }

    /// A job became READY for the first time.
    pub(crate) fn arrive(&mut self, key: KeyId, priority: Priority, now: Timestamp) {
        if self.latest.len() < REMEMBERED {
            self.latest.push((key, priority));
        } else {
            self.latest[self.oldest] = (key, priority);
            self.oldest = (self.oldest + 1) % REMEMBERED;
        }
        let part = now.0 / PART_NANOS;
        if part > self.newest {
            for empty in 0..(part - self.newest).min(PARTS as u64) {
                self.arrived[((part - empty) % PARTS as u64) as usize] = Default::default();
            }
            self.newest = part;
        }
        let count = &mut self.arrived[(part % PARTS as u64) as usize][priority.index()];
        *count = count.saturating_add(1);
    }

    /// The latest arrivals, in no order. Nothing may have their keys any more.
    pub(crate) fn latest(&self) -> &[(KeyId, Priority)] {
        &self.latest
    }

    /// So many jobs were handed to workers.
    pub(crate) fn dispatch(&mut self, jobs: usize, now: Timestamp) {
        let (begun, last) = self.paced.unwrap_or((now, now));
        self.pace = self.pace * faded(now.since(last)) + jobs as f64 / PACE_MEMORY;
        self.paced = Some((begun, now));
    }

    /// A job came back from its worker after so long.
    pub(crate) fn land(&mut self, flight: Span) {
        let seconds = flight.0.min(MAX_LEASE.0) as f64 / 1e9;
        let mean = self.flight.unwrap_or(seconds);
        self.flight = Some(mean + (seconds - mean) * FLIGHT_WEIGHT);
    }

    /// Jobs a second that become READY at priorities from `lowest` to `highest`. One great delivery among quiet times is not
    /// taken for a stream.
    pub(crate) fn arrivals(&self, lowest: usize, highest: usize, now: Timestamp) -> f64 {
        let (mut counts, seconds) = self.counts(lowest, highest, now);
        let greatest = counts.pop().unwrap_or_default();
        let second = counts.last().copied().unwrap_or_default();
        counts.push(greatest.min(2 * second + FEW));
        counts.iter().sum::<u64>() as f64 / seconds
    }

    /// As [`Traffic::arrivals`], of what came again and again alone.
    pub(crate) fn sure_arrivals(&self, lowest: usize, highest: usize, now: Timestamp) -> f64 {
        let (mut counts, seconds) = self.counts(lowest, highest, now);
        counts.pop();
        counts.iter().sum::<u64>() as f64 / seconds
    }

    /// What came in each part of the window, the most last, and how long it is.
    fn counts(&self, lowest: usize, highest: usize, now: Timestamp) -> (Vec<u64>, f64) {
        let part = now.0 / PART_NANOS;
        let oldest = (part + 1).saturating_sub(PARTS as u64).max(self.begun);
        let count = |part: u64| -> u64 {
            let counts = &self.arrived[(part % PARTS as u64) as usize];
            counts.get(lowest..=highest).unwrap_or_default().iter().map(|count| u64::from(*count)).sum()
        };
        let mut counts: Vec<u64> = (oldest..=part.min(self.newest)).map(count).collect();
        counts.sort_unstable();
        let nanos = now.0.saturating_sub(oldest * PART_NANOS).max(PART_NANOS);
        (counts, nanos as f64 / 1e9)
    }

    /// Jobs a second that workers take; none when that is not known or forgotten.
    pub(crate) fn pace(&self, now: Timestamp) -> Option<f64> {
        let (begun, last) = self.paced?;
        // What began a moment ago is not divided by time that it did not have, nor by hardly any.
        let seen = (1.0 - faded(now.since(begun))).max(1.0 / PACE_MEMORY);
        let pace = self.pace * faded(now.since(last)) / seen;
        (pace > 0.01 / PACE_MEMORY).then_some(pace)
    }

    /// How long workers keep a job on average, in seconds; none: no job came back yet.
    pub(crate) fn flight(&self) -> Option<f64> {
        self.flight
    }
}

/// What is left of a memory after so long.
fn faded(span: Span) -> f64 {
    (-(span.0 as f64 / 1e9) / PACE_MEMORY).exp()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn stream(a_second: u64, seconds: u64) -> Traffic {
        let mut traffic = Traffic::since(Timestamp(1_000 * SECOND));
        for tick in 0..seconds * a_second {
            let now = Timestamp(1_000 * SECOND + tick * SECOND / a_second);
            traffic.arrive(KeyId::NONE, Priority::new(7).unwrap(), now);
            traffic.dispatch(1, now);
        }
        traffic
    }

    #[test]
    fn stream_is_seen_as_it_is_by_priority() {
        let traffic = stream(20, 400);
        let now = Timestamp(1_400 * SECOND);
        let seen = traffic.arrivals(5, 9, now);
        assert!((18.0..=22.0).contains(&seen), "{seen}");
        assert_eq!(traffic.arrivals(0, 6, now), 0.0);
        let sure = traffic.sure_arrivals(5, 9, now);
        assert!((16.0..20.0).contains(&sure), "{sure}");
        assert!((19.0..=21.0).contains(&traffic.pace(now).unwrap()), "{:?}", traffic.pace(now));
        assert_eq!(traffic.arrivals(5, 9, Timestamp(2_000 * SECOND)), 0.0);
        assert_eq!(traffic.pace(Timestamp(3_000 * SECOND)), None);
    }

    #[test]
    fn one_great_delivery_is_no_stream() {
        let mut traffic = stream(1, 400);
        for _ in 0..10_000 {
            traffic.arrive(KeyId::NONE, Priority::new(7).unwrap(), Timestamp(1_399 * SECOND));
        }
        let seen = traffic.arrivals(7, 9, Timestamp(1_400 * SECOND));
        assert!(seen < 1.5, "{seen}");
        let mut first = Traffic::since(Timestamp(0));
        (0..10_000).for_each(|_| first.arrive(KeyId::NONE, Priority::HIGHEST, Timestamp(1)));
        assert!(first.arrivals(0, 9, Timestamp(SECOND)) < 0.1);
        assert_eq!(first.sure_arrivals(0, 9, Timestamp(SECOND)), 0.0);
    }

    #[test]
    fn time_in_flight_is_a_mean_that_follows() {
        let mut traffic = Traffic::since(Timestamp(0));
        assert_eq!(traffic.flight(), None);
        traffic.land(Span::from_secs(2));
        assert_eq!(traffic.flight(), Some(2.0));
        (0..200).for_each(|_| traffic.land(Span::from_secs(5)));
        assert!((4.9..=5.0).contains(&traffic.flight().unwrap()));
    }
}
