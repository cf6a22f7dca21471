//! Jobs as they are printed.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{bytes, eta::EtaView, limit::GateView, outcome, queue::PolicyView, span, state, time};
use crate::{
    cli::output::Show,
    proto::{Attempt, EnqueuedJob, Job, JobError, LeasedJob},
};

#[derive(Debug, Serialize)]
pub(in crate::cli) struct JobView {
    job_id: String,
    queue: String,
    state: String,
    key: String,
    priority: u32,
    cost: u32,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    bypass_limits: bool,
    attempts: u32,
    max_attempts: u32,
    deliveries: u32,
    requeues: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    create_time: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    run_time: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    start_time: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    end_time: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lease_expire_time: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expire_time: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    queue_position: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    eta: Option<EtaView>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    blocked_by: Vec<GateView>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_error: Option<JobErrorView>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    attempt_history: Vec<AttemptView>,
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    result_base64: Option<String>,
    cancel_requested: bool,
    worker_id: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    batch_id: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    idempotency_key: String,
    labels: BTreeMap<String, String>,
    content_type: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_policy: Option<PolicyView>,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload_base64: Option<String>,
}

#[derive(Debug, Serialize)]
struct JobErrorView {
    code: String,
    message: String,
}

#[derive(Debug, Serialize)]
struct AttemptView {
    lease_token: u64,
    worker_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    start_time: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    end_time: Option<String>,
    outcome: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<JobErrorView>,
}

impl From<JobError> for JobErrorView {
    fn from(error: JobError) -> JobErrorView {
        JobErrorView { code: error.code, message: error.message }
    }
}

impl From<Attempt> for AttemptView {
    fn from(attempt: Attempt) -> AttemptView {
        AttemptView {
            lease_token: attempt.lease_token,
            worker_id: attempt.worker_id,
            start_time: attempt.start_time.as_ref().map(time),
            end_time: attempt.end_time.as_ref().map(time),
            outcome: outcome(attempt.outcome),
            error: attempt.error.map(JobErrorView::from),
        }
    }
}

impl From<Job> for JobView {
    fn from(job: Job) -> JobView {
        let (payload, payload_base64) = job.payload.as_deref().map_or((None, None), bytes);
        let (result, result_base64) = job.result.as_deref().map_or((None, None), bytes);
        JobView {
            job_id: job.job_id,
            queue: job.queue,
            state: state(job.state),
            key: job.key,
            priority: job.priority,
            cost: job.cost,
            bypass_limits: job.bypass_limits,
            attempts: job.attempts,
            max_attempts: job.max_attempts,
            deliveries: job.deliveries,
            requeues: job.requeues,
            create_time: job.create_time.as_ref().map(time),
            run_time: job.run_time.as_ref().map(time),
            start_time: job.start_time.as_ref().map(time),
            end_time: job.end_time.as_ref().map(time),
            lease_expire_time: job.lease_expire_time.as_ref().map(time),
            expire_time: job.expire_time.as_ref().map(time),
            queue_position: job.queue_position,
            eta: job.eta.map(EtaView::from),
            blocked_by: job.blocked_by.into_iter().map(GateView::from).collect(),
            last_error: job.last_error.map(JobErrorView::from),
            attempt_history: job.attempt_history.into_iter().map(AttemptView::from).collect(),
            result,
            result_base64,
            cancel_requested: job.cancel_requested,
            worker_id: job.worker_id,
            batch_id: job.batch_id,
            idempotency_key: job.idempotency_key,
            labels: job.labels.into_iter().collect(),
            content_type: job.content_type,
            retry_policy: job.retry_policy.as_ref().map(PolicyView::from),
            payload,
            payload_base64,
        }
    }
}

impl JobView {
    /// Its id, queue, key and state.
    pub(super) fn summary(&self) -> Vec<String> {
        [&self.job_id, &self.queue, &self.key, &self.state].map(String::clone).into()
    }

    pub(super) fn position(&self) -> String {
        self.queue_position.map(|position| position.to_string()).unwrap_or_default()
    }

