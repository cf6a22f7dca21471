//! Limits, and why a job does not go.

use sluice_engine::{
    Acquired, Block, BlockKind, BreakerState, Capacity, GateView, Key, LimitName, LimitView, NodeSettings,
    NodeStatus, OverflowPolicy, Unit, Window, WindowKind,
};
use sluice_proto::v1;

use super::queue::{etag, overflow_policy};
use super::time::{duration, timestamp};

/// What is set on a node, with every default filled in.
pub(super) fn node(
    node: &NodeSettings,
    capacity: Capacity,
    overflow: Option<OverflowPolicy>,
) -> v1::NodeSettings {
    v1::NodeSettings {
        windows: node.windows.iter().map(window).collect(),
        max_in_flight: node.max_in_flight,
        weight: Some(node.weight),
        ordered: node.ordered,
        adaptive: node.adaptive,
        breaker: node.breaker.map(|breaker| v1::CircuitBreaker {
            consecutive_failures: breaker.consecutive_failures,
            open_duration: Some(duration(breaker.open_duration)),
        }),
        max_jobs: capacity.jobs,
        max_bytes: capacity.bytes,
        overflow_policy: overflow.map_or(v1::OverflowPolicy::Unspecified, overflow_policy) as i32,
    }
}

/// A shared limit, with every default filled in.
pub(in crate::rpc) fn limit(view: &LimitView) -> v1::Limit {
    v1::Limit {
        name: view.name.to_string(),
        settings: Some(node(&view.settings.node, Capacity::default(), None)),
        priority_ageing: Some(duration(view.settings.priority_ageing)),
        etag: etag(view.version),
        queues: view.queues,
        in_flight: view.node.in_flight,
        tokens: view.tokens,
        frozen_until_time: view.node.frozen_until.map(timestamp),
        rate_in_force: view.node.rate_in_force,
        breaker: breaker_state(view.node.breaker) as i32,
    }
}

/// What came of asking for tokens.
pub(in crate::rpc) fn acquired(acquired: Acquired) -> v1::AcquireLimitResponse {
    v1::AcquireLimitResponse {
        acquired: acquired.retry_after.is_none(),
        retry_after: acquired.retry_after.map(duration),
        tokens: acquired.tokens,
    }
}

/// What may go through a node now.
pub(super) fn node_status(node: &NodeStatus) -> v1::NodeStatus {
    let windows = node
        .windows
        .iter()
        .map(|status| v1::WindowStatus { window: Some(window(&status.window)), tokens: status.tokens });
    v1::NodeStatus {
        node: node.key.to_string(),
        limit: node.limit.as_ref().map_or_else(String::new, ToString::to_string),
        windows: windows.collect(),
        in_flight: node.in_flight,
        max_in_flight: node.max_in_flight,
        ordered: node.ordered,
        frozen_until_time: node.frozen_until.map(timestamp),
        ready: node.ready,
        rate_in_force: node.rate_in_force,
        breaker: breaker_state(node.breaker) as i32,
    }
}

fn breaker_state(state: Option<BreakerState>) -> v1::BreakerState {
    match state {
        None => v1::BreakerState::Unspecified,
        Some(BreakerState::Closed) => v1::BreakerState::Closed,
        Some(BreakerState::Open) => v1::BreakerState::Open,
        Some(BreakerState::HalfOpen) => v1::BreakerState::HalfOpen,
    }
}

/// A gate on a job's way, which may be open.
pub(super) fn any_gate(view: &GateView) -> v1::Gate {
    let gate = gate(&view.gate);
    if view.closed {
        return gate;
    }
    let what = match view.gate.kind {
        BlockKind::Rate => "within the rate of",
        BlockKind::Quota => "within the quota of",
        BlockKind::InFlight => "fewer jobs than may be are in flight of",
        BlockKind::Ordered => "no other job is under way of",
        BlockKind::Frozen => "no worker said THROTTLED of",
        BlockKind::Breaker => "the breaker is closed of",
        BlockKind::Adapted => "within the learned rate of",
        BlockKind::Paused => "jobs are leased from",
    };
    v1::Gate {
        closed: false,
        until_time: None,
        message: format!("{what} {}", node_name(&view.gate.key, view.gate.limit.as_ref())),
        ..gate
    }
}

/// A node as people call it.
pub(super) fn node_name(key: &Key, limit: Option<&LimitName>) -> String {
    match limit {
        Some(limit) => format!("limit {limit}"),
        None if key.is_empty() => "the queue".to_owned(),
        None => format!("key {}", &**key),
    }
}

/// A closed gate on a job's way.
pub(super) fn gate(block: &Block) -> v1::Gate {
    let (kind, what) = match block.kind {
        BlockKind::Rate => (v1::GateKind::Rate, "the rate of"),
        BlockKind::Quota => (v1::GateKind::Quota, "the quota of"),
        BlockKind::InFlight => (v1::GateKind::InFlight, "as many jobs as may be are in flight of"),
        BlockKind::Ordered => (v1::GateKind::Ordered, "another job is not done, and they go one by one, of"),
        BlockKind::Frozen => (v1::GateKind::Frozen, "a worker said THROTTLED of"),
        BlockKind::Paused => (v1::GateKind::Paused, "nothing is leased from"),
        BlockKind::Breaker if block.until.is_none() => {
            (v1::GateKind::Breaker, "one job is sent to see whether it works again, of")
        }
        BlockKind::Breaker => (v1::GateKind::Breaker, "too many jobs failed in a row, of"),
        BlockKind::Adapted => (v1::GateKind::Adapted, "the rate that was learned from THROTTLED, of"),
    };
    let node = node_name(&block.key, block.limit.as_ref());
    v1::Gate {
        kind: kind as i32,
        node: block.key.to_string(),
        closed: true,
        until_time: block.until.map(timestamp),
        message: format!("{what} {node}"),
        limit: block.limit.as_ref().map_or_else(String::new, ToString::to_string),
    }
}

fn window(window: &Window) -> v1::Window {
    let (kind, burst) = match window.kind {
        WindowKind::Rate { burst } => (v1::WindowKind::Rate, Some(burst)),
        WindowKind::Quota => (v1::WindowKind::Quota, None),
    };
    let unit = match window.unit {
        Unit::Jobs => v1::WindowUnit::Jobs,
        Unit::Cost => v1::WindowUnit::Cost,
    };
    v1::Window {
        kind: kind as i32,
        amount: window.amount,
        period: Some(duration(window.period)),
        burst,
        unit: unit as i32,
    }
}
