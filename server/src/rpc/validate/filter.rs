//! Which jobs: the filters of ListJobs, RequeueJobs and PurgeJobs.

use sluice_engine::bound::MAX_BULK_JOBS;
use sluice_engine::{JobError, JobQuery, JobState, QueueName, Span, StateSet, WallTime};
use sluice_proto::v1;

use super::field::Fields;
use super::path::Path;
use crate::rpc::convert;
use crate::rpc::status::Failure;
use crate::store::Body;

/// States of one filter.
const MAX_STATES: usize = 16;
/// Jobs a second of a requeue.
const MAX_PACE: f64 = 1_000_000.0;

/// Which jobs are meant.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::rpc) struct Filter {
    /// What the engine can tell.
    pub(in crate::rpc) query: JobQuery,
    /// What the store can.
    pub(in crate::rpc) rest: Rest,
}

/// What of a filter only the store can tell of a job.
#[derive(Clone, Debug, Default, PartialEq)]
pub(in crate::rpc) struct Rest {
    labels: Vec<(Box<str>, Box<str>)>,
    error_code: Box<str>,
}

/// Which jobs to requeue or to remove.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::rpc) struct SweepCall {
    /// Of which queue.
    pub(in crate::rpc) queue: QueueName,
    /// Which of its jobs.
    pub(in crate::rpc) filter: Filter,
    /// At most so many.
    pub(in crate::rpc) max_jobs: u32,
    /// Whether they are only to be counted.
    pub(in crate::rpc) dry_run: bool,
    /// How much later each requeued job is ready than the one before.
    pub(in crate::rpc) interval: Span,
}

impl Rest {
    /// Whether the store need not be asked.
    pub(in crate::rpc) fn is_any(&self) -> bool {
        *self == Rest::default()
    }

    /// Whether a job has it. `error` is its last one, if the engine knows it.
    pub(in crate::rpc) fn fits(&self, error: Option<&JobError>, body: Option<&Body>) -> bool {
        let stored = || body?.detail.as_ref()?.error.as_deref();
        let has_code = || error.or_else(stored).is_some_and(|error| error.code == self.error_code);
        let labels = body.map_or(&[][..], |body| &body.attributes.labels);
        let has = |(name, value): &(Box<str>, Box<str>)| {
            labels.iter().any(|(n, v)| n == name && (value.is_empty() || v == value))
        };
        (self.error_code.is_empty() || has_code()) && self.labels.iter().all(has)
    }
}

/// Which jobs to requeue.
pub(in crate::rpc) fn requeue(request: v1::RequeueJobsRequest, now: WallTime) -> Result<SweepCall, Failure> {
    let default = StateSet::default().with(JobState::Dead);
    let mut fields = Fields::default();
    let pace = fields.said_number(Path::new("pace"), request.pace, f64::MIN_POSITIVE..=MAX_PACE);
    let call = fields.sweep(request.filter, request.max_jobs, JobState::is_requeueable, Some(default), now);
    let made = call.zip(pace).map(|(call, pace)| SweepCall {
        dry_run: request.dry_run,
        interval: pace.map_or(Span::ZERO, |pace| Span((1e9 / pace) as u64)),
        ..call
    });
    let made = made.filter(|call| {
        let last = u64::from(call.max_jobs).saturating_mul(call.interval.0);
        let is_near = call.interval == Span::ZERO || last <= sluice_engine::bound::MAX_SPAN.0;
        if !is_near {
            fields.wrong(Path::new("pace"), "is so slow that the last job would be more than 10 years ahead");
        }
        is_near
    });
    fields.made(made)
}

/// Which jobs to remove.
pub(in crate::rpc) fn purge(request: v1::PurgeJobsRequest, now: WallTime) -> Result<SweepCall, Failure> {
    let mut fields = Fields::default();
    let allowed = |state| state != JobState::Leased;
    let call = fields.sweep(request.filter, request.max_jobs, allowed, None, now);
    fields.made(call.map(|call| SweepCall { dry_run: request.dry_run, ..call }))
}

impl Fields {
    fn sweep(
        &mut self,
        filter: Option<v1::JobFilter>,
        max_jobs: Option<u32>,
        allowed: impl Fn(JobState) -> bool,
        default: Option<StateSet>,
        now: WallTime,
    ) -> Option<SweepCall> {
        let at = Path::new("filter");
        let filter = filter.unwrap_or_default();
        let queue = self.queue(at.then("queue"), &filter.queue);
        let states = self.states(at.then("states"), &filter.states, allowed);
        let max_jobs = self.number(Path::new("max_jobs"), max_jobs, 1..=MAX_BULK_JOBS, MAX_BULK_JOBS);
        let states = match states {
            Some(None) if default.is_none() => {
                self.wrong(at.then("states"), "must not be empty");
                None
            }
            Some(said) => said.or(default),
            None => None,
        };
        let filter = self.filter(at, filter, now);
        let (queue, states, filter) = (queue?, states?, filter?);
        let query = JobQuery { queue: Some(queue.clone()), states, ..filter.query };
        Some(SweepCall {
            queue,
            filter: Filter { query, ..filter },
            max_jobs: max_jobs?,
            dry_run: false,
            interval: Span::ZERO,
        })
    }

