//! The contract's services, each rpc handed to the file that does it.

use futures::stream::BoxStream;
use sluice_proto::v1;
use sluice_proto::v1::admin_service_server::AdminService;
use sluice_proto::v1::queue_service_server::QueueService;
use tonic::{Request, Response, Status, Streaming};

use super::Rpc;
use super::convert;
use crate::auth::Access;
use crate::layer::Memory;

type Answer<T> = Result<Response<T>, Status>;
/// Messages of a streaming rpc.
pub(super) type Messages<T> = BoxStream<'static, Result<T, Status>>;

/// What the caller may do.
fn access<T>(request: &Request<T>) -> Access {
    Access::of(request.extensions())
}

/// What its answer may be made of.
fn memory<T>(request: &Request<T>) -> Memory {
    Memory::of(request.extensions())
}

#[tonic::async_trait]
impl QueueService for Rpc {
    async fn enqueue(&self, request: Request<v1::EnqueueRequest>) -> Answer<v1::EnqueueResponse> {
        Ok(Response::new(self.do_enqueue(request).await?))
    }

    type EnqueueStreamStream = Messages<v1::EnqueueStreamResponse>;

    async fn enqueue_stream(
        &self,
        request: Request<Streaming<v1::EnqueueStreamRequest>>,
    ) -> Answer<Self::EnqueueStreamStream> {
        Ok(Response::new(self.do_enqueue_stream(request)))
    }

    async fn get_job(&self, request: Request<v1::GetJobRequest>) -> Answer<v1::GetJobResponse> {
        Ok(Response::new(self.do_get_job(request).await?))
    }

    async fn batch_get_jobs(
        &self,
        request: Request<v1::BatchGetJobsRequest>,
    ) -> Answer<v1::BatchGetJobsResponse> {
        Ok(Response::new(self.do_batch_get_jobs(request).await?))
    }

    type WorkStream = Messages<v1::WorkResponse>;

    async fn work(&self, request: Request<Streaming<v1::WorkRequest>>) -> Answer<Self::WorkStream> {
        Ok(Response::new(self.do_work(request)))
    }

    async fn cancel_job(&self, request: Request<v1::CancelJobRequest>) -> Answer<v1::CancelJobResponse> {
        Ok(Response::new(
            self.do_cancel_job(&access(&request), &memory(&request), request.into_inner()).await?,
        ))
    }

    async fn update_job(&self, request: Request<v1::UpdateJobRequest>) -> Answer<v1::UpdateJobResponse> {
        Ok(Response::new(
            self.do_update_job(&access(&request), &memory(&request), request.into_inner()).await?,
        ))
    }

    async fn get_batch(&self, request: Request<v1::GetBatchRequest>) -> Answer<v1::GetBatchResponse> {
        Ok(Response::new(self.do_get_batch(request).await?))
    }

    async fn lease(&self, request: Request<v1::LeaseRequest>) -> Answer<v1::LeaseResponse> {
        Ok(self.do_lease(request).await?)
    }

    async fn ack(&self, request: Request<v1::AckRequest>) -> Answer<v1::AckResponse> {
        Ok(Response::new(self.do_ack(&access(&request), request.into_inner()).await?))
    }

    async fn nack(&self, request: Request<v1::NackRequest>) -> Answer<v1::NackResponse> {
        Ok(Response::new(self.do_nack(&access(&request), request.into_inner()).await?))
    }

    async fn extend_lease(
        &self,
        request: Request<v1::ExtendLeaseRequest>,
    ) -> Answer<v1::ExtendLeaseResponse> {
        Ok(Response::new(self.do_extend_lease(&access(&request), request.into_inner()).await?))
    }

    async fn get_queue_status(
        &self,
        request: Request<v1::GetQueueStatusRequest>,
    ) -> Answer<v1::GetQueueStatusResponse> {
        Ok(Response::new(self.do_get_queue_status(&access(&request), request.into_inner()).await?))
    }

    type WatchQueueStream = Messages<v1::WatchQueueResponse>;

    async fn watch_queue(&self, request: Request<v1::WatchQueueRequest>) -> Answer<Self::WatchQueueStream> {
        Ok(Response::new(self.do_watch_queue(&access(&request), request.into_inner()).await?))
    }

    type WatchQueuesStream = Messages<v1::WatchQueuesResponse>;

    async fn watch_queues(
        &self,
        request: Request<v1::WatchQueuesRequest>,
    ) -> Answer<Self::WatchQueuesStream> {
        Ok(Response::new(self.do_watch_queues(&access(&request), request.into_inner()).await?))
    }

    type DrainStream = Messages<v1::DrainResponse>;

    async fn drain(&self, request: Request<v1::DrainRequest>) -> Answer<Self::DrainStream> {
        Ok(Response::new(self.do_drain(&access(&request), memory(&request), request.into_inner()).await?))
    }

