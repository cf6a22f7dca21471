//! When a job will run: what is known of the nodes on its way becomes levels of seconds and jobs, and those a range.
//!
//! Everything here is derived, and begins anew at a start: the tree counts what is ready ([`crate::tree::Survey`]), limits
//! know what they let through, and [`crate::engine::traffic`] how fast jobs come and are taken.

mod batch;
mod bounds;
mod gauge;
mod level;
mod range;
mod shared;
mod stream;

use crate::engine::Engine;
use crate::engine::doors::Doors;
use crate::engine::eta::bounds::{bounds_at, depth_of, weights_at};
use crate::engine::eta::gauge::Gauge;
use crate::engine::eta::level::{Aged, Group, Level};
use crate::engine::eta::range::{Own, Range, range};
use crate::explanation::{Ahead, Eta};
use crate::id::{JobId, QueueId};
use crate::job::{Due, JobState, JobView};
use crate::ledger::Meter;
use crate::ledger::flow::Spot;
use crate::ledger::jobs::{Job, Slot};
use crate::ledger::keys::KeyId;
use crate::limit::{NodeSettings, Unit, Window, WindowKind};
use crate::time::{Now, Span, Timestamp};
use crate::tree::{Facts, Heap, Lower, Step, Survey};

/// What is foreseen of a waiting job.
pub(super) struct Foreseen {
    pub(super) eta: Eta,
    /// What is before it at each node, the deepest first.
    pub(super) ahead: Vec<Ahead>,
}

impl Engine {
    /// As [`Engine::job`], with when it will run.
    #[must_use]
    pub fn foresee(&self, id: JobId, now: Now) -> Option<JobView> {
        let mut view = self.job(id, now)?;
        view.eta = self.ledger.jobs.slot(id).and_then(|slot| self.foreseen(slot, now)).map(|it| it.eta);
        Some(view)
    }

    /// When a waiting job will run; none: it does not wait.
    pub(super) fn foreseen(&self, slot: Slot, now: Now) -> Option<Foreseen> {
        let job = self.ledger.jobs.at(slot);
        if !job.state.is_waiting() {
            return None;
        }
        let desk = self.index.desks.get(&job.queue)?;
        let doors = Doors::of(&self.ledger, job.queue, now.engine);
        let place = (job.state == JobState::Ready).then_some(slot);
        let survey = self.index.tree.survey(desk.node, job.key, job.priority, place, &doors);
        let levels = self.levels(job, &survey, &doors, now.engine);
        let wait = wait_of(job, now);
        let own = self.own(job, &survey, wait);
        let range = range(own, &levels);
        let ahead = self.ahead(&survey, &range);
        let is_paused = self.ledger.queue(job.queue).record.settings.paused;
        let earliest = now.wall + span(range.earliest.max(wait));
        // Who comes later stands behind what came before, but not behind more than there is now.
        let latest = range.latest.filter(|_| !is_paused).map(|latest| now.wall + span(latest + wait));
        Some(Foreseen { eta: Eta { earliest, latest }, ahead })
    }

    fn own(&self, job: &Job, survey: &Survey, wait: f64) -> Own {
        // Who has been ready before goes back to its place.
        let returns = job.state != JobState::Ready && job.sequence != 0;
        let before = if returns { 0.0 } else { survey.before as f64 };
        let ageing = seconds(self.ledger.queue(job.queue).record.settings.priority_ageing);
        let aged = match survey.rival {
            Some(rival) if ageing > 0.0 => {
                let rise = f64::from(rival.get() - job.priority.get()) * ageing;
                (rise * (before + 1.0) - seconds(survey.waited)).max(0.0) + wait
            }
            _ => f64::INFINITY,
        };
        Own { before, above: survey.above as f64, aged }
    }

