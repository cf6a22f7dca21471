//! What can be set on a queue.

use crate::bound::{IDEMPOTENCY_WINDOW, MAX_SPAN};
use crate::job::Priority;
use crate::limit::NodeSettings;
use crate::name::{Key, KeyPattern, LimitName};
use crate::retry::{RetryPatch, RetryPolicy};
use crate::time::Span;

/// The settings of a queue, complete.
#[derive(Clone, Debug, PartialEq)]
pub struct QueueSettings {
    /// How failures are repeated where a job does not say.
    pub retry: RetryPolicy,
    /// How long a lease lasts when the worker does not say.
    pub lease_duration: Span,
    /// How long completed jobs stay readable.
    pub retention: Span,
    /// The most bytes of completed jobs that stay readable.
    pub retention_bytes: u64,
    /// How long dead and drained jobs stay.
    pub dead_retention: Span,
    /// How long a job waits to count as one priority more urgent; zero: never.
    pub priority_ageing: Span,
    /// What the queue holds at most.
    pub capacity: Capacity,
    /// What happens beyond.
    pub overflow: OverflowPolicy,
    /// Room for urgent jobs beyond every capacity.
    pub reserve: Option<Reserve>,
    /// What goes through it.
    pub node: NodeSettings,
    /// What holds for keys; of those that match a node the first.
    pub key_rules: Vec<KeyRule>,
    /// Whether nothing is leased from it.
    pub paused: bool,
    /// When callers are asked to slow down; none: never.
    pub flow_hint: Option<FlowHintPolicy>,
    /// How long an idempotency key is remembered.
    pub idempotency_window: Span,
    /// The shared limit it hangs under.
    pub limit: Option<LimitName>,
}

/// What a queue or a key holds at most; none: any number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Capacity {
    /// Jobs that wait or are held.
    pub jobs: Option<u64>,
    /// Bytes of their payloads and attributes.
    pub bytes: Option<u64>,
}

/// What a full queue or key does with new jobs. The numbers are on disk and in the contract: keep them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum OverflowPolicy {
    /// Refuses them.
    #[default]
    Reject = 1,
    /// Lets the oldest waiting job of the lowest priority go.
    DropOldest = 2,
    /// Lets the call wait.
    Wait = 3,
}

/// Room that urgent jobs may use beyond every capacity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reserve {
    /// From this priority on.
    pub min_priority: Priority,
    /// How much more, in percent of the capacity.
    pub percent: u8,
}

/// What holds for keys that match a pattern.
#[derive(Clone, Debug, PartialEq)]
pub struct KeyRule {
    /// Which nodes.
    pub pattern: KeyPattern,
    /// What each of them holds at most.
    pub capacity: Capacity,
    /// What happens beyond; none: as the queue says.
    pub overflow: Option<OverflowPolicy>,
    /// What goes through each of them.
    pub node: NodeSettings,
}

/// When callers are asked to slow down, by the machine's load per core. The engine keeps it and does not look
/// at it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FlowHintPolicy {
    /// The load above which it is medium. 0 to 1.
    pub medium_load: f64,
    /// The load above which it is high. 0 to 1.
    pub high_load: f64,
    /// Below both.
    pub low: FlowHintStep,
    /// Above the first.
    pub medium: FlowHintStep,
    /// Above both.
    pub high: FlowHintStep,
}

/// What callers are asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowHintStep {
    /// Jobs of one call.
    pub batch_size: u32,
    /// The pause between calls.
    pub wait: Span,
}

/// The settings that are to change.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct QueuePatch {
    /// See [`QueueSettings::retry`].
    pub retry: RetryPatch,
    /// See [`QueueSettings::lease_duration`].
    pub lease_duration: Option<Span>,
    /// See [`QueueSettings::retention`].
    pub retention: Option<Span>,
    /// See [`QueueSettings::retention_bytes`].
    pub retention_bytes: Option<u64>,
    /// See [`QueueSettings::dead_retention`].
    pub dead_retention: Option<Span>,
    /// See [`QueueSettings::priority_ageing`].
    pub priority_ageing: Option<Span>,
    /// See [`Capacity::jobs`].
    pub max_jobs: Option<Option<u64>>,
    /// See [`Capacity::bytes`].
    pub max_bytes: Option<Option<u64>>,
    /// See [`QueueSettings::overflow`].
    pub overflow: Option<OverflowPolicy>,
    /// See [`QueueSettings::reserve`].
    pub reserve: Option<Option<Reserve>>,
    /// See [`QueueSettings::node`].
    pub node: Option<NodeSettings>,
    /// See [`QueueSettings::key_rules`].
    pub key_rules: Option<Vec<KeyRule>>,
    /// See [`QueueSettings::paused`].
    pub paused: Option<bool>,
    /// See [`QueueSettings::flow_hint`].
    pub flow_hint: Option<Option<FlowHintPolicy>>,
    /// See [`QueueSettings::idempotency_window`].
    pub idempotency_window: Option<Span>,
    /// See [`QueueSettings::limit`].
    pub limit: Option<Option<LimitName>>,
}

