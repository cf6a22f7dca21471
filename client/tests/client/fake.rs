//! A server in this process: a list of jobs, a record of what was asked, and failures to order.
//! It keeps no time and forgets nothing; what leases and queues really do is not its affair.

mod admin;
mod queue;
mod work;

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard},
};

use sluice_client::{
    Client, Code, RetryPolicy,
    proto::{
        Ack, DrainRequest, EnqueueError, EnqueueRequest, FlowHint, GetBatchResponse, GetQueueStatusRequest,
        ItemError, Job, KeyStatus, LeaseExtension, LeaseRequest, LeasedJob, ListJobsRequest, Nack,
        PurgeJobsRequest, PutQueueRequest, QueueStatus, RequeueJobsRequest, UpdateJobRequest,
        WatchQueuesResponse, WorkStart, admin_service_server::AdminServiceServer,
        queue_service_server::QueueServiceServer,
    },
};
use tokio::{net::TcpListener, sync::Notify, task::AbortHandle};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Status, service::RoutesBuilder, transport::Server};
use tonic_types::{ErrorDetails, StatusExt};

/// The server; it ends with this value.
pub(crate) struct Fake {
    pub(crate) addr: SocketAddr,
    pub(crate) shared: Arc<Shared>,
    task: AbortHandle,
}

#[derive(Default)]
pub(crate) struct Shared {
    pub(crate) state: Mutex<State>,
    /// Told at every call, after it was recorded.
    pub(crate) called: Notify,
}

#[derive(Default)]
pub(crate) struct State {
    pub(crate) ready: VecDeque<Job>,
    pub(crate) leased: BTreeMap<String, (u64, Job)>,
    next_id: u64,

    pub(crate) enqueues: Vec<EnqueueRequest>,
    answered: HashMap<String, Vec<String>>,
    pub(crate) leases: Vec<LeaseRequest>,
    pub(crate) acks: Vec<Vec<Ack>>,
    pub(crate) nacks: Vec<Nack>,
    pub(crate) extensions: Vec<LeaseExtension>,
    pub(crate) drains: Vec<DrainRequest>,
    pub(crate) tokens: Vec<String>,
    pub(crate) puts: Vec<PutQueueRequest>,
    pub(crate) lists: Vec<ListJobsRequest>,
    pub(crate) requeues: Vec<RequeueJobsRequest>,
    pub(crate) purges: Vec<PurgeJobsRequest>,
    pub(crate) updates: Vec<UpdateJobRequest>,
    pub(crate) statuses: Vec<GetQueueStatusRequest>,
    /// Queues that were deleted, paused or resumed, with the word for it first.
    pub(crate) orders: Vec<String>,
    pub(crate) starts: Vec<WorkStart>,
    pub(crate) streams_opened: usize,
    pub(crate) streams_closed: usize,
    /// Outcomes that came over a stream.
    pub(crate) streamed: usize,

    /// The next calls of a name fail so, in order.
    pub(crate) failures: HashMap<&'static str, VecDeque<Status>>,
    /// Calls of these names are never answered.
    pub(crate) silent: Vec<&'static str>,
    /// Every extension is refused so.
    pub(crate) refuse_extensions: Option<ItemError>,
    /// Acks with this result make their whole call invalid.
    pub(crate) poison: Option<&'static str>,
    /// A stream of enqueues breaks after so many answers, once each.
    pub(crate) breaks: VecDeque<usize>,
    /// Requests of a stream whose first job has this payload are refused, once each.
    pub(crate) refusals: HashMap<&'static str, EnqueueError>,
    /// So many enqueues to come find the queue full.
    pub(crate) full: usize,
    /// What every enqueue drops, and whether it is a duplicate.
    pub(crate) dropped: Vec<String>,
    pub(crate) duplicate: bool,
    /// What every answer hints.
    pub(crate) flow_hint: Option<FlowHint>,
    /// Jobs that are read before those that wait.
    pub(crate) known: BTreeMap<String, Job>,
    /// What the next reads of a batch answer; the last one stays.
    pub(crate) batches: VecDeque<GetBatchResponse>,
    /// How the queue stands, in place of what its jobs say.
    pub(crate) status: Option<QueueStatus>,
    pub(crate) keys: Vec<KeyStatus>,
    /// Whether there is a stream of work.
    pub(crate) streams: bool,
    /// The present stream of work, to say things over.
    work: Option<work::Out>,
    /// A stream of work breaks at the message after so many, once each.
    pub(crate) work_breaks: VecDeque<usize>,
    /// Whether extensions tell that the job was cancelled.
    pub(crate) cancel_requested: bool,
    /// What a drain holds; a page is two jobs.
    pub(crate) drained: Vec<Job>,
    /// Streams of a drain break after one page, so many times.
    pub(crate) drain_breaks: usize,
    /// What streams over many queues tell, each its own; then they are silent.
    pub(crate) changes: VecDeque<Vec<Result<WatchQueuesResponse, Status>>>,
    /// The patterns of those streams.
    pub(crate) patterns: Vec<String>,
    /// Cancelled, with the answer yet to come, when a Lease has arrived.
    pub(crate) stop_at_lease: Option<tokio_util::sync::CancellationToken>,
}

