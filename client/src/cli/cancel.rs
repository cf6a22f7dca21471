//! `sluice cancel`.

use clap::Args;

use super::{Session, error::CliError, view::JobView};

/// Give jobs up. A waiting one is cancelled at once; a leased one when its worker gives it back, unless it
/// acks it. Exits with the first refused job's error, such as 3 (not there) or 73 (at rest already); the
/// others are cancelled all the same.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  sluice cancel 42 43")]
pub(super) struct Cancel {
    /// The jobs' ids, as `enqueue` printed them.
    #[arg(required = true, value_name = "JOB_ID")]
    job_ids: Vec<String>,
}

impl Cancel {
    pub(super) async fn run(self, session: &Session) -> Result<(), CliError> {
        let (mut views, mut first) = (Vec::new(), None);
        for job_id in self.job_ids {
            match session.client.cancel_job(&job_id).await {
                Ok(job) => views.push(JobView::from(job)),
                Err(error) => drop(first.get_or_insert(CliError::About(format!("job {job_id}"), error))),
            }
        }
        session.output.many(&views)?;
        first.map_or(Ok(()), Err)
    }
}
