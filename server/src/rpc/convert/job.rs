//! Jobs and their states.

use sluice_engine::{Attempt, JobError, JobState, JobView, LeasedJob, RetryPolicy, ReturnCause};
use sluice_proto::v1;

use super::explanation::eta;
use super::gate::gate;
use super::time::{duration, timestamp};
use crate::store::Body;

/// A job, with what the store knows of it. `body` is none when that is gone.
pub(in crate::rpc) fn job(view: JobView, body: Option<Body>, include_payload: bool) -> v1::Job {
    let body = body.unwrap_or_default();
    let detail = if view.detail_at_rest { body.detail } else { view.detail };
    let detail = detail.map(|d| *d).unwrap_or_default();
    v1::Job {
        job_id: view.id.to_string(),
        queue: view.queue.to_string(),
        payload: body.payload.filter(|_| include_payload),
        key: view.key.to_string(),
        priority: view.priority.get().into(),
        cost: view.cost.get(),
        bypass_limits: view.bypass_limits,
        blocked_by: view.blocks.iter().map(gate).collect(),
        state: state(view.state) as i32,
        attempts: view.attempts,
        max_attempts: view.policy.max_attempts,
        deliveries: view.deliveries,
        requeues: view.requeues,
        create_time: Some(timestamp(view.create_time)),
        run_time: view.run_time.map(timestamp),
        start_time: detail.start_time.map(timestamp),
        end_time: detail.end_time.filter(|_| view.state.is_at_rest()).map(timestamp),
        lease_expire_time: view.lease_expire_time.map(timestamp),
        expire_time: view.expire_time.map(timestamp),
        cancel_requested: view.cancel_requested,
        batch_id: view.batch.as_deref().unwrap_or_default().to_owned(),
        idempotency_key: body.attributes.idempotency_key.into(),
        queue_position: view.position,
        eta: view.eta.as_ref().map(eta),
        last_error: detail.error.map(|e| error(*e)),
        attempt_history: detail.history.into_iter().map(attempt).collect(),
        result: detail.result,
        worker_id: detail.worker.as_deref().unwrap_or_default().to_owned(),
        labels: body.attributes.labels.into_iter().map(|(n, v)| (n.into(), v.into())).collect(),
        content_type: body.attributes.content_type.into(),
        retry_policy: Some(retry_policy(&view.policy)),
    }
}

/// A job in a worker's hands, with its payload.
pub(in crate::rpc) fn leased_job(leased: LeasedJob, body: Option<Body>) -> v1::LeasedJob {
    v1::LeasedJob {
        lease_token: leased.token.0,
        lease_expire_time: leased.job.lease_expire_time.map(timestamp),
        lease_duration: Some(duration(leased.lease_duration)),
        job: Some(job(leased.job, body, true)),
    }
}

/// How the contract calls a state.
pub(in crate::rpc) fn state(state: JobState) -> v1::JobState {
    match state {
        JobState::Scheduled => v1::JobState::Scheduled,
        JobState::Ready => v1::JobState::Ready,
        JobState::Leased => v1::JobState::Leased,
        JobState::Retrying => v1::JobState::Retrying,
        JobState::Completed => v1::JobState::Completed,
        JobState::Dead => v1::JobState::Dead,
        JobState::Cancelled => v1::JobState::Cancelled,
        JobState::Expired => v1::JobState::Expired,
        JobState::Dropped => v1::JobState::Dropped,
        JobState::Drained => v1::JobState::Drained,
    }
}

/// The state that a number in a request stands for.
pub(in crate::rpc) fn state_of(number: i32) -> Option<JobState> {
    match v1::JobState::try_from(number) {
        Ok(v1::JobState::Scheduled) => Some(JobState::Scheduled),
        Ok(v1::JobState::Ready) => Some(JobState::Ready),
        Ok(v1::JobState::Leased) => Some(JobState::Leased),
        Ok(v1::JobState::Retrying) => Some(JobState::Retrying),
        Ok(v1::JobState::Completed) => Some(JobState::Completed),
        Ok(v1::JobState::Dead) => Some(JobState::Dead),
        Ok(v1::JobState::Cancelled) => Some(JobState::Cancelled),
        Ok(v1::JobState::Expired) => Some(JobState::Expired),
        Ok(v1::JobState::Dropped) => Some(JobState::Dropped),
        Ok(v1::JobState::Drained) => Some(JobState::Drained),
        Ok(v1::JobState::Unspecified) | Err(_) => None,
    }
}

/// A policy, complete.
pub(super) fn retry_policy(policy: &RetryPolicy) -> v1::RetryPolicy {
    v1::RetryPolicy {
        max_attempts: Some(policy.max_attempts),
        initial_backoff: Some(duration(policy.initial_backoff)),
        multiplier: Some(policy.multiplier),
        max_backoff: Some(duration(policy.max_backoff)),
        jitter: Some(policy.jitter),
    }
}

