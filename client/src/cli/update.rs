//! `sluice update`.

use std::time::Duration;

use clap::{ArgGroup, Args};
use prost_types::Timestamp;

use super::{
    Session,
    argument::{span, time},
    error::CliError,
    view::JobView,
};
use crate::{proto::UpdateJobRequest, span_to_proto};

/// Change the priority or the run time of a waiting job. Exit code 3 when it is not there, 73 when it does
/// not wait.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  sluice update 42 --priority 9\n  sluice update 42 --delay 0")]
#[command(group = ArgGroup::new("change").required(true).multiple(true).args(["priority", "delay", "run_time"]))]
pub(super) struct Update {
    /// The job's id, as `enqueue` printed it.
    job_id: String,
    /// 0 to 9, 9 is most urgent. Default: as it is.
    #[arg(long, value_name = "N")]
    priority: Option<u32>,
    /// Not before this much from now; 0 is at once. Default: as it is.
    #[arg(long, value_parser = span, value_name = "SPAN", conflicts_with = "run_time")]
    delay: Option<Duration>,
    /// Not before this time of day, such as 2030-01-31T12:00:00Z. Default: as it is.
    #[arg(long, value_parser = time, value_name = "TIME")]
    run_time: Option<Timestamp>,
}

impl Update {
    pub(super) async fn run(self, session: &Session) -> Result<(), CliError> {
        let request = UpdateJobRequest {
            job_id: self.job_id,
            priority: self.priority,
            delay: self.delay.map(span_to_proto),
            run_time: self.run_time,
        };
        let job = session.client.update_job(request).await?;
        Ok(session.output.one(&JobView::from(job))?)
    }
}
