//! The calls of `QueueService` about queues and leases, each with the repetition the contract allows.

use std::time::Duration;

use tokio::time::timeout;
use tonic::{Code, Streaming};
use uuid::Uuid;

use super::{Client, job::extra};
use crate::{
    DrainReader, Error, Repeat,
    proto::{
        AckRequest, AckResponse, DrainRequest, DrainResponse, EnqueueRequest, EnqueueResponse,
        EnqueueStreamRequest, EnqueueStreamResponse, ExtendLeaseRequest, ExtendLeaseResponse,
        GetQueueStatusRequest, LeaseRequest, LeaseResponse, NackRequest, NackResponse, QueueStatus,
        WatchQueueRequest, WatchQueueResponse, WatchQueuesRequest, WatchQueuesResponse, WorkRequest,
        WorkResponse,
    },
};

impl Client {
    /// Puts jobs into a queue, all or none; they are on disk when this answers. A request without a
    /// `request_id` is given one, so that it can be repeated. How long to wait for room in a full queue is its
    /// caller's affair (or that of a [`Producer`](crate::Producer)): a refusal for want of room is not repeated.
    ///
    /// # Errors
    /// What the server refuses, and a connection that stays broken.
    pub async fn enqueue(&self, mut request: EnqueueRequest) -> Result<EnqueueResponse, Error> {
        if request.request_id.is_empty() {
            request.request_id = new_request_id();
        }
        let wait = extra(request.wait_timeout.as_ref());
        let send = |channel, request| async move { self.queue_service(channel).enqueue(request).await };
        self.call(Repeat::UnlessFull, wait, request, send).await
    }

    /// Takes jobs to work on. Repeated only when the server said that it gave none: an answer that was
    /// lost holds its jobs until their lease expires.
    ///
    /// # Errors
    /// What the server refuses, and a broken connection.
    pub async fn lease(&self, request: LeaseRequest) -> Result<LeaseResponse, Error> {
        let wait = extra(request.wait_timeout.as_ref());
        let send = |channel, request| async move { self.queue_service(channel).lease(request).await };
        self.call(Repeat::IfNotApplied, wait, request, send).await
    }

    /// Marks leased jobs as done.
    ///
    /// # Errors
    /// What the server refuses as a whole; items fail each by itself, in the answer.
    pub async fn ack(&self, request: AckRequest) -> Result<AckResponse, Error> {
        let send = |channel, request| async move { self.queue_service(channel).ack(request).await };
        self.call(Repeat::Always, Duration::ZERO, request, send).await
    }

    /// Gives leased jobs back.
    ///
    /// # Errors
    /// What the server refuses as a whole; items fail each by itself, in the answer.
    pub async fn nack(&self, request: NackRequest) -> Result<NackResponse, Error> {
        let send = |channel, request| async move { self.queue_service(channel).nack(request).await };
        self.call(Repeat::Always, Duration::ZERO, request, send).await
    }

    /// Lets leases end later, or sooner.
    ///
    /// # Errors
    /// What the server refuses as a whole; items fail each by itself, in the answer.
    pub async fn extend_lease(&self, request: ExtendLeaseRequest) -> Result<ExtendLeaseResponse, Error> {
        let send = |channel, request| async move { self.queue_service(channel).extend_lease(request).await };
        self.call(Repeat::Always, Duration::ZERO, request, send).await
    }

    /// Reads how a queue stands.
    ///
    /// # Errors
    /// What the server refuses, and a connection that stays broken.
    pub async fn queue_status(&self, queue: impl Into<String>) -> Result<QueueStatus, Error> {
        self.key_status(queue, "").await
    }

    /// Reads how a key of a queue stands, with the keys that begin with it; of it only the counts of live states,
    /// jobs, bytes, utilization and level are told.
    ///
    /// # Errors
    /// What the server refuses, and a connection that stays broken.
    pub async fn key_status(
        &self,
        queue: impl Into<String>,
        key: impl Into<String>,
    ) -> Result<QueueStatus, Error> {
        let request = GetQueueStatusRequest { queue: queue.into(), key: key.into() };
        let send =
            |channel, request| async move { self.queue_service(channel).get_queue_status(request).await };
        let answer = self.call(Repeat::Always, Duration::ZERO, request, send).await?;
        answer.status.ok_or_else(|| missing("status"))
    }

    /// Streams how a queue stands, until the server stops or the connection breaks.
    ///
    /// # Errors
    /// What the server refuses, and a connection that cannot be made.
    pub async fn watch_queue(
        &self,
        request: WatchQueueRequest,
    ) -> Result<Streaming<WatchQueueResponse>, Error> {
        let mut service = self.queue_service(self.shared.pool.next());
        self.opened(service.watch_queue(self.request(request))).await
    }

    /// Streams how all queues stand whose name matches a pattern, until the server stops or the connection
    /// breaks.
    ///
    /// # Errors
    /// What the server refuses, and a connection that cannot be made.
    pub async fn watch_queues(
        &self,
        request: WatchQueuesRequest,
    ) -> Result<Streaming<WatchQueuesResponse>, Error> {
        let mut service = self.queue_service(self.shared.pool.next());
        self.opened(service.watch_queues(self.request(request))).await
    }

    /// Takes everything that waits out of `queue`, and reads it page by page; see [`DrainReader`].
    #[must_use]
    pub fn drain(&self, request: DrainRequest) -> DrainReader {
        DrainReader::new(self.clone(), request)
    }

    /// Opens one stream of a drain's pages.
    pub(crate) async fn drain_stream(
        &self,
        request: DrainRequest,
    ) -> Result<Streaming<DrainResponse>, Error> {
        let mut service = self.queue_service(self.shared.pool.next());
        self.opened(service.drain(self.request(request))).await
    }

    /// Opens one stream of requests and answers.
    pub(crate) async fn enqueue_stream(
        &self,
        requests: impl tokio_stream::Stream<Item = EnqueueStreamRequest> + Send + 'static,
    ) -> Result<Streaming<EnqueueStreamResponse>, Error> {
        let mut service = self.queue_service(self.shared.pool.next());
        self.opened(service.enqueue_stream(self.request(requests))).await
    }

    /// Opens one stream of a worker's messages and the server's.
    pub(crate) async fn work_stream(
        &self,
        requests: impl tokio_stream::Stream<Item = WorkRequest> + Send + 'static,
    ) -> Result<Streaming<WorkResponse>, Error> {
        let mut service = self.queue_service(self.shared.pool.next());
        self.opened(service.work(self.request(requests))).await
    }

    /// A stream must open within a call's time; how long it then lives is its reader's affair.
    pub(super) async fn opened<S>(
        &self,
        open: impl Future<Output = Result<tonic::Response<S>, tonic::Status>>,
    ) -> Result<S, Error> {
        match timeout(self.shared.call_timeout, open).await {
            Ok(opened) => opened.map(tonic::Response::into_inner).map_err(Error::from),
            Err(_) => Err(Error::local(Code::DeadlineExceeded, "the stream did not open in time")),
        }
    }
}

/// A name for a request that nobody used before.
pub(crate) fn new_request_id() -> String {
    Uuid::now_v7().to_string()
}

pub(super) fn missing(field: &str) -> Error {
    Error::local(Code::Internal, format!("the server's answer has no `{field}`"))
}
