//! What a live key costs in memory, with a name of 16 bytes: `cargo bench -p sluice-engine --bench memory`. An engine with a
//! million jobs of one key is held against engines where each job has its own, each in a process of its own; what is
//! counted are the pages that the process really has, with all that the allocator keeps for itself.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a benchmark says what it measured, and where it failed"
)]

use std::process::Command as Process;

use sluice_engine::*;

const JOBS: usize = 1_000_000;
const BATCH: usize = 1_000;
/// Names of so many bytes.
const NAME: usize = 16;

/// How the jobs' keys look.
const SHAPES: [&str; 4] = ["one key", "one segment", "one segment, limited", "three segments"];

fn main() {
    let shape = std::env::args().nth(1).and_then(|arg| arg.parse::<usize>().ok());
    match shape {
        Some(shape) => println!("{}", measure(shape)),
        None => report(),
    }
}

fn report() {
    let bytes = |shape: usize| {
        let output = Process::new(std::env::current_exe().unwrap()).arg(shape.to_string()).output().unwrap();
        String::from_utf8(output.stdout).unwrap().trim().parse::<usize>().unwrap()
    };
    let base = bytes(0);
    println!("{}: {} bytes a job", SHAPES[0], base / JOBS);
    for (shape, name) in SHAPES.iter().enumerate().skip(1) {
        println!("{name}: {} bytes a key besides its job", bytes(shape).saturating_sub(base) / JOBS);
    }
}

/// Bytes that an engine holds with a million jobs.
fn measure(shape: usize) -> usize {
    let before = resident();
    let mut engine = Engine::new(EngineConfig::default());
    let mut clock = 0;
    let mut step = |command: Command| {
        clock += 1_000_000;
        let now = Now { engine: Timestamp(clock), wall: WallTime(clock) };
        let mut effects = Effects::default();
        engine.apply(Ticket(clock), command, now, &mut effects);
        effects.answers.pop().unwrap().1.unwrap();
    };
    let queue = QueueName::new("bench").unwrap();
    if shape == 2 {
        let window = Window {
            kind: WindowKind::Rate { burst: 1 },
            amount: 1,
            period: Span::from_millis(1_000),
            unit: Unit::Jobs,
        };
        let rule = KeyRule {
            pattern: KeyPattern::new("*").unwrap(),
            capacity: Capacity::default(),
            overflow: None,
            node: NodeSettings { windows: vec![window; 2], ..NodeSettings::default() },
        };
        let patch = QueuePatch { key_rules: Some(vec![rule]), ..QueuePatch::default() };
        step(Command::PutQueue(PutQueue { name: queue.clone(), patch, version: None }));
    }
    for first in (0..JOBS).step_by(BATCH) {
        let job = |number| JobSpec { key: key(shape, number), ..JobSpec::default() };
        step(Command::Enqueue(Enqueue {
            queue: queue.clone(),
            jobs: (first..first + BATCH).map(job).collect(),
            request: None,
            batch_totals: Vec::new(),
            wait: Span::ZERO,
        }));
    }
    let after = resident();
    drop(engine);
    after - before
}

/// A key of 16 bytes.
fn key(shape: usize, number: usize) -> Key {
    let text = match shape {
        0 => "k".repeat(NAME),
        1 | 2 => format!("k{number:015}"),
        _ => format!("{:03}/{:05}/{number:06}", number >> 12, number >> 5),
    };
    assert_eq!(text.len(), NAME);
    Key::new(text).unwrap()
}

/// Bytes of memory that this process has.
fn resident() -> usize {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
    pages.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4_096
}
