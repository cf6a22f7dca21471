//! How a queue stands, as it is printed.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{level, load_level, node::NodeView, percent, span, time};
use crate::{
    cli::output::{Show, printable},
    proto::{FlowHint, QueueRates, QueueStatus, QueueTotals, StateCounts},
};

#[derive(Debug, Serialize)]
pub(in crate::cli) struct StatusView {
    queue: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    key: String,
    counts: CountsView,
    ready_by_priority: Vec<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    oldest_ready_age: Option<String>,
    jobs: u64,
    bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    utilization: Option<f64>,
    level: String,
    rates: RatesView,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    nodes: Vec<NodeView>,
    #[serde(skip_serializing_if = "Option::is_none")]
    time_to_empty: Option<String>,
    paused: bool,
    totals: TotalsView,
    #[serde(skip_serializing_if = "Option::is_none")]
    flow_hint: Option<FlowHintView>,
    waiting_enqueues: u64,
    waiting_leases: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    status_time: Option<String>,
}

#[derive(Debug, Serialize)]
struct FlowHintView {
    load_level: String,
    batch_size: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    wait: Option<String>,
}

#[derive(Debug, Serialize)]
pub(super) struct CountsView {
    pub(super) scheduled: u64,
    pub(super) ready: u64,
    pub(super) leased: u64,
    pub(super) retrying: u64,
    pub(super) completed: u64,
    pub(super) dead: u64,
    pub(super) cancelled: u64,
    pub(super) expired: u64,
    pub(super) dropped: u64,
    pub(super) drained: u64,
}

#[derive(Debug, Serialize)]
struct RatesView {
    enqueued: f64,
    dispatched: f64,
    acked: f64,
    failed: f64,
}

#[derive(Debug, Serialize)]
struct TotalsView {
    enqueued: u64,
    completed: u64,
    failed_attempts: u64,
    dead: u64,
    dropped: u64,
    throttled: u64,
    cancelled: u64,
    expired: u64,
    drained: u64,
    requeued: u64,
    removed: u64,
    failed_by_code: BTreeMap<String, u64>,
}

impl From<QueueStatus> for StatusView {
    fn from(status: QueueStatus) -> StatusView {
        StatusView {
            queue: status.queue,
            key: status.key,
            counts: status.counts.unwrap_or_default().into(),
            ready_by_priority: status.ready_by_priority,
            oldest_ready_age: status.oldest_ready_age.as_ref().map(span),
            jobs: status.jobs,
            bytes: status.bytes,
            utilization: status.utilization,
            level: level(status.level),
            rates: status.rates.unwrap_or_default().into(),
            nodes: status.nodes.into_iter().map(NodeView::from).collect(),
            time_to_empty: status.time_to_empty.as_ref().map(span),
            totals: status.totals.unwrap_or_default().into(),
            paused: status.paused,
            flow_hint: status.flow_hint.as_ref().map(FlowHintView::from),
            waiting_enqueues: status.waiting_enqueues,
            waiting_leases: status.waiting_leases,
            status_time: status.status_time.as_ref().map(time),
        }
    }
}

impl From<&FlowHint> for FlowHintView {
    fn from(hint: &FlowHint) -> FlowHintView {
        FlowHintView {
            load_level: load_level(hint.load_level),
            batch_size: hint.batch_size,
            wait: hint.wait.as_ref().map(span),
        }
    }
}

impl From<StateCounts> for CountsView {
    fn from(counts: StateCounts) -> CountsView {
        CountsView {
            scheduled: counts.scheduled,
            ready: counts.ready,
            leased: counts.leased,
            retrying: counts.retrying,
            completed: counts.completed,
            dead: counts.dead,
            cancelled: counts.cancelled,
            expired: counts.expired,
            dropped: counts.dropped,
            drained: counts.drained,
        }
    }
}

impl From<QueueRates> for RatesView {
    fn from(rates: QueueRates) -> RatesView {
        let QueueRates { enqueued, dispatched, acked, failed } = rates;
        RatesView { enqueued, dispatched, acked, failed }
    }
}

impl From<QueueTotals> for TotalsView {
    fn from(totals: QueueTotals) -> TotalsView {
        TotalsView {
            enqueued: totals.enqueued,
            completed: totals.completed,
            failed_attempts: totals.failed_attempts,
            dead: totals.dead,
            dropped: totals.dropped,
            throttled: totals.throttled,
            cancelled: totals.cancelled,
            expired: totals.expired,
            drained: totals.drained,
            requeued: totals.requeued,
            removed: totals.removed,
            failed_by_code: totals.failed_by_code.into_iter().collect(),
        }
    }
}

impl StatusView {
    /// One line for people who follow along.
    pub(in crate::cli) fn line(&self) -> String {
        format!("{} {}", self.status_time.as_deref().unwrap_or("-"), self.standing())
    }

    /// The same, for people who follow many queues.
    pub(in crate::cli) fn named_line(&self) -> String {
        let time = self.status_time.as_deref().unwrap_or("-");
        format!("{time} {} {}", printable(&self.queue), self.standing())
    }

    fn standing(&self) -> String {
        let CountsView { scheduled, ready, leased, retrying, completed, dead, drained, .. } = self.counts;
        format!(
            "ready {ready} scheduled {scheduled} retrying {retrying} leased {leased} completed {completed} \
             dead {dead} drained {drained} in {:.1}/s out {:.1}/s acked {:.1}/s failed {:.1}/s",
            self.rates.enqueued, self.rates.dispatched, self.rates.acked, self.rates.failed,
        )
    }
}

impl Show for StatusView {
    const HEADER: &'static [&'static str] = &[
        "QUEUE",
        "READY",
        "SCHEDULED",
        "RETRYING",
        "LEASED",
        "COMPLETED",
        "DEAD",
        "CANCELLED",
        "EXPIRED",
        "DROPPED",
        "DRAINED",
        "BYTES",
        "FULL",
        "LEVEL",
        "PAUSED",
        "OLDEST",
        "IN/S",
        "OUT/S",
        "ACKED/S",
        "FAILED/S",
        "LIMITS",
    ];

    fn row(&self) -> Vec<String> {
        let counts = &self.counts;
        let numbers = [
            counts.ready,
            counts.scheduled,
            counts.retrying,
            counts.leased,
            counts.completed,
            counts.dead,
            counts.cancelled,
            counts.expired,
            counts.dropped,
            counts.drained,
            self.bytes,
        ];
        let rates = [self.rates.enqueued, self.rates.dispatched, self.rates.acked, self.rates.failed];
        let mut row = vec![if self.key.is_empty() {
            self.queue.clone()
        } else {
            format!("{} {}", self.queue, self.key)
        }];
        row.extend(numbers.map(|count| count.to_string()));
        row.extend([percent(self.utilization), self.level.clone()]);
        row.push(if self.paused { "yes".to_owned() } else { String::new() });
        row.push(self.oldest_ready_age.clone().unwrap_or_default());
        row.extend(rates.map(|rate| format!("{rate:.1}")));
        // The deepest node: those above it are in JSON.
        row.push(self.nodes.first().map(NodeView::cell).unwrap_or_default());
        row
    }
}
