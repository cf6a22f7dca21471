//! Messages of the contract as they are printed: the same names, times as RFC 3339, spans as `1.5s`,
//! bytes as text where they are text, else base64.

mod job;
mod queue;
mod settled;
mod status;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use prost_types::{Duration, Timestamp};

pub(super) use self::{
    job::{EnqueuedView, JobView, LeasedView},
    queue::QueueView,
    settled::SettledView,
    status::StatusView,
};
use crate::proto::JobState;

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
    let name = JobState::try_from(state).map(|state| state.as_str_name());
    name.map_or_else(|_| state.to_string(), |name| name.trim_start_matches("JOB_STATE_").to_owned())
}
