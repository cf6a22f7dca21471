//! Ack, Nack and ExtendLease: what workers say of the jobs they hold.

use bytes::Bytes;
use sluice_engine::bound::{
    MAX_COST, MAX_ERROR_BYTES, MAX_KEY_SEGMENTS, MAX_LEASE, MAX_RESULT_BYTES, MIN_LEASE,
};
use sluice_engine::{
    Ack, Extension, JobError, JobId, LeaseToken, LimitName, Nack, NackReason, ThrottleScope,
};
use sluice_proto::v1;

use super::field::{Fields, JobRef};
use super::path::Path;
use super::span::ANY;
use crate::rpc::status::Failure;
use crate::rpc::text::cut;

/// One item: the job as it was named, and what to ask of the engine if there can be such a job.
pub(in crate::rpc) type Item<T> = (JobRef, Option<T>);

/// Jobs that are done.
pub(in crate::rpc) fn acks(request: v1::AckRequest) -> Result<Vec<Item<Ack>>, Failure> {
    let mut fields = Fields::default();
    let made = fields.items(Path::new("acks"), request.acks, |fields, at, ack| {
        let job = fields.job(at.then("job_id"), ack.job_id);
        let result = fields.result(at.then("result"), ack.result);
        let actual_cost = fields.said_number(at.then("actual_cost"), ack.actual_cost, 0..=MAX_COST);
        let token = LeaseToken(ack.lease_token);
        let rest = (result?, actual_cost?);
        item(job?, rest, |id, (result, actual_cost)| Ack { id, token, result, actual_cost })
    });
    fields.made(made)
}

/// Jobs that come back.
pub(in crate::rpc) fn nacks(request: v1::NackRequest) -> Result<Vec<Item<Nack>>, Failure> {
    let mut fields = Fields::default();
    let made = fields.items(Path::new("nacks"), request.nacks, |fields, at, nack| {
        let job = fields.job(at.then("job_id"), nack.job_id);
        let reason = fields.reason(at.then("reason"), nack.reason);
        let code = fields.id(at.then("error_code"), &nack.error_code);
        let wait_at = at.then("retry_after");
        let retry_after = fields.span(wait_at, nack.retry_after, ANY);
        if let (Some(NackReason::Rejected | NackReason::Released), Some(Some(_))) = (reason, retry_after) {
            fields.wrong(wait_at, "is not allowed with this reason");
        }
        let scope = fields.scope(at.then("throttle_scope"), reason, &nack.throttle_scope);
        let actual_cost = fields.said_number(at.then("actual_cost"), nack.actual_cost, 0..=MAX_COST);
        let token = LeaseToken(nack.lease_token);
        let error = error(nack.error_code, &nack.error);
        let rest = (reason?, retry_after?, code.map(|()| error)?, scope?, actual_cost?);
        item(job?, rest, |id, (reason, retry_after, error, scope, actual_cost)| Nack {
            id,
            token,
            reason,
            error,
            retry_after,
            scope,
            actual_cost,
        })
    });
    fields.made(made)
}

/// Leases to extend.
pub(in crate::rpc) fn extensions(request: v1::ExtendLeaseRequest) -> Result<Vec<Item<Extension>>, Failure> {
    let mut fields = Fields::default();
    let made = fields.items(Path::new("leases"), request.leases, |fields, at, lease| {
        let job = fields.job(at.then("job_id"), lease.job_id);
        let duration = fields.span(at.then("lease_duration"), lease.lease_duration, MIN_LEASE..=MAX_LEASE);
        let token = LeaseToken(lease.lease_token);
        item(job?, duration?, |id, lease_duration| Extension { id, token, lease_duration })
    });
    fields.made(made)
}

impl Fields {
    fn result(&mut self, at: Path<'_>, result: Option<Bytes>) -> Option<Option<Bytes>> {
        match result {
            Some(result) if result.len() > MAX_RESULT_BYTES => {
                self.wrong(at, format_args!("has more than {MAX_RESULT_BYTES} bytes"));
                None
            }
            // The engine keeps it, and the buffer it came in may be much larger: copy it.
            said => Some(said.map(|result| Bytes::copy_from_slice(&result))),
        }
    }

