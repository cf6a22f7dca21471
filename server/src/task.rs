//! What `sluiced` does instead of serving: with a store that nobody serves, or for the file of identities. Results go to stdout.

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use crate::auth::{Token, TokenHash};
use crate::config::Task;
use crate::store::{self, Checked, Restored, StoreError};

/// Why a task could not be done.
#[derive(Debug, thiserror::Error)]
pub enum TaskError {
    /// The directory cannot be checked.
    #[error("cannot check: {0}")]
    Check(StoreError),
    /// The backup is not whole, or no store can be made of it.
    #[error("cannot restore: {0}")]
    Restore(StoreError),
    /// The system gave no chance to make a token of.
    #[error("cannot make a token: {0}")]
    Chance(io::Error),
    /// The results could not be printed.
    #[error("cannot print: {0}")]
    Output(#[from] io::Error),
}

/// Exit code of a check that found something.
const EXIT_DAMAGED: u8 = 1;
/// Exit code of a check that could not be made, as of wrong usage: nothing is known of the store.
const EXIT_UNCHECKED: u8 = 2;
const EXIT_FAILED: u8 = 1;

impl TaskError {
    /// What the process should exit with.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            TaskError::Check(_) => EXIT_UNCHECKED,
            TaskError::Restore(_) | TaskError::Chance(_) | TaskError::Output(_) => EXIT_FAILED,
        }
    }
}

/// Does it, and says what to exit with.
///
/// # Errors
/// When it could not be done.
pub fn run(task: &Task) -> Result<ExitCode, TaskError> {
    match task {
        Task::Check { dir } => check(dir),
        Task::Token => token(),
        Task::Restore { file, dir } => restore(file, dir),
    }
}

fn check(dir: &Path) -> Result<ExitCode, TaskError> {
    let checked = store::check(dir).map_err(TaskError::Check)?;
    print_checked(&checked, &mut io::stdout().lock())?;
    Ok(if checked.findings.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(EXIT_DAMAGED) })
}

fn restore(file: &Path, dir: &Path) -> Result<ExitCode, TaskError> {
    let Restored { rows, groups } = store::restore(file, dir).map_err(TaskError::Restore)?;
    writeln!(io::stdout(), "ok: {rows} rows and {groups} groups restored to {}", dir.display())?;
    Ok(ExitCode::SUCCESS)
}

fn token() -> Result<ExitCode, TaskError> {
    let token = Token::random().map_err(TaskError::Chance)?;
    let hash = TokenHash::new(token.text().as_bytes());
    writeln!(io::stdout(), "token:  {}\nsha256: {hash}", token.text())?;
    Ok(ExitCode::SUCCESS)
}

fn print_checked(checked: &Checked, out: &mut impl Write) -> io::Result<()> {
    let Checked { findings, notes, jobs, queues, segments, rows } = checked;
    for note in notes {
        writeln!(out, "note: {note}")?;
    }
    for finding in findings {
        writeln!(out, "{finding}")?;
    }
    if findings.is_empty() {
        writeln!(
            out,
            "ok: {jobs} jobs in {queues} queues, {segments} segments of the log, {rows} rows at home"
        )
    } else {
        writeln!(out, "damaged: {} findings", findings.len())
    }
}
