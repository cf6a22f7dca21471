//! When a job will run, held against when it did: steady limits and loads of many kinds, driven through the engine by a
//! clock of their own. The real start lies inside the range for 95 of 100 jobs or more, and for backlogs the range is
//! half as wide as the wait or less. `cargo test -p sluice-engine --test eta -- --nocapture` prints the figures.

#![allow(clippy::unwrap_used, reason = "a test")]
#![allow(clippy::print_stdout, reason = "what was measured is to be seen")]

mod chance;
#[path = "../driver/mod.rs"]
mod driver;
mod figure;
mod load;
mod restart;
mod run;

use sluice_engine::NodeSettings;

use crate::figure::Figures;
use crate::load::{Load, Workers, cost_rate, quota, rate, rule, slots};
use crate::run::run;

const SEEDS: [u64; 3] = [1, 42, 2026];
/// Low, mostly normal, high.
const THREE: &[u32] = &[2, 4, 4, 4, 7];

/// Runs a load with several seeds.
fn figures(load: &Load) -> Figures {
    let figures = SEEDS.into_iter().fold(Figures::default(), |all, seed| all.with(run(load, seed)));
    println!("{:55} {figures}", load.name);
    figures
}

fn holds(load: &Load) -> Figures {
    let figures = figures(load);
    assert!(figures.count() >= 1_000, "{}: {figures}", load.name);
    assert!(figures.inside() >= 0.95, "{}: {figures}", load.name);
    assert!(figures.unbounded() <= load.unbounded, "{}: {figures}", load.name);
    figures
}

/// As [`holds`], and the range is narrow.
fn holds_narrowly(load: &Load) {
    let figures = holds(load);
    assert!(figures.width() <= 0.5, "{}: {figures}", load.name);
}

#[test]
fn backlog_of_equal_keys_behind_a_rate() {
    holds_narrowly(&Load {
        name: "backlog, 30/s, 100 keys",
        node: rate(30, 1, 5),
        backlog: 10_000,
        ..Load::default()
    });
}

#[test]
fn backlog_of_unequal_keys_behind_a_rate() {
    holds_narrowly(&Load {
        name: "backlog, 30/s, 100 unequal keys",
        backlog: 10_000,
        node: rate(30, 1, 5),
        skewed: true,
        ..Load::default()
    });
}

#[test]
fn backlog_of_one_key() {
    holds_narrowly(&Load {
        name: "backlog, 10/s, one key",
        node: rate(10, 1, 2),
        keys: 1,
        ..Load::default()
    });
}

#[test]
fn backlog_behind_a_quota() {
    holds_narrowly(&Load {
        name: "backlog, 300 in any minute, 20 keys",
        node: quota(300, 60),
        keys: 20,
        ..Load::default()
    });
}

#[test]
fn backlog_of_unequal_keys_with_rates_of_their_own() {
    holds_narrowly(&Load {
        name: "backlog, 30/s and 20/min a key, unequal",
        node: rate(30, 1, 5),
        rules: vec![rule("*", rate(20, 60, 3))],
        skewed: true,
        ..Load::default()
    });
}

#[test]
fn backlog_of_keys_some_of_which_are_slow() {
    holds_narrowly(&Load {
        name: "backlog, 30/s and 20/min a key, some of them 4/min",
        node: rate(30, 1, 5),
        rules: vec![rule("*5", rate(4, 60, 1)), rule("*", rate(20, 60, 3))],
        ..Load::default()
    });
}

#[test]
fn backlog_of_three_priorities() {
    holds_narrowly(&Load {
        name: "backlog, 30/s, 100 keys, three priorities",
        backlog: 10_000,
        node: rate(30, 1, 5),
        priorities: THREE,
        ..Load::default()
    });
}

#[test]
fn backlog_of_three_levels() {
    holds_narrowly(&Load {
        name: "backlog, 30/s, 10/s a tenant, 20/min a user, 3 levels",
        node: rate(30, 1, 5),
        rules: vec![rule("*", rate(10, 1, 3)), rule("*/*/*", rate(20, 60, 3))],
        depth: 3,
        keys: 200,
        skewed: true,
        priorities: THREE,
        ..Load::default()
    });
}

#[test]
fn backlog_of_dear_and_cheap_jobs() {
    holds_narrowly(&Load {
        name: "backlog, cost of 100/s, jobs cost 1 to 20, 50 keys",
        node: cost_rate(100, 40),
        keys: 50,
        dearest: 20,
        ..Load::default()
    });
}

#[test]
fn backlog_of_keys_that_weigh_more_than_others() {
    let heavy = NodeSettings { weight: 3, ..NodeSettings::default() };
    holds(&Load {
        name: "backlog, 30/s, 100 keys, some of which weigh 3",
        node: rate(30, 1, 5),
        rules: vec![rule("k1*", heavy)],
        ..Load::default()
    });
}

#[test]
fn backlog_behind_slots() {
    holds_narrowly(&Load {
        name: "backlog, 8 in flight for 1 to 3 s, 20 keys",
        node: slots(8),
        keys: 20,
        backlog: 1_500,
        workers: Workers { count: 20, least: 1.0, most: 3.0 },
        ..Load::default()
    });
}

#[test]
fn backlog_that_waits_for_workers() {
    holds_narrowly(&Load {
        name: "backlog, no limit, 4 workers for 1 to 3 s, 20 keys",
        keys: 20,
        backlog: 1_500,
        workers: Workers { count: 4, least: 1.0, most: 3.0 },
        ..Load::default()
    });
}

#[test]
fn steady_stream_below_the_rate() {
    holds(&Load {
        name: "9/s into 10/s, 100 keys, three priorities",
        node: rate(10, 1, 3),
        priorities: THREE,
        backlog: 600,
        arrivals: 9.0,
        seconds: 1_200,
        ..Load::default()
    });
}

#[test]
fn steady_stream_to_unequal_keys_with_rates_of_their_own() {
    holds(&Load {
        name: "7/s into 10/s and 20/min a key, unequal, three priorities",
        node: rate(10, 1, 3),
        rules: vec![rule("*", rate(20, 60, 3))],
        keys: 300,
        skewed: true,
        priorities: THREE,
        backlog: 1_500,
        arrivals: 7.0,
        seconds: 1_200,
        ..Load::default()
    });
}

#[test]
fn steady_stream_beyond_the_rate() {
    holds(&Load {
        name: "11/s into 10/s, 100 keys",
        node: rate(10, 1, 3),
        backlog: 600,
        arrivals: 11.0,
        seconds: 1_200,
        ..Load::default()
    });
}
