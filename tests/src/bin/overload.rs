//! More than a server can do, with figures: `cargo run --release --bin overload` goes through all of it in some four
//! minutes and exits 1 when others noticed more than they may. `overload crowd`, `surge` or `siege` is one of them.

#![allow(clippy::print_stdout, reason = "the figures")]

use std::process::ExitCode;
use std::time::Duration;

use sluice_tests::overload::crowd::Crowd;
use sluice_tests::overload::siege;
use sluice_tests::overload::surge::Surge;

/// Memory that one more idle peer, or a watcher that reads nothing, may take.
const MAX_BYTES_EACH: u64 = 48 << 10;
/// Throughput that a crowd must leave to those who work.
const MIN_SHARE: f64 = 0.8;
/// How soon what is refused must be refused.
const REFUSED_WITHIN: Duration = Duration::from_millis(50);
/// What must be admitted of the rate.
const MIN_ADMITTED: f64 = 0.9;
/// How soon all must be as before.
const RECOVERED_WITHIN: Duration = Duration::from_secs(5);
/// How much longer calls may take under a flood.
const MAX_RATIO: f64 = 5.0;

#[tokio::main]
async fn main() -> ExitCode {
    let what = std::env::args().nth(1);
    let is_asked = |name: &str| what.as_deref().is_none_or(|what| what == name);
    let mut is_good = true;
    if is_asked("crowd") {
        is_good &= crowd().await;
    }
    if is_asked("surge") {
        is_good &= surge().await;
    }
    if is_asked("siege") {
        is_good &= siege().await;
    }
    if is_good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Says what must be, and whether it is.
fn must(what: &str, is_so: bool) -> bool {
    println!("  {} {what}", if is_so { "yes:" } else { "NO: " });
    is_so
}

async fn crowd() -> bool {
    let crowd = Crowd { idle: 10_000, watchers: 1_000, span: Duration::from_secs(20) };
    let figures = crowd.run().await;
    let each = figures.growth_bytes / (crowd.idle + crowd.watchers) as u64;
    let share = figures.with.count() as f64 / figures.before.count() as f64;
    println!("{} idle connections and {} watchers that do not read", crowd.idle, crowd.watchers);
    println!("  without: {}", figures.before);
    println!("  with:    {}", figures.with);
    println!("  {} MiB more, {each} bytes each; {share:.2} of the throughput", figures.growth_bytes >> 20);
    must("nobody was hung up on", figures.hung_up == 0)
        & must("memory is bounded", each <= MAX_BYTES_EACH)
        & must("others are served", share >= MIN_SHARE)
}

async fn surge() -> bool {
    let surge = Surge { rate: 5_000, factor: 4, span: Duration::from_secs(60) };
    let figures = surge.run().await;
    println!("{:.0} calls a second where {} are taken", figures.asked, surge.rate);
    println!("  admitted: {:.0} a second, {}", figures.admitted_rate, figures.admitted);
    println!("  refused:  {}", figures.refused);
    println!("  as before after {:.1?}", figures.recovered_after);
    let asked = f64::from(surge.rate * surge.factor);
    must("so much was asked", figures.asked >= 0.95 * asked)
        & must("nothing else was answered", figures.others.is_empty())
        & must("what is refused is refused soon", figures.refused.permille(999) < REFUSED_WITHIN)
        & must("throughput stays", figures.admitted_rate >= MIN_ADMITTED * f64::from(surge.rate))
        & must("it recovers", figures.recovered_after <= RECOVERED_WITHIN)
}

async fn siege() -> bool {
    let (at_rest, under) = siege::run(Duration::from_secs(10)).await;
    println!("floods of frames\n  at rest: {at_rest}");
    let mut is_good = true;
    for (flood, latency) in under {
        let ratio = latency.permille(990).as_secs_f64() / at_rest.permille(990).as_secs_f64();
        println!("  {flood:?}: {latency}");
        is_good &= must(&format!("p99 is {ratio:.1} × that at rest"), ratio < MAX_RATIO);
    }
    is_good
}
