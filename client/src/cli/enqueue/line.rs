//! A line of bulk input: one job as JSON. Knows nothing of files and batches.

use std::{collections::HashMap, time::Duration};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use bytes::Bytes;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::{
    cli::argument::{span, time},
    proto::{JobSpec, RetryPolicy},
    span_to_proto,
};

/// Bytes of a payload that any server takes.
pub(super) const MAX_PAYLOAD_BYTES: usize = 3 << 20;
/// The most urgent priority.
const MAX_PRIORITY: u32 = 9;

/// The keys of a line. What is not known is refused: a key that is misspelt must not go unnoticed.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line<'a> {
    #[serde(borrow, default, deserialize_with = "as_it_stands")]
    payload: Option<&'a RawValue>,
    payload_base64: Option<String>,
    key: Option<String>,
    priority: Option<u32>,
    cost: Option<u32>,
    delay: Option<String>,
    run_time: Option<String>,
    ttl: Option<String>,
    idempotency_key: Option<String>,
    batch_id: Option<String>,
    labels: Option<HashMap<String, String>>,
    content_type: Option<String>,
    retry_policy: Option<Policy>,
    bypass_limits: Option<bool>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Policy {
    max_attempts: Option<u32>,
    initial_backoff: Option<String>,
    multiplier: Option<f64>,
    max_backoff: Option<String>,
    jitter: Option<f64>,
}

/// Reads a line.
pub(super) fn parse(line: &[u8]) -> Result<JobSpec, String> {
    let line: Line<'_> = serde_json::from_slice(line).map_err(|error| without_line(&error))?;
    let priority = line.priority;
    if priority.is_some_and(|priority| priority > MAX_PRIORITY) {
        return Err(format!("priority: 0 to {MAX_PRIORITY}"));
    }
    if line.delay.is_some() && line.run_time.is_some() {
        return Err("either delay or run_time, not both".to_owned());
    }
    Ok(JobSpec {
        payload: payload(line.payload, line.payload_base64)?,
        key: line.key.unwrap_or_default(),
        priority,
        cost: line.cost,
        delay: span_field("delay", line.delay)?,
        run_time: line.run_time.map(|text| time(&text)).transpose().map_err(|e| format!("run_time: {e}"))?,
        ttl: span_field("ttl", line.ttl)?,
        idempotency_key: line.idempotency_key.unwrap_or_default(),
        retry_policy: line.retry_policy.map(policy).transpose()?,
        batch_id: line.batch_id.unwrap_or_default(),
        labels: line.labels.unwrap_or_default(),
        content_type: line.content_type.unwrap_or_default(),
        bypass_limits: line.bypass_limits.unwrap_or_default(),
    })
}

/// A string is text, anything else its own bytes: `null` too, so an `Option` must not eat it.
fn as_it_stands<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

fn payload(raw: Option<&RawValue>, base64: Option<String>) -> Result<Bytes, String> {
    let payload = match (raw.map(RawValue::get), base64) {
        (Some(_), Some(_)) => return Err("either payload or payload_base64, not both".to_owned()),
        (Some(text), None) if text.starts_with('"') => {
            let text: String = serde_json::from_str(text).map_err(|error| without_line(&error))?;
            Bytes::from(text)
        }
        (Some(json), None) => Bytes::copy_from_slice(json.as_bytes()),
        (None, Some(base64)) => {
            BASE64_STANDARD.decode(base64).map_err(|error| format!("payload_base64: {error}"))?.into()
        }
        (None, None) => Bytes::new(),
    };
    if payload.len() > MAX_PAYLOAD_BYTES {
        return Err(format!("payload: {} bytes, {MAX_PAYLOAD_BYTES} are possible", payload.len()));
    }
    Ok(payload)
}

fn policy(policy: Policy) -> Result<RetryPolicy, String> {
    Ok(RetryPolicy {
        max_attempts: policy.max_attempts,
        initial_backoff: span_field("retry_policy.initial_backoff", policy.initial_backoff)?,
        multiplier: policy.multiplier,
        max_backoff: span_field("retry_policy.max_backoff", policy.max_backoff)?,
        jitter: policy.jitter,
    })
}

