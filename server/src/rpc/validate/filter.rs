//! Which jobs: the filters of ListJobs, RequeueJobs and PurgeJobs.

use sluice_engine::bound::MAX_BULK_JOBS;
use sluice_engine::{JobState, QueueName, StateSet};
use sluice_proto::v1;

use super::field::Fields;
use super::path::Path;
use crate::rpc::convert;
use crate::rpc::status::Failure;

/// States of one filter.
const MAX_STATES: usize = 16;

/// Which jobs to requeue or to remove.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::rpc) struct SweepCall {
    /// Of which queue.
    pub(in crate::rpc) queue: QueueName,
    /// In which states.
    pub(in crate::rpc) states: StateSet,
    /// At most so many.
    pub(in crate::rpc) max_jobs: u32,
}

/// Which jobs to requeue.
pub(in crate::rpc) fn requeue(request: v1::RequeueJobsRequest) -> Result<SweepCall, Failure> {
    let allowed = |state| matches!(state, JobState::Dead | JobState::Drained);
    let default = StateSet::default().with(JobState::Dead);
    sweep(request.filter, request.max_jobs, allowed, Some(default))
}

/// Which jobs to remove.
pub(in crate::rpc) fn purge(request: v1::PurgeJobsRequest) -> Result<SweepCall, Failure> {
    sweep(request.filter, request.max_jobs, |state| state != JobState::Leased, None)
}

fn sweep(
    filter: Option<v1::JobFilter>,
    max_jobs: Option<u32>,
    allowed: impl Fn(JobState) -> bool,
    default: Option<StateSet>,
) -> Result<SweepCall, Failure> {
    let mut fields = Fields::default();
    let at = Path::new("filter");
    let filter = filter.unwrap_or_default();
    let queue = fields.queue(at.then("queue"), &filter.queue);
    let states = fields.states(at.then("states"), &filter.states, allowed);
    let max_jobs = fields.number(Path::new("max_jobs"), max_jobs, 1..=MAX_BULK_JOBS, MAX_BULK_JOBS);
    let states = match states {
        Some(None) if default.is_none() => {
            fields.wrong(at.then("states"), "must not be empty");
            None
        }
        Some(said) => said.or(default),
        None => None,
    };
    let made = (|| Some(SweepCall { queue: queue?, states: states?, max_jobs: max_jobs? }))();
    fields.made(made)
}

impl Fields {
    /// A set of states, if one was said.
    pub(super) fn states(
        &mut self,
        at: Path<'_>,
        numbers: &[i32],
        allowed: impl Fn(JobState) -> bool,
    ) -> Option<Option<StateSet>> {
        if numbers.len() > MAX_STATES {
            self.wrong(at, format_args!("has more than {MAX_STATES} items"));
            return None;
        }
        let mut set = StateSet::default();
        let mut good = true;
        for (index, number) in numbers.iter().enumerate() {
            match convert::state_of(*number) {
                Some(state) if allowed(state) => set = set.with(state),
                Some(_) => {
                    self.wrong(at.item(index), "is not allowed here");
                    good = false;
                }
                None => {
                    self.wrong(at.item(index), format_args!("{number} is not a state"));
                    good = false;
                }
            }
        }
        good.then(|| (!numbers.is_empty()).then_some(set))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(queue: &str, states: &[v1::JobState]) -> Option<v1::JobFilter> {
        let states = states.iter().map(|s| *s as i32).collect();
        Some(v1::JobFilter { queue: queue.to_owned(), states })
    }

    fn wrong(made: Result<SweepCall, Failure>) -> Vec<String> {
        match made {
            Err(Failure::Fields(wrong)) => wrong.into_iter().map(|w| w.path).collect(),
            other => panic!("not about fields: {other:?}"),
        }
    }

    fn requeue_of(filter: Option<v1::JobFilter>, max_jobs: Option<u32>) -> Result<SweepCall, Failure> {
        requeue(v1::RequeueJobsRequest { filter, max_jobs })
    }

    fn purge_of(filter: Option<v1::JobFilter>, max_jobs: Option<u32>) -> Result<SweepCall, Failure> {
        purge(v1::PurgeJobsRequest { filter, max_jobs })
    }

    #[test]
    fn requeue_takes_dead_jobs_unless_told() {
        let made = requeue_of(filter("q", &[]), None).unwrap();
        assert_eq!((made.states, made.max_jobs), (StateSet::default().with(JobState::Dead), 1_000_000));
        let both = [v1::JobState::Dead, v1::JobState::Drained];
        assert!(requeue_of(filter("q", &both), Some(1)).unwrap().states.contains(JobState::Drained));
    }

    #[test]
    fn requeue_is_bounded() {
        assert_eq!(wrong(requeue_of(None, None)), ["filter.queue"]);
        let ready = [v1::JobState::Dead, v1::JobState::Ready];
        assert_eq!(wrong(requeue_of(filter("q", &ready), None)), ["filter.states[1]"]);
        assert_eq!(wrong(requeue_of(filter("q", &[]), Some(0))), ["max_jobs"]);
        assert_eq!(wrong(requeue_of(filter("q", &[]), Some(1_000_001))), ["max_jobs"]);
    }

    #[test]
    fn purge_wants_to_be_told_and_leaves_leased_jobs_alone() {
        assert_eq!(wrong(purge_of(filter("q", &[]), None)), ["filter.states"]);
        assert_eq!(wrong(purge_of(None, Some(0))), ["filter.queue", "max_jobs", "filter.states"]);
        assert_eq!(wrong(purge_of(filter("q", &[v1::JobState::Leased]), None)), ["filter.states[0]"]);
        for state in JobState::ALL.into_iter().filter(|s| *s != JobState::Leased) {
            let said = Some(v1::JobFilter { queue: "q".to_owned(), states: vec![state as i32] });
            assert_eq!(purge_of(said, None).unwrap().states, StateSet::default().with(state));
        }
    }

    #[test]
    fn unknown_states_are_refused() {
        let of = |states: Vec<i32>| purge_of(Some(v1::JobFilter { queue: "q".to_owned(), states }), None);
        assert_eq!(
            wrong(of(vec![0, 2, 7, -1])),
            ["filter.states[0]", "filter.states[2]", "filter.states[3]"]
        );
        assert!(of(vec![2; 16]).is_ok());
        assert_eq!(wrong(of(vec![2; 17])), ["filter.states"]);
    }
}
