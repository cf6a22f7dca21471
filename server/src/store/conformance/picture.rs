//! Everything that can be seen of an engine and its store, to be compared.

use std::collections::BTreeMap;

use sluice_engine::{
    BatchName, BatchView, Engine, JobId, JobState, JobView, Key, KeyStatus, Level, Mutation, NodeState, Now,
    QueueId, QueueName, QueueRates, QueueStatus, QueueView, Span, StateSet, Timestamp,
};

use super::rig::{Rig, all_jobs};
use super::workload::batch_names;
use crate::store::{Body, Store};

/// See the module.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Picture {
    pub(crate) queues: Vec<(QueueView, QueueStatus)>,
    pub(crate) keys: BTreeMap<(QueueName, Key), KeyStatus>,
    pub(crate) batches: BTreeMap<(QueueName, BatchName), BatchView>,
    pub(crate) jobs: BTreeMap<JobId, (JobView, Body)>,
    pub(crate) drains: Vec<Option<Vec<JobId>>>,
    /// What limits know.
    pub(crate) nodes: BTreeMap<(QueueId, Key), NodeState>,
    pub(crate) next_wake: Option<Timestamp>,
}

impl Picture {
    /// All of a rig, with the drained sets `sets`.
    pub(super) fn take(rig: &Rig, sets: &[u128]) -> Picture {
        Picture::of(&rig.engine, &*rig.store, rig.now, sets)
    }

    /// All of an engine and its store, with the drained sets `sets`.
    pub(crate) fn of(engine: &Engine, store: &dyn Store, now: Now, sets: &[u128]) -> Picture {
        let mut picture = Picture { next_wake: engine.next_wake(now), ..Picture::default() };
        for queue in engine.queues(None, 1_000) {
            let mut status = engine.status(&queue.name, now).unwrap();
            // What passed in the last seconds is not kept.
            status.rates = QueueRates::default();
            status.time_to_empty = None;
            // It depends on what it was before.
            status.level = Level::default();
            // Who waits is not kept.
            (status.waiting_leases, status.waiting_enqueues) = (0, 0);
            let keys = engine.keys(&queue.name, &Key::default(), 0, 10_000, now).keys;
            picture
                .keys
                .extend(keys.into_iter().map(|status| ((queue.name.clone(), status.key.clone()), status)));
            for batch in batch_names() {
                if let Some(view) = engine.batch(&queue.name, &batch) {
                    picture.batches.insert((queue.name.clone(), batch), view);
                }
            }
            picture.queues.push((queue, status));
        }
        let mut views = Vec::new();
        let mut from = Some(JobId(0));
        while let Some(first) = from {
            let page = engine.jobs(&all_jobs(StateSet::ALL), first, 500, now);
            views.extend(page.jobs);
            from = page.next;
        }
        let ids: Vec<JobId> = views.iter().map(|view| view.id).collect();
        for (mut view, mut body) in views.into_iter().zip(bodies(store, &ids)) {
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
        let (states, _) = engine.ledger().node_states(0, usize::MAX, now.engine);
        picture.nodes.extend(states.into_iter().filter_map(|state| match state {
            Mutation::NodeState { queue, key, state } => {
                Some(((queue, key), as_it_counts(*state, now.engine)))
            }
            _ => None,
        }));
        picture.drains = sets.iter().map(|set| drained(engine, *set, now)).collect();
        picture
    }

    /// Says first what differs.
    #[track_caller]
    pub(crate) fn assert_is(&self, expected: &Picture, when: &str) {
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

/// A node of which nothing counts any more is forgotten when it is met, and begins anew. What was charged before it owed
/// nothing is not given back, whether it is known or not. It begins a nanosecond later where settings came at the same
/// moment: a record of the queue does not tell. What it learned is reckoned on from where it was said last, in floating point:
/// to the microsecond.
fn as_it_counts(mut state: NodeState, now: Timestamp) -> NodeState {
    if let Some(adaptation) = state.feedback.as_mut().and_then(|feedback| feedback.adaptation.as_mut()) {
        let counts = adaptation.full > now;
        adaptation.full = if counts { Timestamp(adaptation.full.0 / 1_000) } else { Timestamp(0) };
    }
    for trace in &mut state.traces {
        let nothing = trace.lows.iter().rev().find(|(_, owed)| *owed == 0).map(|(time, _)| *time);
        if let Some(time) = nothing
            && trace.since <= time + Span(1)
        {
            trace.since = time;
        }
    }
    state
}

/// The bodies of jobs that exist.
pub(super) fn bodies(store: &dyn Store, ids: &[JobId]) -> Vec<Body> {
    let places: Vec<_> = store.locate(ids).into_iter().map(Option::unwrap).collect();
    store.reader().read(&places).unwrap()
}

fn drained(engine: &Engine, set: u128, now: Now) -> Option<Vec<JobId>> {
    let mut ids = Vec::new();
    let mut from = 0;
    loop {
        let (jobs, next) = engine.drain_page(set, from, 100, now)?;
        if next == from {
            return Some(ids);
        }
        ids.extend(jobs.iter().map(|job| job.id));
        from = next;
    }
}
