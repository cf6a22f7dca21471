//! What a vendor says to the limits that Sluice is told, by nginx as an independent referee: `cargo run --release --bin
//! referee [MESSAGES]`. The same limits, twice as much, nothing, and the same with ten chats that are always told 429.
//! Prints figures, and exits 1 when one is not as good as it must be. 5,000 messages by default: some twelve minutes.

#![allow(clippy::print_stdout, reason = "its results")]

use std::process::ExitCode;

use sluice_tests::referee::{Told, Verdict, send};

/// Chats that are always told 429.
const BANNED: usize = 10;

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> ExitCode {
    let messages = std::env::args().nth(1).map_or(5_000, |text| text.parse().expect("a number of messages"));
    println!("told      banned  calls   429      used   after a minute  attempts  took");
    let mut is_good = true;
    for (told, banned) in [(Told::Same, 0), (Told::Twice, 0), (Told::Nothing, 0), (Told::Same, BANNED)] {
        let verdict = send(told, messages, banned).await;
        println!(
            "{:8}  {banned:6}  {:5}  {:4.1} %  {:8.4}  {:14.4}  {:8}  {:.0} s",
            format!("{told:?}"),
            verdict.seen.len(),
            100.0 * verdict.refused_part(),
            verdict.used,
            verdict.used_later,
            verdict.failed_attempts,
            verdict.took
        );
        is_good &= is_as_it_must_be(told, &verdict);
    }
    if is_good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn is_as_it_must_be(told: Told, verdict: &Verdict) -> bool {
    verdict.failed_attempts == 0
        && match told {
            Told::Same => verdict.refused == 0 && verdict.used >= 0.98,
            Told::Twice | Told::Nothing => verdict.refused_part() < 0.03 && verdict.used_later >= 0.9,
        }
}