impl Default for QueueSettings {
    fn default() -> QueueSettings {
        QueueSettings {
            retry: RetryPolicy::default(),
            lease_duration: Span::from_secs(30),
            retention: Span::from_secs(3600),
            retention_bytes: 64 << 20,
            dead_retention: Span::from_secs(30 * 86_400),
            priority_ageing: Span::from_secs(60),
            capacity: Capacity::default(),
            overflow: OverflowPolicy::default(),
            reserve: None,
            node: NodeSettings::default(),
            key_rules: Vec::new(),
            paused: false,
            flow_hint: None,
            idempotency_window: IDEMPOTENCY_WINDOW,
            limit: None,
        }
    }
}

impl QueueSettings {
    /// What holds for `key`, if anything does.
    pub(crate) fn rule_for(&self, key: &Key) -> Option<&KeyRule> {
        self.key_rules.iter().find(|rule| rule.pattern.matches(key))
    }

    /// Every node's settings that are said here.
    pub(crate) fn nodes(&self) -> impl Iterator<Item = &NodeSettings> {
        std::iter::once(&self.node).chain(self.key_rules.iter().map(|rule| &rule.node))
    }

    /// What happens beyond a rule's capacity.
    pub(crate) fn overflow_of(&self, rule: &KeyRule) -> OverflowPolicy {
        rule.overflow.unwrap_or(self.overflow)
    }
}

impl Default for FlowHintPolicy {
    fn default() -> FlowHintPolicy {
        let step = |batch_size, millis| FlowHintStep { batch_size, wait: Span::from_millis(millis) };
        FlowHintPolicy {
            medium_load: 0.5,
            high_load: 0.8,
            low: step(20, 50),
            medium: step(10, 100),
            high: step(5, 200),
        }
    }
}

impl Default for Reserve {
    fn default() -> Reserve {
        Reserve { min_priority: Priority::HIGHEST, percent: 10 }
    }
}

impl OverflowPolicy {
    /// Every policy.
    pub const ALL: [OverflowPolicy; 3] =
        [OverflowPolicy::Reject, OverflowPolicy::DropOldest, OverflowPolicy::Wait];

    /// The policy a number on disk stands for.
    #[must_use]
    pub fn from_number(number: u8) -> Option<OverflowPolicy> {
        OverflowPolicy::ALL.into_iter().find(|policy| *policy as u8 == number)
    }
}

impl Capacity {
    /// Whether there is none.
    #[must_use]
    pub const fn is_unlimited(&self) -> bool {
        self.jobs.is_none() && self.bytes.is_none()
    }
}

impl QueuePatch {
    /// `base` with what is to change.
    #[must_use]
    pub fn over(&self, base: &QueueSettings) -> QueueSettings {
        QueueSettings {
            retry: self.retry.over(&base.retry),
            lease_duration: self.lease_duration.unwrap_or(base.lease_duration),
            retention: self.retention.unwrap_or(base.retention).min(MAX_SPAN),
            retention_bytes: self.retention_bytes.unwrap_or(base.retention_bytes),
            dead_retention: self.dead_retention.unwrap_or(base.dead_retention).min(MAX_SPAN),
            priority_ageing: self.priority_ageing.unwrap_or(base.priority_ageing).min(MAX_SPAN),
            capacity: Capacity {
                jobs: self.max_jobs.unwrap_or(base.capacity.jobs),
                bytes: self.max_bytes.unwrap_or(base.capacity.bytes),
            },
            overflow: self.overflow.unwrap_or(base.overflow),
            reserve: self.reserve.unwrap_or(base.reserve),
            node: self.node.clone().unwrap_or_else(|| base.node.clone()),
            key_rules: self.key_rules.clone().unwrap_or_else(|| base.key_rules.clone()),
            paused: self.paused.unwrap_or(base.paused),
            flow_hint: self.flow_hint.unwrap_or(base.flow_hint),
            idempotency_window: self.idempotency_window.unwrap_or(base.idempotency_window).min(MAX_SPAN),
            limit: self.limit.clone().unwrap_or_else(|| base.limit.clone()),
        }
    }
}
