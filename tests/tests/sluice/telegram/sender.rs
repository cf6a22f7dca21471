//! Clients of the server: producers and workers, which ask again until a server answers.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use sluice_proto::v1::{
    Ack, AckRequest, AcquireLimitRequest, EnqueueRequest, JobSpec, LeaseRequest, LeasedJob, Nack, NackReason,
    NackRequest,
};
use sluice_tests::history::{History, What};
use sluice_tests::load::{answered, enqueued, kept};
use sluice_tests::{Queue, spec};

use super::LEASE;
use super::vendor::{Answer, Arrival, Refusal, Vendor};

/// Jobs that a worker takes at once: what it can send at once.
const IN_HAND: u32 = 3;

/// A client of one queue.
pub(super) struct Sender {
    pub(super) queue: Queue,
    pub(super) vendor: Arc<Vendor>,
    history: History,
}

impl Sender {
    pub(super) fn new(queue: Queue, vendor: Arc<Vendor>, history: History) -> Sender {
        Sender { queue, vendor, history }
    }

    /// Puts messages in; their ids.
    pub(super) async fn enqueue(&self, request_id: &str, jobs: Vec<JobSpec>) -> Vec<String> {
        let request_id = request_id.to_owned();
        let request = EnqueueRequest { request_id, ..self.queue.enqueue_request(jobs) };
        // Requests are remembered by queue, here too.
        let named = EnqueueRequest {
            request_id: format!("{} {}", request.queue, request.request_id),
            ..request.clone()
        };
        loop {
            let begin = self.history.now();
            if let Some(answer) = answered(self.queue.enqueue_by(request.clone())).await {
                self.history.note(begin, enqueued(&named, &answer));
                return answer.jobs.into_iter().map(|job| job.job_id).collect();
            }
        }
    }

    /// Whether a message to a key may be sent now, or while somebody waits. What nobody answers is no.
    pub(super) async fn acquires(&self, key: &str, wait: Duration) -> bool {
        let request = AcquireLimitRequest {
            queue: self.queue.name().to_owned(),
            key: key.to_owned(),
            wait_timeout: Some(spec::span(wait)),
            ..AcquireLimitRequest::default()
        };
        let mut rpc = self.queue.rpc.clone();
        let answer = answered(async { rpc.acquire_limit(request).await }).await;
        answer.is_some_and(|answer| answer.into_inner().acquired)
    }

    /// Sends a message without queueing it, if it may be within that time.
    pub(super) async fn sends(&self, message: &JobSpec, wait: Duration) -> bool {
        let left = SystemTime::now();
        let may_go = self.acquires(&message.key, wait).await;
        if may_go {
            self.vendor.receive(Arrival {
                key: message.key.clone(),
                text: String::from_utf8(message.payload.to_vec()).unwrap(),
                priority: message.priority(),
                is_emergency: false,
                job: None,
                left,
                time: SystemTime::now(),
            });
        }
        may_go
    }

    /// Sends what comes until nothing more does.
    pub(super) async fn work(self) {
        while !self.vendor.is_closed() {
            let leased = self.lease().await;
            let (mut acks, mut nacks) = (Vec::new(), Vec::new());
            for leased in &leased {
                match self.vendor.receive(arrival(leased)) {
                    Answer::Taken => acks.push(spec::ack(leased)),
                    Answer::Wait(wait) => self.throttle(leased, wait).await,
                    Answer::Broken => nacks.push(failed(leased, NackReason::Failed, "HTTP_500")),
                    Answer::Forbidden => nacks.push(failed(leased, NackReason::Rejected, "HTTP_403")),
                }
            }
            self.ack(acks).await;
            self.nack(nacks).await;
        }
    }

    async fn lease(&self) -> Vec<LeasedJob> {
        let request = LeaseRequest {
            lease_duration: Some(spec::span(LEASE)),
            wait_timeout: Some(spec::millis(500)),
            ..self.queue.lease_request(IN_HAND)
        };
        let (begin, mut rpc) = (self.history.now(), self.queue.rpc.clone());
        let Some(answer) = answered(async { rpc.lease(request).await }).await else { return Vec::new() };
        let jobs = answer.into_inner().jobs;
        for leased in &jobs {
            let (job, token) = (spec::id(leased), leased.lease_token);
            self.history.note(begin, What::Leased { job, token, duration: LEASE });
        }
        jobs
    }

    async fn throttle(&self, leased: &LeasedJob, wait: Duration) {
        let time = SystemTime::now();
        let nack = failed(leased, NackReason::Throttled, "HTTP_429");
        self.nack(vec![Nack { retry_after: Some(spec::span(wait)), ..nack }]).await;
        let job = leased.job.as_ref().expect("a lease has its job");
        let (key, job) = (job.key.clone(), job.job_id.clone());
        self.vendor.passed_on(Refusal { key, job, time, told: SystemTime::now() });
    }

    async fn ack(&self, acks: Vec<Ack>) {
        while !acks.is_empty() {
            let (begin, mut rpc) = (self.history.now(), self.queue.rpc.clone());
            let request = AckRequest { acks: acks.clone() };
            let Some(answer) = answered(async { rpc.ack(request).await }).await else { continue };
            for (ack, result) in acks.into_iter().zip(answer.into_inner().results) {
                let (job, token) = (ack.job_id, ack.lease_token);
                let what = if kept(result.error.as_ref()) {
                    What::Acked { job, token }
                } else {
                    What::Lost { job, token }
                };
                self.history.note(begin, what);
            }
            return;
        }
    }

    async fn nack(&self, nacks: Vec<Nack>) {
        let mut is_first = true;
        while !nacks.is_empty() {
            let (begin, mut rpc) = (self.history.now(), self.queue.rpc.clone());
            let request = NackRequest { nacks: nacks.clone() };
            let Some(answer) = answered(async { rpc.nack(request).await }).await else {
                is_first = false;
                continue;
            };
            for (nack, result) in nacks.into_iter().zip(answer.into_inner().results) {
                let (job, token) = (nack.job_id, nack.lease_token);
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

/// A delivery that is here now.
fn arrival(leased: &LeasedJob) -> Arrival {
    let job = leased.job.as_ref().expect("a lease has its job");
    Arrival {
        key: job.key.clone(),
        text: spec::text(leased),
        priority: job.priority,
        is_emergency: job.bypass_limits,
        job: Some(job.job_id.clone()),
        left: spec::moment(job.start_time),
        time: SystemTime::now(),
    }
}

fn failed(leased: &LeasedJob, reason: NackReason, code: &str) -> Nack {
    Nack { error_code: code.to_owned(), ..spec::nack(leased, reason) }
}
