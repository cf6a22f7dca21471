//! `sluice jobs list`.

use clap::{Args, Subcommand};

use prost_types::Timestamp;

use super::{
    Session,
    argument::{label, state, time},
    error::CliError,
    output::Format,
    view::JobView,
};
use crate::proto::{JobFilter, JobState, ListJobsRequest};

/// Jobs of one page.
const MAX_PAGE_SIZE: u32 = 1_000;

#[derive(Debug, Subcommand)]
pub(super) enum Jobs {
    /// List jobs, the oldest first.
    #[command(after_help = "Examples:
  sluice jobs list --queue mail --state ready --state retrying --limit 20
  sluice jobs list --label kind=reminder --created-from 2030-01-31T00:00:00Z -o jsonl")]
    List(List),
}

#[derive(Debug, Args)]
pub(super) struct List {
    /// Only jobs of this queue. Default: of every queue.
    #[arg(short, long, default_value = "", hide_default_value = true)]
    queue: String,
    /// Only jobs in this state: scheduled, ready, leased, retrying, completed, dead, cancelled, expired,
    /// dropped or drained. May be given several times. Default: any.
    #[arg(long = "state", value_parser = state, value_name = "STATE")]
    states: Vec<JobState>,
    #[command(flatten)]
    selection: Selection,
    #[command(flatten)]
    listing: Listing,
}

// No doc comment: it would become the help of the commands that take it.
#[derive(Debug, Args)]
pub(super) struct Selection {
    /// Only jobs of this key, and of those that begin with it and a `/`. Default: any.
    #[arg(long, default_value = "", hide_default_value = true, value_name = "KEY")]
    key_prefix: String,
    /// Only jobs with this label; `NAME=` takes any value. May be given several times: all must be there.
    /// Default: any.
    #[arg(long = "label", value_parser = label, value_name = "NAME=VALUE")]
    labels: Vec<(String, String)>,
    /// Only jobs whose last error has this code, such as http_500. Default: any.
    #[arg(long, default_value = "", hide_default_value = true, value_name = "WORD")]
    error_code: String,
    /// Only jobs accepted at or after this time, such as 2030-01-31T12:00:00Z. Default: any.
    #[arg(long, value_parser = time, value_name = "TIME")]
    created_from: Option<Timestamp>,
    /// Only jobs accepted before this time. Default: any.
    #[arg(long, value_parser = time, value_name = "TIME")]
    created_until: Option<Timestamp>,
    /// Only jobs that came to rest at or after this time. Default: any.
    #[arg(long, value_parser = time, value_name = "TIME")]
    ended_from: Option<Timestamp>,
    /// Only jobs that came to rest before this time. Default: any.
    #[arg(long, value_parser = time, value_name = "TIME")]
    ended_until: Option<Timestamp>,
}

impl Selection {
    pub(super) fn into_filter(self, queue: String, states: &[JobState]) -> JobFilter {
        JobFilter {
            queue,
            states: states.iter().map(|state| (*state).into()).collect(),
            key_prefix: self.key_prefix,
            labels: self.labels.into_iter().collect(),
            error_code: self.error_code,
            create_time_from: self.created_from,
            create_time_until: self.created_until,
            end_time_from: self.ended_from,
            end_time_until: self.ended_until,
        }
    }
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
        let filter = command.selection.into_filter(command.queue, &command.states);
        list(session, filter, command.listing).await
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
