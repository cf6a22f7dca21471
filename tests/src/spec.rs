//! Jobs, settings and spans, written as shortly as a test wants to read them.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use sluice_proto::v1::{
    Ack, GateKind, Job, JobSpec, KeyRule, LeasedJob, Nack, NackReason, NodeSettings, OverflowPolicy, Queue,
    RetryPolicy, StateCounts,
};

/// A job with a payload and nothing else.
#[must_use]
pub fn job(payload: &str) -> JobSpec {
    JobSpec { payload: Bytes::copy_from_slice(payload.as_bytes()), ..JobSpec::default() }
}

/// A job with a key.
#[must_use]
pub fn keyed(key: &str, payload: &str) -> JobSpec {
    JobSpec { key: key.to_owned(), ..job(payload) }
}

/// A job with a priority.
#[must_use]
pub fn urgent(priority: u32, payload: &str) -> JobSpec {
    JobSpec { priority: Some(priority), ..job(payload) }
}

/// `count` jobs: `NAME-0`, `NAME-1`, …
#[must_use]
pub fn jobs(name: &str, count: usize) -> Vec<JobSpec> {
    (0..count).map(|n| job(&format!("{name}-{n}"))).collect()
}

/// A policy of `max_attempts` with the same `wait` after each failure.
#[must_use]
pub fn retry(max_attempts: u32, wait: Duration) -> RetryPolicy {
    RetryPolicy {
        max_attempts: Some(max_attempts),
        initial_backoff: Some(span(wait)),
        multiplier: Some(1.0),
        max_backoff: Some(span(wait)),
        jitter: Some(0.0),
    }
}

/// A queue with that policy.
#[must_use]
pub fn retrying(max_attempts: u32, wait: Duration) -> Queue {
    Queue { retry_policy: Some(retry(max_attempts, wait)), ..Queue::default() }
}

/// A queue for `max_jobs`, and what happens beyond.
#[must_use]
pub fn bounded(max_jobs: u64, policy: OverflowPolicy) -> Queue {
    Queue { max_jobs: Some(max_jobs), overflow_policy: policy.into(), ..Queue::default() }
}

/// A queue with these limits, and these for keys. Its leases outlast any test.
#[must_use]
pub fn limited(settings: NodeSettings, rules: &[(&str, NodeSettings)]) -> Queue {
    let rule = |(pattern, settings): &(&str, NodeSettings)| KeyRule {
        key_pattern: (*pattern).to_owned(),
        settings: Some(settings.clone()),
    };
    Queue {
        settings: Some(settings),
        key_rules: rules.iter().map(rule).collect(),
        lease_duration: Some(span(Duration::from_secs(3_600))),
        ..Queue::default()
    }
}

/// Everything closed on a job's way: what, and where.
#[must_use]
pub fn blocks(job: &Job) -> Vec<(GateKind, &str)> {
    job.blocked_by.iter().map(|gate| (gate.kind(), gate.node.as_str())).collect()
}

/// Jobs in whatever state.
#[must_use]
pub fn sum(counts: &StateCounts) -> u64 {
    let c = counts;
    let live = c.scheduled + c.ready + c.leased + c.retrying;
    live + c.completed + c.dead + c.cancelled + c.expired + c.dropped + c.drained
}

/// The ack of a delivery.
#[must_use]
pub fn ack(job: &LeasedJob) -> Ack {
    Ack { job_id: id(job), lease_token: job.lease_token, result: None, actual_cost: None }
}

/// The nack of a delivery.
#[must_use]
pub fn nack(job: &LeasedJob, reason: NackReason) -> Nack {
    Nack { job_id: id(job), lease_token: job.lease_token, reason: reason.into(), ..Nack::default() }
}

/// The id of a delivered job.
#[must_use]
pub fn id(job: &LeasedJob) -> String {
    job.job.as_ref().expect("a lease has its job").job_id.clone()
}

/// The payload of a delivered job, as text.
#[must_use]
pub fn text(job: &LeasedJob) -> String {
    let payload = job.job.as_ref().and_then(|job| job.payload.clone()).expect("a lease has its payload");
    String::from_utf8(payload.to_vec()).expect("tests send text")
}

/// The payloads of delivered jobs, as text.
#[must_use]
pub fn texts(jobs: &[LeasedJob]) -> Vec<String> {
    jobs.iter().map(text).collect()
}

/// A span of the contract.
#[must_use]
pub fn span(duration: Duration) -> prost_types::Duration {
    prost_types::Duration::try_from(duration).expect("tests use sensible spans")
}

/// Milliseconds as a span of the contract.
#[must_use]
pub fn millis(millis: u64) -> prost_types::Duration {
    span(Duration::from_millis(millis))
}

/// A time of the contract.
#[must_use]
pub fn time(time: SystemTime) -> prost_types::Timestamp {
    time.into()
}

/// A time of the contract as the standard library's.
#[must_use]
pub fn moment(time: Option<prost_types::Timestamp>) -> SystemTime {
    SystemTime::try_from(time.expect("a time is set")).expect("servers send sensible times")
}

/// Whether two times are the same, but for the moments that pass between readings of two clocks: what
/// the server keeps by its own clock it shows by the wall's.
#[must_use]
pub fn same_moment(one: Option<prost_types::Timestamp>, other: Option<prost_types::Timestamp>) -> bool {
    let (one, other) = (moment(one), moment(other));
    one.max(other).duration_since(one.min(other)).is_ok_and(|apart| apart < TICK)
}

/// More than passes between readings of two clocks.
pub const TICK: Duration = Duration::from_millis(5);
