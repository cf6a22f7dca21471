//! `sluice queue put|get|list`.

use std::time::Duration;

use clap::{Args, Subcommand};
use prost_types::FieldMask;

use super::{Session, argument::span, error::CliError, view::QueueView};
use crate::{
    proto::{self, ListQueuesRequest, PutQueueRequest, RetryPolicy},
    span_to_proto,
};

/// Queues of one page.
const PAGE_SIZE: i32 = 1_000;

#[derive(Debug, Subcommand)]
pub(super) enum Queue {
    /// Bring a queue into being, or change what is said and leave the rest.
    #[command(after_help = "Example:\n  sluice queue put mail --max-attempts 8 --lease-duration 1m")]
    Put(Box<Put>),
    /// Show a queue's settings. Exit code 3 when there is none of this name.
    #[command(after_help = "Example:\n  sluice queue get mail -o json")]
    Get {
        /// The queue's name.
        name: String,
    },
    /// List all queues by name.
    #[command(after_help = "Example:\n  sluice queue list -o jsonl")]
    List,
}

#[derive(Debug, Args)]
pub(super) struct Put {
    /// The queue's name: `[A-Za-z0-9._-]`, 1 to 128 characters.
    name: String,
    /// How long a lease lasts when the worker does not say: 1s to 12h. A new queue's default: 30s.
    #[arg(long, value_parser = span, value_name = "SPAN")]
    lease_duration: Option<Duration>,
    /// How long COMPLETED jobs stay readable. A new queue's default: 1h.
    #[arg(long, value_parser = span, value_name = "SPAN")]
    retention: Option<Duration>,
    /// The most bytes of COMPLETED jobs that stay readable. A new queue's default: 67108864.
    #[arg(long, value_name = "BYTES")]
    retention_bytes: Option<u64>,
    /// How long DEAD and DRAINED jobs stay. A new queue's default: 30days.
    #[arg(long, value_parser = span, value_name = "SPAN")]
    dead_retention: Option<Duration>,
    /// A job that has waited this long counts as one priority more urgent; 0 turns it off. A new queue's
    /// default: 60s.
    #[arg(long, value_parser = span, value_name = "SPAN")]
    priority_ageing: Option<Duration>,
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
pub(super) struct Policy {
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
    pub(super) fn into_proto(self) -> Option<RetryPolicy> {
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

impl Queue {
    pub(super) async fn run(self, session: &Session) -> Result<(), CliError> {
        match self {
            Queue::Put(put) => put.run(session).await,
            Queue::Get { name } => {
                let queue = session.client.get_queue(name).await?;
                Ok(session.output.one(&QueueView::from(queue))?)
            }
            Queue::List => {
                let queues: Vec<_> = all(session).await?.into_iter().map(QueueView::from).collect();
                Ok(session.output.many(&queues)?)
            }
        }
    }
}

impl Put {
    async fn run(self, session: &Session) -> Result<(), CliError> {
        let replace = self.replace;
        let queue = self.into_proto();
        let paths = if replace { Vec::new() } else { paths(&queue) };
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

    fn into_proto(self) -> proto::Queue {
        proto::Queue {
            name: self.name,
            retry_policy: self.policy.into_proto(),
            lease_duration: self.lease_duration.map(span_to_proto),
            retention: self.retention.map(span_to_proto),
            retention_bytes: self.retention_bytes,
            dead_retention: self.dead_retention.map(span_to_proto),
            priority_ageing: self.priority_ageing.map(span_to_proto),
            etag: self.etag,
            ..Default::default()
        }
    }
}

async fn put(
    session: &Session,
    queue: proto::Queue,
    update_mask: Option<FieldMask>,
) -> Result<proto::Queue, CliError> {
    Ok(session.client.put_queue(PutQueueRequest { queue: Some(queue), update_mask }).await?)
}

/// The fields that were said.
fn paths(queue: &proto::Queue) -> Vec<String> {
    let policy = queue.retry_policy.unwrap_or_default();
    let said = [
        ("lease_duration", queue.lease_duration.is_some()),
        ("retention", queue.retention.is_some()),
        ("retention_bytes", queue.retention_bytes.is_some()),
        ("dead_retention", queue.dead_retention.is_some()),
        ("priority_ageing", queue.priority_ageing.is_some()),
        ("retry_policy.max_attempts", policy.max_attempts.is_some()),
        ("retry_policy.initial_backoff", policy.initial_backoff.is_some()),
        ("retry_policy.multiplier", policy.multiplier.is_some()),
        ("retry_policy.max_backoff", policy.max_backoff.is_some()),
        ("retry_policy.jitter", policy.jitter.is_some()),
    ];
    said.iter().filter(|(_, said)| *said).map(|(path, _)| (*path).to_owned()).collect()
}

/// Every queue, page by page.
pub(super) async fn all(session: &Session) -> Result<Vec<proto::Queue>, CliError> {
    let mut queues = Vec::new();
    let mut page_token = String::new();
    loop {
        let page = session.client.list_queues(ListQueuesRequest { page_size: PAGE_SIZE, page_token }).await?;
        queues.extend(page.queues);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return Ok(queues);
        }
    }
}
