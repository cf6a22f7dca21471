//! `AdminService` of the fake: only what the tests ask for.

use std::sync::Arc;

use sluice_client::proto::{admin_service_server::AdminService, *};
use tonic::{Request, Response, Status};

use super::Shared;

/// How many jobs every sweep says it found.
const SWEPT: u64 = 7;

pub(crate) struct Admin(pub(crate) Arc<Shared>);

pub(super) fn missing<T>() -> Result<Response<T>, Status> {
    Err(Status::not_found("the fake has none"))
}

#[tonic::async_trait]
impl AdminService for Admin {
    async fn put_queue(
        &self,
        request: Request<PutQueueRequest>,
    ) -> Result<Response<PutQueueResponse>, Status> {
        let request = request.into_inner();
        self.0.state.lock().unwrap().puts.push(request.clone());
        Ok(Response::new(PutQueueResponse { queue: request.queue }))
    }

    async fn get_queue(&self, _: Request<GetQueueRequest>) -> Result<Response<GetQueueResponse>, Status> {
        missing()
    }

    async fn list_queues(
        &self,
        _: Request<ListQueuesRequest>,
    ) -> Result<Response<ListQueuesResponse>, Status> {
        missing()
    }

    /// Every ready job, two a page.
    async fn list_jobs(
        &self,
        request: Request<ListJobsRequest>,
    ) -> Result<Response<ListJobsResponse>, Status> {
        let begin = request.get_ref().page_token.parse().unwrap_or(0);
        let mut state = self.0.state.lock().unwrap();
        state.lists.push(request.get_ref().clone());
        let jobs: Vec<_> = state.ready.iter().skip(begin).take(2).cloned().collect();
        let end = begin + jobs.len();
        let next_page_token = if end < state.ready.len() { end.to_string() } else { String::new() };
        Ok(Response::new(ListJobsResponse { jobs, next_page_token }))
    }

    async fn requeue_jobs(
        &self,
        request: Request<RequeueJobsRequest>,
    ) -> Result<Response<RequeueJobsResponse>, Status> {
        self.0.state.lock().unwrap().requeues.push(request.into_inner());
        Ok(Response::new(RequeueJobsResponse { requeued_jobs: SWEPT }))
    }

    async fn purge_jobs(
        &self,
        request: Request<PurgeJobsRequest>,
    ) -> Result<Response<PurgeJobsResponse>, Status> {
        self.0.state.lock().unwrap().purges.push(request.into_inner());
        Ok(Response::new(PurgeJobsResponse { purged_jobs: SWEPT }))
    }

    async fn get_server_info(
        &self,
        _: Request<GetServerInfoRequest>,
    ) -> Result<Response<GetServerInfoResponse>, Status> {
        missing()
    }

    async fn delete_queue(
        &self,
        request: Request<DeleteQueueRequest>,
    ) -> Result<Response<DeleteQueueResponse>, Status> {
        let DeleteQueueRequest { name, force } = request.into_inner();
        self.order(if force { "force" } else { "delete" }, &name);
        Ok(Response::new(DeleteQueueResponse {}))
    }

    async fn reset_node(
        &self,
        request: Request<ResetNodeRequest>,
    ) -> Result<Response<ResetNodeResponse>, Status> {
        let ResetNodeRequest { queue, key, limit } = request.into_inner();
        self.order("reset", &format!("{queue} {key}{limit}"));
        Ok(Response::new(ResetNodeResponse {}))
    }

    async fn put_limit(
        &self,
        request: Request<PutLimitRequest>,
    ) -> Result<Response<PutLimitResponse>, Status> {
        Ok(Response::new(PutLimitResponse { limit: request.into_inner().limit }))
    }

    async fn get_limit(&self, _: Request<GetLimitRequest>) -> Result<Response<GetLimitResponse>, Status> {
        missing()
    }

    async fn list_limits(
        &self,
        _: Request<ListLimitsRequest>,
    ) -> Result<Response<ListLimitsResponse>, Status> {
        missing()
    }

    async fn delete_limit(
        &self,
        request: Request<DeleteLimitRequest>,
    ) -> Result<Response<DeleteLimitResponse>, Status> {
        self.order("delete limit", &request.into_inner().name);
        Ok(Response::new(DeleteLimitResponse {}))
    }

    async fn pause_queue(
        &self,
        request: Request<PauseQueueRequest>,
    ) -> Result<Response<PauseQueueResponse>, Status> {
        let name = request.into_inner().name;
        self.order("pause", &name);
        let queue = Some(Queue { name, paused: true, ..Queue::default() });
        Ok(Response::new(PauseQueueResponse { queue }))
    }

    async fn resume_queue(
        &self,
        request: Request<ResumeQueueRequest>,
    ) -> Result<Response<ResumeQueueResponse>, Status> {
        let name = request.into_inner().name;
        self.order("resume", &name);
        let queue = Some(Queue { name, ..Queue::default() });
        Ok(Response::new(ResumeQueueResponse { queue }))
    }

    /// Two keys a page.
    async fn list_keys(
        &self,
        request: Request<ListKeysRequest>,
    ) -> Result<Response<ListKeysResponse>, Status> {
        let begin = request.get_ref().page_token.parse().unwrap_or(0);
        let state = self.0.state.lock().unwrap();
        let keys: Vec<_> = state.keys.iter().skip(begin).take(2).cloned().collect();
        let end = begin + keys.len();
        let next_page_token = if end < state.keys.len() { end.to_string() } else { String::new() };
        Ok(Response::new(ListKeysResponse { keys, next_page_token }))
    }

    async fn explain_job(
        &self,
        _: Request<ExplainJobRequest>,
    ) -> Result<Response<ExplainJobResponse>, Status> {
        missing()
    }

    type BackupStream = tokio_stream::Empty<Result<BackupResponse, Status>>;

    async fn backup(&self, _: Request<BackupRequest>) -> Result<Response<Self::BackupStream>, Status> {
        missing()
    }
}

impl Admin {
    fn order(&self, what: &str, name: &str) {
        self.0.state.lock().unwrap().orders.push(format!("{what} {name}"));
    }
}
