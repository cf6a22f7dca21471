//! The load: callers that share a number of jobs and put them on the server as fast as it answers.

use std::{
    fmt::{self, Write as _},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use tokio::{
    task::JoinSet,
    time::{Instant, sleep},
};
use uuid::Uuid;

use super::{
    Mode, Settings, gather,
    message::{Ack, Acks, RequestTemplate},
    sample::Sample,
    stream,
    wire::Wire,
};
use crate::{Client, Error, proto::LeaseRequest};

/// Jobs and bytes of one call while a queue is filled.
const MAX_FILL_JOBS: usize = 1_000;
const MAX_FILL_BYTES: usize = 2 << 20;
/// Calls at a time while a queue is filled.
const FILL_IN_FLIGHT: usize = 8;
/// Jobs of one Lease, at most.
const MAX_LEASE_JOBS: u32 = 1_000;
/// Leases in a row without a job after which the queue is taken to be empty, and the wait between them.
const MAX_EMPTY_LEASES: u32 = 2_000;
const EMPTY_PAUSE: Duration = Duration::from_millis(1);

pub(super) struct Load {
    wires: Arc<[Wire]>,
    mode: Mode,
    in_flight: usize,
    batch: u32,
    stream: bool,
    queue: String,
    payload_bytes: usize,
    jobs: Arc<JobSource>,
}

/// Where requests with new jobs come from.
#[derive(Debug)]
pub(super) struct JobSource {
    template: RequestTemplate,
    /// The request of a full batch, when all are alike.
    alike: Option<(u32, Bytes)>,
    keys: u64,
    segments: u32,
    batches: u64,
    /// What the jobs' idempotency keys begin with, if they have any: no run shares one with another.
    idempotency: Option<String>,
    next: AtomicU64,
    request_ids: bool,
}

impl Load {
    pub(super) fn new(wires: Arc<[Wire]>, settings: &Settings) -> Load {
        Load {
            jobs: Arc::new(JobSource::new(settings)),
            wires,
            mode: settings.mode,
            in_flight: settings.in_flight,
            batch: settings.batch,
            stream: settings.stream,
            queue: settings.queue.clone(),
            payload_bytes: settings.payload_bytes,
        }
    }

    /// Puts so many jobs on the server and waits for the last answer.
    pub(super) async fn run(&self, jobs: u64) -> Result<Sample, Error> {
        let begin = Instant::now();
        let quota = Arc::new(Quota(AtomicU64::new(jobs)));
        let mut callers = JoinSet::new();
        if self.mode == Mode::Enqueue && self.stream {
            let streams = self.wires.len().min(self.in_flight);
            for stream in 0..streams {
                // What does not divide goes to the first ones.
                let window = self.in_flight / streams + usize::from(stream < self.in_flight % streams);
                let wire = self.wires[stream].clone();
                callers.spawn(stream::run(
                    wire,
                    Arc::clone(&self.jobs),
                    Arc::clone(&quota),
                    self.batch,
                    window,
                ));
            }
        } else {
            for caller in 0..self.in_flight {
                let caller = Caller {
                    wire: self.wires[caller % self.wires.len()].clone(),
                    jobs: Arc::clone(&self.jobs),
                    quota: Arc::clone(&quota),
                    batch: self.batch,
                    queue: self.queue.clone(),
                };
                match self.mode {
                    Mode::Enqueue => callers.spawn(caller.enqueue()),
                    Mode::Consume => callers.spawn(caller.consume()),
                    Mode::Cycle => callers.spawn(caller.cycle()),
                };
            }
        }
        gather(callers, begin).await
    }
}

/// Tops the queue up, so that at least so many jobs are ready.
pub(super) async fn fill(client: &Client, load: &Load, jobs: u64) -> Result<(), Error> {
    let ready = client.queue_status(&load.queue).await?.counts.unwrap_or_default().ready;
    let filler = Load {
        wires: Arc::clone(&load.wires),
        mode: Mode::Enqueue,
        in_flight: FILL_IN_FLIGHT,
        batch: u32::try_from((MAX_FILL_BYTES / load.payload_bytes.max(1)).clamp(1, MAX_FILL_JOBS))
            .unwrap_or(1),
        stream: false,
        queue: load.queue.clone(),
        payload_bytes: load.payload_bytes,
        jobs: Arc::clone(&load.jobs),
    };
    filler.run(jobs.saturating_sub(ready)).await.map(|_| ())
}

impl JobSource {
    fn new(settings: &Settings) -> JobSource {
        let template = RequestTemplate::new(&settings.queue, settings.payload_bytes);
        let all_alike = settings.keys == 0
            && settings.batches == 0
            && !settings.idempotency_keys
            && !settings.request_ids;
        let alike =
            all_alike.then(|| (settings.batch, template.encode(settings.batch, String::new(), |_| {})));
        JobSource {
            template,
            alike,
            keys: settings.keys,
            segments: settings.segments,
            batches: settings.batches,
            idempotency: settings.idempotency_keys.then(|| Uuid::now_v7().to_string()),
            next: AtomicU64::new(0),
            request_ids: settings.request_ids,
        }
    }

    /// A request with so many jobs.
    pub(super) fn request(&self, jobs: u32) -> Bytes {
        if let Some((_, request)) = self.alike.as_ref().filter(|(batch, _)| *batch == jobs) {
            return request.clone();
        }
        let request_id = if self.request_ids { Uuid::now_v7().to_string() } else { String::new() };
        let mut turn = self.next.fetch_add(u64::from(jobs), Ordering::Relaxed);
        self.template.encode(jobs, request_id, |job| {
            turn += 1;
            if self.keys > 0 {
                self.name_key(&mut job.key, turn % self.keys);
            }
            if self.batches > 0 {
                name(&mut job.batch_id, format_args!("b{}", turn % self.batches));
            }
            if let Some(begin) = &self.idempotency {
                name(&mut job.idempotency_key, format_args!("{begin}-{turn}"));
            }
        })
    }

    fn name_key(&self, key: &mut String, number: u64) {
        match self.segments {
            1 => name(key, format_args!("k{number}")),
            2 => name(key, format_args!("a{}/k{number}", number >> 5)),
            _ => name(key, format_args!("a{}/b{}/k{number}", number >> 12, number >> 5)),
        }
    }
}

/// Another name in the place of the one before: the client is not what is measured.
fn name(text: &mut String, to: fmt::Arguments<'_>) {
    text.clear();
    text.write_fmt(to).expect("a string takes all that is written to it");
}

/// The jobs that nobody has begun.
#[derive(Debug)]
pub(super) struct Quota(AtomicU64);

impl Quota {
    /// So many of them, fewer at the end, none after it.
    pub(super) fn take(&self, jobs: u32) -> u32 {
        let part = |left: u64| left.min(u64::from(jobs));
        let left = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| Some(left - part(left)));
        left.map_or(0, |left| u32::try_from(part(left)).unwrap_or(jobs))
    }
}

