//! One queue as its producers, workers and operators see it: the generated clients, with what every
//! test would otherwise repeat.

use std::time::Duration;

use sluice_proto::v1::admin_service_client::AdminServiceClient;
use sluice_proto::v1::queue_service_client::QueueServiceClient;
use sluice_proto::v1::{
    Ack, AckRequest, AckResult, CancelJobRequest, DeleteQueueRequest, DrainRequest, DrainResponse,
    EnqueueRequest, EnqueueResponse, ExtendLeaseRequest, ExtendLeaseResult, GetBatchRequest,
    GetBatchResponse, GetJobRequest, GetQueueRequest, GetQueueStatusRequest, Job, JobFilter, JobSpec,
    JobState, LeaseExtension, LeaseRequest, LeasedJob, ListJobsRequest, Nack, NackReason, NackRequest,
    NackResult, PauseQueueRequest, PurgeJobsRequest, PutQueueRequest, QueueStatus, RequeueJobsRequest,
    ResumeQueueRequest, UpdateJobRequest, WatchQueueRequest,
};
use tokio::task::JoinHandle;
use tonic::transport::Channel;
use tonic::{Status, Streaming};

use crate::spec;

/// How long something may take that has to come: far more than it ever needs.
const PATIENCE: Duration = Duration::from_secs(60);

/// A queue of a running server.
#[derive(Clone)]
pub struct Queue {
    name: String,
    /// For producers, workers and watchers.
    pub rpc: QueueServiceClient<Channel>,
    /// For operators.
    pub admin: AdminServiceClient<Channel>,
}

