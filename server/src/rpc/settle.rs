//! Ack, Nack and ExtendLease: each item by itself, and the answers in the order of the request.

use std::vec;

use sluice_engine::{Ack, Command, ItemRefusal, Nacked, Outcome};
use sluice_proto::v1;

use super::right::CONSUME;
use super::status::Failure;
use super::validate::JobRef;
use super::{Rpc, convert, validate};
use crate::auth::Access;

/// What an item takes in memory besides its text and result.
const ITEM_BYTES: usize = 64;

impl Rpc {
    pub(super) async fn do_ack(
        &self,
        access: &Access,
        request: v1::AckRequest,
    ) -> Result<v1::AckResponse, Failure> {
        let (jobs, items) = split(self.only_allowed(access, validate::acks(request)?).await?);
        let bytes = items.iter().map(|ack| ITEM_BYTES + result_bytes(ack)).sum();
        let results = match items.is_empty() {
            true => Vec::new(),
            false => match self.handle.call(Command::Ack(items), bytes).await? {
                Ok(Outcome::Acked(results)) => results,
                other => return Err(Failure::unexpected(other)),
            },
        };
        let results = in_order(jobs, results)?
            .map(|(job, result)| v1::AckResult { error: error(&result, &job), job_id: job })
            .collect();
        Ok(v1::AckResponse { results })
    }

    pub(super) async fn do_nack(
        &self,
        access: &Access,
        request: v1::NackRequest,
    ) -> Result<v1::NackResponse, Failure> {
        let (jobs, items) = split(self.only_allowed(access, validate::nacks(request)?).await?);
        let error_bytes =
            |nack: &sluice_engine::Nack| nack.error.as_ref().map_or(0, |e| e.code.len() + e.message.len());
        let bytes = items.iter().map(|nack| ITEM_BYTES + error_bytes(nack)).sum();
        let results = match items.is_empty() {
            true => Vec::new(),
            false => match self.handle.call(Command::Nack(items), bytes).await? {
                Ok(Outcome::Nacked(results)) => results,
                other => return Err(Failure::unexpected(other)),
            },
        };
        let results = in_order(jobs, results)?.map(|(job, result)| nack_result(job, result)).collect();
        Ok(v1::NackResponse { results })
    }

    pub(super) async fn do_extend_lease(
        &self,
        access: &Access,
        request: v1::ExtendLeaseRequest,
    ) -> Result<v1::ExtendLeaseResponse, Failure> {
        let (jobs, items) = split(self.only_allowed(access, validate::extensions(request)?).await?);
        let bytes = items.len() * ITEM_BYTES;
        let results = match items.is_empty() {
            true => Vec::new(),
            false => match self.handle.call(Command::Extend(items), bytes).await? {
                Ok(Outcome::Extended(results)) => results,
                other => return Err(Failure::unexpected(other)),
            },
        };
        let results = in_order(jobs, results)?
            .map(|(job, result)| v1::ExtendLeaseResult {
                error: error(&result, &job),
                job_id: job,
                cancel_requested: result.is_ok_and(|extended| extended.cancel_requested),
                lease_expire_time: result.ok().map(|extended| convert::timestamp(extended.expire_time)),
            })
            .collect();
        Ok(v1::ExtendLeaseResponse { results })
    }
}

impl Rpc {
    /// The items of a request; those about jobs that its caller may not settle are about no job.
    async fn only_allowed<T>(
        &self,
        access: &Access,
        mut items: Vec<(JobRef, Option<T>)>,
    ) -> Result<Vec<(JobRef, Option<T>)>, Failure> {
        if access.may_everywhere(CONSUME) {
            return Ok(items);
        }
        let ids = items.iter().filter_map(|(job, _)| job.id).collect();
        let allowed = self.allowed(access, CONSUME, ids).await?;
        for (job, item) in &mut items {
            if !job.id.is_some_and(|id| allowed.has(id)) {
                (job.id, *item) = (None, None);
            }
        }
        Ok(items)
    }
}

/// The jobs of a request as they were named, and what there is to ask of the engine.
fn split<T>(items: Vec<(JobRef, Option<T>)>) -> (Vec<JobRef>, Vec<T>) {
    let mut asked = Vec::with_capacity(items.len());
    let jobs = items
        .into_iter()
        .map(|(job, item)| {
            asked.extend(item);
            job
        })
        .collect();
    (jobs, asked)
}

/// One result for each job: the engine's, or that there can be no such job.
fn in_order<R>(
    jobs: Vec<JobRef>,
    results: Vec<Result<R, ItemRefusal>>,
) -> Result<impl Iterator<Item = (String, Result<R, ItemRefusal>)>, Failure> {
    let asked = jobs.iter().filter(|job| job.id.is_some()).count();
    if asked != results.len() {
        return Err(Failure::unexpected(format_args!("{} results for {asked} items", results.len())));
    }
    let mut results: vec::IntoIter<_> = results.into_iter();
    Ok(jobs.into_iter().map(move |job| {
        let result = job.id.and_then(|_| results.next());
        (job.text, result.unwrap_or(Err(ItemRefusal::JobNotFound)))
    }))
}

fn nack_result(job: String, result: Result<Nacked, ItemRefusal>) -> v1::NackResult {
    v1::NackResult {
        error: error(&result, &job),
        job_id: job,
        state: result.map_or(v1::JobState::Unspecified, |n| convert::state(n.state)) as i32,
        run_time: result.ok().and_then(|n| n.run_time).map(convert::timestamp),
    }
}

fn error<R>(result: &Result<R, ItemRefusal>, job: &str) -> Option<v1::ItemError> {
    result.as_ref().err().map(|refusal| Failure::item_refused(*refusal, job).item())
}

fn result_bytes(ack: &Ack) -> usize {
    ack.result.as_ref().map_or(0, bytes::Bytes::len)
}

#[cfg(test)]
mod tests {
    use sluice_engine::JobState;

    use super::*;

    fn job(text: &str) -> JobRef {
        validate::job_ref("job_id", text.to_owned()).unwrap()
    }

    #[test]
    fn results_stand_where_their_items_stood() {
        let jobs = vec![job("nobody"), job("7"), job("no one"), job("8")];
        let results = vec![Ok("seven"), Err(ItemRefusal::LeaseLost)];
        let ordered: Vec<_> = in_order(jobs, results).unwrap().collect();
        assert_eq!(
            ordered,
            [
                ("nobody".to_owned(), Err(ItemRefusal::JobNotFound)),
                ("7".to_owned(), Ok("seven")),
                ("no one".to_owned(), Err(ItemRefusal::JobNotFound)),
                ("8".to_owned(), Err(ItemRefusal::LeaseLost)),
            ]
        );
    }

    #[test]
    fn wrong_number_of_results_is_noticed() {
        assert!(in_order(vec![job("7")], Vec::<Result<(), _>>::new()).is_err());
        assert!(in_order(vec![job("nobody")], vec![Ok(())]).is_err());
    }

    #[test]
    fn refused_nack_has_no_state() {
        let refused = nack_result("7".to_owned(), Err(ItemRefusal::LeaseLost));
        assert_eq!((refused.state, refused.error.unwrap().reason), (0, "LEASE_LOST".to_owned()));
        let dead = nack_result("7".to_owned(), Ok(Nacked { state: JobState::Dead, run_time: None }));
        assert_eq!((dead.state, dead.error), (v1::JobState::Dead as i32, None));
    }
}
