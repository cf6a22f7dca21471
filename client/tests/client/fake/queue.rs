//! `QueueService` of the fake.

use std::{pin::Pin, sync::Arc};

use sluice_client::proto::{queue_service_server::QueueService, *};
use tokio::sync::mpsc;
use tokio_stream::{Stream, StreamExt, wrappers::ReceiverStream};
use tonic::{Request, Response, Status, Streaming};

use super::{Shared, State, admin::missing, queue_full, work};

pub(crate) struct Queue(pub(crate) Arc<Shared>);

type Answers<M> = Pin<Box<dyn Stream<Item = Result<M, Status>> + Send>>;

/// Jobs of a page of a drain.
const PAGE: usize = 2;

impl Queue {
    /// Records the call, then fails, stays silent or goes on as ordered.
    async fn begin<M>(&self, name: &'static str, request: &Request<M>) -> Result<(), Status> {
        let silent = {
            let mut state = self.0.state.lock().unwrap();
            if let Some(token) = request.metadata().get("authorization") {
                state.tokens.push(token.to_str().unwrap().to_owned());
            }
            if let Some(status) = state.failures.get_mut(name).and_then(|failures| failures.pop_front()) {
                drop(state);
                self.0.called.notify_waiters();
                return Err(status);
            }
            state.silent.contains(&name)
        };
        if silent {
            std::future::pending::<()>().await;
        }
        Ok(())
    }

    fn done<T>(&self, act: impl FnOnce(&mut State) -> T) -> Result<Response<T>, Status> {
        let answer = act(&mut self.0.state.lock().unwrap());
        self.0.called.notify_waiters();
        Ok(Response::new(answer))
    }
}

#[tonic::async_trait]
impl QueueService for Queue {
    type EnqueueStreamStream = Answers<EnqueueStreamResponse>;
    type WatchQueueStream = Answers<WatchQueueResponse>;
    type WatchQueuesStream = Answers<WatchQueuesResponse>;
    type WorkStream = Answers<WorkResponse>;
    type DrainStream = Answers<DrainResponse>;

    async fn enqueue(&self, request: Request<EnqueueRequest>) -> Result<Response<EnqueueResponse>, Status> {
        let full = {
            let mut state = self.0.state.lock().unwrap();
            state.is_full().then(|| state.enqueues.push(request.get_ref().clone()))
        };
        if full.is_some() {
            self.0.called.notify_waiters();
            return Err(queue_full());
        }
        // What fails here was applied all the same: the answer got lost.
        let job_ids = self.0.state.lock().unwrap().enqueue(request.get_ref().clone());
        self.begin("enqueue", &request).await?;
        self.done(|state| enqueued(state, job_ids))
    }

    async fn enqueue_stream(
        &self,
        request: Request<Streaming<EnqueueStreamRequest>>,
    ) -> Result<Response<Self::EnqueueStreamStream>, Status> {
        self.begin("enqueue_stream", &request).await?;
        let shared = Arc::clone(&self.0);
        let break_after = shared.state.lock().unwrap().breaks.pop_front();
        let mut requests = request.into_inner();
        let (out, answers) = mpsc::channel(1);
        tokio::spawn(async move {
            let mut answered = 0;
            while let Some(Ok(EnqueueStreamRequest { sequence, request })) = requests.next().await {
                if break_after == Some(answered) {
                    let _ = out.send(Err(Status::unavailable("broken"))).await;
                    return;
                }
                let outcome = outcome(&mut shared.state.lock().unwrap(), request.unwrap());
                shared.called.notify_waiters();
                let answer = EnqueueStreamResponse { sequence, outcome: Some(outcome) };
                if out.send(Ok(answer)).await.is_err() {
                    return;
                }
                answered += 1;
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(answers))))
    }

    async fn get_job(&self, request: Request<GetJobRequest>) -> Result<Response<GetJobResponse>, Status> {
        self.begin("get_job", &request).await?;
        let job = find(&self.0.state.lock().unwrap(), &request.get_ref().job_id);
        match job {
            Some(job) => self.done(|_| GetJobResponse { job: Some(job) }),
            None => Err(Status::not_found("no such job")),
        }
    }

    async fn lease(&self, request: Request<LeaseRequest>) -> Result<Response<LeaseResponse>, Status> {
        self.begin("lease", &request).await?;
        let request = request.into_inner();
        self.done(|state| {
            state.leases.push(request.clone());
            if let Some(stop) = &state.stop_at_lease {
                stop.cancel();
            }
            let count = (request.max_jobs.unwrap_or(1) as usize).min(state.ready.len());
            let jobs = (0..count).filter_map(|_| state.lease_one(request.lease_duration)).collect();
            LeaseResponse { jobs, flow_hint: state.flow_hint, ..Default::default() }
        })
    }

