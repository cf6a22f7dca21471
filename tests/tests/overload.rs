//! Overload in short, without figures of time: `cargo run --release --bin overload` has those. By itself, for it needs
//! the machine.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed, and says where")]
#![allow(clippy::print_stderr, reason = "the figures")]

use std::time::Duration;

use sluice_tests::overload::crowd::Crowd;
use sluice_tests::overload::surge::Surge;

/// Memory that a peer may take which does nothing, or reads nothing.
const MAX_BYTES_EACH: u64 = 48 << 10;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_idle_connections_and_a_thousand_slow_watchers_cost_little_and_others_are_served() {
    let crowd = Crowd { idle: 10_000, watchers: 1_000, span: Duration::from_secs(2) };
    let figures = crowd.run().await;
    eprintln!("{} bytes more\n{}\n{}", figures.growth_bytes, figures.before, figures.with);
    assert_eq!(figures.hung_up, 0);
    assert!(figures.with.count() > 0, "others are served");
    let each = figures.growth_bytes / (crowd.idle + crowd.watchers) as u64;
    assert!(each <= MAX_BYTES_EACH, "{each} bytes each");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_over_the_rate_are_refused_with_their_reason_and_taken_again_afterwards() {
    let surge = Surge { rate: 500, factor: 4, span: Duration::from_secs(4) };
    let figures = surge.run().await;
    eprintln!("{figures:?}");
    assert!(figures.others.is_empty(), "{:?}", figures.others);
    assert!(figures.refused.count() > 0);
    // A second's worth may come at once.
    let most = f64::from(surge.rate) * (1.0 + 1.0 / surge.span.as_secs_f64());
    assert!(figures.admitted_rate > 0.0 && figures.admitted_rate <= 1.05 * most, "{}", figures.admitted_rate);
}
