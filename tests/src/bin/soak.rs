//! Whether a queue that is always busy stays as small as what it holds: `cargo run --release --bin soak
//! [SECONDS]` keeps a server busy at a constant depth, one job in a hundred living long and one in ten
//! retried, and starts it again at the end. Prints figures, and exits 1 when the disk, the memory or the
//! restart took more than they may. An hour by default; 180 seconds show most of it.

#![allow(clippy::unwrap_used, reason = "a measurement that cannot go on has failed, and says where")]
#![allow(clippy::disallowed_methods, reason = "it measures from outside, by its own clock")]
#![allow(clippy::print_stdout, reason = "its results")]

use std::fs;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use sluice_proto::v1::{JobSpec, LeasedJob, NackReason, Queue};
use sluice_tests::{Setup, Sluiced, spec, task};
use tokio::task::JoinSet;

/// Segments and budget of the log: small, so that it turns over often.
const SEGMENT_BYTES: u64 = 4 << 20;
const BUDGET_BYTES: u64 = 32 << 20;
/// What the server keeps besides: the ballast, and the segments that are ahead, spare or on their way home.
const FIXED_BYTES: u64 = (64 << 20) + 6 * SEGMENT_BYTES;
/// Producers, each with its worker.
const PAIRS: usize = 4;
/// Jobs that wait, for each pair.
const DEPTH: u64 = 5_000;
const BATCH: usize = 100;
/// Bytes of a payload.
const PAYLOAD_BYTES: usize = 1_000;
/// One job in so many waits for `LONG_LIFE`: long enough that it moves home at once, and by itself.
const LONG_ONE_IN: usize = 100;
const LONG_LIFE: Duration = Duration::from_secs(65);
/// One delivery in so many fails, and is retried after `RETRY`.
const FAIL_ONE_IN: usize = 10;
const RETRY: Duration = Duration::from_secs(2);
/// How often it is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// What the disk may take: so many times what is alive, the log's budget, and
const MAX_LIVE_RATIO: u64 = 3;
/// so much more.
const MAX_EXTRA_BYTES: u64 = 256 << 20;
/// Memory is flat when the median of the last quarter of the looks is no more than the highest of the quarter
/// before, or at most so much over its median: the first half fills caches, and long lives begin to end in it.
const MAX_GROWTH_RATIO: f64 = 1.10;
const MAX_GROWTH_BYTES: f64 = 16.0 * 1_048_576.0;
const MAX_RESTART: Duration = Duration::from_secs(5);

/// What a look showed.
#[derive(Clone, Copy)]
struct Look {
    disk_bytes: u64,
    live_bytes: u64,
    resident_bytes: u64,
}

