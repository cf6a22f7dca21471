//! Limits, held against a count of everything that went: random trees of keys, limits, loads, answers of workers, changes at
//! run time and times. After every step no window is exceeded in any span, no more is in flight than may be, nothing goes
//! through what is frozen, nothing waits that may go, and what the engine says of closed gates is true.
//!
//! `PROPTEST_CASES=40000 cargo test --release -p sluice-engine --test flow` is a campaign.

#![allow(clippy::unwrap_used, reason = "a test")]

mod ageing;
#[path = "../driver/mod.rs"]
mod driver;

mod bypass;
mod example;
mod feedback;
mod found;
mod freeze;
mod frozen;
mod hang;
mod harness;
mod judge;
mod log;
mod node;
mod order;
mod setting;
mod settle;
mod shared;
mod shared_judge;
mod shared_run;
mod stage;
mod step;
mod tally;
mod turn;
mod until;
mod vendor;
mod wake;
mod world;

use proptest::prelude::*;

use crate::harness::Harness;
use crate::step::runs;

/// Some seconds' worth; a campaign asks for more with `PROPTEST_CASES`, as proptest's own default does.
fn cases(usual: u32) -> u32 {
    std::env::var("PROPTEST_CASES").map_or(usual, |cases| cases.parse().unwrap())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(400), failure_persistence: None, max_shrink_iters: 20_000, ..ProptestConfig::default() })]

    #[test]
    fn limits_hold_and_nothing_waits_that_may_go(run in runs()) {
        let mut harness = Harness::new();
        run.0.iter().for_each(|step| harness.step(step));
        harness.finish();
    }
}