fn span_field(name: &str, text: Option<String>) -> Result<Option<prost_types::Duration>, String> {
    let spans: Option<Duration> =
        text.map(|text| span(&text)).transpose().map_err(|e| format!("{name}: {e}"))?;
    Ok(spans.map(span_to_proto))
}

/// serde_json counts lines from the start of what it was given, which is this line.
fn without_line(error: &serde_json::Error) -> String {
    let text = error.to_string();
    match text.rsplit_once(" at line ") {
        Some((what, _)) => format!("{what} at column {}", error.column()),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn payload_of(line: &str) -> Bytes {
        parse(line.as_bytes()).unwrap().payload
    }

    #[test]
    fn string_payload_is_text_and_other_json_its_own_bytes() {
        assert_eq!(payload_of(r#"{"payload":"h\u00e9\n"}"#), "hé\n");
        assert_eq!(payload_of(r#"{"payload": { "a" :1.50,  "b":[ ] } }"#), r#"{ "a" :1.50,  "b":[ ] }"#);
        assert_eq!(payload_of(r#"{"payload":null}"#), "null");
        assert_eq!(payload_of(r#"{"payload":7}"#), "7");
        assert_eq!(payload_of(r#"{"payload_base64":"/wA="}"#), &b"\xff\x00"[..]);
        assert_eq!(payload_of("{}"), "");
    }

    #[test]
    fn every_key_reaches_the_job() {
        let line = r#"{"payload":"x","key":"a/b","priority":9,"cost":3,"delay":"5s","ttl":"1h",
            "idempotency_key":"once","batch_id":"b7","labels":{"k":"v"},
            "content_type":"text/plain","retry_policy":{"max_attempts":3,"initial_backoff":"100ms",
            "multiplier":1.5,"max_backoff":"1m","jitter":0},"bypass_limits":true}"#;
        let span = |seconds, nanos| Some(prost_types::Duration { seconds, nanos });
        let expected = JobSpec {
            payload: "x".into(),
            key: "a/b".to_owned(),
            priority: Some(9),
            cost: Some(3),
            delay: span(5, 0),
            run_time: None,
            ttl: span(3600, 0),
            idempotency_key: "once".to_owned(),
            batch_id: "b7".to_owned(),
            retry_policy: Some(RetryPolicy {
                max_attempts: Some(3),
                initial_backoff: span(0, 100_000_000),
                multiplier: Some(1.5),
                max_backoff: span(60, 0),
                jitter: Some(0.0),
            }),
            bypass_limits: true,
            labels: HashMap::from([("k".to_owned(), "v".to_owned())]),
            content_type: "text/plain".to_owned(),
        };
        assert_eq!(parse(line.as_bytes()), Ok(expected));
        let timed = parse(br#"{"run_time":"1970-01-01T00:00:09Z"}"#).unwrap();
        assert_eq!(timed.run_time.unwrap().seconds, 9);
    }

    #[test]
    fn bad_lines_are_refused_with_the_reason() {
        for (line, reason) in [
            ("", "EOF"),
            ("[1]", "invalid"),
            (r#"{"payload":"x""#, "EOF"),
            (r#"{"prioritty":1}"#, "prioritty"),
            (r#"{"priority":10}"#, "priority"),
            (r#"{"priority":-1}"#, "invalid value"),
            (r#"{"payload":"x","payload_base64":""}"#, "not both"),
            (r#"{"payload_base64":"?"}"#, "payload_base64"),
            (r#"{"delay":"5"}"#, "delay"),
            (r#"{"delay":"5s","run_time":"1970-01-01T00:00:09Z"}"#, "not both"),
            (r#"{"run_time":"soon"}"#, "run_time"),
            (r#"{"ttl":"9"}"#, "ttl"),
            (r#"{"retry_policy":{"max_backoff":"x"}}"#, "retry_policy.max_backoff"),
            (r#"{"labels":{"a":1}}"#, "invalid type"),
            ("{} {}", "trailing"),
        ] {
            let error = parse(line.as_bytes()).unwrap_err();
            assert!(error.contains(reason), "{line}: {error}");
        }
        assert!(parse(b"{\"payload\":\"\xff\"}").is_err());
    }
}
