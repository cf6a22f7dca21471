//! Queues and how they stand.

use sluice_engine::{
    BatchState, BatchView, Capacity, Eta, FlowHintPolicy, FlowHintStep, JobState, KeyRule, KeyStatus, Level,
    OverflowPolicy, QueueName, QueueRates, QueueStatus, QueueTotals, QueueVersion, QueueView, StateCounts,
    WallTime,
};
use sluice_proto::v1;

use super::explanation::eta;
use super::gate::{node, node_status};
use super::job::retry_policy;
use super::time::{duration, timestamp};

/// A queue, with every default filled in.
pub(in crate::rpc) fn queue(view: &QueueView) -> v1::Queue {
    let settings = &view.settings;
    v1::Queue {
        name: view.name.to_string(),
        retry_policy: Some(retry_policy(&settings.retry)),
        lease_duration: Some(duration(settings.lease_duration)),
        retention: Some(duration(settings.retention)),
        retention_bytes: Some(settings.retention_bytes),
        dead_retention: Some(duration(settings.dead_retention)),
        priority_ageing: Some(duration(settings.priority_ageing)),
        max_jobs: settings.capacity.jobs,
        max_bytes: settings.capacity.bytes,
        overflow_policy: overflow_policy(settings.overflow) as i32,
        reserve: settings.reserve.map(|reserve| v1::CapacityReserve {
            min_priority: Some(reserve.min_priority.get().into()),
            percent: Some(reserve.percent.into()),
        }),
        settings: Some(v1::NodeSettings {
            adaptive: Some(settings.node.adaptive.unwrap_or(true)),
            ..node(&settings.node, Capacity::default(), None)
        }),
        limit: settings.limit.as_ref().map_or_else(String::new, ToString::to_string),
        key_rules: settings.key_rules.iter().map(key_rule).collect(),
        paused: settings.paused,
        flow_hint: settings.flow_hint.as_ref().map(flow_hint_policy),
        idempotency_window: Some(duration(settings.idempotency_window)),
        etag: etag(view.version),
        create_time: Some(timestamp(view.create_time)),
    }
}

/// What names a version of a queue's settings.
pub(in crate::rpc) fn etag(version: QueueVersion) -> String {
    format!("{}-{}", version.queue.0, version.number)
}

fn key_rule(rule: &KeyRule) -> v1::KeyRule {
    v1::KeyRule {
        key_pattern: rule.pattern.to_string(),
        settings: Some(node(&rule.node, rule.capacity, rule.overflow)),
    }
}

pub(super) fn overflow_policy(policy: OverflowPolicy) -> v1::OverflowPolicy {
    match policy {
        OverflowPolicy::Reject => v1::OverflowPolicy::Reject,
        OverflowPolicy::DropOldest => v1::OverflowPolicy::DropOldest,
        OverflowPolicy::Wait => v1::OverflowPolicy::Wait,
    }
}

fn flow_hint_policy(policy: &FlowHintPolicy) -> v1::FlowHintPolicy {
    let step = |step: &FlowHintStep| v1::FlowHintStep {
        batch_size: Some(step.batch_size),
        wait: Some(duration(step.wait)),
    };
    v1::FlowHintPolicy {
        medium_load: Some(policy.medium_load),
        high_load: Some(policy.high_load),
        low: Some(step(&policy.low)),
        medium: Some(step(&policy.medium)),
        high: Some(step(&policy.high)),
    }
}

/// What callers are asked to do at this load.
pub(in crate::rpc) fn flow_hint(policy: &FlowHintPolicy, load: f64) -> v1::FlowHint {
    let (level, step) = if load > policy.high_load {
        (v1::LoadLevel::High, policy.high)
    } else if load > policy.medium_load {
        (v1::LoadLevel::Medium, policy.medium)
    } else {
        (v1::LoadLevel::Low, policy.low)
    };
    v1::FlowHint { load_level: level as i32, batch_size: step.batch_size, wait: Some(duration(step.wait)) }
}

/// How full something is.
fn level(level: Level) -> v1::QueueLevel {
    match level {
        Level::Ok => v1::QueueLevel::Ok,
        Level::Warning => v1::QueueLevel::Warning,
        Level::Critical => v1::QueueLevel::Critical,
    }
}

