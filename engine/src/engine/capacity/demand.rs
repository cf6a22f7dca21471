//! What new jobs ask of the places that they would come into.

use std::collections::BTreeMap;

use crate::engine::capacity::place::Amount;
use crate::job::JobSpec;
use crate::name::Key;
use crate::settings::Reserve;

/// What new jobs ask of a place.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Demand {
    pub(super) all: Amount,
    /// What of it may not use the reserve.
    pub(super) ordinary: Amount,
    /// The largest job's bytes.
    pub(super) largest: u64,
}

impl Demand {
    pub(super) fn of(jobs: &[JobSpec], reserve: Option<Reserve>) -> Demand {
        let mut demand = Demand::default();
        jobs.iter().for_each(|job| demand.add(job, reserve));
        demand
    }

    fn add(&mut self, job: &JobSpec, reserve: Option<Reserve>) {
        let bytes = u64::from(job.bytes());
        self.largest = self.largest.max(bytes);
        self.all.jobs += 1;
        self.all.bytes += bytes;
        if reserve.is_none_or(|reserve| job.urgency() < reserve.min_priority) {
            self.ordinary.jobs += 1;
            self.ordinary.bytes += bytes;
        }
    }
}

/// Whether all of a call may use the reserve.
pub(super) fn is_urgent(jobs: &[JobSpec], reserve: Option<Reserve>) -> bool {
    reserve.is_some_and(|reserve| jobs.iter().all(|job| job.urgency() >= reserve.min_priority))
}

/// What is asked of each key, and of what keys begin with; longer ones after what they begin with.
pub(super) fn demands(jobs: &[JobSpec], reserve: Option<Reserve>) -> BTreeMap<Key, Demand> {
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
