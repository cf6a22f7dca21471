//! Messages of the contract as they are printed: the same names, times as RFC 3339, spans as `1.5s`,
//! bytes as text where they are text, else base64.

mod batch;
mod eta;
mod explanation;
mod job;
mod key;
mod limit;
mod node;
mod queue;
mod settled;
mod shared;
mod status;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use prost_types::{Duration, Timestamp};

pub(super) use self::{
    batch::BatchView,
    explanation::ExplanationView,
    job::{EnqueuedView, JobView, LeasedView},
    key::KeyView,
    queue::QueueView,
    settled::SettledView,
    shared::{AcquiredView, LimitView},
    status::StatusView,
};
use crate::proto::{
    AttemptOutcome, BatchState, BreakerState, JobState, LoadLevel, OverflowPolicy, QueueLevel,
};

/// Bytes as text, or else in base64: exactly one of the two.
fn bytes(bytes: &[u8]) -> (Option<String>, Option<String>) {
    match std::str::from_utf8(bytes) {
        Ok(text) => (Some(text.to_owned()), None),
        Err(_) => (None, Some(BASE64_STANDARD.encode(bytes))),
    }
}

fn time(time: &Timestamp) -> String {
    time.to_string()
}

fn span(span: &Duration) -> String {
    span.to_string()
}

/// `READY`, not `JOB_STATE_READY`: the name of the field says the rest.
fn state(state: i32) -> String {
    name(state, JobState::try_from(state).map(|state| state.as_str_name()).ok(), "JOB_STATE_")
}

pub(super) fn batch_state(state: i32) -> String {
    name(state, BatchState::try_from(state).map(|state| state.as_str_name()).ok(), "BATCH_STATE_")
}

pub(super) fn level(level: i32) -> String {
    name(level, QueueLevel::try_from(level).map(|level| level.as_str_name()).ok(), "QUEUE_LEVEL_")
}

fn load_level(level: i32) -> String {
    name(level, LoadLevel::try_from(level).map(|level| level.as_str_name()).ok(), "LOAD_LEVEL_")
}

/// Nothing where there is none.
fn breaker_state(state: i32) -> Option<String> {
    let known = BreakerState::try_from(state);
    let told = name(state, known.map(|state| state.as_str_name()).ok(), "BREAKER_STATE_");
    (known != Ok(BreakerState::Unspecified)).then_some(told)
}

fn overflow(policy: i32) -> String {
    name(policy, OverflowPolicy::try_from(policy).map(|policy| policy.as_str_name()).ok(), "OVERFLOW_POLICY_")
}

fn outcome(outcome: i32) -> String {
    name(
        outcome,
        AttemptOutcome::try_from(outcome).map(|outcome| outcome.as_str_name()).ok(),
        "ATTEMPT_OUTCOME_",
    )
}

/// A value that is newer than this program is shown as its number.
fn name(number: i32, name: Option<&'static str>, prefix: &str) -> String {
    name.map_or_else(|| number.to_string(), |name| name.trim_start_matches(prefix).to_owned())
}

/// A part as people read it; nothing where there is none.
pub(super) fn percent(part: Option<f64>) -> String {
    part.map(|part| format!("{:.1}%", part * 100.0)).unwrap_or_default()
}
