//! ListQueues and ListJobs.

use sluice_engine::{JobId, JobQuery, Key, QueueName, StateSet, WallTime};
use sluice_proto::v1;

use super::field::Fields;
use super::filter::Filter;
use super::path::Path;
use crate::rpc::page_token::{JobsToken, KeysToken};
use crate::rpc::status::Failure;

/// Entries of a page.
const MAX_PAGE: i32 = 1_000;
/// When nothing is said.
const DEFAULT_PAGE: usize = 100;

/// A page of queues, or of shared limits.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::rpc) struct QueuesCall {
    /// Begins after this name.
    pub(in crate::rpc) after: Option<QueueName>,
    /// At most so many. At least 1.
    pub(in crate::rpc) limit: usize,
}

/// A page of jobs.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::rpc) struct JobsCall {
    /// Which.
    pub(in crate::rpc) filter: Filter,
    /// Begins with this job.
    pub(in crate::rpc) from: JobId,
    /// At most so many. At least 1.
    pub(in crate::rpc) limit: usize,
    /// Whether payloads are wanted.
    pub(in crate::rpc) include_payload: bool,
}

/// A page of queues.
pub(in crate::rpc) fn queues_page(page_size: i32, page_token: &str) -> Result<QueuesCall, Failure> {
    let mut fields = Fields::default();
    let limit = fields.page_size(page_size);
    let after = match page_token {
        "" => Some(None),
        name => QueueName::new(name).map(Some).ok(),
    };
    if after.is_none() {
        fields.wrong(Path::new("page_token"), "is not a token of this list");
    }
    fields.made(after.zip(limit).map(|(after, limit)| QueuesCall { after, limit }))
}

/// A page of jobs.
pub(in crate::rpc) fn jobs_page(request: v1::ListJobsRequest, now: WallTime) -> Result<JobsCall, Failure> {
    let mut fields = Fields::default();
    let at = Path::new("filter");
    let filter = request.filter.unwrap_or_default();
    let queue = match &*filter.queue {
        "" => Some(None),
        name => fields.queue(at.then("queue"), name).map(Some),
    };
    let states = fields.states(at.then("states"), &filter.states, |_| true);
    let limit = fields.page_size(request.page_size);
    let rest = fields.filter(at, filter, now);
    let made = (|| {
        let (queue, states, rest) = (queue?, states?.unwrap_or(StateSet::ALL), rest?);
        let filter = Filter { query: JobQuery { queue, states, ..rest.query }, ..rest };
        let Some(from) = JobsToken::read(&request.page_token, &filter) else {
            fields.wrong(Path::new("page_token"), "is not a token of this filter");
            return None;
        };
        Some(JobsCall { filter, from, limit: limit?, include_payload: request.include_payload })
    })();
    fields.made(made)
}

/// A page of keys.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::rpc) struct KeysCall {
    /// Of which queue.
    pub(in crate::rpc) queue: QueueName,
    /// Under which key; the empty one: any.
    pub(in crate::rpc) prefix: Key,
    /// Begins with this number.
    pub(in crate::rpc) from: u32,
    /// At most so many. At least 1.
    pub(in crate::rpc) limit: usize,
}

/// A page of keys.
pub(in crate::rpc) fn keys_page(request: v1::ListKeysRequest) -> Result<KeysCall, Failure> {
    let mut fields = Fields::default();
    let queue = fields.queue(Path::new("queue"), &request.queue);
    let prefix = fields.key(Path::new("key_prefix"), request.key_prefix);
    let limit = fields.page_size(request.page_size);
    let made = (|| {
        let (queue, prefix) = (queue?, prefix?);
        let Some(from) = KeysToken::read(&request.page_token, &queue, &prefix) else {
            fields.wrong(Path::new("page_token"), "is not a token of this list");
            return None;
        };
        Some(KeysCall { queue, prefix, from, limit: limit? })
    })();
    fields.made(made)
}

impl Fields {
    fn page_size(&mut self, said: i32) -> Option<usize> {
        let size = self.number(Path::new("page_size"), Some(said), 0..=MAX_PAGE, 0)?;
        Some(usize::try_from(size).ok().filter(|size| *size > 0).unwrap_or(DEFAULT_PAGE))
    }
}

#[cfg(test)]
mod tests {
    use sluice_engine::JobState;

    use super::*;

    const NOW: WallTime = WallTime(1_700_000_000_000_000_000);

    fn wrong<T: std::fmt::Debug>(made: Result<T, Failure>) -> Vec<String> {
        match made {
            Err(Failure::Fields(wrong)) => wrong.into_iter().map(|w| w.path).collect(),
            other => panic!("not about fields: {other:?}"),
        }
    }

    fn jobs() -> v1::ListJobsRequest {
        let filter = v1::JobFilter {
            queue: "q".to_owned(),
            states: vec![JobState::Dead as i32],
            ..Default::default()
        };
        v1::ListJobsRequest { filter: Some(filter), ..Default::default() }
    }

    #[test]
    fn page_sizes_are_bounded() {
        let size = |page_size| queues_page(page_size, "").map(|call| call.limit);
        assert_eq!(size(0).unwrap(), 100);
        assert_eq!(size(1).unwrap(), 1);
        assert_eq!(size(1_000).unwrap(), 1_000);
        assert_eq!(wrong(size(1_001)), ["page_size"]);
        assert_eq!(wrong(size(-1)), ["page_size"]);
        assert_eq!(wrong(jobs_page(v1::ListJobsRequest { page_size: -1, ..jobs() }, NOW)), ["page_size"]);
    }

    #[test]
    fn page_of_queues_begins_after_its_token() {
        let page = |page_token| queues_page(0, page_token);
        assert_eq!(page("").unwrap().after, None);
        assert_eq!(page("sms").unwrap().after, Some(QueueName::new("sms").unwrap()));
        assert_eq!(wrong(page("a b")), ["page_token"]);
    }

    #[test]
    fn page_of_jobs_begins_at_its_token_and_keeps_its_filter() {
        let first = jobs_page(jobs(), NOW).unwrap();
        assert_eq!((first.from, first.limit, first.include_payload), (JobId(0), 100, false));
        let page_token = JobsToken::write(JobId(5), &first.filter);
        let next = v1::ListJobsRequest { page_token: page_token.clone(), ..jobs() };
        assert_eq!(jobs_page(next, NOW).unwrap().from, JobId(5));
        let other = v1::ListJobsRequest { page_token, ..Default::default() };
        assert_eq!(wrong(jobs_page(other, NOW)), ["page_token"]);
    }

    #[test]
    fn list_of_all_jobs_needs_no_filter() {
        let made = jobs_page(v1::ListJobsRequest::default(), NOW).unwrap();
        assert_eq!((made.filter.query.queue, made.filter.query.states), (None, StateSet::ALL));
    }

    #[test]
    fn filter_of_a_list_is_checked() {
        let filter = v1::JobFilter { queue: "a b".to_owned(), states: vec![0], ..Default::default() };
        let bad = v1::ListJobsRequest { filter: Some(filter), ..Default::default() };
        assert_eq!(wrong(jobs_page(bad, NOW)), ["filter.queue", "filter.states[0]"]);
    }
}
