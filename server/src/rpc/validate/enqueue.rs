//! Enqueue.

use sluice_engine::{Enqueue, WallTime};
use sluice_proto::v1;

use super::field::Fields;
use super::path::Path;
use crate::rpc::request_key;
use crate::rpc::status::Failure;

/// Jobs to put in.
pub(in crate::rpc) fn enqueue(
    request: v1::EnqueueRequest,
    max_payload_bytes: usize,
    now: WallTime,
) -> Result<Enqueue, Failure> {
    let mut fields = Fields::default();
    let queue = fields.queue(Path::new("queue"), &request.queue);
    let request_id = fields.request_id(Path::new("request_id"), &request.request_id);
    let jobs = fields.items(Path::new("jobs"), request.jobs, |fields, at, spec| {
        fields.spec(at, spec, max_payload_bytes, now)
    });
    let made = queue.zip(jobs).zip(request_id).map(|((queue, jobs), ())| {
        let said = (!request.request_id.is_empty()).then_some(&*request.request_id);
        let request = said.map(|id| request_key::enqueue(&queue, id, &jobs));
        Enqueue { queue, jobs, request }
    });
    fields.made(made)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: WallTime = WallTime(1_700_000_000_000_000_000);

    fn request() -> v1::EnqueueRequest {
        v1::EnqueueRequest {
            queue: "q".to_owned(),
            jobs: vec![v1::JobSpec::default()],
            request_id: String::new(),
        }
    }

    fn wrong(request: v1::EnqueueRequest) -> Vec<String> {
        match enqueue(request, 1_024, NOW) {
            Err(Failure::Fields(wrong)) => wrong.into_iter().map(|w| w.path).collect(),
            other => panic!("not about fields: {other:?}"),
        }
    }

    #[test]
    fn request_without_id_is_not_remembered() {
        let made = enqueue(request(), 1_024, NOW).unwrap();
        assert_eq!((&*made.queue, made.jobs.len(), made.request), ("q", 1, None));
        let named = v1::EnqueueRequest { request_id: "r".to_owned(), ..request() };
        assert!(enqueue(named, 1_024, NOW).unwrap().request.is_some());
    }

    #[test]
    fn every_field_of_an_enqueue_is_checked_at_once() {
        let bad = v1::EnqueueRequest {
            queue: String::new(),
            jobs: vec![v1::JobSpec { priority: Some(10), ..Default::default() }],
            request_id: "r".repeat(37),
        };
        assert_eq!(wrong(bad), ["queue", "request_id", "jobs[0].priority"]);
        assert_eq!(wrong(v1::EnqueueRequest { jobs: Vec::new(), ..request() }), ["jobs"]);
        let many = vec![v1::JobSpec::default(); 10_001];
        assert_eq!(wrong(v1::EnqueueRequest { jobs: many, ..request() }), ["jobs"]);
    }
}