/// How a key stands, as an entry of a list.
pub(in crate::rpc) fn key_status(status: &KeyStatus) -> v1::KeyStatus {
    v1::KeyStatus {
        key: status.key.to_string(),
        scheduled: status.counts.get(JobState::Scheduled),
        ready: status.counts.get(JobState::Ready),
        leased: status.counts.get(JobState::Leased),
        retrying: status.counts.get(JobState::Retrying),
        bytes: status.bytes,
        utilization: status.utilization,
        level: level(status.level) as i32,
        node: status.node.as_deref().map(node_status),
    }
}

/// How a batch stands, and when it will be done.
pub(in crate::rpc) fn batch(view: &BatchView, expected: Option<&Eta>) -> v1::GetBatchResponse {
    let state = match view.state {
        BatchState::Pending => v1::BatchState::Pending,
        BatchState::Running => v1::BatchState::Running,
        BatchState::Completed => v1::BatchState::Completed,
        BatchState::Partial => v1::BatchState::Partial,
        BatchState::Failed => v1::BatchState::Failed,
    };
    v1::GetBatchResponse {
        counts: Some(counts(&view.counts)),
        state: state as i32,
        eta: expected.map(eta),
        total_jobs: view.total,
        jobs: view.counts.sum(),
    }
}

/// How a queue stands, on a machine with this load.
pub(in crate::rpc) fn status(name: &QueueName, status: &QueueStatus, load: f64) -> v1::QueueStatus {
    v1::QueueStatus {
        queue: name.to_string(),
        counts: Some(counts(&status.counts)),
        ready_by_priority: status.ready_by_priority.to_vec(),
        oldest_ready_age: status.oldest_ready_age.map(duration),
        jobs: status.counts.live(),
        bytes: status.bytes,
        utilization: status.utilization,
        level: level(status.level) as i32,
        rates: Some(rates(&status.rates)),
        nodes: status.nodes.iter().map(node_status).collect(),
        time_to_empty: status.time_to_empty.map(duration),
        paused: status.paused,
        totals: Some(totals(&status.totals)),
        flow_hint: status.flow_hint.as_ref().map(|policy| flow_hint(policy, load)),
        waiting_enqueues: status.waiting_enqueues,
        waiting_leases: status.waiting_leases,
        status_time: Some(timestamp(status.status_time)),
        key: String::new(),
    }
}

/// How a queue stands that does not exist: empty.
pub(in crate::rpc) fn absent_status(name: &QueueName, now: WallTime) -> v1::QueueStatus {
    status(name, &QueueStatus { status_time: now, ..QueueStatus::default() }, 0.0)
}

fn counts(counts: &StateCounts) -> v1::StateCounts {
    v1::StateCounts {
        scheduled: counts.get(JobState::Scheduled),
        ready: counts.get(JobState::Ready),
        leased: counts.get(JobState::Leased),
        retrying: counts.get(JobState::Retrying),
        completed: counts.get(JobState::Completed),
        dead: counts.get(JobState::Dead),
        cancelled: counts.get(JobState::Cancelled),
        expired: counts.get(JobState::Expired),
        dropped: counts.get(JobState::Dropped),
        drained: counts.get(JobState::Drained),
    }
}

fn rates(rates: &QueueRates) -> v1::QueueRates {
    v1::QueueRates {
        enqueued: rates.enqueued,
        dispatched: rates.dispatched,
        acked: rates.acked,
        failed: rates.failed,
    }
}

fn totals(totals: &QueueTotals) -> v1::QueueTotals {
    v1::QueueTotals {
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
        failed_by_code: totals.failed_by_code.iter().map(|(code, n)| (code.to_string(), *n)).collect(),
    }
}

#[cfg(test)]
mod tests {
    use sluice_engine::{
        BreakerPolicy, KeyPattern, NodeSettings, Priority, PutQueue, QueueId, QueueSettings, Reserve, Span,
        Unit, Window, WindowKind,
    };

    use super::*;
    use crate::rpc::validate;

