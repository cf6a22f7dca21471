//! How fast the engine alone is: `cargo bench -p sluice-engine`. A cycle is a dispatch, an ack, and the enqueue of another
//! job of the same key, so that what waits stays the same; each step takes a thousand of each, as a busy server's groups do.
//! What is set on nodes never closes anything (`limits_on`), closes every key with each dispatch (`every_dispatch_parks`), or
//! keeps all closed (`all_throttled`, where a cycle is a poll that gets nothing).

#![allow(clippy::unwrap_used, reason = "a benchmark that cannot go on has failed, and says where")]

mod load;

use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use load::{BATCH, KEYS, Load, STEP, Shape, loose, rate};
use sluice_engine::*;

fn main() {
    divan::main();
}

fn run(bencher: Bencher<'_, '_>, keys: usize, shape: Shape, node: &NodeSettings, of_keys: &NodeSettings) {
    let mut load = Load::new(keys, shape, node, of_keys);
    // Once through all of them, so that nothing is done for the first time.
    for _ in 0..keys.div_ceil(BATCH) {
        load.cycle();
    }
    bencher.counter(ItemsCount::new(BATCH)).bench_local(|| {
        assert_eq!(black_box(load.cycle()), BATCH, "as many go as are asked for");
    });
}

#[divan::bench(args = KEYS)]
fn one_segment_limits_off(bencher: Bencher<'_, '_>, keys: usize) {
    run(bencher, keys, Shape::One, &NodeSettings::default(), &NodeSettings::default());
}

#[divan::bench(args = KEYS)]
fn one_segment_limits_on(bencher: Bencher<'_, '_>, keys: usize) {
    run(bencher, keys, Shape::One, &loose(), &loose());
}

#[divan::bench(args = KEYS)]
fn three_segments_limits_off(bencher: Bencher<'_, '_>, keys: usize) {
    run(bencher, keys, Shape::Three, &NodeSettings::default(), &NodeSettings::default());
}

#[divan::bench(args = KEYS)]
fn three_segments_limits_on(bencher: Bencher<'_, '_>, keys: usize) {
    run(bencher, keys, Shape::Three, &loose(), &loose());
}

/// Each key may send one at a time, and opens again just before its turn comes.
#[divan::bench(args = [1_000, 100_000, 1_000_000])]
fn every_dispatch_parks(bencher: Bencher<'_, '_>, keys: usize) {
    let round = Span(STEP.0 * (keys / BATCH) as u64);
    let one = NodeSettings { windows: vec![rate(1, round, 1)], ..NodeSettings::default() };
    run(bencher, keys, Shape::One, &NodeSettings::default(), &one);
}

/// Every key is at its limit, and stays there.
#[divan::bench(args = [1_000, 1_000_000])]
fn all_throttled(bencher: Bencher<'_, '_>, keys: usize) {
    let one = NodeSettings { windows: vec![rate(1, bound::MAX_PERIOD, 1)], ..NodeSettings::default() };
    let mut load = Load::new(keys, Shape::One, &NodeSettings::default(), &one);
    while !load.lease().is_empty() {}
    bencher.counter(ItemsCount::new(1_usize)).bench_local(|| {
        assert_eq!(black_box(load.lease()).len(), 0, "nothing may go");
    });
}
