//! `sluice queue put`: what is said is changed, the rest is left.

use std::time::Duration;

use clap::Args;
use prost_types::FieldMask;

use super::super::{
    Session,
    argument::{Hint, Limit, Overflow, flow_hint, key_rule, limit, limits, span},
    error::CliError,
    view::QueueView,
};
use crate::{
    proto::{self, CapacityReserve, KeyRule, NodeSettings, OverflowPolicy, PutQueueRequest, RetryPolicy},
    span_to_proto,
};

#[derive(Debug, Args)]
pub(in crate::cli) struct Put {
    /// The queue's name: `[A-Za-z0-9._-]`, 1 to 128 characters.
    name: String,
    /// How long a lease lasts when the worker does not say: 1s to 12h. A new queue's default: 30s.
    #[arg(long, value_parser = span, value_name = "SPAN")]
    lease_duration: Option<Duration>,
    /// How long COMPLETED, CANCELLED, EXPIRED and DROPPED jobs stay readable. A new queue's default: 1h.
    #[arg(long, value_parser = span, value_name = "SPAN")]
    retention: Option<Duration>,
    /// The most bytes of those jobs that stay readable. A new queue's default: 67108864.
    #[arg(long, value_name = "BYTES")]
    retention_bytes: Option<u64>,
    /// How long DEAD and DRAINED jobs stay. A new queue's default: 30days.
    #[arg(long, value_parser = span, value_name = "SPAN")]
    dead_retention: Option<Duration>,
    /// A job that has waited this long counts as one priority more urgent; 0 turns it off. A new queue's
    /// default: 60s.
    #[arg(long, value_parser = span, value_name = "SPAN")]
    priority_ageing: Option<Duration>,
    /// The most jobs that may wait or be held; none is no limit. A new queue's default: none.
    #[arg(long, value_parser = limit, value_name = "N|none")]
    max_jobs: Option<Limit>,
    /// The most bytes of their payloads and attributes; none is no limit. A new queue's default: none.
    #[arg(long, value_parser = limit, value_name = "N|none")]
    max_bytes: Option<Limit>,
    /// What a full queue does with new jobs. A new queue's default: reject.
    #[arg(long, value_enum)]
    overflow: Option<Overflow>,
    /// From this priority on jobs may use the reserve. Default 9.
    #[arg(long, value_name = "N")]
    reserve_priority: Option<u32>,
    /// How much more than every capacity urgent jobs may take, in percent: 1 to 100; 0 is no reserve. Default with
    /// --reserve-priority 10, else no reserve.
    #[arg(long, value_name = "N")]
    reserve_percent: Option<u32>,
    /// What goes through the queue, in place of all limits it has; any of rate=AMOUNT/PERIOD/BURST (the burst may be
    /// left out: one second's worth, at least 2), quota=AMOUNT/PERIOD, rate_cost=… and quota_cost=… of what jobs
    /// cost, up to 4 of these; max_in_flight=N, ordered=true, adaptive=false (THROTTLED freezes, and does not cut the
    /// rate), breaker=FAILURES/OPEN (so many failures in a row, and nothing goes for so long); separated by commas; none
    /// is no limit. A new queue's default: none.
    #[arg(long, value_parser = limits, value_name = "LIMITS|none")]
    limits: Option<NodeSettings>,
    /// The shared limit to hang the queue under; none is none. A new queue's default: none.
    #[arg(long, value_name = "NAME|none")]
    limit: Option<String>,
    /// What holds for keys: PATTERN is 1 to 3 segments, `*` stands for any characters of one; after `:` any of
    /// the above, weight=N, max_jobs=N, max_bytes=N and overflow=reject|drop-oldest|wait. May be given several times, the first that
    /// matches holds, and takes the place of all rules there are; an empty one removes them. Default: leave them.
    #[arg(long = "key-rule", value_parser = key_rule, value_name = "PATTERN:SETTINGS")]
    key_rules: Vec<Option<KeyRule>>,
    /// Whether workers and producers are asked to slow down as the server's machine is busy: default, off, or any
    /// of medium-load=PART,high-load=PART,low=JOBS/SPAN,medium=JOBS/SPAN,high=JOBS/SPAN. A new queue's default: off.
    #[arg(long, value_parser = flow_hint, value_name = "HINT")]
    flow_hint: Option<Hint>,
    /// How long an idempotency key is remembered. A new queue's default: 24h.
    #[arg(long, value_parser = span, value_name = "SPAN")]
    idempotency_window: Option<Duration>,
    #[command(flatten)]
    policy: Policy,
    /// Change it only if this is still its etag. Default: change it anyhow.
    #[arg(long, default_value = "", hide_default_value = true)]
    etag: String,
    /// Set what is not said back to the defaults. Default: leave it.
    #[arg(long)]
    replace: bool,
}

