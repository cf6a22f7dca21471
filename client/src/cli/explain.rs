//! `sluice explain`.

use clap::Args;

use super::{Session, error::CliError, view::ExplanationView};

/// Say why a job does not run and when it is expected to: every gate on its way, and what is before it. Exit code 3 when
/// the job is not there.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  sluice explain 42\n  sluice explain 42 -o json")]
pub(super) struct Explain {
    /// The job's id, as `enqueue` printed it.
    job_id: String,
}

impl Explain {
    pub(super) async fn run(self, session: &Session) -> Result<(), CliError> {
        let explained = session.client.explain_job(self.job_id).await?;
        Ok(session.output.one(&ExplanationView::from(explained))?)
    }
}
