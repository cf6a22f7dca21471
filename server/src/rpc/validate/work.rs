//! Lease and Work.

use sluice_engine::bound::{MAX_LEASE, MAX_LEASE_JOBS, MAX_WAIT, MIN_LEASE};
use sluice_engine::{Lease, Span};
use sluice_proto::v1;

use super::field::Fields;
use super::path::Path;
use crate::rpc::status::Failure;

/// Jobs to take. `max_bytes` is what the answer has room for.
pub(in crate::rpc) fn lease(request: v1::LeaseRequest, max_bytes: usize) -> Result<Lease, Failure> {
    let mut fields = Fields::default();
    let queue = fields.queue(Path::new("queue"), &request.queue);
    let max_jobs = fields.number(Path::new("max_jobs"), request.max_jobs, 1..=MAX_LEASE_JOBS, 1);
    let duration = fields.span(Path::new("lease_duration"), request.lease_duration, MIN_LEASE..=MAX_LEASE);
    let wait = fields.span(Path::new("wait_timeout"), request.wait_timeout, Span::ZERO..=MAX_WAIT);
    let worker = fields.id(Path::new("worker_id"), &request.worker_id);
    let made = (|| {
        Some(Lease {
            queue: queue?,
            max_jobs: max_jobs?,
            max_bytes,
            lease_duration: duration?,
            wait: wait?.unwrap_or(Span::ZERO),
            worker: worker.map(|()| request.worker_id.into())?,
        })
    })();
    fields.made(made)
}

/// Who works, and on what: the lease to ask for again and again, and how many jobs may be held at a time.
pub(in crate::rpc) fn work_start(start: v1::WorkStart, max_bytes: usize) -> Result<(Lease, usize), Failure> {
    let mut fields = Fields::default();
    let at = Path::new("start");
    let queue = fields.queue(at.then("queue"), &start.queue);
    let duration = fields.span(at.then("lease_duration"), start.lease_duration, MIN_LEASE..=MAX_LEASE);
    let worker = fields.id(at.then("worker_id"), &start.worker_id);
    let credit = fields.number(at.then("credit"), Some(start.credit), 0..=MAX_LEASE_JOBS, 0);
    let made = (|| {
        let lease = Lease {
            queue: queue?,
            max_jobs: 1,
            max_bytes,
            lease_duration: duration?,
            wait: MAX_WAIT,
            worker: worker.map(|()| start.worker_id.into())?,
        };
        Some((lease, credit? as usize))
    })();
    fields.made(made)
}

/// The jobs that a worker may hold when it may hold `more` than `credit`.
pub(in crate::rpc) fn credit(credit: usize, more: u32) -> Result<usize, Failure> {
    let mut fields = Fields::default();
    let sum = credit.saturating_add(more as usize);
    if sum > MAX_LEASE_JOBS as usize {
        fields.wrong(Path::new("credit"), format_args!("is more than {MAX_LEASE_JOBS} in all"));
    }
    fields.made(Some(sum))
}

/// A message of a worker that does not belong where it stands.
pub(in crate::rpc) fn out_of_turn(field: &'static str, what: &str) -> Failure {
    let mut fields = Fields::default();
    fields.wrong(Path::new(field), what);
    match fields.made(None::<()>) {
        Err(failure) => failure,
        Ok(()) => Failure::Internal,
    }
}

#[cfg(test)]
mod tests {
    use prost_types::Duration;

    use super::*;

    fn request() -> v1::LeaseRequest {
        v1::LeaseRequest { queue: "q".to_owned(), ..Default::default() }
    }

    fn seconds(seconds: i64) -> Option<Duration> {
        Some(Duration { seconds, nanos: 0 })
    }

    fn wrong(request: v1::LeaseRequest) -> Vec<String> {
        match lease(request, 1) {
            Err(Failure::Fields(wrong)) => wrong.into_iter().map(|w| w.path).collect(),
            other => panic!("not about fields: {other:?}"),
        }
    }

    #[test]
    fn lease_that_says_nothing_takes_one_job_and_does_not_wait() {
        let made = lease(request(), 9).unwrap();
        assert_eq!((made.max_jobs, made.wait, made.lease_duration, made.max_bytes), (1, Span::ZERO, None, 9));
    }

    #[test]
    fn lease_takes_what_is_at_its_bounds() {
        let full = v1::LeaseRequest {
            max_jobs: Some(1_000),
            lease_duration: seconds(12 * 3_600),
            wait_timeout: seconds(60),
            worker_id: "w".repeat(128),
            ..request()
        };
        let made = lease(full, 1).unwrap();
        assert_eq!((made.max_jobs, made.wait, made.lease_duration), (1_000, MAX_WAIT, Some(MAX_LEASE)));
        let least = v1::LeaseRequest { max_jobs: Some(1), lease_duration: seconds(1), ..request() };
        assert!(lease(least, 1).is_ok());
    }

    #[test]
    fn lease_beyond_its_bounds_is_refused() {
        let below = Some(Duration { seconds: 0, nanos: 999_999_999 });
        assert_eq!(wrong(v1::LeaseRequest { queue: "a/b".to_owned(), ..request() }), ["queue"]);
        assert_eq!(wrong(v1::LeaseRequest { max_jobs: Some(0), ..request() }), ["max_jobs"]);
        assert_eq!(wrong(v1::LeaseRequest { max_jobs: Some(1_001), ..request() }), ["max_jobs"]);
        assert_eq!(wrong(v1::LeaseRequest { lease_duration: below, ..request() }), ["lease_duration"]);
        assert_eq!(
            wrong(v1::LeaseRequest { lease_duration: seconds(43_201), ..request() }),
            ["lease_duration"]
        );
        assert_eq!(wrong(v1::LeaseRequest { wait_timeout: seconds(61), ..request() }), ["wait_timeout"]);
        assert_eq!(wrong(v1::LeaseRequest { wait_timeout: seconds(-1), ..request() }), ["wait_timeout"]);
        assert_eq!(wrong(v1::LeaseRequest { worker_id: "w".repeat(129), ..request() }), ["worker_id"]);
    }
}
