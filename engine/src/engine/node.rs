//! What may go through nodes now, said to people.

use crate::engine::Engine;
use crate::id::QueueId;
use crate::job::JobState;
use crate::ledger::flow::Spot;
use crate::ledger::keys::KeyId;
use crate::ledger::limits::Limit;
use crate::ledger::{BreakerState, NodeState, Queue};
use crate::limit::{NodeSettings, Window};
use crate::name::{Key, QueueName};
use crate::queue::{NodeStatus, StateCounts, WindowStatus};
use crate::time::Now;

impl Engine {
    /// The nodes that jobs of a key go through, the deepest first: the queue's own, and its shared limit, are the last.
    /// None when there is no such queue.
    #[must_use]
    pub fn nodes(&self, queue: &QueueName, key: &Key, now: Now) -> Vec<NodeStatus> {
        let Some(queue) = self.ledger.find_queue(queue) else { return Vec::new() };
        let keys = std::iter::successors((!key.is_empty()).then(|| key.clone()), Key::outer);
        let limit = queue.limit.and_then(|limit| self.ledger.limits.get(limit));
        let nodes = keys.chain([Key::default()]).map(|key| self.node(queue, key, now));
        nodes.chain(limit.map(|limit| self.limit_node(limit, now))).collect()
    }

    /// A shared limit as the node that it is. What is ready below it is not counted.
    pub(super) fn limit_node(&self, limit: &Limit, now: Now) -> NodeStatus {
        let (record, settings) = (&limit.record, &limit.record.settings.node);
        let gate = self.ledger.gate(Spot { queue: record.id, key: KeyId::NONE });
        let frozen_until = gate.and_then(|gate| gate.frozen(now.engine));
        let windows = settings.windows.iter().enumerate();
        NodeStatus {
            key: Key::default(),
            limit: Some(record.name.clone()),
            windows: windows.map(|(at, window)| status(at, *window, gate, now)).collect(),
            in_flight: limit.leased,
            max_in_flight: settings.max_in_flight,
            ordered: false,
            frozen_until: frozen_until.map(|until| now.wall_at(until)),
            ready: 0,
            rate_in_force: gate.and_then(|gate| gate.rate_in_force(now.engine)),
            breaker: breaker(settings, gate, now),
        }
    }

    /// A key's own node, if something was set on it or is known of it.
    pub(super) fn own_node(&self, queue: QueueId, key: &Key, now: Now) -> Option<NodeStatus> {
        let spot = self.ledger.spot(queue, key)?;
        let is_known = self.ledger.gate(spot).is_some_and(|gate| !gate.is_past(now.engine));
        let is_set = self.ledger.node_settings(spot).is_some_and(NodeSettings::is_limited);
        (is_known || is_set).then(|| self.node(self.ledger.queue(queue), key.clone(), now))
    }

    fn node(&self, queue: &Queue, key: Key, now: Now) -> NodeStatus {
        let record = &queue.record;
        // Nobody may have the key now: the settings hold for it all the same.
        let settings = match key.is_empty() {
            true => Some(&record.settings.node),
            false => record.settings.rule_for(&key).map(|rule| &rule.node),
        };
        let spot = self.ledger.spot(record.id, &key);
        let gate = spot.and_then(|spot| self.ledger.gate(spot));
        let counts = self.counts_at(queue, spot);
        let windows = settings.map_or(&[][..], |settings| &settings.windows);
        let frozen_until = gate.and_then(|gate| gate.frozen(now.engine));
        NodeStatus {
            key,
            limit: None,
            windows: windows.iter().enumerate().map(|(at, window)| status(at, *window, gate, now)).collect(),
            in_flight: counts.get(JobState::Leased),
            max_in_flight: settings.and_then(|settings| settings.max_in_flight),
            ordered: settings.is_some_and(|settings| settings.ordered),
            frozen_until: frozen_until.map(|until| now.wall_at(until)),
            ready: counts.get(JobState::Ready),
            rate_in_force: gate.and_then(|gate| gate.rate_in_force(now.engine)),
            breaker: settings.and_then(|settings| breaker(settings, gate, now)),
        }
    }

    fn counts_at(&self, queue: &Queue, spot: Option<Spot>) -> StateCounts {
        match spot {
            Some(spot) if spot.key == KeyId::NONE => queue.counts,
            Some(spot) => self.ledger.keys.load(spot.key).counts(),
            None => StateCounts::default(),
        }
    }
}

fn breaker(settings: &NodeSettings, gate: Option<&NodeState>, now: Now) -> Option<BreakerState> {
    let state = || gate.map_or(BreakerState::Closed, |gate| gate.breaker_state(now.engine));
    settings.breaker.as_ref().map(|_| state())
}

/// The meter in a window's place, if anything went through it; nothing counts otherwise.
fn status(at: usize, window: Window, gate: Option<&NodeState>, now: Now) -> WindowStatus {
    let meter = gate.and_then(|gate| gate.meters.get(at)).filter(|(counted, _)| *counted == window);
    let tokens = meter.map_or_else(|| window.most_at_once(), |(_, meter)| meter.tokens(&window, now.engine));
    WindowStatus { window, tokens }
}
