//! PutQueue: a queue's settings, all of them or those that a mask names.

use sluice_engine::bound::{MAX_LEASE, MAX_RETENTION_BYTES, MIN_LEASE};
use sluice_engine::{PutQueue, QueueId, QueuePatch, QueueSettings, QueueVersion, RetryPatch};
use sluice_proto::v1;

use super::field::Fields;
use super::path::Path;
use super::span::ANY;
use crate::rpc::convert::etag;
use crate::rpc::status::Failure;

/// A queue as it is to be.
pub(in crate::rpc) fn put_queue(request: v1::PutQueueRequest) -> Result<PutQueue, Failure> {
    let mut fields = Fields::default();
    let at = Path::new("queue");
    let queue = request.queue.unwrap_or_default();
    let name = fields.queue(at.then("name"), &queue.name);
    let etag = fields.id(at.then("etag"), &queue.etag);
    let said = fields.settings(at, &queue);
    let mask = match request.update_mask {
        Some(mask) if !mask.paths.is_empty() => fields.mask(&mask.paths),
        _ => Some(Mask::ALL),
    };
    let made = (|| {
        let patch = mask?.patch(said?);
        etag?;
        Some((name?, patch))
    })();
    let (name, patch) = fields.made(made)?;
    let version = match &*queue.etag {
        "" => None,
        // An etag that we never gave cannot be the present one.
        etag => Some(version(etag).ok_or_else(|| Failure::EtagMismatch(name.to_string()))?),
    };
    Ok(PutQueue { name, patch, version })
}

/// The version that an etag stands for.
pub(super) fn version(text: &str) -> Option<QueueVersion> {
    let (queue, number) = text.split_once('-')?;
    let version = QueueVersion { queue: QueueId(queue.parse().ok()?), number: number.parse().ok()? };
    (etag(version) == text).then_some(version)
}

impl Fields {
    fn settings(&mut self, at: Path<'_>, queue: &v1::Queue) -> Option<QueuePatch> {
        let retry = self.retry(at.then("retry_policy"), queue.retry_policy);
        let lease = self.span(at.then("lease_duration"), queue.lease_duration, MIN_LEASE..=MAX_LEASE);
        let retention = self.span(at.then("retention"), queue.retention, ANY);
        let bytes_at = at.then("retention_bytes");
        let bytes = self.said_number(bytes_at, queue.retention_bytes, 0..=MAX_RETENTION_BYTES);
        let dead = self.span(at.then("dead_retention"), queue.dead_retention, ANY);
        let ageing = self.span(at.then("priority_ageing"), queue.priority_ageing, ANY);
        let capacity = self.capacity(at, queue.max_jobs, queue.max_bytes);
        let overflow = self.overflow(at.then("overflow_policy"), queue.overflow_policy);
        let reserve = self.reserve(at.then("reserve"), queue.reserve);
        let node = self.queue_node(at.then("settings"), queue.settings.as_ref());
        let key_rules = self.key_rules(at.then("key_rules"), &queue.key_rules);
        let flow_hint = self.flow_hint(at.then("flow_hint"), queue.flow_hint);
        let window = self.span(at.then("idempotency_window"), queue.idempotency_window, ANY);
        let limit = match &*queue.limit {
            "" => Some(None),
            name => self.queue(at.then("limit"), name).map(Some),
        };
        let capacity = capacity?;
        Some(QueuePatch {
            retry: retry?,
            lease_duration: lease?,
            retention: retention?,
            retention_bytes: bytes?,
            dead_retention: dead?,
            priority_ageing: ageing?,
            max_jobs: Some(capacity.jobs),
            max_bytes: Some(capacity.bytes),
            overflow: overflow?,
            reserve: Some(reserve?),
            node: Some(node?),
            key_rules: Some(key_rules?),
            paused: Some(queue.paused),
            flow_hint: Some(flow_hint?),
            idempotency_window: window?,
            limit: Some(limit?),
        })
    }

    fn mask(&mut self, paths: &[String]) -> Option<Mask> {
        let mut mask = Mask::default();
        let mut good = true;
        for path in paths {
            if !mask.add(path) {
                self.wrong(Path::new("update_mask"), format_args!("{path:?} is not a field that can be set"));
                good = false;
            }
            if self.is_full() {
                break;
            }
        }
        good.then_some(mask)
    }
}

/// The fields that are to change: a bit for each of [`Mask::PATHS`].
#[derive(Clone, Copy, Default)]
struct Mask(u32);

