//! The program `sluice`.

use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    sluice_client::cli::main().await
}