impl Look {
    fn allowed_bytes(&self) -> u64 {
        MAX_LIVE_RATIO * self.live_bytes + BUDGET_BYTES + MAX_EXTRA_BYTES
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    let seconds = std::env::args().nth(1).map_or(3_600, |text| text.parse().expect("a number of seconds"));
    let mut server = setup().start().await;
    let settings = Queue { retention_bytes: Some(0), ..spec::retrying(1_000, RETRY) };
    server.queue("soak").put(settings).await;
    let stop = Arc::new(AtomicBool::new(false));
    let done = Arc::new(AtomicU64::new(0));
    let mut load = JoinSet::new();
    for _ in 0..PAIRS {
        load.spawn(cycle(server.queue("soak"), stop.clone(), done.clone()));
    }
    let begin = Instant::now();
    let mut looks = Vec::new();
    while begin.elapsed() < Duration::from_secs(seconds) {
        tokio::time::sleep(LOOK_EVERY).await;
        let look = look(&server).await;
        print(begin.elapsed(), &look, done.load(Ordering::Relaxed));
        looks.push(look);
    }
    stop.store(true, Ordering::Relaxed);
    while let Some(ended) = load.join_next().await {
        ended.unwrap();
    }
    let restart = restart(&mut server).await;
    let after = look(&server).await;
    print(begin.elapsed(), &after, done.load(Ordering::Relaxed));
    server.stop().await;
    let checked = task::check(&server.data()).await;
    print!("{}", checked.stdout);
    verdict(&looks, &after, restart, checked.code == 0)
}

fn setup() -> Setup {
    Setup::default()
        .environment("SLUICED_LOG_SEGMENT_BYTES", &SEGMENT_BYTES.to_string())
        .environment("SLUICED_LOG_BUDGET_BYTES", &BUDGET_BYTES.to_string())
        .environment("SLUICED_LOG_LEVEL", "warn")
}

/// Keeps the depth: takes a batch, settles it, and puts in as many as went.
async fn cycle(queue: sluice_tests::Queue, stop: Arc<AtomicBool>, done: Arc<AtomicU64>) {
    let mut made = 0;
    for _ in 0..DEPTH / BATCH as u64 {
        queue.enqueue(jobs(&mut made, BATCH)).await;
    }
    let mut delivered = 0;
    while !stop.load(Ordering::Relaxed) {
        let leased = queue.lease(u32::try_from(BATCH).expect("a small number")).await;
        let (fail, ack): (Vec<LeasedJob>, Vec<LeasedJob>) = leased.into_iter().partition(|_| {
            delivered += 1;
            delivered % FAIL_ONE_IN == 0
        });
        if !ack.is_empty() {
            queue.ack(&ack).await;
            queue.enqueue(jobs(&mut made, ack.len())).await;
            done.fetch_add(ack.len() as u64, Ordering::Relaxed);
        }
        for job in &fail {
            queue.nack(job, NackReason::Failed).await;
        }
    }
}

fn jobs(made: &mut usize, count: usize) -> Vec<JobSpec> {
    let job = |_| {
        *made += 1;
        let delay = made.is_multiple_of(LONG_ONE_IN).then(|| spec::span(LONG_LIFE));
        JobSpec { delay, ..spec::job(&"x".repeat(PAYLOAD_BYTES)) }
    };
    (0..count).map(job).collect()
}

async fn look(server: &Sluiced) -> Look {
    let status = server.queue("soak").status().await;
    // A job's record and its key take about so much besides.
    const RECORD_BYTES: u64 = 100;
    Look {
        disk_bytes: disk_bytes(&server.data()).saturating_sub(FIXED_BYTES),
        live_bytes: status.bytes + status.jobs * RECORD_BYTES,
        resident_bytes: server.resident_bytes(),
    }
}

/// Stops it in good order, and says how long it takes until it serves again.
async fn restart(server: &mut Sluiced) -> Duration {
    server.stop().await;
    let begin = Instant::now();
    server.start().await;
    begin.elapsed()
}

/// Bytes of all files below `dir`. One that goes meanwhile counts nothing.
fn disk_bytes(dir: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(dir) else { return 0 };
    let bytes = |path: &Path| match fs::metadata(path) {
        Ok(meta) if meta.is_dir() => disk_bytes(path),
        Ok(meta) => meta.len(),
        Err(_) => 0,
    };
    entries.flatten().map(|entry| bytes(&entry.path())).sum()
}

fn print(elapsed: Duration, look: &Look, done: u64) {
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    println!(
        "{:5} s  {:9} done  disk {:7.1} of {:7.1} MiB  live {:6.1} MiB  memory {:6.1} MiB",
        elapsed.as_secs(),
        done,
        mib(look.disk_bytes),
        mib(look.allowed_bytes()),
        mib(look.live_bytes),
        mib(look.resident_bytes)
    );
}

fn verdict(looks: &[Look], after: &Look, restart: Duration, is_whole: bool) -> ExitCode {
    let is_disk_bounded = looks.iter().chain([after]).all(|look| look.disk_bytes <= look.allowed_bytes());
    let quarter = looks.len() / 4;
    let (before, last) = (median(&looks[2 * quarter..3 * quarter]), median(&looks[3 * quarter..]));
    let highest = highest(&looks[2 * quarter..3 * quarter]);
    let is_memory_flat = last <= (before * MAX_GROWTH_RATIO).max(before + MAX_GROWTH_BYTES).max(highest);
    let is_restart_quick = restart <= MAX_RESTART;
    println!(
        "disk bounded: {is_disk_bounded}; memory {:.1} then {:.1} MiB, flat: {is_memory_flat}; restart {:.2} s, \
         quick: {is_restart_quick}; store whole: {is_whole}",
        before / 1_048_576.0,
        last / 1_048_576.0,
        restart.as_secs_f64()
    );
    if is_disk_bounded && is_memory_flat && is_restart_quick && is_whole {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn highest(looks: &[Look]) -> f64 {
    looks.iter().map(|look| look.resident_bytes as f64).fold(0.0, f64::max)
}

fn median(looks: &[Look]) -> f64 {
    let mut bytes: Vec<u64> = looks.iter().map(|look| look.resident_bytes).collect();
    bytes.sort_unstable();
    bytes.get(bytes.len() / 2).copied().unwrap_or(0) as f64
}
