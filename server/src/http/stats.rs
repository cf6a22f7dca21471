//! `/stats`: how the queues stand, as JSON, a page at a time.

use std::collections::BTreeMap;

use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use serde::{Deserialize, Serialize};
use sluice_engine::{JobState, Level, Priority, QueueName, QueueStatus};

use super::Pages;
use crate::auth::{Access, Right};
use crate::writer::{CallError, Handle};

/// `GET /stats?queue=Q` for one queue, `?after=Q&limit=N` for the queues by name after one.
/// Of all, only those that the caller may read.
pub(super) async fn stats(
    State(pages): State<Pages>,
    Extension(access): Extension<Access>,
    Query(query): Query<StatsQuery>,
) -> Response {
    let page = match (&query.queue, query.after) {
        (Some(name), _) => match QueueName::new(name) {
            Ok(name) if !access.may(Right::Read, &name) => {
                return problem(StatusCode::FORBIDDEN, "needs the right read on the queue");
            }
            Ok(name) => one(&pages.handle, name).await,
            Err(error) => {
                return problem(StatusCode::BAD_REQUEST, &format!("queue {error}"));
            }
        },
        (None, after) => all(&pages.handle, &access, after, query.limit.clamp(1, MAX_QUEUES_PER_PAGE)).await,
    };
    match page {
        Ok(page) => Json(page).into_response(),
        Err(error) => problem(StatusCode::SERVICE_UNAVAILABLE, &error.to_string()),
    }
}

#[derive(Deserialize)]
pub(super) struct StatsQuery {
    queue: Option<String>,
    after: Option<String>,
    #[serde(default = "default_limit")]
    limit: usize,
}

/// Queues of a page, at most: about a megabyte.
const MAX_QUEUES_PER_PAGE: usize = 1_000;
/// Queues that the writer looks at in one go: everybody else waits meanwhile.
const QUEUES_PER_READ: usize = 64;

fn default_limit() -> usize {
    MAX_QUEUES_PER_PAGE
}

/// What the page shows.
#[derive(Serialize)]
struct Page {
    queues: Vec<QueueStats>,
    /// Ask for more with `after` this; none: that was all.
    next: Option<String>,
}

/// A queue as people who ran such queues by hand know it, and all the rest.
#[derive(Serialize)]
struct QueueStats {
    queue: String,
    /// READY at priorities 7 to 9.
    high: u64,
    /// READY at priorities 3 to 6.
    normal: u64,
    /// READY at priorities 0 to 2.
    low: u64,
    /// RETRYING.
    retry: u64,
    /// DEAD.
    dead_letter: u64,
    /// Jobs accepted so far.
    total_queued: u64,
    /// Deliveries that failed or expired so far.
    total_failed: u64,
    /// Jobs in each state.
    states: BTreeMap<&'static str, u64>,
    ready_by_priority: [u64; Priority::COUNT],
    bytes: u64,
    oldest_ready_seconds: Option<f64>,
    utilization: Option<f64>,
    level: &'static str,
    paused: bool,
    waiting_enqueues: u64,
    waiting_leases: u64,
    per_second: Rates,
    totals: Totals,
}

#[derive(Serialize)]
struct Rates {
    enqueued: f64,
    dispatched: f64,
    acked: f64,
    failed: f64,
}

