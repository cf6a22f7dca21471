//! `sluice dead list|requeue|purge`.

use clap::{Args, Subcommand};
use serde::Serialize;

use super::{
    Session,
    argument::state,
    error::CliError,
    jobs::{Listing, Selection, list},
};
use crate::proto::{JobFilter, JobState, PurgeJobsRequest, RequeueJobsRequest};

#[derive(Debug, Subcommand)]
pub(super) enum Dead {
    /// List dead jobs with their last error, the oldest first.
    #[command(after_help = "Example:\n  sluice dead list --queue mail --error-code http_500 -o jsonl")]
    List(List),
    /// Give dead jobs a new life: ready, at the end of their queue, with no attempts spent.
    #[command(after_help = "Examples:
  sluice dead requeue --queue mail --error-code http_500 --dry-run
  sluice dead requeue --queue mail --max-jobs 1000 --pace 10")]
    Requeue(Requeue),
    /// Remove dead jobs for good.
    #[command(
        after_help = "Example:\n  sluice dead purge --queue mail --ended-until 2030-01-01T00:00:00Z --dry-run"
    )]
    Purge(Sweep),
}

#[derive(Debug, Args)]
pub(super) struct List {
    /// Only jobs of this queue. Default: of every queue.
    #[arg(short, long, default_value = "", hide_default_value = true)]
    queue: String,
    #[command(flatten)]
    selection: Selection,
    #[command(flatten)]
    listing: Listing,
}

#[derive(Debug, Args)]
pub(super) struct Requeue {
    #[command(flatten)]
    sweep: Sweep,
    /// Jobs a second: the first is ready now, each further one this much later. Default: all are ready now.
    #[arg(long, value_name = "RATE")]
    pace: Option<f64>,
}

#[derive(Debug, Args)]
pub(super) struct Sweep {
    /// The queue.
    #[arg(short, long)]
    queue: String,
    /// The most jobs, the oldest first: 1 to 1,000,000. Default 1,000,000.
    #[arg(long, value_name = "N")]
    max_jobs: Option<u32>,
    /// Which jobs: dead, drained or dropped; purge takes cancelled, expired and completed too. May be given
    /// several times.
    #[arg(long = "state", value_parser = state, default_value = "dead", value_name = "STATE")]
    states: Vec<JobState>,
    #[command(flatten)]
    selection: Selection,
    /// Count only, and change nothing. Default: no.
    #[arg(long)]
    dry_run: bool,
}

#[derive(Serialize)]
struct Requeued {
    requeued_jobs: u64,
    dry_run: bool,
}

#[derive(Serialize)]
struct Purged {
    purged_jobs: u64,
    dry_run: bool,
}

impl Dead {
    pub(super) async fn run(self, session: &Session) -> Result<(), CliError> {
        match self {
            Dead::List(command) => {
                let filter = command.selection.into_filter(command.queue, &[JobState::Dead]);
                list(session, filter, command.listing).await
            }
            Dead::Requeue(Requeue { sweep, pace }) => {
                let (dry_run, (filter, max_jobs)) = (sweep.dry_run, sweep.into_filter());
                let request = RequeueJobsRequest { filter: Some(filter), max_jobs, dry_run, pace };
                let requeued_jobs = session.client.requeue_jobs(request).await?;
                let text = format!("{requeued_jobs} {}requeued", would(dry_run));
                Ok(session.output.line(&text, &Requeued { requeued_jobs, dry_run })?)
            }
            Dead::Purge(sweep) => {
                let (dry_run, (filter, max_jobs)) = (sweep.dry_run, sweep.into_filter());
                let request = PurgeJobsRequest { filter: Some(filter), max_jobs, dry_run };
                let purged_jobs = session.client.purge_jobs(request).await?;
                let text = format!("{purged_jobs} {}purged", would(dry_run));
                Ok(session.output.line(&text, &Purged { purged_jobs, dry_run })?)
            }
        }
    }
}

fn would(dry_run: bool) -> &'static str {
    if dry_run { "would be " } else { "" }
}

impl Sweep {
    fn into_filter(self) -> (JobFilter, Option<u32>) {
        (self.selection.into_filter(self.queue, &self.states), self.max_jobs)
    }
}
