//! Arguments that several commands take, and how they are read.

mod capacity;
mod node;

use std::time::Duration;

use prost_types::Timestamp;

pub(super) use self::{
    capacity::{Hint, Limit, Overflow, flow_hint, key_rule, limit},
    node::limits,
};
use crate::proto::JobState;

/// A span such as `500ms`, `30s` or `1h 30m`.
pub(super) fn span(text: &str) -> Result<Duration, String> {
    if text.trim() == "0" {
        return Ok(Duration::ZERO);
    }
    humantime::parse_duration(text).map_err(|error| format!("{error}; write it as 500ms, 30s or 1h30m"))
}

/// A time of day such as `2030-01-31T12:00:00Z` or `2030-01-31T12:00:00+01:00`.
pub(super) fn time(text: &str) -> Result<Timestamp, String> {
    text.parse().map_err(|_| format!("`{text}` is not an RFC 3339 time such as 2030-01-31T12:00:00Z"))
}

/// `NAME=VALUE`.
pub(super) fn label(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("write it as NAME=VALUE".to_owned()),
    }
}

/// Settings as `NAME=VALUE,NAME=VALUE`, one after another.
fn settings(text: &str) -> impl Iterator<Item = Result<(&str, &str), String>> {
    let wrong = |setting: &str| format!("`{setting}` is not NAME=VALUE");
    text.split(',').map(move |setting| setting.split_once('=').ok_or_else(|| wrong(setting)))
}

/// A lease: `JOB_ID:LEASE_TOKEN`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LeaseName {
    pub(super) job_id: String,
    pub(super) lease_token: u64,
}

pub(super) fn lease(text: &str) -> Result<LeaseName, String> {
    let wrong = || "write it as JOB_ID:LEASE_TOKEN, as `sluice lease` prints it".to_owned();
    let (job_id, token) = text.rsplit_once(':').ok_or_else(wrong)?;
    let lease_token = token.parse().map_err(|_| wrong())?;
    Ok(LeaseName { job_id: job_id.to_owned(), lease_token })
}

/// A state in small letters, such as `dead`.
pub(super) fn state(text: &str) -> Result<JobState, String> {
    let name = format!("JOB_STATE_{}", text.to_ascii_uppercase());
    match JobState::from_str_name(&name) {
        Some(state) if state != JobState::Unspecified => Ok(state),
        _ => Err("one of scheduled, ready, leased, retrying, completed, dead, cancelled, expired, dropped, drained".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_and_times_are_read_as_people_write_them() {
        assert_eq!(span("0"), Ok(Duration::ZERO));
        assert_eq!(span("1h 30m"), Ok(Duration::from_secs(5400)));
        assert!(span("5").is_err() && span("-5s").is_err() && span("").is_err());
        assert_eq!(time("1970-01-01T01:00:01+01:00").unwrap().seconds, 1);
        assert!(time("tomorrow").is_err());
    }

    #[test]
    fn leases_and_labels_are_read() {
        assert_eq!(lease("a:b:7"), Ok(LeaseName { job_id: "a:b".to_owned(), lease_token: 7 }));
        assert!(lease("12").is_err() && lease("12:x").is_err());
        assert_eq!(label("a=b=c"), Ok(("a".to_owned(), "b=c".to_owned())));
        assert!(label("a").is_err() && label("=b").is_err());
    }

    #[test]
    fn states_are_read_and_unspecified_is_none() {
        assert_eq!(state("dead"), Ok(JobState::Dead));
        assert!(state("unspecified").is_err() && state("lost").is_err());
    }
}
