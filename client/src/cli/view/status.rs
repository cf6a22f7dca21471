//! How a queue stands, as it is printed.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{span, time};
use crate::{
    cli::output::{Show, printable},
    proto::{QueueRates, QueueStatus, QueueTotals, StateCounts},
};

#[derive(Debug, Serialize)]
pub(in crate::cli) struct StatusView {
    queue: String,
    counts: CountsView,
    ready_by_priority: Vec<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    oldest_ready_age: Option<String>,
    jobs: u64,
    bytes: u64,
    rates: RatesView,
    #[serde(skip_serializing_if = "Option::is_none")]
    time_to_empty: Option<String>,
    totals: TotalsView,
    waiting_leases: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    status_time: Option<String>,
}

#[derive(Debug, Serialize)]
struct CountsView {
    scheduled: u64,
    ready: u64,
    leased: u64,
    retrying: u64,
    completed: u64,
    dead: u64,
    drained: u64,
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
    throttled: u64,
    drained: u64,
    requeued: u64,
    removed: u64,
    failed_by_code: BTreeMap<String, u64>,
}

impl From<QueueStatus> for StatusView {
    fn from(status: QueueStatus) -> StatusView {
        StatusView {
            queue: status.queue,
            counts: status.counts.unwrap_or_default().into(),
            ready_by_priority: status.ready_by_priority,
            oldest_ready_age: status.oldest_ready_age.as_ref().map(span),
            jobs: status.jobs,
            bytes: status.bytes,
            rates: status.rates.unwrap_or_default().into(),
            time_to_empty: status.time_to_empty.as_ref().map(span),
            totals: status.totals.unwrap_or_default().into(),
            waiting_leases: status.waiting_leases,
            status_time: status.status_time.as_ref().map(time),
        }
    }
}

impl From<StateCounts> for CountsView {
    fn from(counts: StateCounts) -> CountsView {
        let StateCounts { scheduled, ready, leased, retrying, completed, dead, drained, .. } = counts;
        CountsView { scheduled, ready, leased, retrying, completed, dead, drained }
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
            throttled: totals.throttled,
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
        let CountsView { scheduled, ready, leased, retrying, completed, dead, drained } = self.counts;
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
        "DRAINED",
        "BYTES",
        "OLDEST",
        "IN/S",
        "OUT/S",
        "ACKED/S",
        "FAILED/S",
    ];

    fn row(&self) -> Vec<String> {
        let CountsView { scheduled, ready, leased, retrying, completed, dead, drained } = self.counts;
        let counts = [ready, scheduled, retrying, leased, completed, dead, drained, self.bytes];
        let rates = [self.rates.enqueued, self.rates.dispatched, self.rates.acked, self.rates.failed];
        let mut row = vec![self.queue.clone()];
        row.extend(counts.map(|count| count.to_string()));
        row.push(self.oldest_ready_age.clone().unwrap_or_default());
        row.extend(rates.map(|rate| format!("{rate:.1}")));
        row
    }
}
