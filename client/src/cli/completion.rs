//! `sluice completion`.

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::{Cli, error::CliError, output::write_line};

/// Print a completion script for a shell.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  sluice completion bash > ~/.local/share/bash-completion/completions/sluice"
)]
pub(super) struct Completion {
    /// The shell.
    shell: Shell,
}

impl Completion {
    pub(super) fn run(self) -> Result<(), CliError> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "sluice", &mut script);
        Ok(write_line(script.trim_ascii_end())?)
    }
}
