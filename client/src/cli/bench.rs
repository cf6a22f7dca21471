//! `sluice bench`.

use std::path::PathBuf;

use clap::{Args, Subcommand, value_parser};

use super::{Session, client, error::CliError};
use crate::bench::{self, BenchError, Mode, Settings};

#[derive(Debug, Subcommand)]
pub(super) enum Bench {
    /// Measure Enqueue. The jobs stay in the queue.
    ///
    /// In turns with the health service's Check over the same connections and, with --data-dir, with a bare
    /// 4 KiB write + fdatasync beside the data. Prints JSON; latencies in microseconds.
    #[command(after_help = "Examples:
  sluice bench enqueue --jobs 100000 --data-dir ./sluice-data
  sluice bench enqueue --jobs 2000000 --batch 1000 --in-flight 16 --stream")]
    Enqueue {
        #[command(flatten)]
        run: Run,
        /// Send through EnqueueStream, one stream a connection. Default: a call each.
        #[arg(long)]
        stream: bool,
    },
    /// Measure Lease and Ack. The queue is filled first, where it holds fewer jobs.
    ///
    /// In turns with the health service's Check over the same connections and, with --data-dir, with a bare
    /// 4 KiB write + fdatasync beside the data. Prints JSON; latencies in microseconds.
    #[command(after_help = "Example:\n  sluice bench consume --jobs 1000000 --batch 1000 --in-flight 8")]
    Consume {
        #[command(flatten)]
        run: Run,
    },
    /// Measure Enqueue, Lease and Ack together.
    ///
    /// In turns with the health service's Check over the same connections and, with --data-dir, with a bare
    /// 4 KiB write + fdatasync beside the data. Prints JSON; latencies in microseconds.
    #[command(after_help = "Example:\n  sluice bench cycle --jobs 1000000 --batch 1000 --in-flight 8")]
    Cycle {
        #[command(flatten)]
        run: Run,
    },
}

// No doc comment: it would become the help of the commands that take it.
#[derive(Debug, Args)]
pub(super) struct Run {
    /// The queue to fill and empty. Jobs that are in it are worked on too.
    #[arg(short, long, default_value = "bench")]
    queue: String,
    /// Connections: 1 to 64.
    #[arg(long, default_value_t = 8, value_name = "N", value_parser = value_parser!(u32).range(1..=64))]
    connections: u32,
    /// Calls on their way at a time, over all connections: 1 to 4096.
    #[arg(long, default_value_t = 64, value_name = "N", value_parser = value_parser!(u32).range(1..=4096))]
    in_flight: u32,
    /// Jobs of one call: 1 to 10,000; Lease gives at most 1,000.
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = value_parser!(u32).range(1..=10_000))]
    batch: u32,
    /// Bytes of a payload: up to 3145728.
    #[arg(long, default_value_t = 256, value_name = "N", value_parser = value_parser!(u32).range(..=3 << 20))]
    payload_bytes: u32,
    /// Jobs in all.
    #[arg(long, default_value_t = 100_000, value_name = "N", value_parser = value_parser!(u64).range(1..))]
    jobs: u64,
    /// Keys that jobs take in turn; 0 is no key.
    #[arg(long, default_value_t = 0, value_name = "N")]
    keys: u64,
    /// Segments of those keys: 1 to 3. With 3 of them, 32 keys share the first two and 4096 the first.
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = value_parser!(u32).range(1..=3))]
    segments: u32,
    /// Give each Enqueue a request id, as the library does. Default: none.
    #[arg(long)]
    request_ids: bool,
    /// Batches that jobs belong to in turn; 0 is none.
    #[arg(long, default_value_t = 0, value_name = "N")]
    batches: u64,
    /// Give each job an idempotency key of its own. Default: none.
    #[arg(long)]
    idempotency_keys: bool,
    /// Turns of load, Check and disk.
    #[arg(long, default_value_t = 6, value_name = "N", value_parser = value_parser!(u32).range(1..=1000))]
    rounds: u32,
    /// The server's data directory, or another on the same disk: measures the disk too. Default: not.
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
}

impl Bench {
    pub(super) async fn run(self, session: &Session) -> Result<(), CliError> {
        let (mode, run, stream) = match self {
            Bench::Enqueue { run, stream } => (Mode::Enqueue, run, stream),
            Bench::Consume { run } => (Mode::Consume, run, false),
            Bench::Cycle { run } => (Mode::Cycle, run, false),
        };
        let client = client(&session.global, run.connections as usize)?;
        let settings = Settings {
            mode,
            queue: run.queue,
            in_flight: run.in_flight as usize,
            batch: run.batch,
            stream,
            payload_bytes: run.payload_bytes as usize,
            jobs: run.jobs,
            keys: run.keys,
            segments: run.segments,
            request_ids: run.request_ids,
            batches: run.batches,
            idempotency_keys: run.idempotency_keys,
            rounds: run.rounds,
            data_dir: run.data_dir,
        };
        match bench::run(&client, settings).await {
            Ok(report) => Ok(session.output.json(&report)?),
            Err(BenchError::Call(error)) => Err(error.into()),
            Err(BenchError::Disk(error)) => Err(CliError::usage(format!("cannot measure the disk: {error}"))),
        }
    }
}