impl Queue {
    /// The queue `name` at the other end of `channel`.
    #[must_use]
    pub fn new(name: &str, channel: Channel) -> Queue {
        Queue {
            name: name.to_owned(),
            rpc: QueueServiceClient::new(channel.clone()),
            admin: AdminServiceClient::new(channel),
        }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Puts it, with `settings` as they stand but for the name.
    pub async fn put(&self, settings: sluice_proto::v1::Queue) -> sluice_proto::v1::Queue {
        let queue = sluice_proto::v1::Queue { name: self.name.clone(), ..settings };
        let request = PutQueueRequest { queue: Some(queue), update_mask: None };
        self.admin.clone().put_queue(request).await.unwrap().into_inner().queue.unwrap()
    }

    /// Enqueues; gives the ids in the order of `jobs`.
    pub async fn enqueue(&self, jobs: Vec<JobSpec>) -> Vec<String> {
        self.try_enqueue(jobs, "").await.unwrap()
    }

    /// Enqueues one job.
    pub async fn enqueue_one(&self, job: JobSpec) -> String {
        self.enqueue(vec![job]).await.remove(0)
    }

    /// Enqueues under a request id, or without one when it is empty.
    ///
    /// # Errors
    /// What the server answered.
    pub async fn try_enqueue(&self, jobs: Vec<JobSpec>, request_id: &str) -> Result<Vec<String>, Status> {
        let request = EnqueueRequest { request_id: request_id.to_owned(), ..self.enqueue_request(jobs) };
        let answer = self.enqueue_by(request).await?;
        Ok(answer.jobs.into_iter().map(|job| job.job_id).collect())
    }

    /// What it would be to enqueue `jobs` without waiting for room.
    #[must_use]
    pub fn enqueue_request(&self, jobs: Vec<JobSpec>) -> EnqueueRequest {
        EnqueueRequest { queue: self.name.clone(), jobs, ..EnqueueRequest::default() }
    }

    /// Enqueues as `request` says.
    ///
    /// # Errors
    /// What the server answered.
    pub async fn enqueue_by(&self, request: EnqueueRequest) -> Result<EnqueueResponse, Status> {
        Ok(self.rpc.clone().enqueue(request).await?.into_inner())
    }

    /// One more who waits a minute for room; returns when the server has it in its line.
    pub async fn caller(&self, request: EnqueueRequest) -> JoinHandle<Result<EnqueueResponse, Status>> {
        let before = self.status().await.waiting_enqueues;
        let request = EnqueueRequest { wait_timeout: Some(spec::millis(60_000)), ..request };
        let calling = tokio::spawn({
            let queue = self.clone();
            async move { queue.enqueue_by(request).await }
        });
        self.until(|status| status.waiting_enqueues == before + 1).await;
        calling
    }

    /// What it would be to lease `max_jobs` without waiting.
    #[must_use]
    pub fn lease_request(&self, max_jobs: u32) -> LeaseRequest {
        LeaseRequest {
            queue: self.name.clone(),
            max_jobs: Some(max_jobs),
            worker_id: "tester".to_owned(),
            ..LeaseRequest::default()
        }
    }

    /// Leases what is there now.
    pub async fn lease(&self, max_jobs: u32) -> Vec<LeasedJob> {
        self.lease_by(self.lease_request(max_jobs)).await
    }

    /// Leases one job, waiting until there is one.
    pub async fn lease_next(&self) -> LeasedJob {
        let request = LeaseRequest { wait_timeout: Some(spec::millis(30_000)), ..self.lease_request(1) };
        self.lease_by(request).await.pop().expect("a job comes within 30 s")
    }

    /// Leases as `request` says.
    pub async fn lease_by(&self, request: LeaseRequest) -> Vec<LeasedJob> {
        self.rpc.clone().lease(request).await.unwrap().into_inner().jobs
    }

    /// Acks; every one must be accepted.
    pub async fn ack(&self, jobs: &[LeasedJob]) {
        for result in self.try_ack(jobs.iter().map(spec::ack).collect()).await {
            assert_eq!(result.error, None, "ack of {}", result.job_id);
        }
    }

    /// Leases what is there now, and acks it; its payloads.
    pub async fn finish(&self, max_jobs: u32) -> Vec<String> {
        let out = self.lease(max_jobs).await;
        self.ack(&out).await;
        spec::texts(&out)
    }

    /// Acks; what came of each.
    pub async fn try_ack(&self, acks: Vec<Ack>) -> Vec<AckResult> {
        self.rpc.clone().ack(AckRequest { acks }).await.unwrap().into_inner().results
    }

    /// Nacks one job; must be accepted.
    pub async fn nack(&self, job: &LeasedJob, reason: NackReason) -> NackResult {
        let result = self.try_nack(spec::nack(job, reason)).await;
        assert_eq!(result.error, None, "nack of {}", result.job_id);
        result
    }

    /// Nacks jobs that will never succeed: each is DEAD.
    pub async fn reject(&self, jobs: &[LeasedJob]) {
        let nacks = jobs.iter().map(|job| spec::nack(job, NackReason::Rejected)).collect();
        let answer = self.rpc.clone().nack(NackRequest { nacks }).await.unwrap().into_inner();
        assert!(answer.results.iter().all(|result| result.state() == JobState::Dead), "{answer:?}");
    }

    /// Nacks one job; what came of it.
    pub async fn try_nack(&self, nack: Nack) -> NackResult {
        let request = NackRequest { nacks: vec![nack] };
        self.rpc.clone().nack(request).await.unwrap().into_inner().results.remove(0)
    }

    /// Extends one lease; what came of it.
    pub async fn extend(&self, job: &LeasedJob, lease_duration: Duration) -> ExtendLeaseResult {
        let lease = LeaseExtension {
            job_id: spec::id(job),
            lease_token: job.lease_token,
            lease_duration: Some(spec::span(lease_duration)),
        };
        let request = ExtendLeaseRequest { leases: vec![lease] };
        self.rpc.clone().extend_lease(request).await.unwrap().into_inner().results.remove(0)
    }

    /// Reads a job, with its payload.
    pub async fn job(&self, job_id: &str) -> Job {
        self.try_job(job_id).await.unwrap()
    }

    /// Reads a job, with its payload.
    ///
    /// # Errors
    /// What the server answered.
    pub async fn try_job(&self, job_id: &str) -> Result<Job, Status> {
        let request =
            GetJobRequest { job_id: job_id.to_owned(), include_payload: true, ..Default::default() };
        Ok(self.rpc.clone().get_job(request).await?.into_inner().job.unwrap())
    }

    /// Reads a job, with its payload, once it is at rest.
    pub async fn at_rest(&self, job_id: &str) -> Job {
        let request = GetJobRequest {
            job_id: job_id.to_owned(),
            include_payload: true,
            wait_timeout: Some(spec::millis(30_000)),
        };
        let job = self.rpc.clone().get_job(request).await.unwrap().into_inner().job.unwrap();
        assert!(job.end_time.is_some(), "a job is at rest within 30 s: {job:?}");
        job
    }

    /// Gives a job up.
    ///
    /// # Errors
    /// What the server answered.
    pub async fn try_cancel(&self, job_id: &str) -> Result<Job, Status> {
        let request = CancelJobRequest { job_id: job_id.to_owned() };
        Ok(self.rpc.clone().cancel_job(request).await?.into_inner().job.unwrap())
    }

    /// Changes a job.
    ///
    /// # Errors
    /// What the server answered.
    pub async fn try_update(&self, update: UpdateJobRequest) -> Result<Job, Status> {
        Ok(self.rpc.clone().update_job(update).await?.into_inner().job.unwrap())
    }

    /// Lets nothing more be leased from it.
    pub async fn pause(&self) -> sluice_proto::v1::Queue {
        let request = PauseQueueRequest { name: self.name.clone() };
        self.admin.clone().pause_queue(request).await.unwrap().into_inner().queue.unwrap()
    }

    /// Lets jobs be leased from it again.
    pub async fn resume(&self) -> sluice_proto::v1::Queue {
        let request = ResumeQueueRequest { name: self.name.clone() };
        self.admin.clone().resume_queue(request).await.unwrap().into_inner().queue.unwrap()
    }

    /// Removes it.
    ///
    /// # Errors
    /// What the server answered.
    pub async fn try_delete(&self, force: bool) -> Result<(), Status> {
        let request = DeleteQueueRequest { name: self.name.clone(), force };
        self.admin.clone().delete_queue(request).await.map(|_| ())
    }

    /// Reads how a batch of it stands, waiting so long for its end.
    ///
    /// # Errors
    /// What the server answered.
    pub async fn try_batch(&self, batch_id: &str, wait: Duration) -> Result<GetBatchResponse, Status> {
        let request = GetBatchRequest {
            queue: self.name.clone(),
            batch_id: batch_id.to_owned(),
            wait_timeout: Some(spec::span(wait)),
        };
        Ok(self.rpc.clone().get_batch(request).await?.into_inner())
    }

    /// Where a job stands.
    pub async fn state(&self, job_id: &str) -> JobState {
        self.job(job_id).await.state()
    }

    /// Its settings.
    ///
    /// # Errors
    /// What the server answered.
    pub async fn try_settings(&self) -> Result<sluice_proto::v1::Queue, Status> {
        let request = GetQueueRequest { name: self.name.clone() };
        Ok(self.admin.clone().get_queue(request).await?.into_inner().queue.unwrap())
    }

    /// How it stands.
    pub async fn status(&self) -> QueueStatus {
        self.key_status("").await
    }

    /// How a key of it stands; it as a whole when that is empty.
    pub async fn key_status(&self, key: &str) -> QueueStatus {
        let request = GetQueueStatusRequest { queue: self.name.clone(), key: key.to_owned() };
        self.rpc.clone().get_queue_status(request).await.unwrap().into_inner().status.unwrap()
    }

    /// Watches it, as often as is allowed.
    pub async fn watch(&self) -> Streaming<sluice_proto::v1::WatchQueueResponse> {
        let request = WatchQueueRequest { queue: self.name.clone(), min_interval: Some(spec::millis(50)) };
        self.rpc.clone().watch_queue(request).await.unwrap().into_inner()
    }

    /// Watches it until `reached`; gives the status that did. A watch is only the signal to look: its
    /// first message may be as old as the least interval.
    pub async fn until(&self, reached: impl Fn(&QueueStatus) -> bool) -> QueueStatus {
        let mut last = None;
        let wait = async {
            let mut stream = self.watch().await;
            loop {
                stream.message().await.unwrap().expect("a watch goes on");
                let status = self.status().await;
                if reached(&status) {
                    return status;
                }
                last = Some(status);
            }
        };
        let done = tokio::time::timeout(PATIENCE, wait).await;
        done.unwrap_or_else(|_| panic!("{} never came there: {last:#?}", self.name))
    }

    /// Drains it, or reads a drained set again.
    pub async fn drain(&self, request: DrainRequest) -> Streaming<DrainResponse> {
        self.rpc.clone().drain(request).await.unwrap().into_inner()
    }

    /// Drains it whole under `request_id`.
    pub async fn drain_all(&self, request_id: &str) -> Vec<Job> {
        let request = DrainRequest {
            queue: self.name.clone(),
            request_id: request_id.to_owned(),
            ..DrainRequest::default()
        };
        let mut stream = self.drain(request).await;
        let mut jobs = Vec::new();
        while let Some(page) = stream.message().await.unwrap() {
            jobs.extend(page.jobs);
        }
        jobs
    }

    /// Every job of it in one of `states` (all when there are none), page by page.
    pub async fn list(&self, states: &[JobState], page_size: i32) -> Vec<Job> {
        self.try_list(states, page_size).await.unwrap()
    }

    /// The same of a server that may not be able to.
    ///
    /// # Errors
    /// What the server answered.
    pub async fn try_list(&self, states: &[JobState], page_size: i32) -> Result<Vec<Job>, Status> {
        let mut jobs = Vec::new();
        let mut page_token = String::new();
        loop {
            let request = ListJobsRequest {
                filter: Some(self.filter(states)),
                page_size,
                page_token,
                include_payload: true,
            };
            let page = self.admin.clone().list_jobs(request).await?.into_inner();
            jobs.extend(page.jobs);
            page_token = page.next_page_token;
            if page_token.is_empty() {
                return Ok(jobs);
            }
        }
    }

    /// Requeues; how many it were.
    pub async fn requeue(&self, states: &[JobState]) -> u64 {
        let request =
            RequeueJobsRequest { filter: Some(self.filter(states)), max_jobs: None, ..Default::default() };
        self.admin.clone().requeue_jobs(request).await.unwrap().into_inner().requeued_jobs
    }

    /// Purges; how many it were.
    pub async fn purge(&self, states: &[JobState]) -> u64 {
        let request =
            PurgeJobsRequest { filter: Some(self.filter(states)), max_jobs: None, ..Default::default() };
        self.admin.clone().purge_jobs(request).await.unwrap().into_inner().purged_jobs
    }

    /// Its jobs in one of `states`.
    #[must_use]
    pub fn filter(&self, states: &[JobState]) -> JobFilter {
        JobFilter {
            queue: self.name.clone(),
            states: states.iter().map(|s| *s as i32).collect(),
            ..Default::default()
        }
    }
}
