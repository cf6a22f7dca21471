//! sluiced: serves the queue until it is told to stop.

#![allow(clippy::print_stderr, reason = "a program says why it did not run")]

use std::io::{Write, stdout};
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

pub(crate) fn main() -> ExitCode {
    let result = sluice_server::run::run(std::env::args_os(), |address| {
        // Whoever started us may have closed its end: no reason not to serve.
        let _ = writeln!(stdout(), "listening on {address}");
    });
    match result {
        Ok(code) => code,
        Err(error) => {
            eprintln!("sluiced: {error}");
            ExitCode::from(error.exit_code())
        }
    }
}
