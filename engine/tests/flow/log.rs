//! What a store would hold, and the engine that comes back from it.

use std::collections::BTreeMap;

use sluice_engine::*;

use crate::node::Spot;

/// The groups of the log, each with its time.
#[derive(Default)]
pub(crate) struct Log {
    groups: Vec<(Now, Vec<Mutation>)>,
}

/// What is known of a node, without what nobody could tell: where all is past, it is forgotten at some time.
#[derive(Debug, PartialEq)]
pub(crate) struct State {
    meters: Vec<Option<(Window, Meter)>>,
    frozen_until: Option<Timestamp>,
    throttled: Option<(Timestamp, u8)>,
    feedback: Option<Box<Feedback>>,
}

impl Log {
    pub(crate) fn push(&mut self, now: Now, mutations: Vec<Mutation>) {
        self.groups.push((now, mutations));
    }

    /// The engine that a replay of all of it gives.
    pub(crate) fn replayed(&self, now: Now) -> Engine {
        let mut loader = Loader::new(EngineConfig::default());
        for (number, (now, mutations)) in (1..).zip(&self.groups) {
            loader.group(number, *now, mutations.clone()).unwrap();
        }
        loader.finish(now).unwrap()
    }
}

/// What an engine knows of its nodes.
pub(crate) fn states(engine: &Engine, now: Timestamp) -> BTreeMap<Spot, State> {
    let (states, next) = engine.ledger().node_states(0, usize::MAX, now);
    assert_eq!(next, None);
    let state = |mutation| match mutation {
        Mutation::NodeState { queue, key, state } => Some(((queue, key), State::of(*state, now))),
        // Said again beside them.
        Mutation::LimitPut(_) => None,
        other => panic!("{other:?} is no state"),
    };
    states.into_iter().filter_map(state).collect()
}

impl State {
    fn of(state: NodeState, now: Timestamp) -> State {
        let counts = |of: (Window, Meter)| (!is_past(&of, now)).then_some(of);
        let mut meters: Vec<_> = state.meters.into_iter().map(counts).collect();
        while meters.pop_if(|meter| meter.is_none()).is_some() {}
        State {
            meters,
            frozen_until: Some(state.frozen_until).filter(|until| *until > now),
            throttled: state.throttled.filter(|(last, _)| now.since(*last) < bound::FREEZE_MEMORY),
            feedback: state.feedback,
        }
    }
}

fn is_past((window, meter): &(Window, Meter), now: Timestamp) -> bool {
    match meter {
        Meter::Rate(full) => *full <= now,
        Meter::Quota(quota) => {
            let part = now.0 / window.period.0.div_ceil(15);
            let counts = |part: u64| quota.counts[(part % 16) as usize];
            (part.saturating_sub(15)..=quota.part).all(|part| counts(part) == 0)
        }
    }
}
