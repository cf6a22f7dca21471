//! What a server at rest costs: `cargo run --release --bin idle [KEYS]` parks a job for each of a million keys that are
//! at their limits, lets a lease wait, and prints how much of a processor `sluiced` takes over 30 s. Exits 1 when it is more than it may.

#![allow(clippy::print_stdout, reason = "its results")]

use std::process::ExitCode;
use std::time::Duration;

use sluice_tests::Setup;
use sluice_tests::idle::Idle;

const KEYS: usize = 1_000_000;
const SPAN: Duration = Duration::from_secs(30);
const PATIENCE: Duration = Duration::from_secs(300);
const MAX_SHARE: f64 = 0.005;

#[tokio::main]
async fn main() -> ExitCode {
    let keys = std::env::args().nth(1).map_or(KEYS, |text| text.parse().expect("a number of keys"));
    let idle = Idle::reach(Setup::default().start().await, keys, PATIENCE).await;
    let share = idle.share(SPAN).await;
    println!(
        "{keys} keys at their limits, a lease waits: {:.2} % of a processor over {SPAN:?}, {} MiB",
        100.0 * share,
        idle.resident_bytes() >> 20
    );
    if share < MAX_SHARE { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
