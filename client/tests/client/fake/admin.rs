//! `AdminService` of the fake: only what the tests ask for.

use std::sync::Arc;

use sluice_client::proto::{admin_service_server::AdminService, *};
use tonic::{Request, Response, Status};

use super::Shared;

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
        Ok(Response::new(PutQueueResponse { queue: request.into_inner().queue }))
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
        let state = self.0.state.lock().unwrap();
        let jobs: Vec<_> = state.ready.iter().skip(begin).take(2).cloned().collect();
        let end = begin + jobs.len();
        let next_page_token = if end < state.ready.len() { end.to_string() } else { String::new() };
        Ok(Response::new(ListJobsResponse { jobs, next_page_token }))
    }

    async fn requeue_jobs(
        &self,
        _: Request<RequeueJobsRequest>,
    ) -> Result<Response<RequeueJobsResponse>, Status> {
        missing()
    }

    async fn purge_jobs(&self, _: Request<PurgeJobsRequest>) -> Result<Response<PurgeJobsResponse>, Status> {
        missing()
    }

    async fn get_server_info(
        &self,
        _: Request<GetServerInfoRequest>,
    ) -> Result<Response<GetServerInfoResponse>, Status> {
        missing()
    }

    async fn delete_queue(
        &self,
        _: Request<DeleteQueueRequest>,
    ) -> Result<Response<DeleteQueueResponse>, Status> {
        missing()
    }

    async fn pause_queue(
        &self,
        _: Request<PauseQueueRequest>,
    ) -> Result<Response<PauseQueueResponse>, Status> {
        missing()
    }

    async fn resume_queue(
        &self,
        _: Request<ResumeQueueRequest>,
    ) -> Result<Response<ResumeQueueResponse>, Status> {
        missing()
    }

    async fn list_keys(&self, _: Request<ListKeysRequest>) -> Result<Response<ListKeysResponse>, Status> {
        missing()
    }

    type BackupStream = tokio_stream::Empty<Result<BackupResponse, Status>>;

    async fn backup(&self, _: Request<BackupRequest>) -> Result<Response<Self::BackupStream>, Status> {
        missing()
    }
}