impl Mask {
    /// Every field that can be set.
    const PATHS: [&str; 20] = [
        "retry_policy.max_attempts",
        "retry_policy.initial_backoff",
        "retry_policy.multiplier",
        "retry_policy.max_backoff",
        "retry_policy.jitter",
        "lease_duration",
        "retention",
        "retention_bytes",
        "dead_retention",
        "priority_ageing",
        "max_jobs",
        "max_bytes",
        "overflow_policy",
        "reserve",
        "settings",
        "key_rules",
        "paused",
        "flow_hint",
        "idempotency_window",
        "limit",
    ];
    const ALL: Mask = Mask((1 << Mask::PATHS.len()) - 1);

    /// Adds the field at `path`, or the fields below it; false when there is none that can be set.
    fn add(&mut self, path: &str) -> bool {
        if path == "*" {
            *self = Mask::ALL;
            return true;
        }
        let is_meant = |known: &str| {
            known.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        let mut bits = 0;
        for (bit, known) in Mask::PATHS.iter().enumerate() {
            bits |= u32::from(!path.is_empty() && is_meant(known)) << bit;
        }
        self.0 |= bits;
        bits != 0
    }

    fn has(self, path: &str) -> bool {
        let bit = Mask::PATHS.iter().position(|known| *known == path);
        bit.is_some_and(|bit| self.0 & 1 << bit != 0)
    }

    /// What is to change: a field that is named and not said goes back to its default.
    fn patch(self, said: QueuePatch) -> QueuePatch {
        let default = QueueSettings::default();
        let retry = default.retry;
        fn set<T>(named: bool, said: Option<T>, default: T) -> Option<T> {
            named.then(|| said.unwrap_or(default))
        }
        QueuePatch {
            retry: RetryPatch {
                max_attempts: set(
                    self.has("retry_policy.max_attempts"),
                    said.retry.max_attempts,
                    retry.max_attempts,
                ),
                initial_backoff: set(
                    self.has("retry_policy.initial_backoff"),
                    said.retry.initial_backoff,
                    retry.initial_backoff,
                ),
                multiplier: set(self.has("retry_policy.multiplier"), said.retry.multiplier, retry.multiplier),
                max_backoff: set(
                    self.has("retry_policy.max_backoff"),
                    said.retry.max_backoff,
                    retry.max_backoff,
                ),
                jitter: set(self.has("retry_policy.jitter"), said.retry.jitter, retry.jitter),
            },
            lease_duration: set(self.has("lease_duration"), said.lease_duration, default.lease_duration),
            retention: set(self.has("retention"), said.retention, default.retention),
            retention_bytes: set(self.has("retention_bytes"), said.retention_bytes, default.retention_bytes),
            dead_retention: set(self.has("dead_retention"), said.dead_retention, default.dead_retention),
            priority_ageing: set(self.has("priority_ageing"), said.priority_ageing, default.priority_ageing),
            max_jobs: set(self.has("max_jobs"), said.max_jobs, default.capacity.jobs),
            max_bytes: set(self.has("max_bytes"), said.max_bytes, default.capacity.bytes),
            overflow: set(self.has("overflow_policy"), said.overflow, default.overflow),
            reserve: set(self.has("reserve"), said.reserve, default.reserve),
            node: set(self.has("settings"), said.node, default.node),
            key_rules: set(self.has("key_rules"), said.key_rules, default.key_rules),
            paused: set(self.has("paused"), said.paused, default.paused),
            flow_hint: set(self.has("flow_hint"), said.flow_hint, default.flow_hint),
            idempotency_window: set(
                self.has("idempotency_window"),
                said.idempotency_window,
                default.idempotency_window,
            ),
            limit: set(self.has("limit"), said.limit, default.limit),
        }
    }
}

#[cfg(test)]
mod tests {
    use prost_types::{Duration, FieldMask};
    use sluice_engine::Span;

    use super::*;

    fn seconds(seconds: i64) -> Option<Duration> {
        Some(Duration { seconds, nanos: 0 })
    }

    fn put(queue: v1::Queue, paths: &[&str]) -> Result<PutQueue, Failure> {
        let paths = paths.iter().map(|p| (*p).to_owned()).collect();
        let queue = v1::Queue { name: "q".to_owned(), ..queue };
        put_queue(v1::PutQueueRequest { queue: Some(queue), update_mask: Some(FieldMask { paths }) })
    }

    fn wrong(made: Result<PutQueue, Failure>) -> Vec<String> {
        match made {
            Err(Failure::Fields(wrong)) => wrong.into_iter().map(|w| w.path).collect(),
            other => panic!("not about fields: {other:?}"),
        }
    }

    #[test]
    fn put_without_a_mask_sets_all_and_defaults_what_is_not_said() {
        let queue = v1::Queue { lease_duration: seconds(5), ..Default::default() };
        for made in [
            put(queue.clone(), &[]),
            put(queue.clone(), &["*"]),
            put_queue(v1::PutQueueRequest {
                queue: Some(v1::Queue { name: "q".to_owned(), ..queue }),
                update_mask: None,
            }),
        ] {
            let patch = made.unwrap().patch;
            let other = QueueSettings { retention_bytes: 1, retention: Span(1), ..Default::default() };
            let expected = QueueSettings { lease_duration: Span::from_secs(5), ..Default::default() };
            assert_eq!(patch.over(&other), expected);
        }
    }

