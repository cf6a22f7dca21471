//! What can be set on a queue.

use crate::bound::MAX_SPAN;
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
        }
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
        }
    }
}
