//! How fast the engine alone is: `cargo bench -p sluice-engine`. A cycle is a dispatch, an ack, and the enqueue of another
//! job of the same key, so that what waits stays the same; each step takes a thousand of each, as a busy server's groups do.
//! What is set on nodes never closes anything (`limits_on`), closes every key with each dispatch (`every_dispatch_parks`), or
//! keeps all closed (`all_throttled`, where a cycle is a poll that gets nothing).

#![allow(clippy::unwrap_used, reason = "a benchmark that cannot go on has failed, and says where")]

mod load;

use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use load::{BATCH, KEYS, Load, STEP, Shape, by_size, loose, rate};
use sluice_engine::*;

fn main() {
    divan::main();
}

fn run(bencher: Bencher<'_, '_>, keys: usize, shape: Shape, node: &NodeSettings, of_keys: &NodeSettings) {
    let mut load = Load::new(keys, shape, node, of_keys);
    bencher.counter(ItemsCount::new(BATCH)).bench_local(|| {
        assert_eq!(black_box(load.cycle()), BATCH, "as many go as are asked for");
    });
}

by_size!();

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