fn attempt(attempt: Attempt) -> v1::Attempt {
    let outcome = match attempt.cause {
        ReturnCause::Failed => v1::AttemptOutcome::Failed,
        ReturnCause::Throttled => v1::AttemptOutcome::Throttled,
        ReturnCause::Rejected => v1::AttemptOutcome::Rejected,
        ReturnCause::Released => v1::AttemptOutcome::Released,
        ReturnCause::Expired => v1::AttemptOutcome::Expired,
    };
    v1::Attempt {
        lease_token: attempt.token.0,
        worker_id: attempt.worker.to_string(),
        start_time: Some(timestamp(attempt.start_time)),
        end_time: Some(timestamp(attempt.end_time)),
        outcome: outcome as i32,
        error: attempt.error.map(|e| error(*e)),
    }
}

fn error(error: JobError) -> v1::JobError {
    v1::JobError { code: error.code.into(), message: error.message.into() }
}

#[cfg(test)]
pub(in crate::rpc) mod tests {
    use sluice_engine::{Attributes, Detail, JobId, Key, LeaseToken, Priority, QueueName, Span, WallTime};

    use sluice_engine::Cost;

    use super::*;

    /// A job in `state`, with every field that fits it.
    pub(in crate::rpc) fn view(id: u64, state: JobState) -> JobView {
        JobView {
            id: JobId(id),
            queue: QueueName::new("q").unwrap(),
            key: Key::new("a/b".to_owned()).unwrap(),
            priority: Priority::new(7).unwrap(),
            state,
            bypass_limits: true,
            create_time: WallTime(1_000_000_001),
            run_time: None,
            lease_expire_time: Some(WallTime(9_000_000_000)),
            expire_time: None,
            cancel_requested: false,
            batch: None,
            bytes: 5,
            deliveries: 3,
            attempts: 2,
            requeues: 1,
            cost: Cost::new(3).unwrap(),
            blocks: Vec::new(),
            position: Some(4),
            eta: None,
            policy: RetryPolicy::default(),
            detail: Some(Box::new(detail())),
            detail_at_rest: false,
        }
    }

    fn detail() -> Detail {
        Detail {
            worker: Some("w".into()),
            start_time: Some(WallTime(2_000_000_000)),
            end_time: Some(WallTime(3_000_000_000)),
            error: Some(Box::new(JobError { code: "c".into(), message: "m".into() })),
            result: Some("r".into()),
            ..Default::default()
        }
    }

    fn body() -> Body {
        let labels = vec![("n".into(), "v".into())];
        Body {
            payload: Some("hi".into()),
            attributes: Attributes { labels, content_type: "t".into(), ..Default::default() },
            detail: None,
        }
    }

    #[test]
    fn states_come_back_as_they_were() {
        for each in JobState::ALL {
            assert_eq!(state_of(state(each) as i32), Some(each));
            assert_eq!(state(each) as i32, each as i32, "the numbers on disk and in the contract are one");
        }
        assert_eq!(state_of(0), None);
        assert_eq!(state_of(11), None);
    }

    #[test]
    fn job_is_shown_with_all_that_is_known() {
        let shown = job(view(7, JobState::Completed), Some(body()), true);
        assert_eq!((&*shown.job_id, &*shown.queue, &*shown.key, shown.priority), ("7", "q", "a/b", 7));
        assert_eq!(shown.payload.as_deref(), Some(&b"hi"[..]));
        assert_eq!((shown.attempts, shown.max_attempts, shown.deliveries, shown.requeues), (2, 5, 3, 1));
        assert_eq!(shown.create_time.unwrap().nanos, 1);
        assert_eq!(shown.start_time.unwrap().seconds, 2);
        assert_eq!(shown.end_time.unwrap().seconds, 3);
        assert_eq!((&*shown.worker_id, shown.queue_position), ("w", Some(4)));
        let error = shown.last_error.unwrap();
        assert_eq!((&*error.code, &*error.message), ("c", "m"));
        assert_eq!(shown.result.as_deref(), Some(&b"r"[..]));
        assert_eq!((&*shown.labels["n"], &*shown.content_type), ("v", "t"));
        assert_eq!(shown.retry_policy.unwrap().max_attempts, Some(5));
    }

    #[test]
    fn payload_is_shown_only_when_it_is_wanted_and_there() {
        assert_eq!(job(view(7, JobState::Ready), Some(body()), false).payload, None);
        assert_eq!(job(view(7, JobState::Ready), None, true).payload, None);
    }

    #[test]
    fn end_is_shown_only_of_a_job_at_rest() {
        assert_eq!(job(view(7, JobState::Ready), Some(body()), false).end_time, None);
    }

    #[test]
    fn detail_that_the_engine_let_go_comes_from_the_store() {
        let resting = JobView { detail: None, detail_at_rest: true, ..view(7, JobState::Dead) };
        let stored = Body { detail: Some(Box::new(detail())), ..body() };
        assert_eq!(job(resting.clone(), Some(stored), false).worker_id, "w");
        assert_eq!(job(resting, None, false).worker_id, "");
    }

    #[test]
    fn leased_job_has_its_payload_and_its_proof() {
        let leased = LeasedJob {
            job: view(7, JobState::Leased),
            token: LeaseToken(3),
            lease_duration: Span::from_secs(30),
        };
        let shown = leased_job(leased, Some(body()));
        assert_eq!((shown.lease_token, shown.lease_duration.unwrap().seconds), (3, 30));
        assert_eq!(shown.lease_expire_time.unwrap().seconds, 9);
        assert!(shown.job.unwrap().payload.is_some());
    }
}
