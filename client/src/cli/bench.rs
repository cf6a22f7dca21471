//! `sluice bench`.
use super::{Session, error::CliError};
use clap::Subcommand;
#[derive(Debug, Subcommand)]
pub(super) enum Bench {
    /// x
    #[command(after_help = "Example:")]
    Enqueue,
}
impl Bench {
    pub(super) async fn run(self, _session: &Session) -> Result<(), CliError> {
        Ok(())
    }
}