    #[test]
    fn masked_put_sets_only_what_the_mask_names() {
        let policy = v1::RetryPolicy { max_attempts: Some(7), jitter: Some(0.5), ..Default::default() };
        let queue = v1::Queue { retry_policy: Some(policy), retention: seconds(9), ..Default::default() };
        let patch = put(queue, &["retry_policy.max_attempts", "dead_retention"]).unwrap().patch;
        let expected = QueuePatch {
            retry: RetryPatch { max_attempts: Some(7), ..Default::default() },
            dead_retention: Some(QueueSettings::default().dead_retention),
            ..Default::default()
        };
        assert_eq!(patch, expected);
    }

    #[test]
    fn every_setting_can_be_named() {
        let names = Mask::PATHS;
        let whole = put(v1::Queue::default(), &["*"]).unwrap().patch;
        assert_eq!(put(v1::Queue::default(), &names).unwrap().patch, whole);
        let parts = put(v1::Queue::default(), &["retry_policy"]).unwrap().patch;
        assert_eq!(parts.retry, whole.retry);
        assert_eq!(QueuePatch { retry: whole.retry, ..Default::default() }, parts);
        let patches: Vec<QueuePatch> =
            names.iter().map(|n| put(v1::Queue::default(), &[n]).unwrap().patch).collect();
        for (i, patch) in patches.iter().enumerate() {
            assert_ne!(*patch, QueuePatch::default(), "{}", names[i]);
            assert!(patches[..i].iter().all(|p| p != patch), "{}", names[i]);
        }
    }

    #[test]
    fn unknown_path_names_the_mask() {
        for path in [
            "",
            "nonsense",
            "name",
            "etag",
            "create_time",
            "retry_policy.",
            "retry_policy.x",
            "queue.retention",
        ] {
            assert_eq!(wrong(put(v1::Queue::default(), &["retention", path])), ["update_mask"], "{path}");
        }
    }

    #[test]
    fn settings_are_bounded() {
        let short = Some(Duration { seconds: 0, nanos: 999_999_999 });
        let q = v1::Queue::default;
        assert!(put(v1::Queue { lease_duration: seconds(1), ..q() }, &[]).is_ok());
        assert!(put(v1::Queue { lease_duration: seconds(43_200), ..q() }, &[]).is_ok());
        assert!(put(v1::Queue { retention_bytes: Some(1 << 40), ..q() }, &[]).is_ok());
        let cases = [
            ("lease_duration", v1::Queue { lease_duration: short, ..q() }),
            ("lease_duration", v1::Queue { lease_duration: seconds(43_201), ..q() }),
            ("retention", v1::Queue { retention: seconds(-1), ..q() }),
            ("retention_bytes", v1::Queue { retention_bytes: Some((1 << 40) + 1), ..q() }),
            ("dead_retention", v1::Queue { dead_retention: seconds(i64::MAX), ..q() }),
            ("priority_ageing", v1::Queue { priority_ageing: seconds(i64::MIN), ..q() }),
            ("etag", v1::Queue { etag: "1".repeat(129), ..q() }),
            ("max_jobs", v1::Queue { max_jobs: Some(0), ..q() }),
            ("max_bytes", v1::Queue { max_bytes: Some((1 << 50) + 1), ..q() }),
            ("overflow_policy", v1::Queue { overflow_policy: 4, ..q() }),
            ("idempotency_window", v1::Queue { idempotency_window: seconds(-1), ..q() }),
        ];
        for (field, queue) in cases {
            assert_eq!(wrong(put(queue, &[])), [format!("queue.{field}")]);
        }
        let policy = Some(v1::RetryPolicy { max_attempts: Some(0), ..Default::default() });
        let bad = put(v1::Queue { retry_policy: policy, ..q() }, &[]);
        assert_eq!(wrong(bad), ["queue.retry_policy.max_attempts"]);
        assert_eq!(wrong(put_queue(v1::PutQueueRequest::default())), ["queue.name"]);
    }

    #[test]
    fn etag_is_a_version_or_stale() {
        let with = |etag: &str| put(v1::Queue { etag: etag.to_owned(), ..Default::default() }, &[]);
        assert_eq!(with("").unwrap().version, None);
        let version = QueueVersion { queue: QueueId(3), number: 12 };
        assert_eq!(with("3-12").unwrap().version, Some(version));
        for never_given in ["3-012", "03-12", "12", "-", "abc", "3-12-"] {
            assert!(matches!(with(never_given), Err(Failure::EtagMismatch(_))), "{never_given}");
        }
    }
}