    /// What of a filter is neither its queue nor its states.
    pub(super) fn filter(&mut self, at: Path<'_>, filter: v1::JobFilter, now: WallTime) -> Option<Filter> {
        let key_prefix = self.key(at.then("key_prefix"), filter.key_prefix);
        let labels = self.labels(at.then("labels"), filter.labels);
        let code = self.id(at.then("error_code"), &filter.error_code);
        let created_from = self.time(at.then("create_time_from"), filter.create_time_from, now);
        let created_until = self.time(at.then("create_time_until"), filter.create_time_until, now);
        let ended_from = self.time(at.then("end_time_from"), filter.end_time_from, now);
        let ended_until = self.time(at.then("end_time_until"), filter.end_time_until, now);
        let range = |from: Option<WallTime>, until: Option<WallTime>| {
            from.unwrap_or_default()..until.unwrap_or(WallTime(u64::MAX))
        };
        let (ended_from, ended_until) = (ended_from?, ended_until?);
        let is_about_end = ended_from.is_some() || ended_until.is_some();
        code?;
        Some(Filter {
            query: JobQuery {
                queue: None,
                states: StateSet::ALL,
                key_prefix: key_prefix?,
                created: range(created_from?, created_until?),
                ended: is_about_end.then(|| range(ended_from, ended_until)),
            },
            rest: Rest { labels: labels?, error_code: filter.error_code.into() },
        })
    }

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
    use sluice_engine::Attributes;

    use super::*;

    const NOW: WallTime = WallTime(1_700_000_000_000_000_000);

    fn filter(queue: &str, states: &[v1::JobState]) -> Option<v1::JobFilter> {
        let states = states.iter().map(|s| *s as i32).collect();
        Some(v1::JobFilter { queue: queue.to_owned(), states, ..Default::default() })
    }

    fn wrong(made: Result<SweepCall, Failure>) -> Vec<String> {
        match made {
            Err(Failure::Fields(wrong)) => wrong.into_iter().map(|w| w.path).collect(),
            other => panic!("not about fields: {other:?}"),
        }
    }

    fn requeue_of(filter: Option<v1::JobFilter>, max_jobs: Option<u32>) -> Result<SweepCall, Failure> {
        requeue(v1::RequeueJobsRequest { filter, max_jobs, ..Default::default() }, NOW)
    }

    fn purge_of(filter: Option<v1::JobFilter>, max_jobs: Option<u32>) -> Result<SweepCall, Failure> {
        purge(v1::PurgeJobsRequest { filter, max_jobs, ..Default::default() }, NOW)
    }

    #[test]
    fn requeue_takes_dead_jobs_unless_told() {
        let made = requeue_of(filter("q", &[]), None).unwrap();
        assert_eq!(
            (made.filter.query.states, made.max_jobs),
            (StateSet::default().with(JobState::Dead), 1_000_000)
        );
        let both = [v1::JobState::Dead, v1::JobState::Drained];
        assert!(
            requeue_of(filter("q", &both), Some(1)).unwrap().filter.query.states.contains(JobState::Drained)
        );
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
            let said = Some(v1::JobFilter {
                queue: "q".to_owned(),
                states: vec![state as i32],
                ..Default::default()
            });
            assert_eq!(purge_of(said, None).unwrap().filter.query.states, StateSet::default().with(state));
        }
    }

    #[test]
    fn unknown_states_are_refused() {
        let of = |states: Vec<i32>| {
            purge_of(Some(v1::JobFilter { queue: "q".to_owned(), states, ..Default::default() }), None)
        };
        assert_eq!(
            wrong(of(vec![0, 2, 11, -1])),
            ["filter.states[0]", "filter.states[2]", "filter.states[3]"]
        );
        assert!(of(vec![2; 16]).is_ok());
        assert_eq!(wrong(of(vec![2; 17])), ["filter.states"]);
    }

    #[test]
    fn pace_is_bounded() {
        let paced = |pace, max_jobs| {
            let filter = filter("q", &[]);
            requeue(v1::RequeueJobsRequest { filter, pace, max_jobs, ..Default::default() }, NOW)
        };
        assert_eq!(paced(Some(4.0), None).unwrap().interval, Span::from_millis(250));
        assert_eq!(paced(None, None).unwrap().interval, Span::ZERO);
        for pace in [0.0, -1.0, f64::NAN, f64::INFINITY, 1_000_001.0] {
            assert_eq!(wrong(paced(Some(pace), None)), ["pace"], "{pace}");
        }
        assert_eq!(wrong(paced(Some(0.001), None)), ["pace"], "the last of a million jobs");
        assert!(paced(Some(0.001), Some(1_000)).is_ok());
    }

    #[test]
    fn labels_and_code_are_looked_for_in_the_store() {
        let wanted = |labels: &[(&str, &str)], code: &str| Rest {
            labels: labels.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect(),
            error_code: code.into(),
        };
        let labels = vec![("event".into(), "push".into())];
        let body = Body { attributes: Attributes { labels, ..Default::default() }, ..Default::default() };
        let error = JobError { code: "http_500".into(), message: "".into() };
        let fits = |wanted: Rest| wanted.fits(Some(&error), Some(&body));
        assert!(fits(wanted(&[("event", "push")], "http_500")) && fits(wanted(&[("event", "")], "")));
        assert!(!fits(wanted(&[("event", "pull")], "")) && !fits(wanted(&[("other", "")], "")));
        assert!(!fits(wanted(&[], "http_404")));
        assert!(!wanted(&[], "http_500").fits(None, Some(&body)));
        assert!(wanted(&[], "").is_any() && !wanted(&[], "c").is_any());
    }
}
