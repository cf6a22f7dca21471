//! The benchmark: a load, and in turns with it what the same machine does for a call that does nothing
//! and for a bare write that reaches the disk. Only ratios of one run travel between machines.
//!
//! The client shares its cores with the server, so it does as little as it can: requests are encoded
//! once where they are alike, and of answers only what is needed is read.

mod codec;
mod disk;
mod load;
mod message;
mod sample;
mod stream;
mod wire;

use std::{io, path::PathBuf, sync::Arc, time::Duration};

use serde::Serialize;
use thiserror::Error;
use tokio::{task::JoinSet, time::Instant};

use self::{
    disk::Disk,
    load::{Load, fill},
    sample::{Quantiles, Sample},
    wire::Wire,
};
use crate::Client;

/// A slice of Check lasts as long as the slice of load beside it, within these.
const CHECK_SLICE: std::ops::RangeInclusive<Duration> = Duration::from_millis(200)..=Duration::from_secs(5);

/// What is put on the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Enqueue.
    Enqueue,
    /// Lease and Ack, of jobs that are filled in before.
    Consume,
    /// Enqueue, Lease and Ack.
    Cycle,
}

/// A run.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What is put on the server.
    pub mode: Mode,
    /// The queue that is filled and emptied.
    pub queue: String,
    /// Calls on their way at a time, spread over the client's connections.
    pub in_flight: usize,
    /// Jobs of one call.
    pub batch: u32,
    /// Whether Enqueue goes through EnqueueStream.
    pub stream: bool,
    /// Bytes of a payload.
    pub payload_bytes: usize,
    /// Jobs in all.
    pub jobs: u64,
    /// Keys that jobs take in turn; 0 for none.
    pub keys: u64,
    /// Segments of a key, 1 to 3: with 3, 32 keys share the first two, and 4,096 the first.
    pub segments: u32,
    /// Whether each Enqueue carries a request id.
    pub request_ids: bool,
    /// Batches that jobs belong to in turn; 0 for none.
    pub batches: u64,
    /// Whether each job has an idempotency key of its own.
    pub idempotency_keys: bool,
    /// Turns: the load, Check and the disk are measured so often, one after another.
    pub rounds: u32,
    /// Where the bare write goes; without it the disk is not measured.
    pub data_dir: Option<PathBuf>,
}

