//! Whether what is asked of a place fits in.

use crate::engine::capacity::Room;
use crate::engine::capacity::demand::Demand;
use crate::engine::capacity::place::{Amount, Place};
use crate::settings::{Capacity, OverflowPolicy, Reserve};

/// A place, looked at.
pub(super) struct Look {
    pub(super) capacity: Capacity,
    pub(super) reserve: Option<Reserve>,
    pub(super) policy: OverflowPolicy,
    pub(super) held: Amount,
    pub(super) leased: Amount,
}

/// Whether a demand fits a capacity.
enum Fit {
    Yes,
    NotNow,
    Never,
}

impl Look {
    /// None: it is no obstacle, or one that the others must not hide.
    pub(super) fn at(
        &self,
        place: Place,
        demand: &Demand,
        overflowing: &mut Vec<(Place, Amount)>,
        waits: &mut Option<Place>,
    ) -> Option<Room> {
        if self.capacity.is_unlimited() {
            return None;
        }
        let what = place.full();
        if self.policy == OverflowPolicy::DropOldest {
            let most = self.most(demand);
            if demand.largest > most.bytes {
                return Some(Room::Never(what));
            }
            // What would go at once in favour of nobody is refused, and nothing goes for it.
            if self.leased.jobs >= most.jobs || self.leased.bytes + demand.largest > most.bytes {
                return Some(Room::Full(what));
            }
            let sum =
                Amount { jobs: self.held.jobs + demand.all.jobs, bytes: self.held.bytes + demand.all.bytes };
            if sum.jobs > most.jobs || sum.bytes > most.bytes {
                overflowing.push((place, most));
            }
            return None;
        }
        match (self.fit(demand), self.policy) {
            (Fit::Yes, _) => None,
            (Fit::Never, _) => Some(Room::Never(what)),
            (Fit::NotNow, OverflowPolicy::Wait) => {
                waits.get_or_insert(place);
                None
            }
            (Fit::NotNow, _) => Some(Room::Full(what)),
        }
    }

    fn fit(&self, demand: &Demand) -> Fit {
        let most = self.most(demand);
        let jobs = one_fit(
            (self.held.jobs, demand.ordinary.jobs, demand.all.jobs),
            (self.capacity.jobs.unwrap_or(u64::MAX), most.jobs),
        );
        let bytes = one_fit(
            (self.held.bytes, demand.ordinary.bytes, demand.all.bytes),
            (self.capacity.bytes.unwrap_or(u64::MAX), most.bytes),
        );
        match (jobs, bytes) {
            (Fit::Never, _) | (_, Fit::Never) => Fit::Never,
            (Fit::Yes, Fit::Yes) => Fit::Yes,
            _ => Fit::NotNow,
        }
    }

    /// What may be there in all, with the reserve if something of the demand may use it.
    fn most(&self, demand: &Demand) -> Amount {
        let reserve = self.reserve.filter(|_| demand.ordinary.jobs < demand.all.jobs);
        let more = |capacity: u64| {
            reserve.map_or(0, |reserve| (capacity * u64::from(reserve.percent)).div_ceil(100))
        };
        let most = |capacity: Option<u64>| capacity.map_or(u64::MAX, |capacity| capacity + more(capacity));
        Amount { jobs: most(self.capacity.jobs), bytes: most(self.capacity.bytes) }
    }
}

/// Ordinary jobs come first, within the capacity; then the rest, within capacity and reserve.
fn one_fit((held, ordinary, all): (u64, u64, u64), (capacity, most): (u64, u64)) -> Fit {
    if ordinary > capacity || all > most {
        Fit::Never
    } else if (ordinary > 0 && held.saturating_add(ordinary) > capacity) || held.saturating_add(all) > most {
        Fit::NotNow
    } else {
        Fit::Yes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::{JobSpec, Priority};

    #[test]
    fn reserve_is_for_urgent_jobs_alone() {
        let reserve = Some(Reserve { min_priority: Priority::HIGHEST, percent: 10 });
        let capacity = Capacity { jobs: Some(10), bytes: None };
        let job = |priority| JobSpec { priority: Priority::new(priority).unwrap(), ..JobSpec::default() };
        let fits = |held, priorities: &[u32]| {
            let jobs: Vec<JobSpec> = priorities.iter().map(|priority| job(*priority)).collect();
            let held = Amount { jobs: held, bytes: 0 };
            let look =
                Look { capacity, reserve, policy: OverflowPolicy::Reject, held, leased: Amount::default() };
            matches!(look.fit(&Demand::of(&jobs, reserve)), Fit::Yes)
        };
        assert!(fits(9, &[4]) && !fits(10, &[4]));
        assert!(fits(10, &[9]) && !fits(11, &[9]));
        assert!(fits(9, &[9, 4]) && !fits(10, &[9, 4]));
    }
}
