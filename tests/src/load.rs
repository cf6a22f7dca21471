//! Load to kill a server under: producers that repeat a request until it is answered, workers that
//! repeat an ack until it is answered, and all they see in a history.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use sluice_proto::v1::{
    Ack, AckRequest, EnqueueRequest, EnqueueResponse, GetQueueStatusRequest, ItemError, JobSpec, JobState,
    LeaseRequest, LeasedJob, Nack, NackReason, NackRequest,
};
use tokio::task::JoinSet;
use tonic::{Code, Status};

use crate::history::{History, What};
use crate::{Queue, Sluiced, spec};

/// How heavy it is.
#[derive(Clone, Copy, Debug)]
pub struct Weight {
    /// Clients that enqueue.
    pub producers: u32,
    /// Clients that lease and settle.
    pub workers: u32,
    /// The largest payload.
    pub payload_bytes: usize,
    /// Producers pause while so many jobs wait.
    pub backlog: u64,
}

/// Clients at work.
pub struct Load {
    history: History,
    shared: Arc<Shared>,
    producers: JoinSet<()>,
    workers: JoinSet<()>,
}

struct Shared {
    weight: Weight,
    closing: AtomicBool,
    done: AtomicBool,
    /// Jobs that waited or were held when somebody looked last.
    backlog: AtomicU64,
    /// The number of the latest idempotency key.
    latest_key: AtomicU32,
}

/// The leases of the load: long enough that few expire, short enough that those do soon.
const LEASE: Duration = Duration::from_secs(3);
/// How often somebody looks at the backlog.
const LOOK: Duration = Duration::from_millis(20);
/// After a call that a killed server did not answer.
const PAUSE: Duration = Duration::from_millis(5);
/// No call takes longer, unless it is lost.
const DEADLINE: Duration = Duration::from_secs(5);
/// Most jobs of one request.
const BATCH: u32 = 20;

impl Load {
    /// Sets clients to work on the queue `name`.
    #[must_use]
    pub fn begin(server: &Sluiced, name: &str, weight: Weight, seed: u64) -> Load {
        let mut load = Load {
            history: History::default(),
            shared: Arc::new(Shared {
                weight,
                closing: AtomicBool::new(false),
                done: AtomicBool::new(false),
                backlog: AtomicU64::new(0),
                latest_key: AtomicU32::new(0),
            }),
            producers: JoinSet::new(),
            workers: JoinSet::new(),
        };
        for number in 0..weight.producers {
            let client = load.client(server, name, number, seed);
            load.producers.spawn(client.produce());
        }
        for number in weight.producers..weight.producers + weight.workers {
            let client = load.client(server, name, number, seed);
            load.workers.spawn(client.work());
        }
        let observer = load.client(server, name, weight.producers + weight.workers, seed);
        load.workers.spawn(observer.observe());
        load
    }

    /// Lets producers finish what they began, and workers work off all there is.
    pub async fn finish(mut self, queue: &Queue) -> History {
        self.shared.closing.store(true, Ordering::Relaxed);
        while let Some(ended) = self.producers.join_next().await {
            ended.unwrap();
        }
        queue.until(|status| status.jobs == 0).await;
        self.shared.done.store(true, Ordering::Relaxed);
        while let Some(ended) = self.workers.join_next().await {
            ended.unwrap();
        }
        self.history
    }

    fn client(&self, server: &Sluiced, name: &str, number: u32, seed: u64) -> Client {
        Client {
            number,
            // A connection each, which is made anew whenever the server is.
            queue: server.queue(name),
            history: self.history.clone(),
            shared: self.shared.clone(),
            chance: fastrand::Rng::with_seed(seed.wrapping_mul(1_000) + u64::from(number)),
        }
    }
}

struct Client {
    number: u32,
    queue: Queue,
    history: History,
    shared: Arc<Shared>,
    chance: fastrand::Rng,
}

