//! Reading jobs and batches, and changing a job.

use std::time::Duration;

use sluice_engine::bound::{MAX_GET_JOBS, MAX_WAIT};
use sluice_engine::{BatchName, JobId, Priority, QueueName, Span, Update, WallTime};
use sluice_proto::v1;

use super::field::{Fields, JobRef};
use super::path::Path;
use crate::rpc::status::Failure;

/// Jobs to read.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::rpc) struct GetCall {
    /// Which.
    pub(in crate::rpc) jobs: Vec<JobRef>,
    /// Whether payloads are wanted.
    pub(in crate::rpc) include_payload: bool,
    /// How long to wait until they are at rest.
    pub(in crate::rpc) wait: Duration,
}

/// A batch to read.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::rpc) struct BatchCall {
    /// Its queue.
    pub(in crate::rpc) queue: QueueName,
    /// Its name.
    pub(in crate::rpc) batch: BatchName,
    /// How long to wait for a final state.
    pub(in crate::rpc) wait: Duration,
}

/// A job to read.
pub(in crate::rpc) fn get_job(request: v1::GetJobRequest) -> Result<GetCall, Failure> {
    let mut fields = Fields::default();
    let job = fields.job(Path::new("job_id"), request.job_id);
    let wait = fields.wait(request.wait_timeout);
    let include_payload = request.include_payload;
    fields.made(job.zip(wait).map(|(job, wait)| GetCall { jobs: vec![job], include_payload, wait }))
}

/// Jobs to read.
pub(in crate::rpc) fn get_jobs(request: v1::BatchGetJobsRequest) -> Result<GetCall, Failure> {
    let mut fields = Fields::default();
    let at = Path::new("job_ids");
    if request.job_ids.len() > MAX_GET_JOBS {
        fields.wrong(at, format_args!("has more than {MAX_GET_JOBS} items"));
        return fields.made(None);
    }
    let jobs = fields.items(at, request.job_ids, |fields, at, id| fields.job(at, id));
    let wait = fields.wait(request.wait_timeout);
    let include_payload = request.include_payload;
    fields.made(jobs.zip(wait).map(|(jobs, wait)| GetCall { jobs, include_payload, wait }))
}

/// A batch to read.
pub(in crate::rpc) fn batch(request: v1::GetBatchRequest) -> Result<BatchCall, Failure> {
    let mut fields = Fields::default();
    let queue = fields.queue(Path::new("queue"), &request.queue);
    let at = Path::new("batch_id");
    let batch = BatchName::new(&request.batch_id).map_err(|error| fields.wrong(at, error)).ok();
    let wait = fields.wait(request.wait_timeout);
    let made = (|| Some(BatchCall { queue: queue?, batch: batch?, wait: wait? }))();
    fields.made(made)
}

/// A change of a job, and how the job was named; none: no job was ever called that.
pub(in crate::rpc) fn update(
    request: v1::UpdateJobRequest,
    now: WallTime,
) -> Result<(String, Option<Update>), Failure> {
    let mut fields = Fields::default();
    let job = fields.job(Path::new("job_id"), request.job_id);
    let highest = u32::from(Priority::HIGHEST.get());
    let priority = fields.said_number(Path::new("priority"), request.priority, 0..=highest);
    let is_timed = request.delay.is_some() || request.run_time.is_some();
    let start =
        fields.start_at(Path::new("delay"), Path::new("run_time"), &request.delay, &request.run_time, now);
    if request.priority.is_none() && !is_timed {
        fields
            .wrong(Path::new("priority"), "must be said, or delay, or run_time: there is nothing to change");
    }
    let made = (|| {
        let (job, priority, start) = (job?, priority?.and_then(Priority::new), start?);
        let of = |id: JobId| Update { id, priority, start: is_timed.then_some(start) };
        Some((job.text, job.id.map(of)))
    })();
    fields.made(made)
}

impl Fields {
    fn wait(&mut self, said: Option<prost_types::Duration>) -> Option<Duration> {
        let wait = self.span(Path::new("wait_timeout"), said, Span::ZERO..=MAX_WAIT)?;
        Some(Duration::from_nanos(wait.unwrap_or(Span::ZERO).0))
    }
}

#[cfg(test)]
mod tests {
    use sluice_engine::Start;

    use super::*;

    const NOW: WallTime = WallTime(1_700_000_000_000_000_000);

    fn wrong<T: std::fmt::Debug>(made: Result<T, Failure>) -> Vec<String> {
        match made {
            Err(Failure::Fields(wrong)) => wrong.into_iter().map(|wrong| wrong.path).collect(),
            other => panic!("not about fields: {other:?}"),
        }
    }

    #[test]
    fn jobs_to_read_are_bounded() {
        let of = |count| {
            get_jobs(v1::BatchGetJobsRequest { job_ids: vec!["7".to_owned(); count], ..Default::default() })
        };
        assert_eq!(of(1_000).unwrap().jobs.len(), 1_000);
        assert_eq!(wrong(of(1_001)), ["job_ids"]);
        assert_eq!(wrong(of(0)), ["job_ids"]);
        let wait = Some(prost_types::Duration { seconds: 61, nanos: 0 });
        let bad = v1::GetJobRequest { job_id: String::new(), wait_timeout: wait, ..Default::default() };
        assert_eq!(wrong(get_job(bad)), ["job_id", "wait_timeout"]);
    }

    #[test]
    fn update_says_what_is_to_change() {
        let request = |priority, delay: Option<i64>| v1::UpdateJobRequest {
            job_id: "7".to_owned(),
            priority,
            delay: delay.map(|seconds| prost_types::Duration { seconds, nanos: 0 }),
            run_time: None,
        };
        let (_, made) = update(request(Some(9), None), NOW).unwrap();
        let made = made.unwrap();
        assert_eq!((made.id, made.priority, made.start), (JobId(7), Some(Priority::HIGHEST), None));
        let (_, made) = update(request(None, Some(5)), NOW).unwrap();
        assert_eq!(made.unwrap().start, Some(Start::After(Span::from_secs(5))));
        assert_eq!(wrong(update(request(None, None), NOW)), ["priority"]);
        assert_eq!(wrong(update(request(Some(10), Some(-1)), NOW)), ["priority", "delay"]);
    }

    #[test]
    fn batch_is_named() {
        let of = |batch_id: &str| {
            let request = v1::GetBatchRequest {
                queue: "q".to_owned(),
                batch_id: batch_id.to_owned(),
                ..Default::default()
            };
            batch(request)
        };
        assert!(of("b").is_ok());
        assert_eq!(wrong(of("")), ["batch_id"]);
        assert_eq!(wrong(of(&"b".repeat(129))), ["batch_id"]);
    }
}
