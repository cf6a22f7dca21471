//! How a producer describes a job, and when nothing more happens to one.

use std::time::Duration;

use bytes::Bytes;

use crate::{
    proto::{JobSpec, JobState, RetryPolicy},
    span::span_to_proto,
};

/// Builds a [`JobSpec`]. What is not said is left to the queue and the server.
///
/// ```
/// use std::time::Duration;
/// use sluice_client::{JobBuilder, proto::JobSpec};
///
/// let job: JobSpec = JobBuilder::new(r#"{"to":"ann"}"#)
///     .key("bot42/group/chat7")
///     .priority(7)
///     .delay(Duration::from_secs(5))
///     .label("kind", "greeting")
///     .content_type("application/json")
///     .into();
/// assert_eq!(job.priority, Some(7));
/// ```
#[derive(Clone, Debug, Default)]
pub struct JobBuilder {
    spec: JobSpec,
}

impl JobBuilder {
    /// A job with this payload: opaque bytes, at most 1 MiB unless the server says otherwise.
    #[must_use]
    pub fn new(payload: impl Into<Bytes>) -> JobBuilder {
        JobBuilder { spec: JobSpec { payload: payload.into(), ..JobSpec::default() } }
    }

    /// A path of up to 3 segments; jobs of one key and priority are delivered first in, first out.
    #[must_use]
    pub fn key(mut self, key: impl Into<String>) -> JobBuilder {
        self.spec.key = key.into();
        self
    }

    /// 0 to 9, 9 is most urgent. The server's default is 4.
    #[must_use]
    pub fn priority(mut self, priority: u32) -> JobBuilder {
        self.spec.priority = Some(priority);
        self
    }

    /// What it costs where limits count cost: 1 to 1,000,000,000. The server's default is 1.
    #[must_use]
    pub fn cost(mut self, cost: u32) -> JobBuilder {
        self.spec.cost = Some(cost);
        self
    }

    /// Lets it pass rates and quotas, as an emergency. It is charged all the same, and is of priority 9.
    #[must_use]
    pub fn bypass_limits(mut self) -> JobBuilder {
        self.spec.bypass_limits = true;
        self
    }

    /// Not before this much after the server accepted the job.
    #[must_use]
    pub fn delay(mut self, delay: Duration) -> JobBuilder {
        self.spec.delay = Some(span_to_proto(delay));
        self
    }

    /// Not before this time of day. Not together with [`JobBuilder::delay`].
    #[must_use]
    pub fn run_time(mut self, run_time: prost_types::Timestamp) -> JobBuilder {
        self.spec.run_time = Some(run_time);
        self
    }

    /// A job that is not done this long after the server accepted it is EXPIRED.
    #[must_use]
    pub fn ttl(mut self, ttl: Duration) -> JobBuilder {
        self.spec.ttl = Some(span_to_proto(ttl));
        self
    }

    /// A second job with the same key for the same queue, within the queue's window, is not put in: the answer
    /// names the first one. At most 128 bytes.
    #[must_use]
    pub fn idempotency_key(mut self, key: impl Into<String>) -> JobBuilder {
        self.spec.idempotency_key = key.into();
        self
    }

    /// The batch of its queue that it belongs to; a new name begins a batch. At most 128 bytes.
    #[must_use]
    pub fn batch(mut self, batch_id: impl Into<String>) -> JobBuilder {
        self.spec.batch_id = batch_id.into();
        self
    }

    /// How failures of this job are repeated; fields not said come from the queue.
    #[must_use]
    pub fn retry_policy(mut self, policy: RetryPolicy) -> JobBuilder {
        self.spec.retry_policy = Some(policy);
        self
    }

    /// Deliveries that may fail before the job is dead. 1 to 1,000.
    #[must_use]
    pub fn max_attempts(mut self, max_attempts: u32) -> JobBuilder {
        self.spec.retry_policy.get_or_insert_default().max_attempts = Some(max_attempts);
        self
    }

    /// A name and a value for people and tools; at most 16.
    #[must_use]
    pub fn label(mut self, name: impl Into<String>, value: impl Into<String>) -> JobBuilder {
        self.spec.labels.insert(name.into(), value.into());
        self
    }

    /// What the payload is, such as `application/json`.
    #[must_use]
    pub fn content_type(mut self, content_type: impl Into<String>) -> JobBuilder {
        self.spec.content_type = content_type.into();
        self
    }

    /// The message itself.
    #[must_use]
    pub fn build(self) -> JobSpec {
        self.spec
    }
}

impl From<JobBuilder> for JobSpec {
    fn from(builder: JobBuilder) -> JobSpec {
        builder.spec
    }
}

/// Whether nothing more happens to a job in this state by itself.
#[must_use]
pub fn is_at_rest(state: JobState) -> bool {
    match state {
        JobState::Completed
        | JobState::Dead
        | JobState::Cancelled
        | JobState::Expired
        | JobState::Dropped
        | JobState::Drained => true,
        JobState::Unspecified
        | JobState::Scheduled
        | JobState::Ready
        | JobState::Leased
        | JobState::Retrying => false,
    }
}
