//! `sluice get`.

use std::time::Duration;

use clap::Args;

use super::{Session, argument::span, error::CliError, output::remark, view::JobView};
use crate::{
    Client, Error,
    client::Waits,
    proto::{BatchGetJobsRequest, Job},
    span_to_proto,
};

/// Jobs of one call.
const MAX_GET_JOBS: usize = 1_000;

/// Show jobs. Exit code 3 when one of them is not there; the others are shown all the same.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  sluice get 42 --payload -o json\n  sluice get 42 43 44 --wait 1m")]
pub(super) struct Get {
    /// The jobs' ids, as `enqueue` printed them.
    #[arg(required = true, value_name = "JOB_ID")]
    job_ids: Vec<String>,
    /// Show payloads too. Default: no.
    #[arg(long)]
    payload: bool,
    /// How long to wait for all of them to be at rest; then they are shown as they stand. Default: not at all.
    #[arg(long, default_value = "0s", hide_default_value = true, value_parser = span, value_name = "SPAN")]
    wait: Duration,
}

impl Get {
    pub(super) async fn run(self, session: &Session) -> Result<(), CliError> {
        if let [job_id] = &self.job_ids[..] {
            let job = session.client.wait_job(job_id, self.payload, self.wait).await?;
            return Ok(session.output.one(&JobView::from(job))?);
        }
        let (jobs, missing) = read_all(&session.client, self.job_ids, self.payload, self.wait).await?;
        let views: Vec<_> = jobs.into_iter().map(JobView::from).collect();
        session.output.many(&views)?;
        for job_id in &missing {
            remark(&format!("job {job_id} is not there"));
        }
        if missing.is_empty() { Ok(()) } else { Err(CliError::Nothing) }
    }
}

/// Reads any number of jobs, and names those that are not there. Waits for all to be at rest, as long as `wait`
/// in all.
pub(super) async fn read_all(
    client: &Client,
    job_ids: Vec<String>,
    include_payload: bool,
    wait: Duration,
) -> Result<(Vec<Job>, Vec<String>), Error> {
    let mut waits = Waits::new(wait);
    let (mut found, mut missing) = (Vec::new(), Vec::new());
    for chunk in job_ids.chunks(MAX_GET_JOBS) {
        let mut wanted = chunk.to_vec();
        while !wanted.is_empty() {
            let answer = client
                .batch_get_jobs(BatchGetJobsRequest {
                    job_ids: wanted.clone(),
                    include_payload,
                    wait_timeout: Some(span_to_proto(waits.next())),
                })
                .await?;
            let all_at_rest = answer.jobs.iter().all(|job| crate::is_at_rest(job.state()));
            if !all_at_rest && !waits.are_over() {
                continue;
            }
            if answer.jobs.is_empty() && answer.unread_job_ids.len() >= wanted.len() {
                return Err(Error::broken("the server reads none of the jobs"));
            }
            found.extend(answer.jobs);
            missing.extend(answer.missing_job_ids);
            wanted = answer.unread_job_ids;
        }
    }
    Ok((found, missing))
}
