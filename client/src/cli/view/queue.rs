//! A queue's settings as they are printed.

use serde::Serialize;

use super::{limit::LimitsView, overflow, span, time};
use crate::{
    cli::output::Show,
    proto::{CapacityReserve, FlowHintPolicy, FlowHintStep, KeyRule, Queue, RetryPolicy},
};

#[derive(Debug, Serialize)]
pub(in crate::cli) struct QueueView {
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_jobs: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_bytes: Option<u64>,
    overflow_policy: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    reserve: Option<ReserveView>,
    #[serde(skip_serializing_if = "Option::is_none")]
    limits: Option<LimitsView>,
    #[serde(skip_serializing_if = "String::is_empty")]
    limit: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    key_rules: Vec<KeyRuleView>,
    #[serde(skip_serializing_if = "Option::is_none")]
    flow_hint: Option<FlowHintPolicyView>,
    #[serde(skip_serializing_if = "Option::is_none")]
    idempotency_window: Option<String>,
    paused: bool,
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

#[derive(Debug, Serialize)]
struct ReserveView {
    #[serde(skip_serializing_if = "Option::is_none")]
    min_priority: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    percent: Option<u32>,
}

#[derive(Debug, Serialize)]
struct KeyRuleView {
    key_pattern: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_jobs: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_bytes: Option<u64>,
    overflow_policy: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    limits: Option<LimitsView>,
}

#[derive(Debug, Serialize)]
struct FlowHintPolicyView {
    #[serde(skip_serializing_if = "Option::is_none")]
    medium_load: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    high_load: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    low: Option<StepView>,
    #[serde(skip_serializing_if = "Option::is_none")]
    medium: Option<StepView>,
    #[serde(skip_serializing_if = "Option::is_none")]
    high: Option<StepView>,
}

#[derive(Debug, Serialize)]
struct StepView {
    #[serde(skip_serializing_if = "Option::is_none")]
    batch_size: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    wait: Option<String>,
}

impl From<&CapacityReserve> for ReserveView {
    fn from(reserve: &CapacityReserve) -> ReserveView {
        ReserveView { min_priority: reserve.min_priority, percent: reserve.percent }
    }
}

impl From<KeyRule> for KeyRuleView {
    fn from(rule: KeyRule) -> KeyRuleView {
        let settings = rule.settings.unwrap_or_default();
        KeyRuleView {
            key_pattern: rule.key_pattern,
            max_jobs: settings.max_jobs,
            max_bytes: settings.max_bytes,
            overflow_policy: overflow(settings.overflow_policy),
            limits: LimitsView::of(&settings),
        }
    }
}

impl From<&FlowHintPolicy> for FlowHintPolicyView {
    fn from(policy: &FlowHintPolicy) -> FlowHintPolicyView {
        let step = |step: &FlowHintStep| StepView {
            batch_size: step.batch_size,
            wait: step.wait.as_ref().map(span),
        };
        FlowHintPolicyView {
            medium_load: policy.medium_load,
            high_load: policy.high_load,
            low: policy.low.as_ref().map(step),
            medium: policy.medium.as_ref().map(step),
            high: policy.high.as_ref().map(step),
        }
    }
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
            max_jobs: queue.max_jobs,
            max_bytes: queue.max_bytes,
            overflow_policy: overflow(queue.overflow_policy),
            reserve: queue.reserve.as_ref().map(ReserveView::from),
            limits: queue.settings.as_ref().and_then(LimitsView::of_queue),
            limit: queue.limit,
            key_rules: queue.key_rules.into_iter().map(KeyRuleView::from).collect(),
            flow_hint: queue.flow_hint.as_ref().map(FlowHintPolicyView::from),
            idempotency_window: queue.idempotency_window.as_ref().map(span),
            paused: queue.paused,
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
    const HEADER: &'static [&'static str] = &[
        "NAME",
        "MAX-JOBS",
        "MAX-BYTES",
        "OVERFLOW",
        "LIMITS",
        "LIMIT",
        "RULES",
        "HINT",
        "PAUSED",
        "ATTEMPTS",
        "BACK-OFF",
        "LEASE",
        "RETENTION",
        "BYTES",
        "DEAD-RETENTION",
        "AGEING",
        "ETAG",
    ];

    fn row(&self) -> Vec<String> {
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        let policy = self.retry_policy.as_ref();
        let backoff = policy.map(|policy| {
            let (first, last) = (text(&policy.initial_backoff), text(&policy.max_backoff));
            format!("{first}..{last} x{} ±{}", policy.multiplier.unwrap_or(1.0), policy.jitter.unwrap_or(0.0))
        });
        vec![
            self.name.clone(),
            number(self.max_jobs),
            number(self.max_bytes),
            self.overflow_policy.clone(),
            self.limits.as_ref().map(LimitsView::cell).unwrap_or_default(),
            self.limit.clone(),
            if self.key_rules.is_empty() { String::new() } else { self.key_rules.len().to_string() },
            yes(self.flow_hint.is_some()),
            yes(self.paused),
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

fn number(number: Option<u64>) -> String {
    number.map(|number| number.to_string()).unwrap_or_default()
}

fn yes(is: bool) -> String {
    if is { "yes".to_owned() } else { String::new() }
}
