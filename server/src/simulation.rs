//! A whole server but for its network, in one thread, from a seed: engine and writer as they are, the log on a disk that
//! loses power, fails and tears, clients that vanish, a clock that is set. Crashes come at any write, sync or change of
//! a name, at a start too.
//!
//! After every start what is there must be what was answered, and what an engine shows that is told of every group
//! from the first; a judge that knows only what clients heard holds it against the promises of the queue; in the end
//! every job must come to its own end. A seed that fails is made short and printed.
//!
//! ```text
//! seed ─► script ─► world ─► call ─► writer ─► engine
//!                     │                └─► store: log on a simulated disk, home
//!                     └─► judge: what clients heard ─► window, order, leases, …
//! ```
//!
//! `SLUICE_SEEDS=1000000 cargo test --release -p sluice-server simulation -- --nocapture` runs more; with
//! `SLUICE_SEED=7` that seed alone.

mod bug;
mod call;
mod home;
mod judge;
mod script;
mod shrink;
mod store;
mod window;
mod world;

use std::cell::Cell;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use self::bug::Bug;
use self::script::Script;
use self::shrink::shrink;
use self::world::{Figures, World};
use crate::os;

/// Seeds that are tried unless SLUICE_SEEDS says otherwise.
const SEEDS: u64 = 20_000;
/// Seeds in which each bug must be found.
const SEEDS_FOR_A_BUG: u64 = 2_000;

thread_local! {
    static IS_QUIET: Cell<bool> = const { Cell::new(false) };
}

/// By how much others come first for the scheduler: tests beside wait for threads that step back themselves.
const NICENESS: i32 = 19;

/// Runs a script; a panic is something wrong as well.
fn run(script: &Script, bug: Option<Bug>) -> Result<Figures, String> {
    os::lower_priority(NICENESS);
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !IS_QUIET.get() {
                before(info);
            }
        }));
    });
    IS_QUIET.set(true);
    let result = panic::catch_unwind(AssertUnwindSafe(|| {
        let mut world = World::new(bug);
        world.run(script).map(|()| world.figures)
    }));
    IS_QUIET.set(false);
    result.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        Err(text.or_else(|| panic.downcast_ref().map(|text: &&str| (*text).to_owned())).unwrap_or_default())
    })
}

/// What is wrong, without where and with which job.
fn kind(wrong: &str) -> String {
    let first = wrong.lines().next().unwrap_or_default();
    let what =
        first.split_once(": ").filter(|(place, _)| place.starts_with("step") || *place == "at the end");
    what.map_or(first, |(_, what)| what).chars().filter(|letter| !letter.is_ascii_digit()).take(60).collect()
}

/// Says what is wrong with a seed, and the shortest script that shows it.
fn report(seed: u64, wrong: &str) -> String {
    let fails = |script: &Script| run(script, None).is_err_and(|other| kind(&other) == kind(wrong));
    let script = shrink(Script::draw(seed), fails);
    let shown = run(&script, None).unwrap_err();
    format!("seed {seed}: {wrong}\nthe shortest script that fails:\n{script}{shown}")
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect(name))
}

#[test]
fn nothing_goes_wrong_whatever_does() {
    let seeds = match number("SLUICE_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("SLUICE_SEEDS").unwrap_or(SEEDS),
    };
    let next = AtomicU64::new(seeds.start);
    let work = || {
        let mut sum = Figures::default();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end {
                return sum;
            }
            match run(&Script::draw(seed), None) {
                Ok(figures) => sum.add(&figures),
                Err(wrong) => {
                    next.store(seeds.end, Ordering::Relaxed);
                    panic!("{}", report(seed, &wrong));
                }
            }
        }
    };
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let mut sum = Figures::default();
    thread::scope(|scope| {
        let threads: Vec<_> = (0..cores).map(|_| scope.spawn(work)).collect();
        threads.into_iter().for_each(|thread| sum.add(&thread.join().unwrap()));
    });
    println!("{} seeds: {sum:?}", seeds.end - seeds.start);
    if seeds.end - seeds.start >= 1_000 {
        let per_seed = |count: usize| count as f64 / (seeds.end - seeds.start) as f64;
        assert!(per_seed(sum.crashes) > 0.5 && per_seed(sum.deliveries) > 5.0, "{sum:?}");
        assert!(sum.kept > 0 && sum.moved > 0, "{sum:?}");
    }
}

#[test]
fn same_seed_is_the_same_to_the_byte() {
    for seed in 0..30 {
        let run = || run(&Script::draw(seed), None).unwrap();
        assert_eq!(run(), run(), "seed {seed}");
    }
}

#[test]
fn every_planted_bug_is_found() {
    let missed: Vec<Bug> = Bug::ALL
        .into_iter()
        .filter(|bug| {
            let found = (0..SEEDS_FOR_A_BUG)
                .find_map(|seed| run(&Script::draw(seed), Some(*bug)).err().map(|wrong| (seed, wrong)));
            if let Some((seed, wrong)) = &found {
                let wrong: String = wrong.chars().take(160).collect();
                println!("{bug:?}: seed {seed}: {}", wrong.replace('\n', " "));
            }
            found.is_none()
        })
        .collect();
    assert!(missed.is_empty(), "not found: {missed:?}");
}