/// One of those that call at the same time.
struct Caller {
    wire: Wire,
    jobs: Arc<JobSource>,
    quota: Arc<Quota>,
    batch: u32,
    queue: String,
}

impl Caller {
    async fn enqueue(self) -> Result<Sample, Error> {
        let mut sample = Sample::default();
        while let jobs @ 1.. = self.quota.take(self.batch) {
            let begin = Instant::now();
            self.put(jobs, &mut sample).await?;
            sample.record(begin.elapsed());
            sample.jobs += u64::from(jobs);
        }
        Ok(sample)
    }

    async fn consume(self) -> Result<Sample, Error> {
        let mut sample = Sample::default();
        while let mut left @ 1.. = self.quota.take(self.batch) {
            while left > 0 {
                let begin = Instant::now();
                left -= self.work(left, &mut sample).await?;
                sample.record(begin.elapsed());
            }
        }
        Ok(sample)
    }

    async fn cycle(self) -> Result<Sample, Error> {
        let mut sample = Sample::default();
        while let mut left @ 1.. = self.quota.take(self.batch) {
            let begin = Instant::now();
            self.put(left, &mut sample).await?;
            // Not its own jobs, perhaps, but as many.
            while left > 0 {
                left -= self.work(left, &mut sample).await?;
            }
            sample.record(begin.elapsed());
        }
        Ok(sample)
    }

    async fn put(&self, jobs: u32, sample: &mut Sample) -> Result<(), Error> {
        let enqueued = self.wire.enqueue(self.jobs.request(jobs)).await?;
        sample.calls += 1;
        if enqueued == jobs as usize { Ok(()) } else { Err(Error::broken("not as many ids as jobs")) }
    }

    /// Leases up to so many jobs (at most 1,000), waiting for the first, and acks them; answers how many.
    async fn work(&self, max_jobs: u32, sample: &mut Sample) -> Result<u32, Error> {
        for _ in 0..MAX_EMPTY_LEASES {
            let request = LeaseRequest {
                queue: self.queue.clone(),
                max_jobs: Some(max_jobs.min(MAX_LEASE_JOBS)),
                ..LeaseRequest::default()
            };
            let leased = self.wire.lease(request).await?;
            sample.calls += 1;
            if leased.jobs.is_empty() {
                sleep(EMPTY_PAUSE).await;
                continue;
            }
            let jobs = u32::try_from(leased.jobs.len()).unwrap_or(u32::MAX).min(max_jobs);
            let ack = |leased: super::message::LeasedJob| Ack {
                job_id: leased.job.unwrap_or_default().job_id,
                lease_token: leased.lease_token,
            };
            self.wire.ack(Acks { acks: leased.jobs.into_iter().map(ack).collect() }).await?;
            sample.calls += 1;
            sample.jobs += u64::from(jobs);
            return Ok(jobs);
        }
        Err(Error::broken("the queue ran empty: somebody else works on it"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quota_is_given_out_to_the_last_job() {
        let quota = Quota(AtomicU64::new(25));
        let taken: Vec<_> = (0..4).map(|_| quota.take(10)).collect();
        assert_eq!(taken, [10, 10, 5, 0]);
    }
}
