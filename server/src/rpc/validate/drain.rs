//! Drain.

use sluice_engine::Drain;
use sluice_engine::bound::MAX_BULK_JOBS;
use sluice_proto::v1;

use super::field::Fields;
use super::path::Path;
use crate::rpc::page_token::DrainToken;
use crate::rpc::request_key;
use crate::rpc::status::Failure;

/// What to take out, and where to begin to read it.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::rpc) struct DrainCall {
    /// What to take out.
    pub(in crate::rpc) command: Drain,
    /// The position in the set.
    pub(in crate::rpc) from: u64,
}

/// What to take out.
pub(in crate::rpc) fn drain(request: v1::DrainRequest, principal: &str) -> Result<DrainCall, Failure> {
    let mut fields = Fields::default();
    let queue = fields.queue(Path::new("queue"), &request.queue);
    let id_at = Path::new("request_id");
    if request.request_id.is_empty() {
        fields.wrong(id_at, "must not be empty");
    }
    let request_id = fields.request_id(id_at, &request.request_id);
    let max_jobs = fields.number(Path::new("max_jobs"), request.max_jobs, 1..=MAX_BULK_JOBS, MAX_BULK_JOBS);
    let command = queue.zip(max_jobs).zip(request_id).map(|((queue, max_jobs), ())| Drain {
        request: request_key::drain(principal, &queue, &request.request_id, max_jobs),
        queue,
        max_jobs,
    });
    // A token is of one set: given with another one, it would skip jobs that nobody has read.
    let set = command.as_ref().map(|c| c.request.id);
    let from = match DrainToken::read(&request.page_token) {
        Some(token) if token.is_of(set) => Some(token.position),
        _ => {
            fields.wrong(Path::new("page_token"), "is not a token of this drained set");
            None
        }
    };
    fields.made(command.zip(from).map(|(command, from)| DrainCall { command, from }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request() -> v1::DrainRequest {
        v1::DrainRequest { queue: "q".to_owned(), request_id: "r".to_owned(), ..Default::default() }
    }

    fn wrong(request: v1::DrainRequest) -> Vec<String> {
        match drain(request, "") {
            Err(Failure::Fields(wrong)) => wrong.into_iter().map(|w| w.path).collect(),
            other => panic!("not about fields: {other:?}"),
        }
    }

    #[test]
    fn drain_begins_at_the_beginning_unless_told() {
        let made = drain(request(), "").unwrap();
        assert_eq!((made.from, made.command.max_jobs), (0, 1_000_000));
        let page_token = DrainToken::new(made.command.request.id, 77).write();
        assert_eq!(drain(v1::DrainRequest { page_token, ..request() }, "").unwrap().from, 77);
    }

    #[test]
    fn token_of_another_set_is_refused() {
        let other = drain(v1::DrainRequest { request_id: "s".to_owned(), ..request() }, "").unwrap();
        let page_token = DrainToken::new(other.command.request.id, 77).write();
        assert_eq!(wrong(v1::DrainRequest { page_token, ..request() }), ["page_token"]);
        assert_eq!(wrong(v1::DrainRequest { page_token: "77".to_owned(), ..request() }), ["page_token"]);
    }

    #[test]
    fn drain_is_bounded() {
        assert_eq!(wrong(v1::DrainRequest { queue: String::new(), ..request() }), ["queue"]);
        assert_eq!(wrong(v1::DrainRequest { request_id: String::new(), ..request() }), ["request_id"]);
        assert_eq!(wrong(v1::DrainRequest { request_id: "r".repeat(37), ..request() }), ["request_id"]);
        assert_eq!(wrong(v1::DrainRequest { max_jobs: Some(0), ..request() }), ["max_jobs"]);
        assert_eq!(wrong(v1::DrainRequest { max_jobs: Some(1_000_001), ..request() }), ["max_jobs"]);
        assert!(drain(v1::DrainRequest { max_jobs: Some(1_000_000), ..request() }, "").is_ok());
    }
}
