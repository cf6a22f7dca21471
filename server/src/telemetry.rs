//! Where log lines go: to stderr, for people or for programs.

use std::io;

use tracing_subscriber::EnvFilter;

use crate::config::LogFormat;

/// Why nothing can be logged.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// `log_level` cannot be read.
    #[error("log_level: {0}")]
    Level(#[from] tracing_subscriber::filter::ParseError),
    /// Something else took the place already.
    #[error("the log is in use: {0}")]
    InUse(#[from] Box<dyn std::error::Error + Send + Sync>),
}

/// Sends what the process has to say to stderr, from now on.
///
/// # Errors
/// When `level` cannot be read.
pub fn start(format: LogFormat, level: &str) -> Result<(), TelemetryError> {
    let filter = EnvFilter::builder().parse(level)?;
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    match format {
        LogFormat::Text => lines.with_ansi(io::IsTerminal::is_terminal(&io::stderr())).try_init()?,
        LogFormat::Json => lines.json().flatten_event(true).try_init()?,
    }
    Ok(())
}
