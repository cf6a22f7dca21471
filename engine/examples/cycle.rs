//! How fast the engine alone is: `cargo run --release -p sluice-engine --example cycle -- [JOBS] [KEYS]`.
//! Enqueues, leases and acks in batches of 1,000, and says how many jobs a second each step takes.

#![allow(clippy::disallowed_methods, clippy::print_stdout, reason = "a benchmark reads the clock and prints")]

use std::time::Instant;

use sluice_engine::*;

const BATCH: usize = 1_000;

fn main() {
    let mut args = std::env::args().skip(1).filter_map(|arg| arg.parse::<usize>().ok());
    let (jobs, keys) = (args.next().unwrap_or(1_000_000), args.next().unwrap_or(1));
    let mut engine = Engine::new(EngineConfig::default());
    let queue = QueueName::new("bench").expect("a good name");
    let mut clock = 0;
    let mut step = |command: Command| {
        clock += 1_000_000;
        let now = Now { engine: Timestamp(clock), wall: WallTime(clock) };
        let mut effects = Effects::default();
        engine.apply(Ticket(clock), command, now, &mut effects);
        engine.wake(now, &mut effects);
        effects.answers.pop().expect("nothing waits here").1.expect("nothing is refused here")
    };

    let begin = Instant::now();
    for batch in 0..jobs / BATCH {
        let key = |n: usize| if keys > 1 { format!("key{}", n % keys) } else { String::new() };
        let spec = |n: usize| JobSpec {
            payload: vec![0; 256].into(),
            key: Key::new(key(n)).expect("a good key"),
            ..JobSpec::default()
        };
        let jobs = (batch * BATCH..(batch + 1) * BATCH).map(spec).collect();
        step(Command::Enqueue(Enqueue {
            queue: queue.clone(),
            jobs,
            request: None,
            batch_totals: Vec::new(),
            wait: Span::ZERO,
        }));
    }
    report("enqueue", jobs, begin);

    let begin = Instant::now();
    let mut leased = Vec::with_capacity(jobs);
    while leased.len() < jobs {
        let lease = Lease {
            queue: queue.clone(),
            max_jobs: BATCH as u32,
            max_bytes: usize::MAX,
            lease_duration: None,
            wait: Span::ZERO,
            worker: "bench".into(),
        };
        let Outcome::Leased(given) = step(Command::Lease(lease)) else {
            unreachable!("a lease was asked for")
        };
        leased.extend(given.jobs.iter().map(|job| (job.job.id, job.token)));
    }
    report("lease", jobs, begin);

    let begin = Instant::now();
    for batch in leased.chunks(BATCH) {
        let acks = batch
            .iter()
            .map(|(id, token)| Ack { id: *id, token: *token, result: None, actual_cost: None })
            .collect();
        step(Command::Ack(acks));
    }
    report("ack", jobs, begin);
}

fn report(what: &str, jobs: usize, begin: Instant) {
    let seconds = begin.elapsed().as_secs_f64();
    println!("{what}: {:.2} M jobs/s", jobs as f64 / seconds / 1e6);
}