#[derive(Serialize)]
struct Totals {
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

async fn one(handle: &Handle, name: QueueName) -> Result<Page, CallError> {
    let status = handle
        .read(move |engine, now| {
            // An unused name is an empty queue.
            (engine.status(&name, now).unwrap_or_default(), name)
        })
        .await?;
    Ok(Page { queues: vec![QueueStats::new(&status.1, status.0)], next: None })
}

async fn all(
    handle: &Handle,
    access: &Access,
    mut after: Option<String>,
    limit: usize,
) -> Result<Page, CallError> {
    let mut queues: Vec<QueueStats> = Vec::new();
    loop {
        let start = after.take();
        let want = QUEUES_PER_READ.min(limit - queues.len());
        let access = access.clone();
        let (slice, seen, end) = handle
            .read(move |engine, now| {
                let names: Vec<QueueName> =
                    engine.queues(start.as_deref(), want).into_iter().map(|view| view.name).collect();
                let (seen, end) = (names.len(), names.last().map(ToString::to_string));
                let slice: Vec<_> = names
                    .into_iter()
                    .filter(|name| access.may(Right::Read, name))
                    .filter_map(|name| engine.status(&name, now).map(|status| (name, status)))
                    .collect();
                (slice, seen, end)
            })
            .await?;
        let last = seen < want;
        queues.extend(slice.into_iter().map(|(name, status)| QueueStats::new(&name, status)));
        if last {
            return Ok(Page { queues, next: None });
        }
        after = end;
        if queues.len() >= limit {
            return Ok(Page { queues, next: after });
        }
    }
}

impl QueueStats {
    fn new(name: &QueueName, status: QueueStatus) -> QueueStats {
        let ready = status.ready_by_priority;
        let totals = status.totals;
        QueueStats {
            queue: name.to_string(),
            high: ready[7..].iter().sum(),
            normal: ready[3..7].iter().sum(),
            low: ready[..3].iter().sum(),
            retry: status.counts.get(JobState::Retrying),
            dead_letter: status.counts.get(JobState::Dead),
            total_queued: totals.enqueued,
            total_failed: totals.failed_attempts,
            states: JobState::ALL
                .into_iter()
                .map(|state| (name_of(state), status.counts.get(state)))
                .collect(),
            ready_by_priority: ready,
            bytes: status.bytes,
            oldest_ready_seconds: status.oldest_ready_age.map(|age| age.0 as f64 / 1e9),
            utilization: status.utilization,
            level: word_of(status.level),
            paused: status.paused,
            waiting_enqueues: status.waiting_enqueues,
            waiting_leases: status.waiting_leases,
            per_second: Rates {
                enqueued: status.rates.enqueued,
                dispatched: status.rates.dispatched,
                acked: status.rates.acked,
                failed: status.rates.failed,
            },
            totals: Totals {
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
                failed_by_code: totals.failed_by_code.into_iter().map(|(code, n)| (code.into(), n)).collect(),
            },
        }
    }
}

/// A level as the contract names it.
fn word_of(level: Level) -> &'static str {
    match level {
        Level::Ok => "OK",
        Level::Warning => "WARNING",
        Level::Critical => "CRITICAL",
    }
}

/// A state as the contract names it.
fn name_of(state: JobState) -> &'static str {
    match state {
        JobState::Scheduled => "SCHEDULED",
        JobState::Ready => "READY",
        JobState::Leased => "LEASED",
        JobState::Retrying => "RETRYING",
        JobState::Completed => "COMPLETED",
        JobState::Dead => "DEAD",
        JobState::Cancelled => "CANCELLED",
        JobState::Expired => "EXPIRED",
        JobState::Dropped => "DROPPED",
        JobState::Drained => "DRAINED",
    }
}

#[derive(Serialize)]
struct Problem<'a> {
    error: &'a str,
}

fn problem(code: StatusCode, error: &str) -> Response {
    (code, Json(Problem { error })).into_response()
}

#[cfg(test)]
mod tests {
    use sluice_engine::QueueTotals;

    use super::*;

    #[test]
    fn priorities_are_summed_to_high_normal_and_low() {
        let totals = QueueTotals { enqueued: 5, failed_attempts: 3, ..QueueTotals::default() };
        let ready_by_priority = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512];
        let status = QueueStatus { ready_by_priority, totals, ..QueueStatus::default() };
        let stats = QueueStats::new(&QueueName::new("q").unwrap(), status);
        assert_eq!((stats.high, stats.normal, stats.low), (896, 120, 7));
        assert_eq!((stats.total_queued, stats.total_failed), (5, 3));
        assert_eq!(stats.states.len(), JobState::ALL.len());
    }
}
