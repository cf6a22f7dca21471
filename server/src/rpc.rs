//! The gRPC services: what clients see of the queue.
//!
//! ```text
//! request ─► layer: id, deadline, load, identity, rate ─► handler: validate ─► writer::Handle
//! answer  ◄─────────────────────────────────── handler: convert  ◄──────┘
//! ```
//!
//! A handler may be dropped at any moment, when its caller goes away: it changes nothing itself, it asks
//! the writer. Here the contract's messages are known; what the engine decides, the disk and the network are not.

mod admin;
mod backup;
mod batch;
mod body;
mod convert;
mod drain;
mod enqueue;
mod enqueue_stream;
mod explain;
mod health;
mod job;
mod lease;
mod limit;
mod list;
mod look;
mod page_token;
mod request_key;
pub(crate) mod right;
mod service;
mod settings;
mod settle;
pub(crate) mod status;
mod sweep;
mod text;
mod validate;
mod watch;
mod watch_many;
mod work;

use std::sync::Arc;

use sluice_engine::bound::{MAX_REQUEST_BYTES, MAX_RESPONSE_BYTES};
use sluice_proto::v1::admin_service_server::AdminServiceServer;
use sluice_proto::v1::queue_service_server::QueueServiceServer;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;

use crate::auth::Auth;
use crate::layer::{self, GrpcService, LayerSettings};
use crate::load::Load;
use crate::writer::Handle;

pub use health::Health;
pub use settings::RpcSettings;

/// Everything that a port serves: both services, health and reflection, within all layers. Health says
/// NOT_SERVING until it is told otherwise. When `shutdown` is cancelled, streams and waits end.
pub async fn service(
    handle: Handle,
    settings: RpcSettings,
    auth: Auth,
    load: Load,
    shutdown: CancellationToken,
) -> (GrpcService, Health) {
    let layers = LayerSettings {
        max_in_flight: settings.max_in_flight,
        max_calls_per_caller: settings.max_calls_per_caller,
        request_rate: settings.request_rate,
        max_call_time: settings.max_call_time,
    };
    let (health, health_server) = Health::new().await;
    let rpc = Rpc { handle, settings: Arc::new(settings), load, shutdown: shutdown.clone() };
    let queue = QueueServiceServer::new(rpc.clone())
        .max_decoding_message_size(MAX_REQUEST_BYTES)
        .max_encoding_message_size(MAX_RESPONSE_BYTES);
    let admin = AdminServiceServer::new(rpc)
        .max_decoding_message_size(MAX_REQUEST_BYTES)
        .max_encoding_message_size(MAX_RESPONSE_BYTES);
    let routes = Routes::new(queue)
        .add_service(admin)
        .add_service(health_server)
        .add_service(reflection().build_v1().expect("the descriptors were made with this program"))
        .add_service(reflection().build_v1alpha().expect("the descriptors were made with this program"))
        .prepare();
    (layer::stack(routes, &layers, auth, shutdown), health)
}

fn reflection() -> tonic_reflection::server::Builder<'static> {
    tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(sluice_proto::FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
}

/// What every handler has.
#[derive(Clone)]
struct Rpc {
    handle: Handle,
    settings: Arc<RpcSettings>,
    load: Load,
    /// Ends streams and waits.
    shutdown: CancellationToken,
}

#[cfg(test)]
mod tests;
