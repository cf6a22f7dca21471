//! Everything that can be seen of an engine and its store, to be compared.

use std::collections::BTreeMap;

use sluice_engine::{JobId, JobState, JobView, QueueRates, QueueStatus, QueueView, StateSet, Timestamp};

use super::rig::Rig;
use crate::store::Body;

/// See the module.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Picture {
    pub(super) queues: Vec<(QueueView, QueueStatus)>,
    pub(super) jobs: BTreeMap<JobId, (JobView, Body)>,
    pub(super) drains: Vec<Option<Vec<JobId>>>,
    pub(super) next_wake: Option<Timestamp>,
}

impl Picture {
    /// All of it, with the drained sets `sets`.
    pub(super) fn take(rig: &Rig, sets: &[u128]) -> Picture {
        let mut picture = Picture { next_wake: rig.engine.next_wake(rig.now), ..Picture::default() };
        for queue in rig.engine.queues(None, 1_000) {
            let mut status = rig.engine.status(&queue.name, rig.now).unwrap();
            // What passed in the last seconds is not kept.
            status.rates = QueueRates::default();
            status.time_to_empty = None;
            picture.queues.push((queue, status));
        }
        let mut views = Vec::new();
        let mut from = Some(JobId(0));
        while let Some(first) = from {
            let page = rig.engine.jobs(None, StateSet::ALL, first, 500, rig.now);
            views.extend(page.jobs);
            from = page.next;
        }
        let ids: Vec<JobId> = views.iter().map(|view| view.id).collect();
        for (mut view, mut body) in views.into_iter().zip(rig.bodies(&ids)) {
            let stored = body.detail.take();
            if view.detail_at_rest {
                view.detail_at_rest = false;
                view.detail = Some(stored.unwrap_or_else(|| panic!("the detail of job {}", view.id)));
            }
            if view.state == JobState::Completed {
                // It may be gone, and need not.
                body.payload = None;
            }
            picture.jobs.insert(view.id, (view, body));
        }
        picture.drains = sets.iter().map(|set| drained(rig, *set)).collect();
        picture
    }

    /// Says first what differs.
    #[track_caller]
    pub(super) fn assert_is(&self, expected: &Picture, when: &str) {
        for (id, job) in &expected.jobs {
            assert_eq!(self.jobs.get(id), Some(job), "{when}: job {id}");
        }
        for id in self.jobs.keys() {
            assert!(expected.jobs.contains_key(id), "{when}: job {id} came back");
        }
        assert_eq!(self.queues, expected.queues, "{when}");
        assert_eq!(self.drains, expected.drains, "{when}");
        assert_eq!(self.next_wake, expected.next_wake, "{when}");
    }
}

fn drained(rig: &Rig, set: u128) -> Option<Vec<JobId>> {
    let mut ids = Vec::new();
    let mut from = 0;
    loop {
        let (jobs, next) = rig.engine.drain_page(set, from, 100, rig.now)?;
        if next == from {
            return Some(ids);
        }
        ids.extend(jobs.iter().map(|job| job.id));
        from = next;
    }
}
