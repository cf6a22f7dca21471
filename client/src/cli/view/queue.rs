//! A queue's settings as they are printed.

use serde::Serialize;

use super::{span, time};
use crate::{
    cli::output::Show,
    proto::{Queue, RetryPolicy},
};

#[derive(Debug, Serialize)]
pub(in crate::cli) struct QueueView {
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_policy: Option<PolicyView>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lease_duration: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retention: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retention_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dead_retention: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    priority_ageing: Option<String>,
    etag: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    create_time: Option<String>,
}

#[derive(Debug, Serialize)]
pub(super) struct PolicyView {
    #[serde(skip_serializing_if = "Option::is_none")]
    max_attempts: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    initial_backoff: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    multiplier: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_backoff: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    jitter: Option<f64>,
}

impl From<&RetryPolicy> for PolicyView {
    fn from(policy: &RetryPolicy) -> PolicyView {
        PolicyView {
            max_attempts: policy.max_attempts,
            initial_backoff: policy.initial_backoff.as_ref().map(span),
            multiplier: policy.multiplier,
            max_backoff: policy.max_backoff.as_ref().map(span),
            jitter: policy.jitter,
        }
    }
}

impl From<Queue> for QueueView {
    fn from(queue: Queue) -> QueueView {
        QueueView {
            retry_policy: queue.retry_policy.as_ref().map(PolicyView::from),
            lease_duration: queue.lease_duration.as_ref().map(span),
            retention: queue.retention.as_ref().map(span),
            retention_bytes: queue.retention_bytes,
            dead_retention: queue.dead_retention.as_ref().map(span),
            priority_ageing: queue.priority_ageing.as_ref().map(span),
            create_time: queue.create_time.as_ref().map(time),
            name: queue.name,
            etag: queue.etag,
        }
    }
}

impl Show for QueueView {
    const HEADER: &'static [&'static str] =
        &["NAME", "ATTEMPTS", "BACK-OFF", "LEASE", "RETENTION", "BYTES", "DEAD-RETENTION", "AGEING", "ETAG"];

    fn row(&self) -> Vec<String> {
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        let policy = self.retry_policy.as_ref();
        let backoff = policy.map(|policy| {
            let (first, last) = (text(&policy.initial_backoff), text(&policy.max_backoff));
            format!("{first}..{last} x{} ±{}", policy.multiplier.unwrap_or(1.0), policy.jitter.unwrap_or(0.0))
        });
        vec![
            self.name.clone(),
            policy.and_then(|policy| policy.max_attempts).map(|n| n.to_string()).unwrap_or_default(),
            backoff.unwrap_or_default(),
            text(&self.lease_duration),
            text(&self.retention),
            self.retention_bytes.map(|bytes| bytes.to_string()).unwrap_or_default(),
            text(&self.dead_retention),
            text(&self.priority_ageing),
            self.etag.clone(),
        ]
    }
}
