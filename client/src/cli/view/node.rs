//! What may go through a node now, as it is printed.

use serde::Serialize;

use super::{breaker_state, limit::WindowView, time};
use crate::proto::{NodeStatus, WindowStatus};

#[derive(Debug, Serialize)]
pub(super) struct NodeView {
    node: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    limit: String,
    windows: Vec<WindowStatusView>,
    in_flight: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_in_flight: Option<u32>,
    ordered: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    frozen_until_time: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rate_in_force: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    breaker: Option<String>,
    ready: u64,
}

#[derive(Debug, Serialize)]
struct WindowStatusView {
    #[serde(flatten)]
    window: WindowView,
    tokens: u64,
}

impl From<NodeStatus> for NodeView {
    fn from(node: NodeStatus) -> NodeView {
        NodeView {
            node: node.node,
            limit: node.limit,
            windows: node.windows.into_iter().map(WindowStatusView::from).collect(),
            in_flight: node.in_flight,
            max_in_flight: node.max_in_flight,
            ordered: node.ordered,
            frozen_until_time: node.frozen_until_time.as_ref().map(time),
            rate_in_force: node.rate_in_force,
            breaker: breaker_state(node.breaker),
            ready: node.ready,
        }
    }
}

impl From<WindowStatus> for WindowStatusView {
    fn from(status: WindowStatus) -> WindowStatusView {
        let window = WindowView::from(&status.window.unwrap_or_default());
        WindowStatusView { window, tokens: status.tokens }
    }
}

impl NodeView {
    /// In a cell of a table: what may go through each limit, and why nothing may.
    pub(super) fn cell(&self) -> String {
        let windows = self.windows.iter().map(|status| format!("{}:{}", status.window.cell(), status.tokens));
        let slots = self.max_in_flight.map(|most| format!("in_flight={}/{most}", self.in_flight));
        let frozen = self.frozen_until_time.as_ref().map(|until| format!("frozen until {until}"));
        let answers = answers(self.rate_in_force, self.breaker.as_deref());
        windows.chain(slots).chain(frozen).chain(answers).collect::<Vec<_>>().join(" ")
    }
}

/// What answers of the downstream did to a node, for a cell: nothing of a breaker that lets all through.
pub(super) fn answers(rate_in_force: Option<f64>, breaker: Option<&str>) -> impl Iterator<Item = String> {
    let rate = rate_in_force.map(|rate| format!("learned {rate:.3}/s"));
    let breaker = breaker.filter(|breaker| *breaker != "CLOSED");
    rate.into_iter().chain(breaker.map(|breaker| format!("breaker {breaker}")))
}

#[cfg(test)]
mod tests {
    use prost_types::{Duration, Timestamp};

    use super::*;
    use crate::proto::{BreakerState, Window, WindowKind, WindowUnit};

    #[test]
    fn cell_says_what_may_go_now() {
        let window = Window {
            kind: WindowKind::Rate.into(),
            amount: 30,
            period: Some(Duration { seconds: 60, nanos: 0 }),
            burst: Some(5),
            unit: WindowUnit::Cost.into(),
        };
        let node = NodeStatus {
            windows: vec![WindowStatus { window: Some(window), tokens: 3 }],
            in_flight: 2,
            max_in_flight: Some(8),
            frozen_until_time: Some(Timestamp { seconds: 0, nanos: 0 }),
            rate_in_force: Some(0.25),
            breaker: BreakerState::HalfOpen.into(),
            ..NodeStatus::default()
        };
        let cell = NodeView::from(node).cell();
        let told = "rate_cost=30/60s/5:3 in_flight=2/8 frozen until 1970-01-01T00:00:00Z learned 0.250/s \
                    breaker HALF_OPEN";
        assert_eq!(cell, told);
        assert_eq!(NodeView::from(NodeStatus::default()).cell(), "");
    }
}
