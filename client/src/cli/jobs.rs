//! `sluice jobs list`.

use clap::{Args, Subcommand};

use super::{Session, argument::state, error::CliError, output::Format, view::JobView};
use crate::proto::{JobFilter, JobState, ListJobsRequest};

/// Jobs of one page.
const MAX_PAGE_SIZE: u32 = 1_000;

#[derive(Debug, Subcommand)]
pub(super) enum Jobs {
    /// List jobs, the oldest first.
    #[command(
        after_help = "Example:\n  sluice jobs list --queue mail --state ready --state retrying --limit 20"
    )]
    List(List),
}

#[derive(Debug, Args)]
pub(super) struct List {
    /// Only jobs of this queue. Default: of every queue.
    #[arg(short, long, default_value = "", hide_default_value = true)]
    queue: String,
    /// Only jobs in this state: scheduled, ready, leased, retrying, completed, dead or drained. May be
    /// given several times. Default: any.
    #[arg(long = "state", value_parser = state, value_name = "STATE")]
    states: Vec<JobState>,
    #[command(flatten)]
    listing: Listing,
}

// No doc comment: it would become the help of the commands that take it.
#[derive(Debug, Args)]
pub(super) struct Listing {
    /// The most jobs to list; 0 lists all.
    #[arg(long, default_value_t = 100, value_name = "N")]
    limit: u32,
    /// Show payloads too. Default: no.
    #[arg(long)]
    payload: bool,
}

impl Jobs {
    pub(super) async fn run(self, session: &Session) -> Result<(), CliError> {
        let Jobs::List(command) = self;
        let states = command.states.into_iter().map(Into::into).collect();
        list(session, JobFilter { queue: command.queue, states, ..Default::default() }, command.listing).await
    }
}

/// Lists page by page. Only `jsonl` prints each page as it comes: the others need to see all.
pub(super) async fn list(session: &Session, filter: JobFilter, listing: Listing) -> Result<(), CliError> {
    let mut jobs = Vec::new();
    let mut page_token = String::new();
    let mut wanted = if listing.limit == 0 { u32::MAX } else { listing.limit };
    while wanted > 0 {
        let page_size = i32::try_from(wanted.min(MAX_PAGE_SIZE)).unwrap_or(i32::MAX);
        let page = session
            .client
            .list_jobs(ListJobsRequest {
                filter: Some(filter.clone()),
                page_size,
                page_token,
                include_payload: listing.payload,
            })
            .await?;
        wanted = wanted.saturating_sub(u32::try_from(page.jobs.len()).unwrap_or(u32::MAX));
        jobs.extend(page.jobs.into_iter().map(JobView::from));
        if session.output.format() == Format::Jsonl {
            session.output.many(&jobs)?;
            jobs.clear();
        }
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    if session.output.format() != Format::Jsonl {
        session.output.many(&jobs)?;
    }
    Ok(())
}
