//! Whether there is room: in the queue, and under each key that has a capacity of its own.

use std::collections::BTreeMap;

use crate::engine::Engine;
use crate::engine::desk::Desk;
use crate::id::QueueId;
use crate::job::{JobSpec, JobState};
use crate::ledger::Queue;
use crate::name::Key;
use crate::outcome::Full;
use crate::queue::{Level, QueueRates};
use crate::settings::{Capacity, OverflowPolicy, Reserve};
use crate::time::Span;

/// A place that can be full: a queue, or a key of it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    pub(crate) queue: QueueId,
    /// The empty one stands for the queue.
    pub(crate) key: Key,
    /// Whether it is looked at with its reserve: who may use that does not stand behind those who may not.
    pub(crate) urgent: bool,
}

/// What jobs take of a place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Amount {
    pub(crate) jobs: u64,
    pub(crate) bytes: u64,
}

/// What new jobs ask of a place.
#[derive(Clone, Copy, Debug, Default)]
struct Demand {
    all: Amount,
    /// What of it may not use the reserve.
    ordinary: Amount,
    /// The largest job's bytes.
    largest: u64,
}

/// What became of the question whether there is room.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Room {
    /// There is; in these places once the oldest have gone.
    Is { overflowing: Vec<(Place, Amount)> },
    /// Not now: the call may wait at this place.
    WaitAt(Place),
    /// Not now.
    Full(Full),
    /// Never.
    Never(Full),
}

/// Whether a demand fits a capacity.
enum Fit {
    Yes,
    NotNow,
    Never,
}

impl Engine {
    /// Whether `jobs` may come into `queue`. Keys are looked at before the queue, and what refuses goes before
    /// what lets wait.
    pub(super) fn room(&mut self, queue: QueueId, jobs: &[JobSpec]) -> Room {
        let record = &self.ledger.queue(queue).record;
        let settings = &record.settings;
        if settings.capacity.is_unlimited() && settings.key_rules.is_empty() {
            return Room::Is { overflowing: Vec::new() };
        }
        let settings = settings.clone();
        let version = record.version;
        let urgent = is_urgent(jobs, settings.reserve);
        let mut overflowing = Vec::new();
        let mut waits = None;
        if !settings.key_rules.is_empty() {
            for (key, demand) in demands(jobs, settings.reserve) {
                let known = self.ledger.keys.find(queue, &key);
                let rule = match known {
                    Some(id) => self.ledger.keys.rule(id, &settings.key_rules, version),
                    None => settings.key_rules.iter().find(|rule| rule.pattern.matches(&key)),
                };
                let Some(rule) = rule else { continue };
                let load = known.map(|id| self.ledger.keys.load(id)).unwrap_or_default();
                let place = Place { queue, key, urgent };
                let policy = rule.overflow.unwrap_or(settings.overflow);
                let held = Amount { jobs: load.jobs(), bytes: load.bytes };
                let leased = Amount { jobs: load.leased(), bytes: load.leased_bytes };
                let look = Look { capacity: rule.capacity, reserve: settings.reserve, policy, held, leased };
                match look.at(place, &demand, Full::Key, &mut overflowing, &mut waits) {
                    None => {}
                    Some(refused) => return refused,
                }
            }
        }
        let known = self.ledger.queue(queue);
        let place = Place { queue, key: Key::default(), urgent };
        let held = Amount { jobs: known.counts.live(), bytes: known.bytes };
        let leased = Amount { jobs: known.counts.get(JobState::Leased), bytes: known.leased_bytes };
        let look = Look {
            capacity: settings.capacity,
            reserve: settings.reserve,
            policy: settings.overflow,
            held,
            leased,
        };
        let demand = Demand::of(jobs, settings.reserve);
        if let Some(refused) = look.at(place, &demand, Full::Queue, &mut overflowing, &mut waits) {
            return refused;
        }
        waits.map_or(Room::Is { overflowing }, Room::WaitAt)
    }

