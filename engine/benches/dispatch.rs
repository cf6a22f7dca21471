//! How fast the dispatch tree is by itself: `cargo bench -p sluice-engine --features bench --bench dispatch`. A cycle is
//! a dispatch, what it is charged, and the return of the job to the end of its key: no lease, no record, no answer. What is
//! set on nodes never closes anything (`limits_on`), or closes every key with each dispatch (`every_dispatch_parks`).

#![allow(clippy::unwrap_used, reason = "a benchmark that cannot go on has failed, and says where")]

mod load;

use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use load::{BATCH, KEYS, Load, STEP, Shape, by_size, loose, queue, rate};
use sluice_engine::*;

fn main() {
    divan::main();
}

fn run(bencher: Bencher<'_, '_>, keys: usize, shape: Shape, node: &NodeSettings, of_keys: &NodeSettings) {
    let Load { engine, mut clock } = Load::new(keys, shape, node, of_keys);
    // Whatever was closed is open again.
    clock += STEP.0 * keys.div_ceil(BATCH) as u64;
    let mut dispatcher = Dispatcher::new(engine, &queue());
    let mut step = move || {
        (0..BATCH).all(|_| {
            clock += STEP.0 / BATCH as u64;
            dispatcher.cycle(Timestamp(clock))
        })
    };
    // Once through all of them, so that nothing is done for the first time.
    for _ in 0..keys.div_ceil(BATCH) {
        step();
    }
    bencher.counter(ItemsCount::new(BATCH)).bench_local(|| {
        assert!(black_box(step()), "as many go as are asked for");
    });
}

by_size!();