impl Fake {
    pub(crate) async fn start() -> Fake {
        let shared = Arc::new(Shared::default());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let (health, health_service) = tonic_health::server::health_reporter();
        health.set_service_status("", tonic_health::ServingStatus::Serving).await;
        let mut routes = RoutesBuilder::default();
        routes
            .add_service(QueueServiceServer::new(queue::Queue(Arc::clone(&shared))))
            .add_service(AdminServiceServer::new(admin::Admin(Arc::clone(&shared))))
            .add_service(health_service);
        let server = Server::builder().add_routes(routes.routes());
        let task = tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener))).abort_handle();
        Fake { addr, shared, task }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// A client that repeats at once.
    pub(crate) fn client(&self) -> Client {
        let retry =
            RetryPolicy { initial_backoff: std::time::Duration::from_millis(1), ..RetryPolicy::default() };
        Client::builder(self.url()).retry(retry).build().unwrap()
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap()
    }

    /// Says something over the present stream of work.
    pub(crate) async fn say(&self, message: sluice_client::proto::work_response::Message) {
        let out = self.state().work.clone().unwrap();
        out.send(Ok(sluice_client::proto::WorkResponse { message: Some(message) })).await.unwrap();
    }

    /// Ends the present stream of work so.
    pub(crate) async fn break_work(&self, status: Status) {
        let out = self.state().work.clone().unwrap();
        out.send(Err(status)).await.unwrap();
    }

    /// Waits until the record says so.
    pub(crate) async fn until(&self, mut done: impl FnMut(&State) -> bool) {
        loop {
            let called = self.shared.called.notified();
            if done(&self.state()) {
                return;
            }
            called.await;
        }
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl State {
    pub(crate) fn add_jobs(&mut self, payloads: impl IntoIterator<Item = &'static str>) {
        for payload in payloads {
            let job = Job { payload: Some(payload.into()), ..Job::default() };
            self.add(job);
        }
    }

    fn add(&mut self, mut job: Job) -> String {
        self.next_id += 1;
        job.job_id = format!("j{}", self.next_id);
        let job_id = job.job_id.clone();
        self.ready.push_back(job);
        job_id
    }

    fn enqueue(&mut self, request: EnqueueRequest) -> Vec<String> {
        self.enqueues.push(request.clone());
        if let Some(job_ids) = self.answered.get(&request.request_id) {
            return job_ids.clone();
        }
        let job = |spec: sluice_client::proto::JobSpec| Job {
            payload: Some(spec.payload),
            queue: request.queue.clone(),
            key: spec.key,
            labels: spec.labels,
            ..Job::default()
        };
        let job_ids: Vec<_> = request.jobs.into_iter().map(|spec| self.add(job(spec))).collect();
        if !request.request_id.is_empty() {
            self.answered.insert(request.request_id, job_ids.clone());
        }
        job_ids
    }

    /// The first job that waits, under a lease.
    fn lease_one(&mut self, lease_duration: Option<prost_types::Duration>) -> Option<LeasedJob> {
        let mut job = self.ready.pop_front()?;
        job.deliveries += 1;
        let lease_token = u64::from(job.deliveries);
        self.leased.insert(job.job_id.clone(), (lease_token, job.clone()));
        Some(LeasedJob { job: Some(job), lease_token, lease_duration, ..Default::default() })
    }

    /// Whether this enqueue finds no room.
    fn is_full(&mut self) -> bool {
        let full = self.full > 0;
        self.full = self.full.saturating_sub(1);
        full
    }

    /// Ends a lease, or says why not.
    fn settle(&mut self, job_id: &str, token: u64) -> Result<Job, ItemError> {
        match self.leased.get(job_id) {
            Some((present, _)) if *present == token => Ok(self.leased.remove(job_id).unwrap().1),
            _ => Err(lease_lost()),
        }
    }
}

pub(crate) fn lease_lost() -> ItemError {
    let code = Code::FailedPrecondition as i32;
    ItemError { code, reason: "LEASE_LOST".to_owned(), message: "another has it".to_owned() }
}

/// As Sluice refuses when there is no room.
pub(crate) fn queue_full() -> Status {
    let details = ErrorDetails::with_error_info("QUEUE_FULL", "sluice.v1", HashMap::<String, String>::new());
    Status::with_error_details(Code::ResourceExhausted, "the queue is full", details)
}

/// As Sluice refuses when nothing was applied.
pub(crate) fn overloaded() -> Status {
    let mut details =
        ErrorDetails::with_error_info("OVERLOADED", "sluice.v1", HashMap::<String, String>::new());
    details.set_retry_info(Some(std::time::Duration::from_millis(1)));
    Status::with_error_details(Code::Unavailable, "busy", details)
}
