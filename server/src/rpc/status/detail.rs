//! A failure as a gRPC status with its details, small enough for every client.

use std::collections::HashMap;
use std::time::Duration;

use tonic::metadata::{MetadataMap, MetadataValue};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use super::Failure;
use crate::rpc::text::cut;

/// Who speaks, in every ErrorInfo.
pub(super) const DOMAIN: &str = "sluice.v1";
/// What gRPC's own retry looks at.
const PUSHBACK: &str = "grpc-retry-pushback-ms";
/// Bytes of all details: C-core refuses more than 8 KiB of trailers, and they travel in base64.
const MAX_DETAILS_BYTES: usize = 4 << 10;
/// Bytes of a name that an error repeats.
const MAX_NAME_BYTES: usize = 128;

impl From<Failure> for Status {
    fn from(failure: Failure) -> Status {
        let kind = failure.kind();
        let mut details = details(&failure);
        let message = failure.message();
        details.set_error_info(kind.reason, DOMAIN, HashMap::new());
        if kind.retry_after.is_some() {
            details.set_retry_info(kind.retry_after);
        }
        let mut metadata = MetadataMap::new();
        if kind.code == Code::ResourceExhausted {
            metadata.insert(PUSHBACK, pushback(kind.retry_after));
        }
        let status = Status::with_error_details_and_metadata(kind.code, message, details, metadata);
        debug_assert!(status.details().len() <= MAX_DETAILS_BYTES, "details of {failure:?} are too long");
        status
    }
}

/// What more there is to say, by kind.
fn details(failure: &Failure) -> ErrorDetails {
    let mut details = ErrorDetails::new();
    match failure {
        Failure::Fields(wrong) => {
            for field in wrong {
                details.add_bad_request_violation(&*field.path, &*field.what);
            }
        }
        Failure::RequestIdReused => {
            details.add_bad_request_violation("request_id", "came before with other content");
        }
        Failure::QueueNotFound(name) | Failure::EtagMismatch(name) => {
            details.set_resource_info("sluice.v1.Queue", name_of(name), "", failure.message());
        }
        Failure::LimitNotFound(name) => {
            details.set_resource_info("sluice.v1.Limit", name_of(name), "", failure.message());
        }
        Failure::LimitInUse(name) => {
            details.add_precondition_failure_violation("LIMIT_IN_USE", name_of(name), failure.message());
        }
        Failure::TooManyLimits => {
            details.add_quota_failure_violation("limits", failure.message());
        }
        Failure::JobNotFound(id) => {
            details.set_resource_info("sluice.v1.Job", name_of(id), "", failure.message());
        }
        Failure::DrainNotFound(queue) => {
            details.set_resource_info("sluice.v1.DrainRequest", name_of(queue), "", failure.message());
        }
        Failure::LeaseLost(id) => {
            details.add_precondition_failure_violation("LEASE_LOST", name_of(id), failure.message());
        }
        Failure::RequestRate { caller, .. } => {
            details.add_quota_failure_violation(name_of(caller), failure.message());
        }
        Failure::TooManyCalls => {
            details.add_quota_failure_violation("calls", failure.message());
        }
        Failure::TooMuchHeld => {
            details.add_quota_failure_violation("bytes", failure.message());
        }
        Failure::TooManyQueues => {
            details.add_quota_failure_violation("queues", failure.message());
        }
        Failure::QueueFull { queue, .. } => {
            details.add_quota_failure_violation(name_of(queue), failure.message());
        }
        Failure::IdempotencyFull => {
            details.add_quota_failure_violation("idempotency_keys", failure.message());
        }
        Failure::TooManyBatches => {
            details.add_quota_failure_violation("batches", failure.message());
        }
        Failure::NeverFits(_) => {
            details.add_bad_request_violation("jobs", failure.message());
        }
        Failure::BatchNotFound(batch) => {
            details.set_resource_info("sluice.v1.Batch", name_of(batch), "", failure.message());
        }
        Failure::WrongState { job, .. } => {
            details.add_precondition_failure_violation("WRONG_STATE", name_of(job), failure.message());
        }
        Failure::QueueNotEmpty(queue) => {
            details.add_precondition_failure_violation("QUEUE_NOT_EMPTY", name_of(queue), failure.message());
        }
        Failure::StorageFull => {
            details.add_quota_failure_violation("disk", failure.message());
        }
        Failure::RequestTooLarge
        | Failure::RequestMalformed(_)
        | Failure::BackupTooSlow
        | Failure::UnknownMethod
        | Failure::Unauthenticated
        | Failure::PermissionDenied(_)
        | Failure::RightsChanged
        | Failure::Starting
        | Failure::Overloaded
        | Failure::Stopping
        | Failure::DeadlineExceeded
        | Failure::Interrupted { .. }
        | Failure::AnswerNotTaken
        | Failure::Internal => {}
    }
    details
}

