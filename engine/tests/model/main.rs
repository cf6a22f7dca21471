//! The engine against a naive model: generated commands, and after every step both must agree on every
//! job, every count and every answer, and a replay of the mutations must give the same engine.

#![allow(clippy::unwrap_used, reason = "a test")]

mod harness;
mod judge;
mod replay;
mod room;
mod step;
mod world;

use proptest::prelude::*;

use crate::harness::Harness;
use crate::step::{Step, steps};

/// A minute's worth; a campaign asks for more with `PROPTEST_CASES`, as proptest's own default does.
fn cases() -> u32 {
    std::env::var("PROPTEST_CASES").map_or(400, |cases| cases.parse().unwrap())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn engine_agrees_with_a_naive_model_and_with_its_own_replay(steps in steps()) {
        let mut harness = Harness::new();
        for queue in 0..2 {
            harness.step(&Step::Put { queue, patch: step::first_settings() });
        }
        for step in &steps {
            harness.step(step);
        }
    }
}
