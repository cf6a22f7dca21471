//! Enqueue.

use std::collections::HashMap;

use sluice_engine::bound::{MAX_BATCH_TOTALS, MAX_WAIT};
use sluice_engine::{BatchName, Enqueue, Span, WallTime};
use sluice_proto::v1;

use super::field::Fields;
use super::path::Path;
use crate::rpc::request_key;
use crate::rpc::status::Failure;

/// Jobs to put in.
pub(in crate::rpc) fn enqueue(
    request: v1::EnqueueRequest,
    principal: &str,
    max_payload_bytes: usize,
    now: WallTime,
) -> Result<Enqueue, Failure> {
    let mut fields = Fields::default();
    let queue = fields.queue(Path::new("queue"), &request.queue);
    let request_id = fields.request_id(Path::new("request_id"), &request.request_id);
    let jobs = fields.items(Path::new("jobs"), request.jobs, |fields, at, spec| {
        fields.spec(at, spec, max_payload_bytes, now)
    });
    let wait = fields.span(Path::new("wait_timeout"), request.wait_timeout, Span::ZERO..=MAX_WAIT);
    let totals = fields.batch_totals(Path::new("batch_totals"), request.batch_totals);
    let made = (|| {
        let (queue, jobs, batch_totals) = (queue?, jobs?, totals?);
        request_id?;
        let said = (!request.request_id.is_empty()).then_some(&*request.request_id);
        let request = said.map(|id| request_key::enqueue(principal, &queue, id, &jobs, &batch_totals));
        Some(Enqueue { queue, jobs, request, batch_totals, wait: wait?.unwrap_or(Span::ZERO) })
    })();
    fields.made(made)
}

/// Whether a request, as one of a stream, may be: it must not wait.
pub(in crate::rpc) fn no_wait(request: &v1::EnqueueRequest) -> Result<(), Failure> {
    let mut fields = Fields::default();
    let waits = request.wait_timeout.is_some_and(|wait| wait != prost_types::Duration::default());
    if waits {
        fields.wrong(Path::new("wait_timeout"), "must be 0 on a stream");
    }
    fields.made(Some(()))
}

impl Fields {
    /// How many jobs batches will have, by name.
    fn batch_totals(&mut self, at: Path<'_>, said: HashMap<String, u64>) -> Option<Vec<(BatchName, u64)>> {
        if said.len() > MAX_BATCH_TOTALS {
            self.wrong(at, format_args!("has more than {MAX_BATCH_TOTALS} entries"));
            return None;
        }
        let count = said.len();
        let mut said: Vec<(String, u64)> = said.into_iter().collect();
        said.sort_unstable();
        let mut totals = Vec::with_capacity(count);
        for (name, total) in said {
            match BatchName::new(&name) {
                Ok(name) => totals.push((name, total)),
                Err(error) => self.wrong(at.entry(&name), format_args!("has a name that {error}")),
            }
        }
        (totals.len() == count).then_some(totals)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: WallTime = WallTime(1_700_000_000_000_000_000);

    fn request() -> v1::EnqueueRequest {
        v1::EnqueueRequest { queue: "q".to_owned(), jobs: vec![v1::JobSpec::default()], ..Default::default() }
    }

    fn wrong(request: v1::EnqueueRequest) -> Vec<String> {
        match enqueue(request, "", 1_024, NOW) {
            Err(Failure::Fields(wrong)) => wrong.into_iter().map(|w| w.path).collect(),
            other => panic!("not about fields: {other:?}"),
        }
    }

    #[test]
    fn request_without_id_is_not_remembered() {
        let made = enqueue(request(), "", 1_024, NOW).unwrap();
        assert_eq!((&*made.queue, made.jobs.len(), made.request), ("q", 1, None));
        let named = v1::EnqueueRequest { request_id: "r".to_owned(), ..request() };
        assert!(enqueue(named, "", 1_024, NOW).unwrap().request.is_some());
    }

    #[test]
    fn every_field_of_an_enqueue_is_checked_at_once() {
        let bad = v1::EnqueueRequest {
            queue: String::new(),
            jobs: vec![v1::JobSpec { priority: Some(10), ..Default::default() }],
            request_id: "r".repeat(37),
            ..Default::default()
        };
        assert_eq!(wrong(bad), ["queue", "request_id", "jobs[0].priority"]);
        assert_eq!(wrong(v1::EnqueueRequest { jobs: Vec::new(), ..request() }), ["jobs"]);
        let many = vec![v1::JobSpec::default(); 10_001];
        assert_eq!(wrong(v1::EnqueueRequest { jobs: many, ..request() }), ["jobs"]);
    }
}