    /// The nodes on a job's way, from its own up to the queue, and to its shared limit.
    fn levels(&self, job: &Job, survey: &Survey, doors: &Doors<'_>, now: Timestamp) -> Vec<Level> {
        let streams = self.streams(job, survey, now);
        let mut levels = Vec::with_capacity(survey.steps.len());
        let mut child: Option<&Step> = None;
        for (step, stream) in survey.steps.iter().zip(streams) {
            let level = self.level_of(job, step, child, doors, now);
            levels.push(Level {
                higher_arrivals: stream.higher,
                sure_arrivals: stream.sure,
                fresh_arrivals: stream.fresh,
                ..level
            });
            child = Some(step);
        }
        if let Some(queue) = levels.last_mut() {
            queue.gauges.extend(self.workers(job, now).map(|gauge| (gauge, Unit::Jobs)));
        }
        let mean_cost = levels.last().map_or(1.0, |queue| queue.mean_cost);
        levels.extend(self.shared_level(job, mean_cost, now));
        levels
    }

    fn level_of(
        &self,
        job: &Job,
        step: &Step,
        child: Option<&Step>,
        doors: &Doors<'_>,
        now: Timestamp,
    ) -> Level {
        let queue = self.ledger.queue(job.queue);
        let settings = &queue.record.settings;
        let own_cost = f64::from(job.cost().get());
        let mean_cost = if step.jobs > 0 { step.cost as f64 / step.jobs as f64 } else { own_cost };
        let mut level = Level {
            mean_cost,
            own_cost,
            higher: step.higher.iter().map(group).collect(),
            equal: step.equal.iter().map(group).collect(),
            lower: self.aged(job, &step.lower),
            leaves: step.leaves as f64,
            turns: (1.0, 1.0),
            ..Level::default()
        };
        if step.is_gated && queue.is_limited() {
            let spot = Spot { queue: job.queue, key: step.key };
            (level.gauges, level.frozen) = self.gauges(spot, now);
        }
        if let Some(child) = child {
            let depth = depth_of(self.ledger.keys.text(step.key)) + 1;
            let flight = self.flight(job.queue);
            level.child = bounds_at(settings, depth, mean_cost, flight);
            level.deeper = (depth + 1..=crate::bound::MAX_KEY_SEGMENTS)
                .map(|depth| bounds_at(settings, depth, mean_cost, flight))
                .collect();
            if child.is_gated {
                let own = f64::from(doors.weight(Spot { queue: job.queue, key: child.key }));
                let (least, most) = weights_at(settings, depth);
                level.turns = (f64::from(least) / own, f64::from(most) / own);
            }
        }
        level
    }

    fn aged(&self, job: &Job, lower: &[Lower]) -> Vec<Aged> {
        let ageing = seconds(self.ledger.queue(job.queue).record.settings.priority_ageing);
        if ageing == 0.0 {
            return Vec::new();
        }
        let aged = |lower: &Lower| Aged {
            rise: f64::from(lower.steps) * ageing,
            waited: seconds(lower.waited),
            children: lower.children as f64,
            jobs: lower.jobs as f64,
        };
        lower.iter().map(aged).collect()
    }

    /// The limits of a node as they stand, and for how long it is frozen.
    fn gauges(&self, spot: Spot, now: Timestamp) -> (Vec<(Gauge, Unit)>, f64) {
        let state = self.ledger.gate(spot);
        let frozen = state.map_or(now, |state| state.frozen_until.max(now));
        let settings = self.ledger.node_settings(spot);
        let mut gauges = Vec::new();
        match state.filter(|state| !state.meters.is_empty()) {
            Some(state) => {
                gauges.extend(
                    state
                        .meters
                        .iter()
                        .map(|(window, meter)| (windowed(window, meter, frozen, now), window.unit)),
                );
            }
            None => {
                let windows = settings.map_or(&[][..], |settings| &settings.windows);
                gauges.extend(
                    windows
                        .iter()
                        .map(|window| (windowed(window, &Meter::new(window), frozen, now), window.unit)),
                );
            }
        }
        gauges.extend(settings.and_then(|settings| self.slots(spot, settings)).map(|it| (it, Unit::Jobs)));
        (gauges, seconds(frozen.since(now)))
    }

