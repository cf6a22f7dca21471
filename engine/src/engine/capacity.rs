//! Whether there is room: in the queue, and under each key that has a capacity of its own.

mod demand;
mod level;
mod look;
mod place;

use self::demand::{Demand, demands, is_urgent};
use self::level::fills_in;
pub(crate) use self::level::{level, utilization};
use self::look::Look;
pub(crate) use self::place::{Amount, Place};
use crate::engine::desk::Desk;
use crate::engine::{Effects, Engine};
use crate::id::QueueId;
use crate::job::JobSpec;
use crate::ledger::Queue;
use crate::name::Key;
use crate::outcome::Full;
use crate::queue::{Level, QueueRates};
use crate::time::{Now, Span};

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

impl Engine {
    /// Whether `jobs` may come into `queue`. Keys are looked at before the queue, and what refuses goes before
    /// what lets wait.
    pub(super) fn room(&self, queue: QueueId, jobs: &[JobSpec]) -> Room {
        let known = self.ledger.queue(queue);
        let settings = &known.record.settings;
        if settings.capacity.is_unlimited() && settings.key_rules.is_empty() {
            return Room::Is { overflowing: Vec::new() };
        }
        let urgent = is_urgent(jobs, settings.reserve);
        let mut overflowing = Vec::new();
        let mut waits = None;
        if !settings.key_rules.is_empty() {
            for (key, demand) in demands(jobs, settings.reserve) {
                let id = self.ledger.keys.find(queue, &key);
                let rule = match id {
                    Some(id) => self.ledger.keys.rule(id, &settings.key_rules, known.record.version),
                    None => settings.rule_for(&key),
                };
                let Some(rule) = rule else { continue };
                let load = id.map(|id| self.ledger.keys.load(id)).unwrap_or_default();
                let look = Look {
                    capacity: rule.capacity,
                    reserve: settings.reserve,
                    policy: settings.overflow_of(rule),
                    held: Amount::held_under(&load),
                    leased: Amount::leased_under(&load),
                };
                let place = Place { queue, key, urgent };
                if let Some(refused) = look.at(place, &demand, &mut overflowing, &mut waits) {
                    return refused;
                }
            }
        }
        let place = Place { queue, key: Key::default(), urgent };
        let look = Look {
            capacity: settings.capacity,
            reserve: settings.reserve,
            policy: settings.overflow,
            held: Amount::held_in(known),
            leased: Amount::leased_in(known),
        };
        let demand = Demand::of(jobs, settings.reserve);
        if let Some(refused) = look.at(place, &demand, &mut overflowing, &mut waits) {
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
            let is_ruled = |key: &Key| settings.rule_for(key).is_some();
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
            return Amount::held_in(self.ledger.queue(place.queue));
        }
        let key = self.ledger.keys.find(place.queue, &place.key);
        key.map_or_else(Amount::default, |key| Amount::held_under(&self.ledger.keys.load(key)))
    }

    /// When there may be room again, as far as the present rates tell.
    pub(super) fn room_in(&self, queue: QueueId, now: Now) -> Span {
        const LEAST: Span = Span::from_millis(100);
        const MOST: Span = Span::from_secs(5);
        let acked = self.index.desks.get(&queue).map_or(0.0, |desk| desk.rates_at(now.engine).acked);
        if acked <= 0.0 {
            // Nobody knows. Clients lengthen their waits by themselves.
            return LEAST;
        }
        Span((1e9 / acked) as u64).clamp(LEAST, MOST)
    }

    /// How full a queue is, as its desk and its rates say now.
    pub(super) fn level(&self, queue: &Queue, desk: &Desk, rates: &QueueRates) -> Level {
        let capacity = &queue.record.settings.capacity;
        let held = Amount::held_in(queue);
        level(desk.level, utilization(capacity, held), fills_in(capacity, held, rates))
    }

    /// Looks at how full the queues of this step are, and tells where that changed.
    pub(super) fn update_levels(&mut self, now: Now, effects: &mut Effects) {
        for index in 0..effects.touched.len() {
            let id = effects.touched[index];
            let Some(desk) = self.index.desks.get(&id) else { continue };
            let queue = self.ledger.queue(id);
            if queue.record.settings.capacity.is_unlimited() && desk.level == Level::Ok {
                continue;
            }
            let level = self.level(queue, desk, &desk.rates_at(now.engine));
            if level != desk.level {
                self.index.desk(id).level = level;
                effects.levels.push((id, level));
            }
        }
    }
}
