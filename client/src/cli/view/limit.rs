//! Limits as they are printed, and why a job does not go.

use serde::Serialize;

use super::{name, span, time};
use crate::proto::{CircuitBreaker, Gate, GateKind, NodeSettings, Window, WindowKind, WindowUnit};

/// What goes through a node.
#[derive(Debug, Serialize)]
pub(super) struct LimitsView {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    windows: Vec<WindowView>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_in_flight: Option<u32>,
    #[serde(skip_serializing_if = "is_one")]
    weight: u32,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    ordered: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    adaptive: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    breaker: Option<BreakerView>,
}

#[derive(Debug, Serialize)]
struct BreakerView {
    consecutive_failures: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    open_duration: Option<String>,
}

#[derive(Debug, Serialize)]
pub(super) struct WindowView {
    kind: String,
    amount: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    period: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    burst: Option<u32>,
    unit: String,
}

/// A gate on a job's way.
#[derive(Debug, Serialize)]
pub(super) struct GateView {
    kind: String,
    node: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    limit: String,
    closed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    until_time: Option<String>,
    message: String,
}

impl LimitsView {
    /// Of a queue, which is adaptive unless it says that it is not.
    pub(super) fn of_queue(settings: &NodeSettings) -> Option<LimitsView> {
        LimitsView::of(&NodeSettings { adaptive: settings.adaptive.filter(|is| !is), ..settings.clone() })
    }

    /// None where nothing is limited.
    pub(super) fn of(settings: &NodeSettings) -> Option<LimitsView> {
        let view = LimitsView {
            windows: settings.windows.iter().map(WindowView::from).collect(),
            max_in_flight: settings.max_in_flight,
            weight: settings.weight.unwrap_or(1),
            ordered: settings.ordered,
            adaptive: settings.adaptive,
            breaker: settings.breaker.as_ref().map(BreakerView::from),
        };
        let is_free =
            view.windows.is_empty() && view.max_in_flight.is_none() && view.weight == 1 && !view.ordered;
        let is_plain = is_free && view.adaptive.is_none() && view.breaker.is_none();
        (!is_plain).then_some(view)
    }

    /// In a cell of a table: as it is written on the command line.
    pub(super) fn cell(&self) -> String {
        let windows = self.windows.iter().map(WindowView::cell);
        let others = [
            self.max_in_flight.map(|most| format!("max_in_flight={most}")),
            (self.weight != 1).then(|| format!("weight={}", self.weight)),
            self.ordered.then(|| "ordered=true".to_owned()),
            self.adaptive.map(|is| format!("adaptive={is}")),
            self.breaker.as_ref().map(|breaker| {
                let open = breaker.open_duration.as_deref().unwrap_or_default();
                format!("breaker={}/{open}", breaker.consecutive_failures)
            }),
        ];
        windows.chain(others.into_iter().flatten()).collect::<Vec<_>>().join(",")
    }
}

impl WindowView {
    /// In a cell of a table: as it is written on the command line.
    pub(super) fn cell(&self) -> String {
        let kind = self.kind.to_lowercase();
        let unit = if self.unit == "COST" { "_cost" } else { "" };
        let burst = self.burst.map(|burst| format!("/{burst}")).unwrap_or_default();
        let period = self.period.as_deref().unwrap_or_default();
        format!("{kind}{unit}={}/{period}{burst}", self.amount)
    }
}

impl From<&CircuitBreaker> for BreakerView {
    fn from(breaker: &CircuitBreaker) -> BreakerView {
        BreakerView {
            consecutive_failures: breaker.consecutive_failures,
            open_duration: breaker.open_duration.as_ref().map(span),
        }
    }
}

impl From<&Window> for WindowView {
    fn from(window: &Window) -> WindowView {
        WindowView {
            kind: name(
                window.kind,
                WindowKind::try_from(window.kind).map(|kind| kind.as_str_name()).ok(),
                "WINDOW_KIND_",
            ),
            amount: window.amount,
            period: window.period.as_ref().map(span),
            burst: window.burst,
            unit: name(
                window.unit,
                WindowUnit::try_from(window.unit).map(|unit| unit.as_str_name()).ok(),
                "WINDOW_UNIT_",
            ),
        }
    }
}

impl From<Gate> for GateView {
    fn from(gate: Gate) -> GateView {
        GateView {
            kind: name(
                gate.kind,
                GateKind::try_from(gate.kind).map(|kind| kind.as_str_name()).ok(),
                "GATE_KIND_",
            ),
            node: gate.node,
            limit: gate.limit,
            closed: gate.closed,
            until_time: gate.until_time.as_ref().map(time),
            message: gate.message,
        }
    }
}

impl GateView {
    /// In a cell of a table.
    pub(super) fn cell(&self) -> String {
        let until = self.until_time.as_ref().map(|time| format!(" until {time}")).unwrap_or_default();
        format!("{}{until}", self.message)
    }

    /// As [`GateView::cell`], beside gates that are open.
    pub(super) fn line(&self) -> String {
        format!("{}: {}", if self.closed { "closed" } else { "open" }, self.cell())
    }
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
fn is_one(number: &u32) -> bool {
    *number == 1
}