    fn slots(&self, spot: Spot, settings: &NodeSettings) -> Option<Gauge> {
        let most = if settings.ordered { 1 } else { settings.max_in_flight? };
        let counts = match spot.key {
            KeyId::NONE => match self.ledger.limits.get(spot.queue) {
                // How long jobs are in flight differs from queue to queue.
                Some(limit) => {
                    let held = limit.leased as f64;
                    return Some(Gauge::Slots { most: f64::from(most), held, flight: None });
                }
                None => self.ledger.queue(spot.queue).counts,
            },
            key => self.ledger.keys.load(key).counts(),
        };
        let retrying = if settings.ordered { counts.get(JobState::Retrying) } else { 0 };
        let held = (counts.get(JobState::Leased) + retrying) as f64;
        Some(Gauge::Slots { most: f64::from(most), held, flight: self.flight(spot.queue) })
    }

    /// How long workers of a queue keep a job, in seconds; none: nobody knows.
    fn flight(&self, queue: QueueId) -> Option<f64> {
        self.index.desks.get(&queue)?.traffic()?.flight()
    }

    /// The workers, unless one of them waits: then they are not what is waited for.
    fn workers(&self, job: &Job, now: Timestamp) -> Option<Gauge> {
        let name = &self.ledger.queue(job.queue).record.name;
        if self.waiting.len_of(name) > 0 {
            return None;
        }
        let desk = self.index.desks.get(&job.queue)?;
        let pace = desk.traffic().and_then(|traffic| traffic.pace(now));
        Some(Gauge::Workers { pace, alone: self.index.tree.is_open(desk.node) })
    }

    fn ahead(&self, survey: &Survey, range: &Range) -> Vec<Ahead> {
        let sum = |heaps: &[(u32, Heap)]| heaps.iter().map(|(_, heap)| u64::from(heap.jobs)).sum::<u64>();
        let rivals = |heaps: &[(u32, Heap)]| heaps.iter().map(|(_, heap)| u64::from(heap.children)).sum();
        let mut higher = survey.above;
        let steps = survey.steps.iter().zip(&range.ahead);
        let each = steps.map(|(step, before)| {
            higher += sum(&step.higher);
            Ahead {
                key: self.ledger.keys.text(step.key).clone(),
                ready: step.jobs,
                higher,
                before: *before as u64,
                rivals: rivals(&step.equal),
            }
        });
        // A key that has longer ones beside its own jobs is told of once, with all of them.
        let all: Vec<Ahead> = each.collect();
        let is_told_above = |at: usize| all.get(at + 1).is_some_and(|above| above.key == all[at].key);
        (0..all.len()).filter(|at| !is_told_above(*at)).map(|at| all[at].clone()).collect()
    }
}

/// For how long a job waits for its time, in seconds.
fn wait_of(job: &Job, now: Now) -> f64 {
    match job.due() {
        None => 0.0,
        Some(Due::Engine(time)) => seconds(time.since(now.engine)),
        Some(Due::Wall(time)) => seconds(time.since(now.wall)),
    }
}

fn windowed(window: &Window, meter: &Meter, frozen: Timestamp, now: Timestamp) -> Gauge {
    let until = |time: Timestamp| seconds(time.since(now));
    match (window.kind, meter) {
        (WindowKind::Rate { burst }, Meter::Rate(full)) => Gauge::Rate {
            debt: until((*full).max(frozen)),
            spacing: window.spacing() as f64 / 1e9,
            burst: burst.into(),
        },
        _ => Gauge::Quota {
            free: meter
                .frees(window, now)
                .iter()
                .map(|(time, units)| (until(*time), *units as f64))
                .collect(),
            amount: window.amount.into(),
            period: seconds(window.period),
        },
    }
}

fn group((least, heap): &(u32, Heap)) -> Group {
    Group { least: f64::from(*least), children: f64::from(heap.children), jobs: f64::from(heap.jobs) }
}

pub(super) fn seconds(span: Span) -> f64 {
    span.0 as f64 / 1e9
}

pub(super) fn span(seconds: f64) -> Span {
    // What is too long is cut.
    Span((seconds * 1e9) as u64)
}