/// What a client sent as a name, no longer than a name may be.
fn name_of(name: &str) -> String {
    cut(name, MAX_NAME_BYTES).to_owned()
}

/// Milliseconds to wait, at least 1; negative: do not retry.
fn pushback(retry_after: Option<Duration>) -> MetadataValue<tonic::metadata::Ascii> {
    match retry_after {
        Some(wait) => {
            let millis = i64::try_from(wait.as_nanos().div_ceil(1_000_000)).unwrap_or(i64::MAX);
            MetadataValue::from(millis.max(1))
        }
        None => MetadataValue::from(-1_i64),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rpc::validate::{Fields, WrongField};

    /// One of each kind: a kind that is missing here does not compile in `details`, so it is noticed there.
    fn every() -> Vec<Failure> {
        let name = || "n".repeat(4_096);
        let field = || WrongField { path: "p".repeat(96), what: "w".repeat(96) };
        vec![
            Failure::Fields((0..Fields::MAX).map(|_| field()).collect()),
            Failure::RequestIdReused,
            Failure::QueueFull {
                queue: name(),
                what: sluice_engine::Full::Queue,
                retry_after: Duration::from_millis(100),
            },
            Failure::NeverFits(sluice_engine::Full::Key),
            Failure::IdempotencyFull,
            Failure::TooManyBatches,
            Failure::BatchNotFound(name()),
            Failure::WrongState { job: name(), state: sluice_engine::JobState::Dead },
            Failure::QueueNotEmpty(name()),
            Failure::RequestTooLarge,
            Failure::RequestMalformed(name()),
            Failure::UnknownMethod,
            Failure::Unauthenticated,
            Failure::PermissionDenied(crate::auth::Rights::all()),
            Failure::RightsChanged,
            Failure::QueueNotFound(name()),
            Failure::JobNotFound(name()),
            Failure::DrainNotFound(name()),
            Failure::LeaseLost(name()),
            Failure::EtagMismatch(name()),
            Failure::TooManyQueues,
            Failure::RequestRate { caller: name(), retry_after: Some(Duration::from_micros(1_500)) },
            Failure::RequestRate { caller: name(), retry_after: None },
            Failure::StorageFull,
            Failure::Starting,
            Failure::Overloaded,
            Failure::Stopping,
            Failure::DeadlineExceeded,
            Failure::Interrupted { done: u64::MAX },
            Failure::Internal,
        ]
    }

    #[test]
    fn every_failure_carries_its_reason_in_at_most_four_kibibytes() {
        for failure in every() {
            let kind = failure.kind();
            let shown = format!("{failure:.40?}");
            let status = Status::from(failure);
            assert!(status.details().len() <= 4_096, "{shown}: {}", status.details().len());
            let info = status.get_details_error_info().expect("every error has one");
            assert_eq!((&*info.reason, &*info.domain), (kind.reason, "sluice.v1"));
            assert_eq!(status.code(), kind.code);
            assert!(status.message().len() <= 512);
            let retry = status.get_details_retry_info().and_then(|r| r.retry_delay);
            assert_eq!(retry, kind.retry_after, "{shown}");
        }
    }

    #[test]
    fn exhausted_resources_say_whose_and_push_back() {
        for failure in every() {
            let status = Status::from(failure);
            let exhausted = status.code() == Code::ResourceExhausted;
            assert_eq!(status.get_details_quota_failure().is_some(), exhausted, "{status:?}");
            assert_eq!(status.metadata().contains_key(PUSHBACK), exhausted, "{status:?}");
        }
    }

    #[test]
    fn pushback_is_in_whole_milliseconds_and_never_too_early() {
        let text = |wait| pushback(wait).to_str().unwrap().to_owned();
        assert_eq!(text(Some(Duration::ZERO)), "1");
        assert_eq!(text(Some(Duration::from_micros(1_500))), "2");
        assert_eq!(text(Some(Duration::from_secs(5))), "5000");
        assert_eq!(text(None), "-1");
    }

    #[test]
    fn bad_fields_are_listed_one_by_one() {
        let wrong = WrongField { path: "jobs[3].priority".to_owned(), what: "must be 0 to 9".to_owned() };
        let request = Status::from(Failure::Fields(vec![wrong])).get_details_bad_request().unwrap();
        assert_eq!(request.field_violations.len(), 1);
        assert_eq!(request.field_violations[0].field, "jobs[3].priority");
        assert_eq!(request.field_violations[0].description, "must be 0 to 9");
    }

    #[test]
    fn what_was_not_found_is_named() {
        let info = Status::from(Failure::JobNotFound("77".to_owned())).get_details_resource_info().unwrap();
        assert_eq!((&*info.resource_type, &*info.resource_name), ("sluice.v1.Job", "77"));
    }
}
