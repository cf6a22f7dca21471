//! `sluice dead list|requeue|purge`.

use clap::{Args, Subcommand};
use serde::Serialize;

use super::{
    Session,
    argument::state,
    error::CliError,
    jobs::{Listing, list},
};
use crate::proto::{JobFilter, JobState, PurgeJobsRequest, RequeueJobsRequest};

#[derive(Debug, Subcommand)]
pub(super) enum Dead {
    /// List dead jobs with their last error, the oldest first.
    #[command(after_help = "Example:\n  sluice dead list --queue mail -o jsonl")]
    List(List),
    /// Give dead jobs a new life: ready, at the end of their queue, with no attempts spent.
    #[command(after_help = "Example:\n  sluice dead requeue --queue mail --max-jobs 100")]
    Requeue(Sweep),
    /// Remove dead jobs for good.
    #[command(after_help = "Example:\n  sluice dead purge --queue mail --max-jobs 100")]
    Purge(Sweep),
}

#[derive(Debug, Args)]
pub(super) struct List {
    /// Only jobs of this queue. Default: of every queue.
    #[arg(short, long, default_value = "", hide_default_value = true)]
    queue: String,
    #[command(flatten)]
    listing: Listing,
}

#[derive(Debug, Args)]
pub(super) struct Sweep {
    /// The queue.
    #[arg(short, long)]
    queue: String,
    /// The most jobs, the oldest first: 1 to 1,000,000. Default 1,000,000.
    #[arg(long, value_name = "N")]
    max_jobs: Option<u32>,
    /// Which jobs: dead, or drained. May be given twice.
    #[arg(long = "state", value_parser = state, default_value = "dead", value_name = "STATE")]
    states: Vec<JobState>,
}

#[derive(Serialize)]
struct Requeued {
    requeued_jobs: u64,
}

#[derive(Serialize)]
struct Purged {
    purged_jobs: u64,
}

impl Dead {
    pub(super) async fn run(self, session: &Session) -> Result<(), CliError> {
        match self {
            Dead::List(command) => {
                let filter = JobFilter {
                    queue: command.queue,
                    states: vec![JobState::Dead.into()],
                    ..Default::default()
                };
                list(session, filter, command.listing).await
            }
            Dead::Requeue(sweep) => {
                let (filter, max_jobs) = sweep.into_filter();
                let request = RequeueJobsRequest { filter: Some(filter), max_jobs, ..Default::default() };
                let requeued_jobs = session.client.requeue_jobs(request).await?;
                Ok(session.output.line(&format!("{requeued_jobs} requeued"), &Requeued { requeued_jobs })?)
            }
            Dead::Purge(sweep) => {
                let (filter, max_jobs) = sweep.into_filter();
                let request = PurgeJobsRequest { filter: Some(filter), max_jobs, ..Default::default() };
                let purged_jobs = session.client.purge_jobs(request).await?;
                Ok(session.output.line(&format!("{purged_jobs} purged"), &Purged { purged_jobs })?)
            }
        }
    }
}

impl Sweep {
    fn into_filter(self) -> (JobFilter, Option<u32>) {
        let states = self.states.into_iter().map(Into::into).collect();
        (JobFilter { queue: self.queue, states, ..Default::default() }, self.max_jobs)
    }
}
