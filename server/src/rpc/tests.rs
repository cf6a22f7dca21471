//! The whole server but for the network and the disk: generated clients speak to it.

mod admin;
mod bad;
mod change;
mod drain;
mod enqueue;
mod lease;
mod operator;
mod right;
mod room;
mod watch;
mod work;

use sluice_engine::EngineConfig;
use sluice_proto::v1;
use sluice_proto::v1::admin_service_client::AdminServiceClient;
use sluice_proto::v1::queue_service_client::QueueServiceClient;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status};
use tonic_types::StatusExt;

use super::*;
use crate::store::Memory;
use crate::writer::{MailboxLimit, Writer};

/// A server on a store in memory.
struct Server {
    service: GrpcService,
    queues: QueueServiceClient<GrpcService>,
    admin: AdminServiceClient<GrpcService>,
    health: Health,
    store: Memory,
    shutdown: CancellationToken,
    _writer: Writer,
}

impl Server {
    async fn start() -> Server {
        Server::start_with(RpcSettings::default()).await
    }

    async fn start_with(settings: RpcSettings) -> Server {
        Server::start_for(settings, Auth::open()).await
    }

    async fn start_for(settings: RpcSettings, auth: Auth) -> Server {
        let config = EngineConfig { strict_queues: settings.strict_queues, ..Default::default() };
        let store = Memory::new();
        let opened = store.clone();
        let (handle, mut writer) = Writer::start(
            config,
            MailboxLimit::default(),
            move || Ok(Box::new(opened)),
            Box::new(|fatal| panic!("{fatal}")),
        )
        .unwrap();
        writer.ready().await.unwrap();
        let shutdown = CancellationToken::new();
        let (service, health) =
            service(handle, settings, auth, crate::load::Load::default(), shutdown.clone()).await;
        let queues = QueueServiceClient::new(service.clone());
        let admin = AdminServiceClient::new(service.clone());
        Server { service, queues, admin, health, store, shutdown, _writer: writer }
    }

    /// Puts jobs into queue `q`, and tells their ids.
    async fn put_in(&mut self, jobs: Vec<v1::JobSpec>) -> Vec<String> {
        let answer = self.queues.enqueue(enqueue(jobs)).await.unwrap();
        answer.into_inner().jobs.into_iter().map(|job| job.job_id).collect()
    }

    /// Leases up to `max_jobs` from queue `q`.
    async fn take(&mut self, max_jobs: u32) -> Vec<v1::LeasedJob> {
        self.queues.lease(lease(max_jobs)).await.unwrap().into_inner().jobs
    }

    async fn job(&mut self, job_id: &str) -> v1::Job {
        let request =
            v1::GetJobRequest { job_id: job_id.to_owned(), include_payload: true, ..Default::default() };
        self.queues.get_job(request).await.unwrap().into_inner().job.unwrap()
    }

    async fn status(&mut self) -> v1::QueueStatus {
        let request = v1::GetQueueStatusRequest { queue: "q".to_owned(), ..Default::default() };
        self.queues.get_queue_status(request).await.unwrap().into_inner().status.unwrap()
    }

    /// Gives a leased job back.
    async fn nack(&mut self, leased: &v1::LeasedJob, reason: v1::NackReason) -> v1::NackResult {
        let nack = v1::Nack {
            job_id: leased.job.as_ref().unwrap().job_id.clone(),
            lease_token: leased.lease_token,
            reason: reason as i32,
            error: "boom".to_owned(),
            error_code: "http_500".to_owned(),
            ..Default::default()
        };
        let answer = self.queues.nack(v1::NackRequest { nacks: vec![nack] }).await.unwrap();
        answer.into_inner().results.remove(0)
    }
}

fn spec(payload: impl Into<Vec<u8>>) -> v1::JobSpec {
    v1::JobSpec { payload: payload.into().into(), ..Default::default() }
}

fn enqueue(jobs: Vec<v1::JobSpec>) -> v1::EnqueueRequest {
    v1::EnqueueRequest { queue: "q".to_owned(), jobs, request_id: String::new(), ..Default::default() }
}

fn lease(max_jobs: u32) -> v1::LeaseRequest {
    v1::LeaseRequest { queue: "q".to_owned(), max_jobs: Some(max_jobs), ..Default::default() }
}

/// How a refusal is called.
fn reason<T: std::fmt::Debug>(answer: Result<T, Status>) -> (Code, String) {
    let status = answer.expect_err("must be refused");
    let info = status.get_details_error_info().expect("every refusal has its reason");
    assert_eq!(info.domain, "sluice.v1");
    (status.code(), info.reason)
}

fn state(job: &v1::Job) -> v1::JobState {
    job.state()
}
