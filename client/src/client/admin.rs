//! The calls of `AdminService`, each with the repetition the contract allows.

use std::time::Duration;

use tonic::Streaming;

use super::{Client, queue::missing};
use crate::{
    Error, Repeat,
    proto::{
        BackupRequest, BackupResponse, DeleteQueueRequest, ExplainJobRequest, ExplainJobResponse,
        GetQueueRequest, GetServerInfoRequest, GetServerInfoResponse, ListJobsRequest, ListJobsResponse,
        ListKeysRequest, ListKeysResponse, ListQueuesRequest, ListQueuesResponse, PauseQueueRequest,
        PurgeJobsRequest, PutQueueRequest, Queue, RequeueJobsRequest, ResetNodeRequest, ResumeQueueRequest,
    },
};

impl Client {
    /// Brings a queue into being or changes its settings.
    ///
    /// # Errors
    /// `Aborted` when the etag given is not the present one.
    pub async fn put_queue(&self, request: PutQueueRequest) -> Result<Queue, Error> {
        let send = |channel, request| async move { self.admin_service(channel).put_queue(request).await };
        // Under an etag the second of two would be told that it is stale.
        let answer = self.call(Repeat::IfNotApplied, Duration::ZERO, request, send).await?;
        answer.queue.ok_or_else(|| missing("queue"))
    }

    /// Reads a queue's settings.
    ///
    /// # Errors
    /// `NotFound` when there is none of this name.
    pub async fn get_queue(&self, name: impl Into<String>) -> Result<Queue, Error> {
        let request = GetQueueRequest { name: name.into() };
        let send = |channel, request| async move { self.admin_service(channel).get_queue(request).await };
        let answer = self.call(Repeat::Always, Duration::ZERO, request, send).await?;
        answer.queue.ok_or_else(|| missing("queue"))
    }

    /// A page of queues, by name.
    ///
    /// # Errors
    /// What the server refuses, and a connection that stays broken.
    pub async fn list_queues(&self, request: ListQueuesRequest) -> Result<ListQueuesResponse, Error> {
        let send = |channel, request| async move { self.admin_service(channel).list_queues(request).await };
        self.call(Repeat::Always, Duration::ZERO, request, send).await
    }

    /// Removes a queue with all its jobs and settings; with `force` though jobs wait in it or are held.
    ///
    /// # Errors
    /// `FailedPrecondition` when it is not empty and not forced, `NotFound` when there is none of this name.
    pub async fn delete_queue(&self, name: impl Into<String>, force: bool) -> Result<(), Error> {
        let request = DeleteQueueRequest { name: name.into(), force };
        let send = |channel, request| async move { self.admin_service(channel).delete_queue(request).await };
        // A second call could meet another queue of the same name.
        self.call(Repeat::IfNotApplied, Duration::ZERO, request, send).await?;
        Ok(())
    }

    /// Lets a node of a queue go on that is frozen because a worker said THROTTLED; the empty key is the queue.
    ///
    /// # Errors
    /// `NotFound` when there is no such queue.
    pub async fn reset_node(&self, queue: impl Into<String>, key: impl Into<String>) -> Result<(), Error> {
        let request = ResetNodeRequest { queue: queue.into(), key: key.into(), limit: String::new() };
        let send = |channel, request| async move { self.admin_service(channel).reset_node(request).await };
        self.call(Repeat::Always, Duration::ZERO, request, send).await?;
        Ok(())
    }

    /// Lets nothing more be leased from a queue; answers its settings.
    ///
    /// # Errors
    /// `NotFound` when there is none of this name.
    pub async fn pause_queue(&self, name: impl Into<String>) -> Result<Queue, Error> {
        let request = PauseQueueRequest { name: name.into() };
        let send = |channel, request| async move { self.admin_service(channel).pause_queue(request).await };
        let answer = self.call(Repeat::IfNotApplied, Duration::ZERO, request, send).await?;
        answer.queue.ok_or_else(|| missing("queue"))
    }

    /// Lets jobs be leased again; answers the queue's settings.
    ///
    /// # Errors
    /// `NotFound` when there is none of this name.
    pub async fn resume_queue(&self, name: impl Into<String>) -> Result<Queue, Error> {
        let request = ResumeQueueRequest { name: name.into() };
        let send = |channel, request| async move { self.admin_service(channel).resume_queue(request).await };
        let answer = self.call(Repeat::IfNotApplied, Duration::ZERO, request, send).await?;
        answer.queue.ok_or_else(|| missing("queue"))
    }

    /// A page of the keys of a queue that have waiting or held jobs.
    ///
    /// # Errors
    /// What the server refuses, and a connection that stays broken.
    pub async fn list_keys(&self, request: ListKeysRequest) -> Result<ListKeysResponse, Error> {
        let send = |channel, request| async move { self.admin_service(channel).list_keys(request).await };
        self.call(Repeat::Always, Duration::ZERO, request, send).await
    }

    /// A page of jobs, oldest first.
    ///
    /// # Errors
    /// What the server refuses, and a connection that stays broken.
    pub async fn list_jobs(&self, request: ListJobsRequest) -> Result<ListJobsResponse, Error> {
        let send = |channel, request| async move { self.admin_service(channel).list_jobs(request).await };
        self.call(Repeat::Always, Duration::ZERO, request, send).await
    }

    /// Gives dead, drained and dropped jobs a new life; answers how many.
    ///
    /// # Errors
    /// What the server refuses, and a broken connection: a second call could take more than `max_jobs`.
    pub async fn requeue_jobs(&self, request: RequeueJobsRequest) -> Result<u64, Error> {
        let send = |channel, request| async move { self.admin_service(channel).requeue_jobs(request).await };
        Ok(self.call(Repeat::IfNotApplied, Duration::ZERO, request, send).await?.requeued_jobs)
    }

    /// Removes jobs for good; answers how many.
    ///
    /// # Errors
    /// What the server refuses, and a broken connection: a second call could take more than `max_jobs`.
    pub async fn purge_jobs(&self, request: PurgeJobsRequest) -> Result<u64, Error> {
        let send = |channel, request| async move { self.admin_service(channel).purge_jobs(request).await };
        Ok(self.call(Repeat::IfNotApplied, Duration::ZERO, request, send).await?.purged_jobs)
    }

    /// The server's version, and every bound in force.
    ///
    /// # Errors
    /// A connection that stays broken.
    pub async fn server_info(&self) -> Result<GetServerInfoResponse, Error> {
        let send =
            |channel, request| async move { self.admin_service(channel).get_server_info(request).await };
        self.call(Repeat::Always, Duration::ZERO, GetServerInfoRequest {}, send).await
    }

    /// Why a job does not run, and when it will.
    ///
    /// # Errors
    /// `NotFound` when the job never was or is gone.
    pub async fn explain_job(&self, job_id: impl Into<String>) -> Result<ExplainJobResponse, Error> {
        let request = ExplainJobRequest { job_id: job_id.into() };
        let send = |channel, request| async move { self.admin_service(channel).explain_job(request).await };
        self.call(Repeat::Always, Duration::ZERO, request, send).await
    }

    /// Streams a backup of everything: the bytes of a file for `sluiced restore`, whole only when the
    /// stream ends well.
    ///
    /// # Errors
    /// What the server refuses, and a connection that cannot be made.
    pub async fn backup(&self) -> Result<Streaming<BackupResponse>, Error> {
        let mut service = self.admin_service(self.shared.pool.next());
        self.opened(service.backup(self.request(BackupRequest {}))).await
    }
}