/// Why a run gives no figures.
#[derive(Debug, Error)]
pub enum BenchError {
    /// The server refused, or the connection broke.
    #[error(transparent)]
    Call(#[from] crate::Error),
    /// The disk beside the data could not be measured.
    #[error("cannot measure the disk: {0}")]
    Disk(#[from] io::Error),
}

/// What was measured.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    mode: Mode,
    connections: usize,
    in_flight: usize,
    batch: u32,
    stream: bool,
    payload_bytes: usize,
    keys: u64,
    segments: u32,
    request_ids: bool,
    batches: u64,
    idempotency_keys: bool,
    rounds: u32,
    /// Jobs measured, and the time that took.
    jobs: u64,
    seconds: f64,
    jobs_per_second: f64,
    /// Calls, of whatever kind: with a batch of one in mode enqueue the same as jobs.
    requests_per_second: f64,
    /// Of one call; in modes consume and cycle, of a batch's calls together.
    latency_us: Quantiles,
    check_per_second: f64,
    check_latency_us: Quantiles,
    /// requests_per_second ÷ check_per_second.
    ratio_to_check: f64,
    /// Of a bare 4 KiB pwrite + fdatasync into a zeroed file.
    #[serde(skip_serializing_if = "Option::is_none")]
    fdatasync_p50_us: Option<f64>,
    /// (p50 − p50 of Check) ÷ fdatasync_p50_us: what durability costs beyond the bare rpc, in bare writes.
    #[serde(skip_serializing_if = "Option::is_none")]
    overhead_in_fdatasyncs: Option<f64>,
}

/// Runs the benchmark. The client's connections are those that are measured.
///
/// # Errors
/// At the first call that fails: figures of a run with failures would say nothing.
pub async fn run(client: &Client, settings: Settings) -> Result<Report, BenchError> {
    let wires: Arc<[Wire]> = client.channels().iter().map(|channel| Wire::new(client, channel)).collect();
    let connections = wires.len();
    let load = Load::new(Arc::clone(&wires), &settings);
    let mut disk = settings.data_dir.as_deref().map(Disk::open).transpose()?;

    // Connections are made, caches filled, before anything counts.
    check(&wires, settings.in_flight, *CHECK_SLICE.start()).await?;
    if settings.mode == Mode::Consume {
        fill(client, &load, settings.jobs).await?;
    } else {
        load.run(u64::from(settings.batch) * connections as u64).await?;
    }

    let (mut loads, mut checks) = (Sample::default(), Sample::default());
    for round in 0..u64::from(settings.rounds) {
        let rounds = u64::from(settings.rounds);
        let share = settings.jobs * (round + 1) / rounds - settings.jobs * round / rounds;
        // Each goes first in every other turn, so that what drifts drifts for both.
        let mut slice = loads.mean_seconds();
        if round % 2 == 0 {
            let sample = load.run(share).await?;
            slice = sample.seconds;
            loads.add(sample);
        }
        let slice = Duration::from_secs_f64(slice).clamp(*CHECK_SLICE.start(), *CHECK_SLICE.end());
        checks.add(check(&wires, settings.in_flight, slice).await?);
        if round % 2 == 1 {
            loads.add(load.run(share).await?);
        }
        if let Some(present) = disk.take() {
            disk = Some(present.slice().await?);
        }
    }
    Ok(report(settings, connections, &loads, &checks, disk.map(Disk::into_sample)))
}

fn report(
    settings: Settings,
    connections: usize,
    loads: &Sample,
    checks: &Sample,
    disk: Option<Sample>,
) -> Report {
    let (latency, check_latency) = (loads.quantiles(), checks.quantiles());
    let fdatasync = disk.map(|disk| disk.quantiles().p50);
    Report {
        mode: settings.mode,
        connections,
        in_flight: settings.in_flight,
        batch: settings.batch,
        stream: settings.stream,
        payload_bytes: settings.payload_bytes,
        keys: settings.keys,
        segments: settings.segments,
        request_ids: settings.request_ids,
        batches: settings.batches,
        idempotency_keys: settings.idempotency_keys,
        rounds: settings.rounds,
        jobs: loads.jobs,
        seconds: loads.seconds,
        jobs_per_second: loads.jobs as f64 / loads.seconds,
        requests_per_second: loads.calls as f64 / loads.seconds,
        latency_us: latency,
        check_per_second: checks.calls as f64 / checks.seconds,
        check_latency_us: check_latency,
        ratio_to_check: (loads.calls as f64 / loads.seconds) / (checks.calls as f64 / checks.seconds),
        fdatasync_p50_us: fdatasync,
        overhead_in_fdatasyncs: fdatasync.map(|p50| (latency.p50 - check_latency.p50) / p50),
    }
}

/// The health service's Check, as many at a time as the load and over the same connections.
async fn check(wires: &Arc<[Wire]>, in_flight: usize, slice: Duration) -> Result<Sample, crate::Error> {
    let begin = Instant::now();
    let mut callers = JoinSet::new();
    for caller in 0..in_flight {
        let wires = Arc::clone(wires);
        callers.spawn(async move {
            let wire = &wires[caller % wires.len()];
            let mut sample = Sample::default();
            loop {
                let sent = Instant::now();
                if sent.duration_since(begin) >= slice {
                    return Ok(sample);
                }
                wire.check().await?;
                sample.record(sent.elapsed());
                sample.calls += 1;
            }
        });
    }
    gather(callers, begin).await
}

/// The callers' samples as one, over the time they all took; or the first failure.
async fn gather(
    mut callers: JoinSet<Result<Sample, crate::Error>>,
    begin: Instant,
) -> Result<Sample, crate::Error> {
    let mut whole = Sample::default();
    while let Some(caller) = callers.join_next().await {
        match caller {
            Ok(sample) => whole.add(sample?),
            Err(error) => return Err(crate::Error::broken(&format!("a caller ended: {error}"))),
        }
    }
    whole.seconds = begin.elapsed().as_secs_f64();
    Ok(whole)
}
