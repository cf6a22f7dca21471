//! `sluice limit put|get|list|delete|acquire|thaw`: what queues share.

use std::time::Duration;

use clap::{Args, Subcommand};
use prost_types::FieldMask;

use super::{
    Session,
    argument::{limits, span},
    error::CliError,
    output::remark,
    view::{AcquiredView, LimitView},
};
use crate::{
    proto::{self, AcquireLimitRequest, ListLimitsRequest, NodeSettings, PutLimitRequest},
    span_to_proto,
};

/// Limits of one page.
const PAGE_SIZE: i32 = 1_000;

#[derive(Debug, Subcommand)]
pub(super) enum Limit {
    /// Bring a shared limit into being, or change what is said and leave the rest.
    #[command(after_help = "Example:
  sluice limit put vendor --limits rate=30/1s/5,max_in_flight=100
  sluice queue put chat --limit vendor")]
    Put(Put),
    /// Show a shared limit: its settings, its tokens, and how many jobs are in flight. Exit code 3 when there is none.
    #[command(after_help = "Example:\n  sluice limit get vendor -o json")]
    Get {
        /// The limit's name.
        name: String,
    },
    /// List all shared limits by name.
    #[command(after_help = "Example:\n  sluice limit list -o jsonl")]
    List,
    /// Remove a shared limit. Exit code 73 while queues hang under it, 3 when there is none.
    #[command(after_help = "Example:\n  sluice limit delete vendor")]
    Delete {
        /// The limit's name.
        name: String,
    },
    /// Take tokens without a job, for what you send by yourself. Exit code 0 when they were taken, 3 when not.
    #[command(after_help = "Examples:
  sluice limit acquire vendor --wait 2s && curl -d hello https://vendor.example/send
  sluice limit acquire --queue chat --key bot42/group/chat7")]
    Acquire(Acquire),
    /// Let a shared limit go on that is frozen because a worker said THROTTLED.
    #[command(after_help = "Example:\n  sluice limit thaw vendor")]
    Thaw {
        /// The limit's name.
        name: String,
    },
}

#[derive(Debug, Args)]
pub(super) struct Put {
    /// The limit's name: `[A-Za-z0-9._-]`, 1 to 128 characters.
    name: String,
    /// What goes through it, in place of all it has: any of rate=AMOUNT/PERIOD/BURST (the burst may be left out: one
    /// second's worth, at least 2), quota=AMOUNT/PERIOD, rate_cost=… and quota_cost=… of what jobs cost, up to 4 of
    /// these; max_in_flight=N; separated by commas; none is no limit. A new limit's default: none.
    #[arg(long, value_parser = limits, value_name = "LIMITS|none")]
    limits: Option<NodeSettings>,
    /// A queue's job that has waited here this long counts as one priority more urgent; 0 turns it off. A new
    /// limit's default: 60s.
    #[arg(long, value_parser = span, value_name = "SPAN")]
    priority_ageing: Option<Duration>,
    /// Change it only if this is still its etag. Default: change it anyhow.
    #[arg(long, default_value = "", hide_default_value = true)]
    etag: String,
}

#[derive(Debug, Args)]
pub(super) struct Acquire {
    /// Of this shared limit.
    #[arg(required_unless_present = "queue", conflicts_with = "queue")]
    name: Option<String>,
    /// Of this queue, and all above it.
    #[arg(short, long)]
    queue: Option<String>,
    /// Of this key of the queue, and all above it. Default: the queue itself.
    #[arg(long, requires = "queue")]
    key: Option<String>,
    /// What it counts in windows of cost; in others it counts as one: 1 to 1,000,000,000.
    #[arg(long, default_value_t = 1, value_name = "N")]
    cost: u32,
    /// How long to wait: up to 60s. Default: not at all.
    #[arg(long, value_parser = span, value_name = "SPAN")]
    wait: Option<Duration>,
}

impl Limit {
    pub(super) async fn run(self, session: &Session) -> Result<(), CliError> {
        let limit = match self {
            Limit::Put(put) => put.put(session).await?,
            Limit::Get { name } => session.client.get_limit(name).await?,
            Limit::Acquire(acquire) => return acquire.run(session).await,
            Limit::List => {
                let limits: Vec<_> = all(session).await?.into_iter().map(LimitView::from).collect();
                return Ok(session.output.many(&limits)?);
            }
            Limit::Delete { name } => {
                session.client.delete_limit(&name).await?;
                remark(&format!("limit {name} is deleted"));
                return Ok(());
            }
            Limit::Thaw { name } => {
                session.client.reset_limit(&name).await?;
                remark(&format!("limit {name} goes on"));
                return Ok(());
            }
        };
        Ok(session.output.one(&LimitView::from(limit))?)
    }
}

impl Put {
    async fn put(self, session: &Session) -> Result<proto::Limit, CliError> {
        let said = [("settings", self.limits.is_some()), ("priority_ageing", self.priority_ageing.is_some())];
        let paths: Vec<_> =
            said.iter().filter(|(_, said)| *said).map(|(path, _)| (*path).to_owned()).collect();
        if paths.is_empty() {
            // Nothing to change: a limit that is there stays as it is.
            match session.client.get_limit(&self.name).await {
                Err(error) if error.code() == tonic::Code::NotFound => {}
                present => return Ok(present?),
            }
        }
        let limit = proto::Limit {
            name: self.name,
            settings: self.limits,
            priority_ageing: self.priority_ageing.map(span_to_proto),
            etag: self.etag,
            ..proto::Limit::default()
        };
        let update_mask = (!paths.is_empty()).then_some(FieldMask { paths });
        Ok(session.client.put_limit(PutLimitRequest { limit: Some(limit), update_mask }).await?)
    }
}

impl Acquire {
    async fn run(self, session: &Session) -> Result<(), CliError> {
        let request = AcquireLimitRequest {
            limit: self.name.unwrap_or_default(),
            queue: self.queue.unwrap_or_default(),
            key: self.key.unwrap_or_default(),
            cost: Some(self.cost),
            wait_timeout: self.wait.map(span_to_proto),
        };
        let answer = session.client.acquire_limit(request).await?;
        let is_acquired = answer.acquired;
        session.output.one(&AcquiredView::from(answer))?;
        if is_acquired { Ok(()) } else { Err(CliError::Nothing) }
    }
}

/// Every limit, page by page.
async fn all(session: &Session) -> Result<Vec<proto::Limit>, CliError> {
    let mut limits = Vec::new();
    let mut page_token = String::new();
    loop {
        let page = session.client.list_limits(ListLimitsRequest { page_size: PAGE_SIZE, page_token }).await?;
        limits.extend(page.limits);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return Ok(limits);
        }
    }
}
