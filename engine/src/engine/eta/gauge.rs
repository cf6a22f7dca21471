//! How long a gate takes to let so much through. Seconds from now, and nothing of the engine.

/// What a gate lets through.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Gauge {
    /// A RATE window.
    Rate {
        /// Until its bucket is full.
        debt: f64,
        /// A unit's.
        spacing: f64,
        burst: f64,
    },
    /// A QUOTA window.
    Quota {
        /// When how many units in all may have gone, the times growing: the last is the whole amount.
        free: Vec<(f64, f64)>,
        amount: f64,
        period: f64,
    },
    /// A cap of jobs in flight.
    Slots {
        most: f64,
        held: f64,
        /// How long a job is in flight; none: nobody knows.
        flight: Option<f64>,
    },
    /// The workers.
    Workers {
        /// Jobs a second; none: nobody knows.
        pace: Option<f64>,
        /// Whether nothing else holds them up.
        alone: bool,
    },
}

/// A span that may be known only roughly, or not at all.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Rough {
    pub(crate) least: f64,
    /// Infinite: nobody knows.
    pub(crate) most: f64,
}

/// A quota keeps count of 16 parts of a fifteenth of its period each: what is used comes back a little later.
const QUOTA_LATENESS: f64 = 16.0 / 15.0;
/// How far what workers take may be from what they took.
const WORKERS_SPREAD: f64 = 0.05;

impl Rough {
    fn exactly(span: f64) -> Rough {
        Rough { least: span.max(0.0), most: span.max(0.0) }
    }

    const fn at_least(span: f64) -> Rough {
        Rough { least: span, most: f64::INFINITY }
    }

    /// When both have passed.
    pub(crate) fn and(self, other: Rough) -> Rough {
        Rough { least: self.least.max(other.least), most: self.most.max(other.most) }
    }
}

impl Gauge {
    /// Until the last of so many units is through, when all that goes is these.
    pub(crate) fn time(&self, units: f64) -> Rough {
        match self {
            Gauge::Rate { debt, spacing, burst } => Rough::exactly(debt + (units - burst) * spacing),
            Gauge::Quota { free, amount, period } => {
                let rounds = ((units - 1.0) / amount).floor().max(0.0);
                let rest = units - rounds * amount;
                let first = free.iter().find(|(_, free)| *free >= rest).or(free.last());
                let first = first.map_or(0.0, |(time, _)| *time);
                let late = if rounds > 0.0 { period / 15.0 } else { 0.0 };
                Rough {
                    least: first + rounds * period,
                    most: first + rounds * period * QUOTA_LATENESS + late,
                }
            }
            Gauge::Slots { most, held, flight } => {
                let behind = units - (most - held).max(0.0);
                match flight {
                    _ if behind <= 0.0 => Rough::exactly(0.0),
                    None => Rough::at_least(0.0),
                    Some(flight) => Rough {
                        least: (behind * flight / most - flight).max(0.0),
                        most: (behind + 1.0) * flight / most + flight,
                    },
                }
            }
            Gauge::Workers { pace: None, .. } => Rough::at_least(0.0),
            Gauge::Workers { pace: Some(pace), alone } => Rough {
                least: if *alone { (units - 1.0).max(0.0) / pace * (1.0 - WORKERS_SPREAD) } else { 0.0 },
                most: units / pace * (1.0 + WORKERS_SPREAD),
            },
        }
    }

    /// How long it takes for each unit in the long run; infinite: nobody knows.
    pub(crate) fn pace(&self) -> f64 {
        match self {
            Gauge::Rate { spacing, .. } => *spacing,
            Gauge::Quota { amount, period, .. } => period * QUOTA_LATENESS / amount,
            Gauge::Slots { most, flight, .. } => flight.map_or(f64::INFINITY, |flight| flight / most),
            Gauge::Workers { pace, .. } => pace.map_or(f64::INFINITY, |pace| 1.0 / pace),
        }
    }

    /// How many units it lets through within a span at most, when nothing was used before; without `at_once` what it lets
    /// through evenly alone.
    pub(crate) fn within(&self, span: f64, at_once: bool) -> f64 {
        let evenly = span / self.pace();
        match self {
            _ if !evenly.is_finite() => f64::INFINITY,
            Gauge::Rate { burst, .. } if at_once => evenly + burst,
            Gauge::Quota { amount, .. } | Gauge::Slots { most: amount, .. } if at_once => evenly + amount,
            _ => evenly,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rate_lets_its_burst_through_at_once_and_the_rest_evenly() {
        let rate = Gauge::Rate { debt: 0.0, spacing: 0.1, burst: 5.0 };
        assert_eq!(rate.time(5.0), Rough::exactly(0.0));
        assert_eq!(rate.time(15.0), Rough::exactly(1.0));
        let owing = Gauge::Rate { debt: 2.0, spacing: 0.1, burst: 5.0 };
        assert!((owing.time(1.0).least - 1.6).abs() < 1e-9);
        assert!((rate.within(1.0, true) - 15.0).abs() < 1e-9);
    }

    #[test]
    fn quota_goes_round_by_round() {
        let free = vec![(0.0, 3.0), (10.0, 5.0), (20.0, 10.0)];
        let quota = Gauge::Quota { free, amount: 10.0, period: 60.0 };
        assert_eq!(quota.time(3.0), Rough::exactly(0.0));
        assert_eq!(quota.time(4.0), Rough::exactly(10.0));
        assert_eq!(quota.time(10.0), Rough::exactly(20.0));
        let next = quota.time(14.0);
        assert_eq!((next.least, next.most), (70.0, 10.0 + 64.0 + 4.0));
    }

    #[test]
    fn slots_are_as_fast_as_what_is_in_flight() {
        let slots = |held, flight| Gauge::Slots { most: 4.0, held, flight };
        assert_eq!(slots(2.0, None).time(2.0), Rough::exactly(0.0));
        assert_eq!(slots(4.0, None).time(1.0).most, f64::INFINITY);
        let time = slots(4.0, Some(2.0)).time(40.0);
        assert!(time.least <= 20.0 && 20.0 <= time.most && time.most < 25.0, "{time:?}");
    }

    #[test]
    fn workers_of_whom_nothing_is_known_may_never_come() {
        assert_eq!(Gauge::Workers { pace: None, alone: true }.time(1.0), Rough::at_least(0.0));
        let time = Gauge::Workers { pace: Some(2.0), alone: true }.time(100.0);
        assert!(time.least < 50.0 && 50.0 < time.most, "{time:?}");
    }
}