    async fn acquire_limit(
        &self,
        request: Request<v1::AcquireLimitRequest>,
    ) -> Answer<v1::AcquireLimitResponse> {
        Ok(Response::new(self.do_acquire_limit(request).await?))
    }
}

#[tonic::async_trait]
impl AdminService for Rpc {
    async fn put_queue(&self, request: Request<v1::PutQueueRequest>) -> Answer<v1::PutQueueResponse> {
        Ok(Response::new(self.do_put_queue(&access(&request), request.into_inner()).await?))
    }

    async fn get_queue(&self, request: Request<v1::GetQueueRequest>) -> Answer<v1::GetQueueResponse> {
        Ok(Response::new(self.do_get_queue(&access(&request), request.into_inner()).await?))
    }

    async fn list_queues(&self, request: Request<v1::ListQueuesRequest>) -> Answer<v1::ListQueuesResponse> {
        Ok(Response::new(self.do_list_queues(&access(&request), request.into_inner()).await?))
    }

    async fn delete_queue(
        &self,
        request: Request<v1::DeleteQueueRequest>,
    ) -> Answer<v1::DeleteQueueResponse> {
        Ok(Response::new(self.do_delete_queue(&access(&request), request.into_inner()).await?))
    }

    async fn reset_node(&self, request: Request<v1::ResetNodeRequest>) -> Answer<v1::ResetNodeResponse> {
        Ok(Response::new(self.do_reset_node(&access(&request), request.into_inner()).await?))
    }

    async fn put_limit(&self, request: Request<v1::PutLimitRequest>) -> Answer<v1::PutLimitResponse> {
        Ok(Response::new(self.do_put_limit(&access(&request), request.into_inner()).await?))
    }

    async fn get_limit(&self, request: Request<v1::GetLimitRequest>) -> Answer<v1::GetLimitResponse> {
        Ok(Response::new(self.do_get_limit(&access(&request), request.into_inner()).await?))
    }

    async fn list_limits(&self, request: Request<v1::ListLimitsRequest>) -> Answer<v1::ListLimitsResponse> {
        Ok(Response::new(self.do_list_limits(&access(&request), request.into_inner()).await?))
    }

    async fn delete_limit(
        &self,
        request: Request<v1::DeleteLimitRequest>,
    ) -> Answer<v1::DeleteLimitResponse> {
        Ok(Response::new(self.do_delete_limit(&access(&request), request.into_inner()).await?))
    }

    async fn pause_queue(&self, request: Request<v1::PauseQueueRequest>) -> Answer<v1::PauseQueueResponse> {
        Ok(Response::new(self.do_pause_queue(&access(&request), request.into_inner()).await?))
    }

    async fn resume_queue(
        &self,
        request: Request<v1::ResumeQueueRequest>,
    ) -> Answer<v1::ResumeQueueResponse> {
        Ok(Response::new(self.do_resume_queue(&access(&request), request.into_inner()).await?))
    }

    async fn list_keys(&self, request: Request<v1::ListKeysRequest>) -> Answer<v1::ListKeysResponse> {
        Ok(Response::new(self.do_list_keys(&access(&request), request.into_inner()).await?))
    }

    async fn list_jobs(&self, request: Request<v1::ListJobsRequest>) -> Answer<v1::ListJobsResponse> {
        Ok(Response::new(
            self.do_list_jobs(&access(&request), &memory(&request), request.into_inner()).await?,
        ))
    }

    async fn requeue_jobs(
        &self,
        request: Request<v1::RequeueJobsRequest>,
    ) -> Answer<v1::RequeueJobsResponse> {
        Ok(Response::new(
            self.do_requeue_jobs(&access(&request), &memory(&request), request.into_inner()).await?,
        ))
    }

    async fn purge_jobs(&self, request: Request<v1::PurgeJobsRequest>) -> Answer<v1::PurgeJobsResponse> {
        Ok(Response::new(
            self.do_purge_jobs(&access(&request), &memory(&request), request.into_inner()).await?,
        ))
    }

    async fn get_server_info(
        &self,
        _request: Request<v1::GetServerInfoRequest>,
    ) -> Answer<v1::GetServerInfoResponse> {
        let settings = &self.settings;
        Ok(Response::new(convert::server_info(
            settings.start_time,
            settings.max_payload_bytes(),
            settings.max_idempotency_keys,
        )))
    }

    async fn explain_job(&self, request: Request<v1::ExplainJobRequest>) -> Answer<v1::ExplainJobResponse> {
        Ok(Response::new(
            self.do_explain_job(&access(&request), &memory(&request), request.into_inner()).await?,
        ))
    }

    type BackupStream = Messages<v1::BackupResponse>;

    async fn backup(&self, request: Request<v1::BackupRequest>) -> Answer<Self::BackupStream> {
        Ok(Response::new(self.do_backup(&access(&request)).await?))
    }
}