    /// Every place that `jobs` would come into and that has a capacity.
    pub(super) fn places(&self, queue: QueueId, jobs: &[JobSpec]) -> Vec<Place> {
        let settings = &self.ledger.queue(queue).record.settings;
        let urgent = is_urgent(jobs, settings.reserve);
        let mut places = Vec::new();
        if !settings.key_rules.is_empty() {
            let is_ruled = |key: &Key| settings.key_rules.iter().any(|rule| rule.pattern.matches(key));
            places.extend(demands(jobs, None).into_keys().filter(is_ruled).map(|key| Place {
                queue,
                key,
                urgent,
            }));
        }
        if !settings.capacity.is_unlimited() {
            places.push(Place { queue, key: Key::default(), urgent });
        }
        places
    }

    /// What waits and is held at a place.
    pub(super) fn held_at(&self, place: &Place) -> Amount {
        if place.key.is_empty() {
            let queue = self.ledger.queue(place.queue);
            return Amount { jobs: queue.counts.live(), bytes: queue.bytes };
        }
        let load = self.ledger.keys.find(place.queue, &place.key).map(|id| self.ledger.keys.load(id));
        load.map_or_else(Amount::default, |load| Amount { jobs: load.jobs(), bytes: load.bytes })
    }

    /// When there may be room again, as far as the present rates tell.
    pub(super) fn room_in(&self, queue: QueueId, now: crate::time::Now) -> Span {
        const LEAST: Span = Span::from_millis(100);
        const MOST: Span = Span::from_secs(5);
        let rates =
            self.index.desks.get(&queue).and_then(Desk::rates).map(|rates| rates.per_second(now.engine));
        let acked = rates.map_or(0.0, |rates| rates.acked);
        if acked <= 0.0 {
            return Span::from_secs(1);
        }
        Span((1e9 / acked) as u64).clamp(LEAST, MOST)
    }

    /// How full a queue is, as its desk and its rates say now.
    pub(super) fn level(&self, queue: &Queue, desk: &Desk, rates: &QueueRates) -> Level {
        let capacity = &queue.record.settings.capacity;
        let held = Amount { jobs: queue.counts.live(), bytes: queue.bytes };
        level(desk.level, utilization(capacity, held), fills_in(capacity, held, rates))
    }

    /// Looks at how full the queues of this step are, and tells where that changed.
    pub(super) fn update_levels(&mut self, now: crate::time::Now, effects: &mut crate::engine::Effects) {
        for index in 0..effects.touched.len() {
            let id = effects.touched[index];
            let Some(desk) = self.index.desks.get(&id) else { continue };
            let queue = self.ledger.queue(id);
            if queue.record.settings.capacity.is_unlimited() && desk.level == Level::Ok {
                continue;
            }
            let rates = desk.rates().map_or_else(QueueRates::default, |rates| rates.per_second(now.engine));
            let level = self.level(queue, desk, &rates);
            if level != desk.level {
                self.index.desk(id).level = level;
                effects.levels.push((id, level));
            }
        }
    }
}

/// A place, looked at.
struct Look {
    capacity: Capacity,
    reserve: Option<Reserve>,
    policy: OverflowPolicy,
    held: Amount,
    leased: Amount,
}

