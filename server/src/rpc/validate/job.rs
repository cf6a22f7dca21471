//! A job as a producer describes it.

use std::collections::HashMap;

use sluice_engine::bound::{
    MAX_ATTEMPTS, MAX_COST, MAX_KEY_BYTES, MAX_KEY_SEGMENTS, MAX_LABEL_BYTES, MAX_LABELS, MAX_SPAN,
};
use sluice_engine::{
    Attributes, BatchName, Cost, JobSpec, Key, NameError, Priority, RetryPatch, Span, Start, WallTime,
};
use sluice_proto::v1;

use super::field::Fields;
use super::path::Path;
use super::span::ANY;
use crate::idempotency;

/// The largest multiplier of a retry policy: from 1 ms it passes 10 years in six steps.
const MAX_MULTIPLIER: f64 = 100.0;
/// A time to live of nothing would be a job that is never there.
const SHORTEST: Span = Span(1);

impl Fields {
    /// A job to put in.
    pub(super) fn spec(
        &mut self,
        at: Path<'_>,
        spec: v1::JobSpec,
        max_payload_bytes: usize,
        now: WallTime,
    ) -> Option<JobSpec> {
        if spec.payload.len() > max_payload_bytes {
            self.wrong(at.then("payload"), format_args!("has more than {max_payload_bytes} bytes"));
        }
        let key = self.key(at.then("key"), spec.key);
        let highest = Priority::COUNT as u32 - 1;
        let priority = self.said_number(at.then("priority"), spec.priority, 0..=highest);
        let cost = self.said_number(at.then("cost"), spec.cost, 1..=MAX_COST);
        let start = self.start(at, &spec.delay, &spec.run_time, now);
        let retry = self.retry(at.then("retry_policy"), spec.retry_policy);
        let labels = self.labels(at.then("labels"), spec.labels);
        let content_type = self.id(at.then("content_type"), &spec.content_type);
        let ttl = self.span(at.then("ttl"), spec.ttl, SHORTEST..=MAX_SPAN);
        let idempotency_key = self.id(at.then("idempotency_key"), &spec.idempotency_key);
        let batch = self.batch(at.then("batch_id"), &spec.batch_id);
        let hash = (!spec.idempotency_key.is_empty()).then(|| idempotency::hash(&spec.idempotency_key));
        Some(JobSpec {
            payload: spec.payload,
            key: key?,
            priority: priority?.and_then(Priority::new).unwrap_or_default(),
            cost: cost?.and_then(Cost::new).unwrap_or_default(),
            start: start?,
            retry: retry.map(|patch| (!patch.is_empty()).then(|| Box::new(patch)))?,
            attributes: Attributes {
                labels: labels?,
                content_type: content_type.map(|()| spec.content_type.into_boxed_str())?,
                idempotency_key: idempotency_key.map(|()| spec.idempotency_key.into_boxed_str())?,
            },
            ttl: ttl?,
            idempotency: hash,
            batch: batch?,
            bypass_limits: spec.bypass_limits,
        })
    }

    /// What is said of retries.
    pub(super) fn retry(&mut self, at: Path<'_>, said: Option<v1::RetryPolicy>) -> Option<RetryPatch> {
        let said = said.unwrap_or_default();
        let max_attempts = self.said_number(at.then("max_attempts"), said.max_attempts, 1..=MAX_ATTEMPTS);
        let initial_backoff = self.span(at.then("initial_backoff"), said.initial_backoff, ANY);
        let multiplier = self.said_number(at.then("multiplier"), said.multiplier, 1.0..=MAX_MULTIPLIER);
        let max_backoff = self.span(at.then("max_backoff"), said.max_backoff, ANY);
        let jitter = self.said_number(at.then("jitter"), said.jitter, 0.0..=1.0);
        Some(RetryPatch {
            max_attempts: max_attempts?,
            initial_backoff: initial_backoff?,
            multiplier: multiplier?,
            max_backoff: max_backoff?,
            jitter: jitter?,
        })
    }

    /// The name of a batch, if one was said.
    pub(super) fn batch(&mut self, at: Path<'_>, name: &str) -> Option<Option<BatchName>> {
        if name.is_empty() {
            return Some(None);
        }
        BatchName::new(name).map(Some).map_err(|error| self.wrong(at, error)).ok()
    }

    /// A key, or the beginning of one.
    pub(super) fn key(&mut self, at: Path<'_>, key: String) -> Option<Key> {
        Key::new(key)
            .map_err(|error| match error {
                NameError::TooLong => self.wrong(at, format_args!("has more than {MAX_KEY_BYTES} bytes")),
                NameError::TooDeep => {
                    self.wrong(at, format_args!("has more than {MAX_KEY_SEGMENTS} segments"))
                }
                other => self.wrong(at, other),
            })
            .ok()
    }

    fn start(
        &mut self,
        at: Path<'_>,
        delay: &Option<prost_types::Duration>,
        run_time: &Option<prost_types::Timestamp>,
        now: WallTime,
    ) -> Option<Start> {
        self.start_at(at.then("delay"), at.then("run_time"), delay, run_time, now)
    }

