//! Why a command failed, and the exit code that says so.

use std::{
    error::Error as _,
    fmt,
    io::{self, ErrorKind, Write as _},
};

use tonic::Code;

use crate::{BuildError, Error};

const USAGE: u8 = 2;
const NOTHING: u8 = 3;
const CODE_BASE: u8 = 64;

#[derive(Debug)]
pub(super) enum CliError {
    /// The arguments or the input are wrong.
    Usage(String),
    /// There is nothing, and no more to say.
    Nothing,
    /// The answer is not the best one, and was printed: it has an exit code of its own.
    Answer(u8),
    /// The server or the way to it.
    Call(Error),
    /// The same, with what it was about.
    About(String, Error),
    /// The results could not be printed.
    Output(io::Error),
}

impl CliError {
    pub(super) fn usage(message: impl Into<String>) -> CliError {
        CliError::Usage(message.into())
    }

    pub(super) fn exit_code(&self) -> u8 {
        match self {
            CliError::Usage(_) => USAGE,
            CliError::Nothing => NOTHING,
            CliError::Answer(code) => *code,
            CliError::Call(error) | CliError::About(_, error) => match error.code() {
                Code::NotFound => NOTHING,
                code => CODE_BASE + code as u8,
            },
            CliError::Output(_) => CODE_BASE + Code::Aborted as u8,
        }
    }

    pub(super) fn print(&self) {
        // A reader that went away, as `head` does, is no news.
        let silent = match self {
            CliError::Nothing | CliError::Answer(_) => true,
            CliError::Output(error) => error.kind() == ErrorKind::BrokenPipe,
            CliError::Usage(_) | CliError::Call(_) | CliError::About(..) => false,
        };
        if !silent {
            // With stderr gone there is nobody left to tell.
            let _ = writeln!(io::stderr(), "sluice: {self}");
        }
    }
}

impl fmt::Display for CliError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CliError::Usage(message) => f.write_str(message),
            CliError::Nothing => f.write_str("nothing there"),
            CliError::Answer(code) => write!(f, "exit code {code}"),
            CliError::Call(error) => error.fmt(f),
            CliError::About(what, error) => write!(f, "{what}: {error}"),
            CliError::Output(error) => write!(f, "cannot print: {error}"),
        }
    }
}

impl From<Error> for CliError {
    fn from(error: Error) -> CliError {
        CliError::Call(error)
    }
}

impl From<BuildError> for CliError {
    fn from(error: BuildError) -> CliError {
        debug_assert!(error.source().is_none());
        CliError::Usage(error.to_string())
    }
}

impl From<io::Error> for CliError {
    fn from(error: io::Error) -> CliError {
        CliError::Output(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_code_says_what_happened() {
        let call = |code| CliError::from(Error::local(code, "no"));
        assert_eq!(CliError::usage("no").exit_code(), 2);
        assert_eq!(CliError::Nothing.exit_code(), 3);
        assert_eq!(call(Code::NotFound).exit_code(), 3);
        assert_eq!(call(Code::InvalidArgument).exit_code(), 67);
        assert_eq!(call(Code::FailedPrecondition).exit_code(), 73);
        assert_eq!(call(Code::Unavailable).exit_code(), 78);
        assert_eq!(call(Code::Unauthenticated).exit_code(), 80);
    }
}
