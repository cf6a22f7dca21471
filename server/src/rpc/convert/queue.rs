//! Queues and how they stand.

use sluice_engine::{
    JobState, QueueName, QueueRates, QueueStatus, QueueTotals, QueueView, StateCounts, WallTime,
};
use sluice_proto::v1;

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
        etag: view.version.to_string(),
        create_time: Some(timestamp(view.create_time)),
    }
}

/// How a queue stands.
pub(in crate::rpc) fn status(name: &QueueName, status: &QueueStatus) -> v1::QueueStatus {
    v1::QueueStatus {
        queue: name.to_string(),
        counts: Some(counts(&status.counts)),
        ready_by_priority: status.ready_by_priority.to_vec(),
        oldest_ready_age: status.oldest_ready_age.map(duration),
        jobs: status.counts.live(),
        bytes: status.bytes,
        rates: Some(rates(&status.rates)),
        time_to_empty: status.time_to_empty.map(duration),
        totals: Some(totals(&status.totals)),
        waiting_leases: status.waiting_leases,
        status_time: Some(timestamp(status.status_time)),
    }
}

/// How a queue stands that does not exist: empty.
pub(in crate::rpc) fn absent_status(name: &QueueName, now: WallTime) -> v1::QueueStatus {
    status(name, &QueueStatus { status_time: now, ..QueueStatus::default() })
}

fn counts(counts: &StateCounts) -> v1::StateCounts {
    v1::StateCounts {
        scheduled: counts.get(JobState::Scheduled),
        ready: counts.get(JobState::Ready),
        leased: counts.get(JobState::Leased),
        retrying: counts.get(JobState::Retrying),
        completed: counts.get(JobState::Completed),
        dead: counts.get(JobState::Dead),
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
        throttled: totals.throttled,
        drained: totals.drained,
        requeued: totals.requeued,
        removed: totals.removed,
        failed_by_code: totals.failed_by_code.iter().map(|(code, n)| (code.to_string(), *n)).collect(),
    }
}

#[cfg(test)]
mod tests {
    use sluice_engine::{PutQueue, QueueSettings};

    use super::*;
    use crate::rpc::validate;

    #[test]
    fn queue_that_is_read_can_be_put_back_as_it_was() {
        let settings = QueueSettings { retention_bytes: 77, ..QueueSettings::default() };
        let view = QueueView {
            name: QueueName::new("q").unwrap(),
            settings: settings.clone(),
            version: 12,
            create_time: WallTime(5),
        };
        let request = v1::PutQueueRequest { queue: Some(queue(&view)), update_mask: None };
        let PutQueue { name, patch, version } = validate::put_queue(request).unwrap();
        assert_eq!((&*name, version), ("q", Some(12)));
        assert_eq!(patch.over(&QueueSettings::default()), settings);
    }

    #[test]
    fn status_of_a_queue_that_is_not_there_is_empty() {
        let shown = absent_status(&QueueName::new("q").unwrap(), WallTime(7));
        assert_eq!((&*shown.queue, shown.jobs, shown.ready_by_priority.len()), ("q", 0, 10));
        assert_eq!(shown.status_time.unwrap().nanos, 7);
    }

    #[test]
    fn totals_keep_their_names() {
        let totals = super::totals(&QueueTotals {
            enqueued: 1,
            completed: 2,
            failed_attempts: 3,
            dead: 4,
            throttled: 5,
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
            throttled: 5,
            drained: 6,
            requeued: 7,
            removed: 8,
            failed_by_code: [("http_500".to_owned(), 9)].into(),
        };
        assert_eq!(totals, expected);
    }
}