    /// When a job may run, with where that is said.
    pub(super) fn start_at(
        &mut self,
        delay_at: Path<'_>,
        time_at: Path<'_>,
        delay: &Option<prost_types::Duration>,
        run_time: &Option<prost_types::Timestamp>,
        now: WallTime,
    ) -> Option<Start> {
        let both = delay.is_some() && run_time.is_some();
        let delay = self.span(delay_at, *delay, ANY);
        let time = self.time(time_at, *run_time, now);
        if both {
            self.wrong(time_at, "must not be said together with delay");
            return None;
        }
        Some(match (delay?, time?) {
            (Some(delay), _) => Start::After(delay),
            (None, Some(time)) => Start::At(time),
            (None, None) => Start::Now,
        })
    }

    pub(super) fn labels(
        &mut self,
        at: Path<'_>,
        said: HashMap<String, String>,
    ) -> Option<Vec<(Box<str>, Box<str>)>> {
        if said.len() > MAX_LABELS {
            self.wrong(at, format_args!("has more than {MAX_LABELS} entries"));
            return None;
        }
        let mut labels: Vec<(Box<str>, Box<str>)> =
            said.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
        labels.sort_unstable();
        let mut good = true;
        for (name, value) in &labels {
            if name.is_empty() {
                self.wrong(at.entry(name), "has an empty name");
                good = false;
            }
            if name.len() > MAX_LABEL_BYTES || value.len() > MAX_LABEL_BYTES {
                self.wrong(at.entry(name), format_args!("has more than {MAX_LABEL_BYTES} bytes"));
                good = false;
            }
        }
        good.then_some(labels)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rpc::status::Failure;
    use prost_types::{Duration, Timestamp};

    const NOW: WallTime = WallTime(1_700_000_000_000_000_000);

    fn check(spec: v1::JobSpec) -> Result<JobSpec, Vec<String>> {
        let mut fields = Fields::default();
        let made = fields.spec(Path::new("jobs").item(3), spec, 1_024, NOW);
        fields.made(made).map_err(|failure| match failure {
            Failure::Fields(wrong) => wrong.into_iter().map(|w| w.path).collect(),
            other => panic!("not about fields: {other:?}"),
        })
    }

    fn wrong(spec: v1::JobSpec) -> String {
        check(spec).expect_err("is wrong").join(" ")
    }

    fn policy(change: impl FnOnce(&mut v1::RetryPolicy)) -> v1::JobSpec {
        let mut policy = v1::RetryPolicy::default();
        change(&mut policy);
        v1::JobSpec { retry_policy: Some(policy), ..Default::default() }
    }

    fn label(name: &str, value: &str) -> v1::JobSpec {
        v1::JobSpec { labels: [(name.to_owned(), value.to_owned())].into(), ..Default::default() }
    }

    #[test]
    fn job_that_says_nothing_has_the_defaults() {
        assert_eq!(check(v1::JobSpec::default()), Ok(JobSpec::default()));
        assert_eq!(check(policy(|_| ())), Ok(JobSpec::default()));
    }

    #[test]
    fn job_keeps_all_it_says() {
        let spec = v1::JobSpec {
            payload: "hi".into(),
            key: "bot42/group/chat7".to_owned(),
            priority: Some(0),
            cost: Some(25),
            delay: Some(Duration { seconds: 5, nanos: 1 }),
            run_time: None,
            retry_policy: Some(v1::RetryPolicy {
                max_attempts: Some(1_000),
                initial_backoff: Some(Duration { seconds: 0, nanos: 0 }),
                multiplier: Some(100.0),
                max_backoff: Some(Duration { seconds: 9, nanos: 0 }),
                jitter: Some(0.0),
            }),
            labels: [("b".to_owned(), "2".to_owned()), ("a".to_owned(), "1".to_owned())].into(),
            content_type: "text/plain".to_owned(),
            ttl: Some(Duration { seconds: 60, nanos: 0 }),
            idempotency_key: "once".to_owned(),
            batch_id: "b".to_owned(),
            bypass_limits: true,
        };
        let made = check(spec).unwrap();
        assert_eq!(&made.payload[..], b"hi");
        assert_eq!((&*made.key, made.bypass_limits), ("bot42/group/chat7", true));
        assert_eq!((made.priority.get(), made.cost.get()), (0, 25));
        assert_eq!(made.start, Start::After(Span(5_000_000_001)));
        assert_eq!(
            made.retry.as_deref(),
            Some(&RetryPatch {
                max_attempts: Some(1_000),
                initial_backoff: Some(Span::ZERO),
                multiplier: Some(100.0),
                max_backoff: Some(Span::from_secs(9)),
                jitter: Some(0.0),
            })
        );
        assert_eq!(made.attributes.labels, [("a".into(), "1".into()), ("b".into(), "2".into())]);
        assert_eq!(&*made.attributes.content_type, "text/plain");
        assert_eq!((made.ttl, made.batch.as_deref()), (Some(Span::from_secs(60)), Some("b")));
        assert_eq!(&*made.attributes.idempotency_key, "once");
        assert_eq!(made.idempotency, Some(idempotency::hash("once")));
    }

    #[test]
    fn payload_is_bounded() {
        assert!(check(v1::JobSpec { payload: vec![0; 1_024].into(), ..Default::default() }).is_ok());
        assert_eq!(
            wrong(v1::JobSpec { payload: vec![0; 1_025].into(), ..Default::default() }),
            "jobs[3].payload"
        );
    }

    #[test]
    fn key_is_bounded() {
        assert!(check(v1::JobSpec { key: "k".repeat(256), ..Default::default() }).is_ok());
        for key in [&*"k".repeat(257), "a/b/c/d", "a//b", "a\0b"] {
            assert_eq!(wrong(v1::JobSpec { key: key.to_owned(), ..Default::default() }), "jobs[3].key");
        }
    }

    #[test]
    fn priority_is_bounded() {
        assert!(check(v1::JobSpec { priority: Some(9), ..Default::default() }).is_ok());
        for priority in [10, 256, 260, u32::MAX] {
            assert_eq!(
                wrong(v1::JobSpec { priority: Some(priority), ..Default::default() }),
                "jobs[3].priority"
            );
        }
    }

    #[test]
    fn start_is_a_delay_or_a_time_and_not_both() {
        let delay = Some(Duration { seconds: 1, nanos: 0 });
        let run_time = Some(Timestamp { seconds: 1_700_000_001, nanos: 0 });
        let at = check(v1::JobSpec { run_time, ..Default::default() }).unwrap().start;
        assert_eq!(at, Start::At(NOW + Span::from_secs(1)));
        assert_eq!(wrong(v1::JobSpec { delay, run_time, ..Default::default() }), "jobs[3].run_time");
        let delay = Some(Duration { seconds: -1, nanos: 0 });
        assert_eq!(wrong(v1::JobSpec { delay, ..Default::default() }), "jobs[3].delay");
        let run_time = Some(Timestamp { seconds: i64::MAX, nanos: 0 });
        assert_eq!(wrong(v1::JobSpec { run_time, ..Default::default() }), "jobs[3].run_time");
    }

    #[test]
    fn retry_policy_is_bounded() {
        let huge = Some(Duration { seconds: i64::MAX, nanos: 0 });
        let cases: [(&str, v1::JobSpec); 12] = [
            ("max_attempts", policy(|p| p.max_attempts = Some(0))),
            ("max_attempts", policy(|p| p.max_attempts = Some(1_001))),
            ("initial_backoff", policy(|p| p.initial_backoff = huge)),
            ("initial_backoff", policy(|p| p.initial_backoff = Some(Duration { seconds: 0, nanos: -1 }))),
            ("multiplier", policy(|p| p.multiplier = Some(0.99))),
            ("multiplier", policy(|p| p.multiplier = Some(100.1))),
            ("multiplier", policy(|p| p.multiplier = Some(f64::NAN))),
            ("max_backoff", policy(|p| p.max_backoff = huge)),
            ("jitter", policy(|p| p.jitter = Some(-0.1))),
            ("jitter", policy(|p| p.jitter = Some(1.1))),
            ("jitter", policy(|p| p.jitter = Some(f64::NAN))),
            ("jitter", policy(|p| p.jitter = Some(f64::INFINITY))),
        ];
        for (field, spec) in cases {
            assert_eq!(wrong(spec), format!("jobs[3].retry_policy.{field}"));
        }
    }

    #[test]
    fn labels_are_bounded() {
        let many = |n: usize| v1::JobSpec {
            labels: (0..n).map(|i| (i.to_string(), String::new())).collect(),
            ..Default::default()
        };
        assert!(check(many(16)).is_ok());
        assert_eq!(wrong(many(17)), "jobs[3].labels");
        assert!(check(label(&"n".repeat(128), &"v".repeat(128))).is_ok());
        assert_eq!(wrong(label("", "v")), "jobs[3].labels[\"\"]");
        assert_eq!(wrong(label("n", &"v".repeat(129))), "jobs[3].labels[\"n\"]");
        assert!(wrong(label(&"n".repeat(129), "")).starts_with("jobs[3].labels[\"nnn"));
    }

    #[test]
    fn content_type_is_bounded() {
        assert!(check(v1::JobSpec { content_type: "c".repeat(128), ..Default::default() }).is_ok());
        let long = v1::JobSpec { content_type: "c".repeat(129), ..Default::default() };
        assert_eq!(wrong(long), "jobs[3].content_type");
    }

    #[test]
    fn all_that_is_wrong_is_said_at_once() {
        let spec = v1::JobSpec {
            key: "/".to_owned(),
            priority: Some(10),
            content_type: "c".repeat(129),
            ..policy(|p| p.jitter = Some(2.0))
        };
        assert_eq!(
            wrong(spec),
            "jobs[3].key jobs[3].priority jobs[3].retry_policy.jitter jobs[3].content_type"
        );
    }
}
