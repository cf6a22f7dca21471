//! What a thousand watchers cost: `cargo run --release --bin watchers [SECONDS]` runs a busy queue with
//! and without them, three times in turns, and prints memory and throughput. Exits 1 when they cost
//! more than they may.

#![allow(clippy::unwrap_used, reason = "a measurement that cannot go on has failed, and says where")]
#![allow(clippy::disallowed_methods, reason = "it measures from outside, by its own clock")]
#![allow(clippy::print_stdout, reason = "its results")]

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use sluice_proto::v1::{Queue, WatchQueueRequest};
use sluice_tests::{Sluiced, spec};
use tokio::task::JoinSet;

/// Watchers of a run that has some.
const WATCHERS: usize = 1_000;
/// Of those, such as never read.
const SLEEPERS: usize = 10;
/// Connections that they share.
const CONNECTIONS: usize = 20;
/// Producers, each with its worker.
const PAIRS: usize = 4;
/// Jobs of one request.
const BATCH: usize = 100;
/// Time to reach an even pace before anything is measured.
const WARM_UP: Duration = Duration::from_secs(5);
/// Memory that watchers may cost.
const MAX_GROWTH_BYTES: i64 = 32 << 20;
/// Throughput that watchers must leave.
const MIN_RATIO: f64 = 0.8;

/// What a run showed.
#[derive(Clone, Copy)]
struct Figures {
    growth_bytes: i64,
    jobs_per_second: f64,
}

#[tokio::main]
async fn main() -> ExitCode {
    let seconds = std::env::args().nth(1).map_or(60, |text| text.parse().expect("a number of seconds"));
    let span = Duration::from_secs(seconds);
    let (mut without, mut with) = (Vec::new(), Vec::new());
    for round in 1..=3 {
        without.push(run(0, span).await);
        with.push(run(WATCHERS, span).await);
        for (name, runs) in [("without", &without), ("with", &with)] {
            let figures = runs.last().expect("it just ran");
            println!(
                "round {round}, {name:7}: {:8.0} jobs/s, memory grew by {:7.2} MiB",
                figures.jobs_per_second,
                figures.growth_bytes as f64 / f64::from(1 << 20)
            );
        }
    }
    let more = median(&with, |f| f.growth_bytes as f64) - median(&without, |f| f.growth_bytes as f64);
    let ratio = median(&with, |f| f.jobs_per_second) / median(&without, |f| f.jobs_per_second);
    println!("medians: {:.2} MiB more memory, {ratio:.3} of the throughput", more / f64::from(1 << 20));
    if more <= MAX_GROWTH_BYTES as f64 && ratio >= MIN_RATIO { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

async fn run(watchers: usize, span: Duration) -> Figures {
    let server = Sluiced::fresh().await;
    // Nothing is kept of what is done: the queue itself does not grow.
    let settings = Queue { retention_bytes: Some(0), ..Queue::default() };
    server.queue("busy").put(settings).await;
    let stop = Arc::new(AtomicBool::new(false));
    let done = Arc::new(AtomicU64::new(0));
    let mut load = JoinSet::new();
    for _ in 0..PAIRS {
        load.spawn(cycle(server.queue("busy"), stop.clone(), done.clone()));
    }
    tokio::time::sleep(WARM_UP).await;

    let (memory, jobs) = (server.resident_bytes(), done.load(Ordering::Relaxed));
    let mut watching = watch(&server, watchers).await;
    tokio::time::sleep(span).await;
    let jobs = done.load(Ordering::Relaxed) - jobs;
    let growth_bytes = server.resident_bytes().cast_signed() - memory.cast_signed();

    watching.abort_all();
    stop.store(true, Ordering::Relaxed);
    while let Some(ended) = load.join_next().await {
        ended.unwrap();
    }
    Figures { growth_bytes, jobs_per_second: jobs as f64 / span.as_secs_f64() }
}

/// Enqueues, leases and acks a batch, over and over.
async fn cycle(queue: sluice_tests::Queue, stop: Arc<AtomicBool>, done: Arc<AtomicU64>) {
    while !stop.load(Ordering::Relaxed) {
        queue.enqueue(spec::jobs("job", BATCH)).await;
        let leased = queue.lease(u32::try_from(BATCH).expect("a small number")).await;
        if !leased.is_empty() {
            queue.ack(&leased).await;
            done.fetch_add(leased.len() as u64, Ordering::Relaxed);
        }
    }
}

async fn watch(server: &Sluiced, watchers: usize) -> JoinSet<()> {
    let channels: Vec<_> = (0..CONNECTIONS).map(|_| server.client()).collect();
    let mut watching = JoinSet::new();
    for number in 0..watchers {
        let mut client = channels[number % CONNECTIONS].clone();
        let request = WatchQueueRequest { queue: "busy".to_owned(), min_interval: None };
        let mut stream = client.watch_queue(request).await.unwrap().into_inner();
        watching.spawn(async move {
            if number < SLEEPERS {
                std::future::pending::<()>().await;
            }
            while stream.message().await.unwrap().is_some() {}
        });
    }
    watching
}

fn median(runs: &[Figures], figure: impl Fn(&Figures) -> f64) -> f64 {
    let mut figures: Vec<f64> = runs.iter().map(figure).collect();
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}
