//! Everything that can be seen of an engine and its store, to be compared.

use std::collections::BTreeMap;

use sluice_engine::{
    BatchName, BatchView, JobId, JobState, JobView, Key, KeyStatus, Level, Mutation, NodeState, QueueId,
    QueueName, QueueRates, QueueStatus, QueueView, StateSet, Timestamp,
};

use super::rig::{Rig, all_jobs};
use super::workload::batch_names;
use crate::store::Body;

/// See the module.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Picture {
    pub(super) queues: Vec<(QueueView, QueueStatus)>,
    pub(super) keys: BTreeMap<(QueueName, Key), KeyStatus>,
    pub(super) batches: BTreeMap<(QueueName, BatchName), BatchView>,
    pub(super) jobs: BTreeMap<JobId, (JobView, Body)>,
    pub(super) drains: Vec<Option<Vec<JobId>>>,
    /// What limits know.
    pub(super) nodes: BTreeMap<(QueueId, Key), NodeState>,
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
            // It depends on what it was before.
            status.level = Level::default();
            let keys = rig.engine.keys(&queue.name, &Key::default(), 0, 10_000, rig.now).keys;
            picture
                .keys
                .extend(keys.into_iter().map(|status| ((queue.name.clone(), status.key.clone()), status)));
            for batch in batch_names() {
                if let Some(view) = rig.engine.batch(&queue.name, &batch) {
                    picture.batches.insert((queue.name.clone(), batch), view);
                }
            }
            picture.queues.push((queue, status));
        }
        let mut views = Vec::new();
        let mut from = Some(JobId(0));
        while let Some(first) = from {
            let page = rig.engine.jobs(&all_jobs(StateSet::ALL), first, 500, rig.now);
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
            if matches!(view.state, JobState::Completed | JobState::Cancelled | JobState::Expired) {
                // It may be gone, and need not.
                body.payload = None;
            }
            picture.jobs.insert(view.id, (view, body));
        }
        let (states, _) = rig.engine.ledger().node_states(0, usize::MAX, rig.now.engine);
        picture.nodes.extend(states.into_iter().filter_map(|state| match state {
            Mutation::NodeState { queue, key, state } => Some(((queue, key), *state)),
            _ => None,
        }));
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
        assert_eq!(self.keys, expected.keys, "{when}");
        assert_eq!(self.batches, expected.batches, "{when}");
        assert_eq!(self.drains, expected.drains, "{when}");
        assert_eq!(self.nodes, expected.nodes, "{when}");
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