    /// When it is expected to run.
    pub(super) fn expected(&self) -> String {
        self.eta.as_ref().map(EtaView::cell).unwrap_or_default()
    }
}

impl Show for JobView {
    const HEADER: &'static [&'static str] = &[
        "JOB",
        "QUEUE",
        "STATE",
        "PRIORITY",
        "KEY",
        "BATCH",
        "ATTEMPTS",
        "POSITION",
        "WAITS-FOR",
        "EXPECTED",
        "CREATED",
        "RUNS",
        "EXPIRES",
        "ENDED",
        "LABELS",
        "ERROR",
        "RESULT",
        "PAYLOAD",
    ];

    fn row(&self) -> Vec<String> {
        let labels: Vec<_> = self.labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let error = self.last_error.as_ref().map(|error| format!("{} {}", error.code, error.message));
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        vec![
            self.job_id.clone(),
            self.queue.clone(),
            if self.cancel_requested {
                format!("{} (to be cancelled)", self.state)
            } else {
                self.state.clone()
            },
            self.priority.to_string(),
            self.key.clone(),
            self.batch_id.clone(),
            format!("{}/{}", self.attempts, self.max_attempts),
            self.position(),
            self.blocked_by.first().map(GateView::cell).unwrap_or_default(),
            self.expected(),
            text(&self.create_time),
            text(&self.run_time),
            text(&self.expire_time),
            text(&self.end_time),
            labels.join(" "),
            error.unwrap_or_default().trim().to_owned(),
            self.result.clone().or_else(|| self.result_base64.clone()).unwrap_or_default(),
            self.payload.clone().or_else(|| self.payload_base64.clone()).unwrap_or_default(),
        ]
    }
}

/// A job that was put in.
#[derive(Debug, Serialize)]
pub(in crate::cli) struct EnqueuedView {
    job_id: String,
    /// Nothing was put in: this job has the same idempotency key.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    duplicate: bool,
}

impl From<EnqueuedJob> for EnqueuedView {
    fn from(job: EnqueuedJob) -> EnqueuedView {
        EnqueuedView { job_id: job.job_id, duplicate: job.duplicate }
    }
}

/// A job and the right to settle it.
#[derive(Debug, Serialize)]
pub(in crate::cli) struct LeasedView {
    job: JobView,
    lease_token: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    lease_expire_time: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lease_duration: Option<String>,
}

impl From<LeasedJob> for LeasedView {
    fn from(leased: LeasedJob) -> LeasedView {
        LeasedView {
            job: leased.job.unwrap_or_default().into(),
            lease_token: leased.lease_token,
            lease_expire_time: leased.lease_expire_time.as_ref().map(time),
            lease_duration: leased.lease_duration.as_ref().map(span),
        }
    }
}

impl Show for LeasedView {
    const HEADER: &'static [&'static str] = &["LEASE", "PRIORITY", "KEY", "ATTEMPTS", "UNTIL", "PAYLOAD"];

    fn row(&self) -> Vec<String> {
        let payload = self.job.payload.clone().or_else(|| self.job.payload_base64.clone());
        vec![
            format!("{}:{}", self.job.job_id, self.lease_token),
            self.job.priority.to_string(),
            self.job.key.clone(),
            format!("{}/{}", self.job.attempts, self.job.max_attempts),
            self.lease_expire_time.clone().unwrap_or_default(),
            payload.unwrap_or_default(),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payload_is_text_when_it_is_text_and_base64_otherwise() {
        let view = |payload: &'static [u8]| {
            let job = Job { payload: Some(payload.into()), state: 3, ..Job::default() };
            serde_json::to_value(JobView::from(job)).unwrap()
        };
        assert_eq!(view(b"h\xc3\xa9")["payload"], "hé");
        assert_eq!(view(b"\xff\x00")["payload_base64"], "/wA=");
        assert_eq!(view(b"\xff\x00").get("payload"), None);
        assert_eq!(view(b"")["state"], "LEASED");
    }
}