    /// How many segments of the key, or which shared limit, names the node that was too much, if that was said.
    fn scope(
        &mut self,
        at: Path<'_>,
        reason: Option<NackReason>,
        said: &str,
    ) -> Option<Option<ThrottleScope>> {
        if said.is_empty() {
            return Some(None);
        }
        if reason.is_some_and(|reason| reason != NackReason::Throttled) {
            self.wrong(at, "is not allowed with this reason");
            return None;
        }
        let is_number = said.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-');
        let segments = said.parse().ok().filter(|segments| usize::from(*segments) <= MAX_KEY_SEGMENTS);
        let limit = || LimitName::new(said).ok().filter(|_| !is_number).map(ThrottleScope::Limit);
        let scope = segments.map(ThrottleScope::Segments).or_else(limit);
        if scope.is_none() {
            let what = format_args!(
                "is neither a number of key segments, 0 to {MAX_KEY_SEGMENTS}, nor the name of a shared limit"
            );
            self.wrong(at, what);
        }
        scope.map(Some)
    }

    fn reason(&mut self, at: Path<'_>, number: i32) -> Option<NackReason> {
        match v1::NackReason::try_from(number) {
            Ok(v1::NackReason::Failed) => Some(NackReason::Failed),
            Ok(v1::NackReason::Throttled) => Some(NackReason::Throttled),
            Ok(v1::NackReason::Rejected) => Some(NackReason::Rejected),
            Ok(v1::NackReason::Released) => Some(NackReason::Released),
            Ok(v1::NackReason::Unspecified) => {
                self.wrong(at, "must be said");
                None
            }
            Err(_) => {
                self.wrong(at, format_args!("{number} is not a reason"));
                None
            }
        }
    }
}

fn item<T, R>(job: JobRef, rest: R, make: impl FnOnce(JobId, R) -> T) -> Option<Item<T>> {
    let made = job.id.map(|id| make(id, rest));
    Some((job, made))
}

fn error(code: String, message: &str) -> Option<Box<JobError>> {
    let message = cut(message, MAX_ERROR_BYTES);
    if code.is_empty() && message.is_empty() {
        return None;
    }
    Some(Box::new(JobError { code: code.into(), message: message.into() }))
}

#[cfg(test)]
mod tests {
    use prost_types::Duration;
    use sluice_engine::Span;

    use super::*;

    fn wrong<T: std::fmt::Debug>(made: Result<T, Failure>) -> Vec<String> {
        match made {
            Err(Failure::Fields(wrong)) => wrong.into_iter().map(|w| w.path).collect(),
            other => panic!("not about fields: {other:?}"),
        }
    }

    fn ack(job_id: &str, result: Option<usize>) -> Result<Vec<Item<Ack>>, Failure> {
        let result = result.map(|n| vec![0; n].into());
        let ack = v1::Ack { job_id: job_id.to_owned(), lease_token: 3, result, ..Default::default() };
        acks(v1::AckRequest { acks: vec![ack] })
    }

    fn nack(change: impl FnOnce(&mut v1::Nack)) -> Result<Nack, Failure> {
        let reason = v1::NackReason::Failed as i32;
        let mut nack = v1::Nack { job_id: "7".to_owned(), lease_token: 3, reason, ..Default::default() };
        change(&mut nack);
        nacks(v1::NackRequest { nacks: vec![nack] }).map(|mut made| made.remove(0).1.unwrap())
    }

    fn extension(duration: Option<Duration>) -> Result<Vec<Item<Extension>>, Failure> {
        let lease = v1::LeaseExtension { job_id: "7".to_owned(), lease_token: 3, lease_duration: duration };
        extensions(v1::ExtendLeaseRequest { leases: vec![lease] })
    }

    #[test]
    fn ack_of_a_job_that_cannot_be_is_kept_in_its_place() {
        let good = ack("7", None).unwrap().remove(0);
        assert_eq!(good.1, Some(Ack { id: JobId(7), token: LeaseToken(3), result: None, actual_cost: None }));
        let unknown = ack("nobody", None).unwrap().remove(0);
        assert_eq!((&*unknown.0.text, unknown.1), ("nobody", None));
    }

    #[test]
    fn acks_are_bounded() {
        assert!(ack("7", Some(65_536)).is_ok());
        assert_eq!(wrong(ack("7", Some(65_537))), ["acks[0].result"]);
        assert_eq!(wrong(ack("", None)), ["acks[0].job_id"]);
        assert_eq!(wrong(ack(&"7".repeat(129), Some(65_537))), ["acks[0].job_id", "acks[0].result"]);
        assert_eq!(wrong(acks(v1::AckRequest::default())), ["acks"]);
    }