// No doc comment: it would become the help of the commands that take it.
#[derive(Debug, Args)]
pub(in crate::cli) struct Policy {
    /// Deliveries that may fail before a job is dead: 1 to 1,000. Default 5.
    #[arg(long, value_name = "N")]
    max_attempts: Option<u32>,
    /// The wait after the first failure. Default 1s.
    #[arg(long, value_parser = span, value_name = "SPAN")]
    initial_backoff: Option<Duration>,
    /// What each further wait is multiplied by: 1 to 100. Default 2.
    #[arg(long, value_name = "FACTOR")]
    multiplier: Option<f64>,
    /// The longest wait. Default 60s.
    #[arg(long, value_parser = span, value_name = "SPAN")]
    max_backoff: Option<Duration>,
    /// The part of a wait by which chance may shorten or lengthen it: 0 to 1. Default 0.2.
    #[arg(long, value_name = "PART")]
    jitter: Option<f64>,
}

impl Policy {
    /// None when nothing was said.
    pub(in crate::cli) fn into_proto(self) -> Option<RetryPolicy> {
        let policy = RetryPolicy {
            max_attempts: self.max_attempts,
            initial_backoff: self.initial_backoff.map(span_to_proto),
            multiplier: self.multiplier,
            max_backoff: self.max_backoff.map(span_to_proto),
            jitter: self.jitter,
        };
        (policy != RetryPolicy::default()).then_some(policy)
    }
}

impl Put {
    pub(super) async fn run(self, session: &Session) -> Result<(), CliError> {
        let replace = self.replace;
        let (queue, paths) = self.into_proto();
        let queue = if paths.is_empty() && !replace {
            // Nothing to change: a queue that is there stays as it is.
            match session.client.get_queue(&queue.name).await {
                Err(error) if error.code() == tonic::Code::NotFound => put(session, queue, None).await?,
                present => present?,
            }
        } else {
            put(session, queue, (!replace).then_some(FieldMask { paths })).await?
        };
        Ok(session.output.one(&QueueView::from(queue))?)
    }

    /// What was said, and the fields that were.
    fn into_proto(self) -> (proto::Queue, Vec<String>) {
        let reserve_said = self.reserve_priority.is_some() || self.reserve_percent.is_some();
        let reserve = (reserve_said && self.reserve_percent != Some(0)).then_some(CapacityReserve {
            min_priority: self.reserve_priority,
            percent: self.reserve_percent,
        });
        let said = [
            ("lease_duration", self.lease_duration.is_some()),
            ("retention", self.retention.is_some()),
            ("retention_bytes", self.retention_bytes.is_some()),
            ("dead_retention", self.dead_retention.is_some()),
            ("priority_ageing", self.priority_ageing.is_some()),
            ("max_jobs", self.max_jobs.is_some()),
            ("max_bytes", self.max_bytes.is_some()),
            ("overflow_policy", self.overflow.is_some()),
            ("reserve", reserve_said),
            ("settings", self.limits.is_some()),
            ("limit", self.limit.is_some()),
            ("key_rules", !self.key_rules.is_empty()),
            ("flow_hint", self.flow_hint.is_some()),
            ("idempotency_window", self.idempotency_window.is_some()),
            ("retry_policy.max_attempts", self.policy.max_attempts.is_some()),
            ("retry_policy.initial_backoff", self.policy.initial_backoff.is_some()),
            ("retry_policy.multiplier", self.policy.multiplier.is_some()),
            ("retry_policy.max_backoff", self.policy.max_backoff.is_some()),
            ("retry_policy.jitter", self.policy.jitter.is_some()),
        ];
        let paths = said.iter().filter(|(_, said)| *said).map(|(path, _)| (*path).to_owned()).collect();
        let queue = proto::Queue {
            name: self.name,
            max_jobs: self.max_jobs.and_then(|Limit(limit)| limit),
            max_bytes: self.max_bytes.and_then(|Limit(limit)| limit),
            overflow_policy: self.overflow.map_or(OverflowPolicy::Unspecified, Overflow::into_proto).into(),
            retry_policy: self.policy.into_proto(),
            lease_duration: self.lease_duration.map(span_to_proto),
            retention: self.retention.map(span_to_proto),
            retention_bytes: self.retention_bytes,
            dead_retention: self.dead_retention.map(span_to_proto),
            priority_ageing: self.priority_ageing.map(span_to_proto),
            settings: self.limits,
            limit: self.limit.filter(|name| name != "none").unwrap_or_default(),
            key_rules: self.key_rules.into_iter().flatten().collect(),
            etag: self.etag,
            flow_hint: self.flow_hint.and_then(|Hint(policy)| policy),
            reserve,
            idempotency_window: self.idempotency_window.map(span_to_proto),
            ..Default::default()
        };
        (queue, paths)
    }
}

async fn put(
    session: &Session,
    queue: proto::Queue,
    update_mask: Option<FieldMask>,
) -> Result<proto::Queue, CliError> {
    Ok(session.client.put_queue(PutQueueRequest { queue: Some(queue), update_mask }).await?)
}