impl Look {
    /// None: it is no obstacle, or one that the others must not hide.
    fn at(
        &self,
        place: Place,
        demand: &Demand,
        what: Full,
        overflowing: &mut Vec<(Place, Amount)>,
        waits: &mut Option<Place>,
    ) -> Option<Room> {
        if self.capacity.is_unlimited() {
            return None;
        }
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

impl Demand {
    fn of(jobs: &[JobSpec], reserve: Option<Reserve>) -> Demand {
        let mut demand = Demand::default();
        jobs.iter().for_each(|job| demand.add(job, reserve));
        demand
    }

    fn add(&mut self, job: &JobSpec, reserve: Option<Reserve>) {
        let bytes = u64::from(job.bytes());
        self.largest = self.largest.max(bytes);
        self.all.jobs += 1;
        self.all.bytes += bytes;
        if reserve.is_none_or(|reserve| job.priority < reserve.min_priority) {
            self.ordinary.jobs += 1;
            self.ordinary.bytes += bytes;
        }
    }
}

/// Whether all of a call may use the reserve.
fn is_urgent(jobs: &[JobSpec], reserve: Option<Reserve>) -> bool {
    reserve.is_some_and(|reserve| jobs.iter().all(|job| job.priority >= reserve.min_priority))
}

/// What is asked of each key, and of what keys begin with; longer ones after what they begin with.
fn demands(jobs: &[JobSpec], reserve: Option<Reserve>) -> BTreeMap<Key, Demand> {
    let mut demands = BTreeMap::<Key, Demand>::new();
    for job in jobs.iter().filter(|job| !job.key.is_empty()) {
        let mut next = Some(job.key.clone());
        while let Some(key) = next {
            next = key.outer();
            demands.entry(key).or_default().add(job, reserve);
        }
    }
    demands
}

/// How much of a capacity is taken, 1 for all; none without one.
pub(crate) fn utilization(capacity: &Capacity, held: Amount) -> Option<f64> {
    let part = |held: u64, capacity: Option<u64>| capacity.map(|capacity| held as f64 / capacity as f64);
    let parts = [part(held.jobs, capacity.jobs), part(held.bytes, capacity.bytes)];
    parts.into_iter().flatten().reduce(f64::max)
}

/// How full something is, given how full it was: what is at an edge stays what it was.
pub(crate) fn level(before: Level, utilization: Option<f64>, fills_in: Option<Span>) -> Level {
    use crate::bound::{CRITICAL_UNTIL, WARNING_ABOVE, WARNING_AHEAD, WARNING_UNTIL};
    let Some(part) = utilization else { return Level::Ok };
    if part >= 1.0 || (before == Level::Critical && part >= CRITICAL_UNTIL) {
        Level::Critical
    } else if part > WARNING_ABOVE
        || (before >= Level::Warning && part >= WARNING_UNTIL)
        || fills_in.is_some_and(|span| span <= WARNING_AHEAD)
    {
        Level::Warning
    } else {
        Level::Ok
    }
}

/// In which time, at the present rates, a queue will be full of jobs; none when it is not.
fn fills_in(capacity: &Capacity, held: Amount, rates: &QueueRates) -> Option<Span> {
    let left = capacity.jobs?.saturating_sub(held.jobs);
    let grows = rates.enqueued - rates.acked;
    let seconds = left as f64 / grows;
    (grows > 0.0 && seconds < 1e9).then_some(Span((seconds * 1e9) as u64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn level_stays_what_it_was_at_an_edge() {
        let steps = [
            (0.8, Level::Ok),
            (0.81, Level::Warning),
            (0.71, Level::Warning),
            (0.69, Level::Ok),
            (1.0, Level::Critical),
            (0.96, Level::Critical),
            (0.94, Level::Warning),
            (1.05, Level::Critical),
            (0.2, Level::Ok),
        ];
        let mut now = Level::Ok;
        for (part, expected) in steps {
            now = level(now, Some(part), None);
            assert_eq!(now, expected, "at {part}");
        }
        assert_eq!(level(Level::Critical, None, None), Level::Ok);
    }

    #[test]
    fn queue_that_will_be_full_within_a_minute_is_warned_of() {
        let capacity = Capacity { jobs: Some(1_000), bytes: None };
        let held = Amount { jobs: 400, bytes: 0 };
        let rates = |enqueued| QueueRates { enqueued, acked: 5.0, ..QueueRates::default() };
        let level = |enqueued| {
            level(Level::Ok, utilization(&capacity, held), fills_in(&capacity, held, &rates(enqueued)))
        };
        assert_eq!(level(16.0), Level::Warning);
        assert_eq!(level(14.0), Level::Ok);
        assert_eq!(level(5.0), Level::Ok);
    }

    #[test]
    fn reserve_is_for_urgent_jobs_alone() {
        let reserve = Some(Reserve { min_priority: crate::job::Priority::HIGHEST, percent: 10 });
        let capacity = Capacity { jobs: Some(10), bytes: None };
        let job = |priority| JobSpec {
            priority: crate::job::Priority::new(priority).unwrap(),
            ..JobSpec::default()
        };
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