    #[test]
    fn empty_result_is_not_no_result() {
        let result = |n| ack("7", n).unwrap().remove(0).1.unwrap().result;
        assert_eq!(result(None), None);
        assert_eq!(result(Some(0)), Some(Bytes::new()));
    }

    #[test]
    fn nack_says_why_and_how_long() {
        let made = nack(|n| {
            n.error = "boom".to_owned();
            n.error_code = "http_500".to_owned();
            n.retry_after = Some(Duration { seconds: 2, nanos: 0 });
        })
        .unwrap();
        let error = JobError { code: "http_500".into(), message: "boom".into() };
        assert_eq!((made.id, made.token, made.reason), (JobId(7), LeaseToken(3), NackReason::Failed));
        assert_eq!((made.error.as_deref(), made.retry_after), (Some(&error), Some(Span::from_secs(2))));
        assert_eq!(nack(|_| ()).unwrap().error, None);
    }

    #[test]
    fn actual_cost_is_nothing_or_more_and_bounded() {
        for cost in [0, MAX_COST] {
            assert_eq!(nack(|n| n.actual_cost = Some(cost)).unwrap().actual_cost, Some(cost));
        }
        assert_eq!(wrong(nack(|n| n.actual_cost = Some(MAX_COST + 1))), ["nacks[0].actual_cost"]);
        let ack = |cost| v1::Ack { job_id: "7".to_owned(), actual_cost: Some(cost), ..Default::default() };
        let made = |cost| acks(v1::AckRequest { acks: vec![ack(cost)] });
        assert_eq!(made(0).unwrap().remove(0).1.unwrap().actual_cost, Some(0));
        assert_eq!(wrong(made(MAX_COST + 1)), ["acks[0].actual_cost"]);
    }

    #[test]
    fn long_error_is_cut_and_not_refused() {
        let made = nack(|n| n.error = "é".repeat(4_096)).unwrap();
        assert_eq!(made.error.unwrap().message.len(), 4_096);
        let made = nack(|n| n.error = format!("a{}", "é".repeat(4_096))).unwrap();
        assert_eq!(made.error.unwrap().message.len(), 4_095);
    }

    #[test]
    fn nacks_are_bounded() {
        assert!(nack(|n| n.error_code = "e".repeat(128)).is_ok());
        assert_eq!(wrong(nack(|n| n.error_code = "e".repeat(129))), ["nacks[0].error_code"]);
        assert_eq!(wrong(nack(|n| n.reason = 0)), ["nacks[0].reason"]);
        assert_eq!(wrong(nack(|n| n.reason = 5)), ["nacks[0].reason"]);
        assert_eq!(wrong(nack(|n| n.reason = -1)), ["nacks[0].reason"]);
        assert_eq!(wrong(nack(|n| n.job_id = String::new())), ["nacks[0].job_id"]);
        let negative = Some(Duration { seconds: -1, nanos: 0 });
        assert_eq!(wrong(nack(|n| n.retry_after = negative)), ["nacks[0].retry_after"]);
    }

    #[test]
    fn wait_is_not_allowed_where_nothing_waits() {
        let wait = Some(Duration { seconds: 1, nanos: 0 });
        for (reason, allowed) in [
            (v1::NackReason::Failed, true),
            (v1::NackReason::Throttled, true),
            (v1::NackReason::Rejected, false),
            (v1::NackReason::Released, false),
        ] {
            let made = nack(|n| (n.reason, n.retry_after) = (reason as i32, wait));
            assert_eq!(made.is_ok(), allowed, "{reason:?}");
        }
    }

    #[test]
    fn extensions_are_bounded() {
        let seconds = |seconds| Some(Duration { seconds, nanos: 0 });
        assert_eq!(extension(None).unwrap()[0].1.unwrap().lease_duration, None);
        assert_eq!(extension(seconds(1)).unwrap()[0].1.unwrap().lease_duration, Some(MIN_LEASE));
        assert_eq!(extension(seconds(43_200)).unwrap()[0].1.unwrap().lease_duration, Some(MAX_LEASE));
        assert_eq!(wrong(extension(seconds(0))), ["leases[0].lease_duration"]);
        assert_eq!(wrong(extension(seconds(43_201))), ["leases[0].lease_duration"]);
    }
}
