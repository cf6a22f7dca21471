//! `sluice queue put|get|list|delete|pause|resume|capacity|monitor`.

mod capacity;
mod monitor;
mod put;

use clap::Subcommand;

pub(super) use self::put::Policy;
use self::{capacity::Capacity, monitor::Monitor, put::Put};
use super::{Session, error::CliError, output::remark, view::QueueView};
use crate::proto::{self, ListQueuesRequest};

/// Queues of one page.
const PAGE_SIZE: i32 = 1_000;

#[derive(Debug, Subcommand)]
pub(super) enum Queue {
    /// Bring a queue into being, or change what is said and leave the rest.
    #[command(after_help = "Examples:
  sluice queue put mail --max-attempts 8 --lease-duration 1m
  sluice queue put inbox --max-jobs 1000 --overflow wait --reserve-percent 10
  sluice queue put bots --key-rule 'bot*/group/*:max_jobs=100,overflow=drop-oldest' --flow-hint default")]
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
    /// Remove a queue with all its jobs and settings. Exit code 73 when it is not empty, 3 when there is none.
    #[command(after_help = "Example:\n  sluice queue delete mail --force")]
    Delete {
        /// The queue's name.
        name: String,
        /// Remove it though jobs wait in it or are held. Default: no.
        #[arg(long)]
        force: bool,
    },
    /// Let nothing more be leased from a queue; what is leased may be settled, new jobs may come.
    #[command(after_help = "Example:\n  sluice queue pause mail")]
    Pause {
        /// The queue's name.
        name: String,
    },
    /// Let jobs be leased again.
    #[command(after_help = "Example:\n  sluice queue resume mail")]
    Resume {
        /// The queue's name.
        name: String,
    },
    /// Let a queue, or a key of it, go on: thaw it, close its breaker, and forget the rate it learned from THROTTLED.
    #[command(after_help = "Example:\n  sluice queue thaw chat --key bot42/group/chat7")]
    Thaw {
        /// The queue's name.
        name: String,
        /// The key, or what keys begin with. Default: the queue itself.
        #[arg(long, default_value = "", hide_default_value = true)]
        key: String,
    },
    /// Show whether there is room in a queue: its size, its limit and how full it is. Exit code 0 when there is
    /// room, 1 when it is full.
    #[command(after_help = "Examples:
  sluice queue capacity inbox && sluice enqueue --queue inbox --payload hello
  sluice queue capacity bots --key bot42/group/7 -o json")]
    Capacity(Capacity),
    /// Say when queues fill up, and when there is room again: a line at each change of level, until interrupted.
    /// WARNING is over 80 % full (or full within a minute at the present rates), CRITICAL is full.
    ///
    /// With --once the exit code is that of the worst queue: 0 OK, 4 WARNING, 5 CRITICAL.
    #[command(after_help = "Examples:\n  sluice queue monitor\n  sluice queue monitor --queue inbox --once")]
    Monitor(Monitor),
}

impl Queue {
    pub(super) async fn run(self, session: &Session) -> Result<(), CliError> {
        let queue = match self {
            Queue::Put(put) => return put.run(session).await,
            Queue::Capacity(capacity) => return capacity.run(session).await,
            Queue::Monitor(monitor) => return monitor.run(session).await,
            Queue::Delete { name, force } => {
                session.client.delete_queue(&name, force).await?;
                remark(&format!("queue {name} is deleted"));
                return Ok(());
            }
            Queue::Thaw { name, key } => {
                session.client.reset_node(&name, &key).await?;
                remark(&format!("{} goes on", if key.is_empty() { name } else { key }));
                return Ok(());
            }
            Queue::List => {
                let queues: Vec<_> = all(session).await?.into_iter().map(QueueView::from).collect();
                return Ok(session.output.many(&queues)?);
            }
            Queue::Get { name } => session.client.get_queue(name).await?,
            Queue::Pause { name } => session.client.pause_queue(name).await?,
            Queue::Resume { name } => session.client.resume_queue(name).await?,
        };
        Ok(session.output.one(&QueueView::from(queue))?)
    }
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
