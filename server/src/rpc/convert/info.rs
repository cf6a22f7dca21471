//! What the server is, and what it takes.

use sluice_engine::{WallTime, bound};
use sluice_proto::v1;

use super::time::{duration, timestamp};

/// The answer of GetServerInfo.
pub(in crate::rpc) fn server_info(
    start_time: WallTime,
    max_payload_bytes: usize,
    max_idempotency_keys: u64,
) -> v1::GetServerInfoResponse {
    v1::GetServerInfoResponse {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        start_time: Some(timestamp(start_time)),
        bounds: Some(bounds(max_payload_bytes, max_idempotency_keys)),
    }
}

fn bounds(max_payload_bytes: usize, max_idempotency_keys: u64) -> v1::Bounds {
    v1::Bounds {
        max_queue_name_bytes: number(bound::MAX_QUEUE_NAME_BYTES),
        max_key_bytes: number(bound::MAX_KEY_BYTES),
        max_key_segments: number(bound::MAX_KEY_SEGMENTS),
        max_payload_bytes: number(max_payload_bytes),
        max_items_per_request: number(bound::MAX_ITEMS_PER_REQUEST),
        max_request_bytes: number(bound::MAX_REQUEST_BYTES),
        max_labels: number(bound::MAX_LABELS),
        max_label_bytes: number(bound::MAX_LABEL_BYTES),
        max_error_bytes: number(bound::MAX_ERROR_BYTES),
        max_result_bytes: number(bound::MAX_RESULT_BYTES),
        max_id_bytes: number(bound::MAX_ID_BYTES),
        max_request_id_bytes: number(bound::MAX_REQUEST_ID_BYTES),
        max_lease_jobs: bound::MAX_LEASE_JOBS,
        max_bulk_jobs: bound::MAX_BULK_JOBS,
        max_wait: Some(duration(bound::MAX_WAIT)),
        max_span: Some(duration(bound::MAX_SPAN)),
        min_lease_duration: Some(duration(bound::MIN_LEASE)),
        max_lease_duration: Some(duration(bound::MAX_LEASE)),
        max_queues: number(bound::MAX_QUEUES),
        max_request_ids: number(bound::MAX_REQUEST_IDS),
        max_response_bytes: number(bound::MAX_RESPONSE_BYTES),
        max_key_rules: number(bound::MAX_KEY_RULES),
        max_idempotency_keys,
        max_batches: number(bound::MAX_BATCHES),
        max_batch_totals: number(bound::MAX_BATCH_TOTALS),
        max_waiting_enqueues: number(bound::MAX_WAITING_ENQUEUES),
        max_get_jobs: number(bound::MAX_GET_JOBS),
        max_attempt_history: number(bound::MAX_ATTEMPT_HISTORY),
        max_limits: number(bound::MAX_LIMITS),
        max_waiting_acquires: number(bound::MAX_WAITING_ACQUIRES),
    }
}

fn number(bound: usize) -> u32 {
    u32::try_from(bound).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn info_tells_the_bounds_in_force() {
        let info = server_info(WallTime(5_000_000_000), 1_234, 56);
        assert_eq!(info.version, env!("CARGO_PKG_VERSION"));
        assert_eq!(info.start_time.unwrap().seconds, 5);
        let bounds = info.bounds.unwrap();
        assert_eq!((bounds.max_payload_bytes, bounds.max_items_per_request), (1_234, 10_000));
        assert_eq!(bounds.max_idempotency_keys, 56);
        assert_eq!(bounds.max_wait.unwrap().seconds, 60);
    }
}