    async fn ack(&self, request: Request<AckRequest>) -> Result<Response<AckResponse>, Status> {
        self.begin("ack", &request).await?;
        let acks = request.into_inner().acks;
        let poison = self.0.state.lock().unwrap().poison;
        if poison
            .is_some_and(|poison| acks.iter().any(|ack| ack.result.as_deref() == Some(poison.as_bytes())))
        {
            return Err(Status::invalid_argument("acks[0].result: bad"));
        }
        self.done(|state| {
            state.acks.push(acks.clone());
            let result = |ack: Ack| AckResult {
                error: state.settle(&ack.job_id, ack.lease_token).err(),
                job_id: ack.job_id,
            };
            AckResponse { results: acks.into_iter().map(result).collect() }
        })
    }

    async fn nack(&self, request: Request<NackRequest>) -> Result<Response<NackResponse>, Status> {
        self.begin("nack", &request).await?;
        self.done(|state| {
            let result = |nack: Nack| {
                state.nacks.push(nack.clone());
                let error = state.settle(&nack.job_id, nack.lease_token).err();
                NackResult { job_id: nack.job_id, error, state: JobState::Dead.into(), run_time: None }
            };
            NackResponse { results: request.into_inner().nacks.into_iter().map(result).collect() }
        })
    }

    async fn extend_lease(
        &self,
        request: Request<ExtendLeaseRequest>,
    ) -> Result<Response<ExtendLeaseResponse>, Status> {
        self.begin("extend_lease", &request).await?;
        self.done(|state| {
            let result = |lease: LeaseExtension| {
                state.extensions.push(lease.clone());
                let error = state.refuse_extensions.clone();
                let cancel_requested = state.cancel_requested;
                ExtendLeaseResult { job_id: lease.job_id, error, cancel_requested, ..Default::default() }
            };
            ExtendLeaseResponse { results: request.into_inner().leases.into_iter().map(result).collect() }
        })
    }

    async fn get_queue_status(
        &self,
        request: Request<GetQueueStatusRequest>,
    ) -> Result<Response<GetQueueStatusResponse>, Status> {
        self.begin("get_queue_status", &request).await?;
        self.done(|state| {
            state.statuses.push(request.into_inner());
            GetQueueStatusResponse { status: Some(status(state)) }
        })
    }

    async fn watch_queue(
        &self,
        request: Request<WatchQueueRequest>,
    ) -> Result<Response<Self::WatchQueueStream>, Status> {
        self.begin("watch_queue", &request).await?;
        let status = status(&self.0.state.lock().unwrap());
        let first = tokio_stream::once(Ok(WatchQueueResponse { status: Some(status) }));
        Ok(Response::new(Box::pin(first.chain(tokio_stream::pending()))))
    }

    async fn watch_queues(
        &self,
        request: Request<WatchQueuesRequest>,
    ) -> Result<Response<Self::WatchQueuesStream>, Status> {
        self.begin("watch_queues", &request).await?;
        let changes = {
            let mut state = self.0.state.lock().unwrap();
            state.patterns.push(request.into_inner().queue_pattern);
            state.changes.pop_front().unwrap_or_default()
        };
        self.0.called.notify_waiters();
        Ok(Response::new(Box::pin(tokio_stream::iter(changes).chain(tokio_stream::pending()))))
    }

    async fn drain(&self, request: Request<DrainRequest>) -> Result<Response<Self::DrainStream>, Status> {
        self.begin("drain", &request).await?;
        let request = request.into_inner();
        let mut state = self.0.state.lock().unwrap();
        state.drains.push(request.clone());
        let begin: usize =
            if request.page_token.is_empty() { 0 } else { request.page_token.parse().unwrap() };
        let total_jobs = state.drained.len() as u64;
        let mut pages: Vec<Result<DrainResponse, Status>> = Vec::new();
        for start in (begin..state.drained.len().max(1)).step_by(PAGE) {
            let end = (start + PAGE).min(state.drained.len());
            let next_page_token = if end < state.drained.len() { end.to_string() } else { String::new() };
            let jobs = state.drained[start..end].to_vec();
            pages.push(Ok(DrainResponse { jobs, total_jobs, next_page_token }));
        }
        if state.drain_breaks > 0 {
            state.drain_breaks -= 1;
            pages.truncate(1);
            pages.push(Err(Status::unavailable("broken")));
        }
        Ok(Response::new(Box::pin(tokio_stream::iter(pages))))
    }

