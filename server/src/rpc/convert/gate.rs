//! Limits, and why a job does not go.

use sluice_engine::{Block, BlockKind, Capacity, NodeSettings, OverflowPolicy, Unit, Window, WindowKind};
use sluice_proto::v1;

use super::queue::overflow_policy;
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
    let node = if block.key.is_empty() { "the queue".to_owned() } else { format!("key {}", &*block.key) };
    v1::Gate {
        kind: kind as i32,
        node: block.key.to_string(),
        closed: true,
        until_time: block.until.map(timestamp),
        message: format!("{what} {node}"),
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