    #[test]
    fn queue_that_is_read_can_be_put_back_as_it_was() {
        let capacity = Capacity { jobs: Some(5), bytes: Some(6) };
        let window =
            Window { kind: WindowKind::Quota, amount: 9, period: Span::from_secs(60), unit: Unit::Cost };
        let rate = Window { kind: WindowKind::Rate { burst: 7 }, unit: Unit::Jobs, ..window };
        let limits = NodeSettings {
            windows: vec![window, rate],
            max_in_flight: Some(3),
            weight: 2,
            ordered: true,
            adaptive: Some(false),
            breaker: Some(BreakerPolicy { consecutive_failures: 5, open_duration: Span::from_secs(30) }),
        };
        let settings = QueueSettings {
            retention_bytes: 77,
            capacity,
            overflow: OverflowPolicy::Wait,
            reserve: Some(Reserve { min_priority: Priority::new(7).unwrap(), percent: 20 }),
            key_rules: vec![KeyRule {
                pattern: KeyPattern::new("bot*/group").unwrap(),
                capacity,
                overflow: Some(OverflowPolicy::DropOldest),
                node: limits.clone(),
            }],
            node: limits,
            paused: true,
            flow_hint: Some(FlowHintPolicy { medium_load: 0.4, ..FlowHintPolicy::default() }),
            idempotency_window: Span::from_secs(9),
            ..QueueSettings::default()
        };
        let view = QueueView {
            name: QueueName::new("q").unwrap(),
            settings: settings.clone(),
            version: QueueVersion { queue: QueueId(3), number: 12 },
            create_time: WallTime(5),
        };
        let request = v1::PutQueueRequest { queue: Some(queue(&view)), update_mask: None };
        let PutQueue { name, patch, version } = validate::put_queue(request).unwrap();
        assert_eq!((&*name, version), ("q", Some(view.version)));
        assert_eq!(patch.over(&QueueSettings::default()), settings);
    }

    #[test]
    fn queue_that_says_nothing_is_adaptive_and_says_so_and_can_be_put_back() {
        let settings = QueueSettings::default();
        let view = QueueView {
            name: QueueName::new("q").unwrap(),
            settings: settings.clone(),
            version: QueueVersion { queue: QueueId(3), number: 1 },
            create_time: WallTime(5),
        };
        let shown = queue(&view);
        assert_eq!(shown.settings.as_ref().unwrap().adaptive, Some(true));
        let request = v1::PutQueueRequest { queue: Some(shown), update_mask: None };
        assert_eq!(validate::put_queue(request).unwrap().patch.over(&settings), settings);
    }

    #[test]
    fn status_of_a_queue_that_is_not_there_is_empty() {
        let shown = absent_status(&QueueName::new("q").unwrap(), WallTime(7));
        assert_eq!((&*shown.queue, shown.jobs, shown.ready_by_priority.len()), ("q", 0, 10));
        assert_eq!(shown.status_time.unwrap().nanos, 7);
    }

    #[test]
    fn hint_follows_the_load() {
        let hint = |load| flow_hint(&FlowHintPolicy::default(), load);
        let of = |load| (hint(load).load_level(), hint(load).batch_size);
        assert_eq!(of(0.5), (v1::LoadLevel::Low, 20));
        assert_eq!(of(0.51), (v1::LoadLevel::Medium, 10));
        assert_eq!(of(0.81), (v1::LoadLevel::High, 5));
    }

    #[test]
    fn totals_keep_their_names() {
        let totals = super::totals(&QueueTotals {
            enqueued: 1,
            completed: 2,
            failed_attempts: 3,
            dead: 4,
            dropped: 10,
            throttled: 5,
            cancelled: 11,
            expired: 12,
            drained: 6,
            requeued: 7,
            removed: 8,
            failed_by_code: [("http_500".into(), 9)].into(),
        });
        let expected = v1::QueueTotals {
            enqueued: 1,
            completed: 2,
            failed_attempts: 3,
            dead: 4,
            dropped: 10,
            throttled: 5,
            cancelled: 11,
            expired: 12,
            drained: 6,
            requeued: 7,
            removed: 8,
            failed_by_code: [("http_500".to_owned(), 9)].into(),
        };
        assert_eq!(totals, expected);
    }
}