    async fn acquire_limit(
        &self,
        request: Request<AcquireLimitRequest>,
    ) -> Result<Response<AcquireLimitResponse>, Status> {
        self.begin("acquire_limit", &request).await?;
        Ok(Response::new(AcquireLimitResponse { acquired: true, ..AcquireLimitResponse::default() }))
    }

    /// Two jobs an answer: the others are to be asked for again.
    async fn batch_get_jobs(
        &self,
        request: Request<BatchGetJobsRequest>,
    ) -> Result<Response<BatchGetJobsResponse>, Status> {
        self.begin("batch_get_jobs", &request).await?;
        self.done(|state| {
            let mut answer = BatchGetJobsResponse::default();
            for job_id in request.into_inner().job_ids {
                match find(state, &job_id) {
                    None => answer.missing_job_ids.push(job_id),
                    Some(_) if answer.jobs.len() == PAGE => answer.unread_job_ids.push(job_id),
                    Some(job) => answer.jobs.push(job),
                }
            }
            answer
        })
    }

    async fn cancel_job(
        &self,
        request: Request<CancelJobRequest>,
    ) -> Result<Response<CancelJobResponse>, Status> {
        self.begin("cancel_job", &request).await?;
        let job = find(&self.0.state.lock().unwrap(), &request.get_ref().job_id);
        let Some(job) = job else { return missing() };
        let job = Job { state: JobState::Cancelled.into(), ..job };
        self.done(|_| CancelJobResponse { job: Some(job) })
    }

    async fn update_job(
        &self,
        request: Request<UpdateJobRequest>,
    ) -> Result<Response<UpdateJobResponse>, Status> {
        self.begin("update_job", &request).await?;
        let job = find(&self.0.state.lock().unwrap(), &request.get_ref().job_id);
        let Some(mut job) = job else { return missing() };
        job.priority = request.get_ref().priority.unwrap_or(job.priority);
        self.done(|state| {
            state.updates.push(request.into_inner());
            UpdateJobResponse { job: Some(job) }
        })
    }

    async fn get_batch(
        &self,
        request: Request<GetBatchRequest>,
    ) -> Result<Response<GetBatchResponse>, Status> {
        self.begin("get_batch", &request).await?;
        let batch = {
            let mut state = self.0.state.lock().unwrap();
            if state.batches.len() > 1 { state.batches.pop_front() } else { state.batches.front().cloned() }
        };
        match batch {
            Some(batch) => self.done(|_| batch),
            None => missing(),
        }
    }

    async fn work(
        &self,
        request: Request<Streaming<WorkRequest>>,
    ) -> Result<Response<Self::WorkStream>, Status> {
        self.begin("work", &request).await?;
        if !self.0.state.lock().unwrap().streams {
            return Err(Status::unimplemented("no streams here"));
        }
        let (out, answers) = mpsc::channel(16);
        tokio::spawn(work::serve(Arc::clone(&self.0), request.into_inner(), out));
        Ok(Response::new(Box::pin(ReceiverStream::new(answers))))
    }
}

fn find(state: &State, job_id: &str) -> Option<Job> {
    state.known.get(job_id).or_else(|| state.ready.iter().find(|job| job.job_id == job_id)).cloned()
}

fn outcome(state: &mut State, request: EnqueueRequest) -> enqueue_stream_response::Outcome {
    let payload = String::from_utf8(request.jobs[0].payload.to_vec()).unwrap();
    if state.is_full() {
        return enqueue_stream_response::Outcome::Error(EnqueueError {
            code: tonic::Code::ResourceExhausted as i32,
            reason: "QUEUE_FULL".to_owned(),
            ..Default::default()
        });
    }
    match state.refusals.remove(payload.as_str()) {
        Some(refusal) => enqueue_stream_response::Outcome::Error(refusal),
        None => {
            let job_ids = state.enqueue(request);
            enqueue_stream_response::Outcome::Response(enqueued(state, job_ids))
        }
    }
}

fn enqueued(state: &State, job_ids: Vec<String>) -> EnqueueResponse {
    let job = |job_id| EnqueuedJob { job_id, duplicate: state.duplicate };
    let (dropped_job_ids, flow_hint) = (state.dropped.clone(), state.flow_hint);
    EnqueueResponse { jobs: job_ids.into_iter().map(job).collect(), dropped_job_ids, flow_hint }
}

fn status(state: &State) -> QueueStatus {
    if let Some(status) = &state.status {
        return status.clone();
    }
    let (ready, leased) = (state.ready.len() as u64, state.leased.len() as u64);
    let counts = Some(StateCounts { ready, leased, ..StateCounts::default() });
    QueueStatus { queue: "q".to_owned(), counts, jobs: ready + leased, ..QueueStatus::default() }
}
