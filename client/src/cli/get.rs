//! `sluice get`.

use clap::Args;

use super::{Session, error::CliError, view::JobView};

/// Show a job. Exit code 3 when there is none of this id.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  sluice get 42 --payload -o json")]
pub(super) struct Get {
    /// The job's id, as `enqueue` printed it.
    job_id: String,
    /// Show the payload too. Default: no.
    #[arg(long)]
    payload: bool,
}

impl Get {
    pub(super) async fn run(self, session: &Session) -> Result<(), CliError> {
        let job = session.client.get_job(self.job_id, self.payload).await?;
        Ok(session.output.one(&JobView::from(job))?)
    }
}
