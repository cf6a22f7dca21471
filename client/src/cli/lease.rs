//! `sluice lease`.

use std::time::Duration;

use clap::Args;

use super::{Session, argument::span, error::CliError, view::LeasedView};
use crate::{proto::LeaseRequest, span_to_proto};

/// Take jobs to work on, by hand: settle them with ack or nack before their lease ends. Exit code 3
/// when there is nothing to do.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  sluice lease --queue mail --max-jobs 5 --wait 10s\n  sluice ack 42:1")]
pub(super) struct Lease {
    /// The queue to take from.
    #[arg(short, long)]
    queue: String,
    /// The most jobs to take: 1 to 1,000.
    #[arg(long, default_value_t = 1, value_name = "N")]
    max_jobs: u32,
    /// How long the lease lasts, 1s to 12h. Default: the queue's.
    #[arg(long, value_parser = span, value_name = "SPAN")]
    lease_duration: Option<Duration>,
    /// How long to wait for a job, up to 60s.
    #[arg(long, default_value = "0s", value_parser = span, value_name = "SPAN")]
    wait: Duration,
    /// Who takes them, for people. Default: nobody.
    #[arg(long, default_value = "", hide_default_value = true, value_name = "NAME")]
    worker_id: String,
}

impl Lease {
    pub(super) async fn run(self, session: &Session) -> Result<(), CliError> {
        let request = LeaseRequest {
            queue: self.queue,
            max_jobs: Some(self.max_jobs),
            lease_duration: self.lease_duration.map(span_to_proto),
            wait_timeout: Some(span_to_proto(self.wait)),
            worker_id: self.worker_id,
        };
        let jobs = session.client.lease(request).await?.jobs;
        let views: Vec<_> = jobs.into_iter().map(LeasedView::from).collect();
        session.output.many(&views)?;
        if views.is_empty() { Err(CliError::Nothing) } else { Ok(()) }
    }
}