impl Client {
    async fn produce(mut self) {
        for request in 0.. {
            while self.shared.backlog.load(Ordering::Relaxed) > self.shared.weight.backlog {
                if self.shared.closing.load(Ordering::Relaxed) {
                    return;
                }
                tokio::time::sleep(PAUSE).await;
            }
            let request_id = format!("{}-{request}", self.number);
            let jobs: Vec<JobSpec> = (0..self.chance.u32(1..=BATCH)).map(|_| self.job()).collect();
            // One in ten is sent again although it was answered.
            let mut ids = Vec::new();
            for _ in 0..=u32::from(self.chance.u8(..10) == 0) {
                ids = self.enqueue(&jobs, &request_id).await;
            }
            if self.chance.u8(..5) == 0 {
                let one = self.chance.usize(..ids.len());
                self.cancel(ids.swap_remove(one)).await;
            }
            if self.shared.closing.load(Ordering::Relaxed) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(self.chance.u64(..10))).await;
        }
    }

    fn job(&mut self) -> JobSpec {
        let bytes = self.chance.usize(..=self.shared.weight.payload_bytes);
        let soon = self.chance.u8(..20) == 0;
        let is_mortal = self.chance.u8(..20) == 0;
        let has_twins = self.chance.u8(..20) == 0;
        JobSpec {
            payload: vec![self.chance.u8(..); bytes].into(),
            key: ["", "a", "a/b", "c/d/e"][self.chance.usize(..4)].to_owned(),
            priority: Some(self.chance.u32(..10)),
            delay: soon.then(|| spec::millis(self.chance.u64(..50))),
            retry_policy: Some(spec::retry(2, Duration::from_millis(10))),
            ttl: is_mortal.then(|| spec::millis(self.chance.u64(1..200))),
            idempotency_key: if has_twins { self.key() } else { String::new() },
            ..JobSpec::default()
        }
    }

    /// A new idempotency key, or one that this client or another has used lately.
    fn key(&mut self) -> String {
        let latest = &self.shared.latest_key;
        let number = match self.chance.bool() {
            true => latest.fetch_add(1, Ordering::Relaxed) + 1,
            false => latest.load(Ordering::Relaxed).saturating_sub(self.chance.u32(..5)),
        };
        format!("key-{number}")
    }

    async fn enqueue(&mut self, jobs: &[JobSpec], request_id: &str) -> Vec<String> {
        let request =
            EnqueueRequest { request_id: request_id.to_owned(), ..self.queue.enqueue_request(jobs.to_vec()) };
        loop {
            let begin = self.history.now();
            if let Some(answer) = answered(self.queue.enqueue_by(request.clone())).await {
                self.history.note(begin, enqueued(&request, &answer));
                return answer.jobs.into_iter().map(|job| job.job_id).collect();
            }
        }
    }

    /// Gives a job up, unless it is at rest.
    async fn cancel(&mut self, job: String) {
        loop {
            let begin = self.history.now();
            let call = async {
                match self.queue.try_cancel(&job).await {
                    Ok(job) => Ok(Some(job)),
                    // At rest; or lost, which the judge will see.
                    Err(status) if [Code::FailedPrecondition, Code::NotFound].contains(&status.code()) => {
                        Ok(None)
                    }
                    Err(status) => Err(status),
                }
            };
            let Some(answer) = answered(call).await else { continue };
            if let Some(state) = answer.map(|job| job.state()) {
                self.history.note(begin, What::Cancelled { job, is_final: state == JobState::Cancelled });
            }
            return;
        }
    }

    /// Tells producers how much waits.
    async fn observe(self) {
        while !self.shared.done.load(Ordering::Relaxed) {
            let request = GetQueueStatusRequest { queue: self.queue.name().to_owned(), ..Default::default() };
            let mut rpc = self.queue.rpc.clone();
            if let Some(answer) = answered(async { rpc.get_queue_status(request).await }).await {
                let jobs = answer.into_inner().status.map_or(0, |status| status.jobs);
                self.shared.backlog.store(jobs, Ordering::Relaxed);
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    async fn work(mut self) {
        while !self.shared.done.load(Ordering::Relaxed) {
            let leased = self.lease().await;
            self.settle(leased).await;
        }
    }

    async fn lease(&mut self) -> Vec<LeasedJob> {
        let request = LeaseRequest {
            lease_duration: Some(spec::span(LEASE)),
            wait_timeout: Some(spec::millis(100)),
            ..self.queue.lease_request(self.chance.u32(1..=BATCH))
        };
        let begin = self.history.now();
        let mut rpc = self.queue.rpc.clone();
        let Some(answer) = answered(async { rpc.lease(request).await }).await else { return Vec::new() };
        let jobs = answer.into_inner().jobs;
        for leased in &jobs {
            let (job, token) = (spec::id(leased), leased.lease_token);
            self.history.note(begin, What::Leased { job, token, duration: LEASE });
        }
        jobs
    }

    /// Most are acked; some fail, some are given back, some are forgotten until their lease expires.
    async fn settle(&mut self, leased: Vec<LeasedJob>) {
        let (mut acks, mut nacks) = (Vec::new(), Vec::new());
        for leased in &leased {
            match self.chance.u8(..100) {
                0 => {}
                1..=6 => nacks.push(spec::nack(leased, NackReason::Failed)),
                7..=9 => nacks.push(spec::nack(leased, NackReason::Released)),
                10..=11 => nacks.push(spec::nack(leased, NackReason::Rejected)),
                _ => acks.push(spec::ack(leased)),
            }
        }
        self.ack(acks).await;
        self.nack(nacks).await;
    }

    async fn ack(&mut self, acks: Vec<Ack>) {
        while !acks.is_empty() {
            let begin = self.history.now();
            let mut rpc = self.queue.rpc.clone();
            let request = AckRequest { acks: acks.clone() };
            let Some(answer) = answered(async { rpc.ack(request).await }).await else { continue };
            for (ack, result) in acks.into_iter().zip(answer.into_inner().results) {
                let (job, token) = (ack.job_id, ack.lease_token);
                if kept(result.error.as_ref()) {
                    self.history.note(begin, What::Acked { job, token });
                } else {
                    self.history.note(begin, What::Lost { job, token });
                }
            }
            return;
        }
    }

    async fn nack(&mut self, nacks: Vec<Nack>) {
        let mut is_first = true;
        while !nacks.is_empty() {
            let begin = self.history.now();
            let mut rpc = self.queue.rpc.clone();
            let request = NackRequest { nacks: nacks.clone() };
            let Some(answer) = answered(async { rpc.nack(request).await }).await else {
                is_first = false;
                continue;
            };
            for (nack, result) in nacks.into_iter().zip(answer.into_inner().results) {
                let (job, token) = (nack.job_id.clone(), nack.lease_token);
                if kept(result.error.as_ref()) {
                    self.history.note(begin, What::Nacked { job, token });
                } else if is_first {
                    self.history.note(begin, What::Lost { job, token });
                }
                // Else it may have been given back at the first attempt, and leased by another since.
            }
            return;
        }
    }
}

/// What the answer to a request says.
#[must_use]
pub fn enqueued(request: &EnqueueRequest, answer: &EnqueueResponse) -> What {
    let ids = || answer.jobs.iter().map(|job| job.job_id.clone());
    let pairs = || request.jobs.iter().zip(ids());
    // A twin that was there before lives as long as that said.
    let is_own = answer.jobs.iter().map(|job| !job.duplicate);
    let own = pairs().zip(is_own).filter(|(_, is_own)| *is_own).map(|(pair, _)| pair);
    let keyed = pairs().filter(|(job, _)| !job.idempotency_key.is_empty());
    What::Enqueued {
        request_id: request.request_id.clone(),
        jobs: ids().collect(),
        mortal: own.filter(|(job, _)| job.ttl.is_some()).map(|(_, id)| id).collect(),
        keys: keyed.map(|(job, id)| (job.idempotency_key.clone(), id)).collect(),
        dropped: answer.dropped_job_ids.clone(),
    }
}

/// Whether an item was accepted; else its lease was lost, and nothing else may be wrong with it.
///
/// # Panics
/// When something else is.
#[must_use]
pub fn kept(error: Option<&ItemError>) -> bool {
    assert!(error.is_none_or(|error| error.reason == "LEASE_LOST"), "{error:?}");
    error.is_none()
}

/// The answer to a call, or nothing when the server died over it and it is to be made again.
///
/// # Panics
/// When the server refused it: the load makes no bad calls.
pub async fn answered<T>(call: impl Future<Output = Result<T, Status>>) -> Option<T> {
    let refused = match tokio::time::timeout(DEADLINE, call).await {
        Err(_) => return None,
        Ok(Ok(answer)) => return Some(answer),
        Ok(Err(status)) => status,
    };
    let repeat = matches!(
        refused.code(),
        Code::Unavailable | Code::ResourceExhausted | Code::Unknown | Code::Internal | Code::Cancelled
    );
    assert!(repeat, "{refused:?}");
    tokio::time::sleep(PAUSE).await;
    None
}
