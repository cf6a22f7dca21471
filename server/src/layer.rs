//! What stands between the network and the handlers: the tower stack.
//!
//! Layers know HTTP, time and load. They know no request, no queue and no engine; how gRPC calls a
//! refusal only `rpc::status` knows. A layer that refuses answers with a status, never with an error, so
//! that each refusal has its reason, whatever lies outside of it.

mod caller;
mod deadline;
mod ending;
mod handover;
mod identify;
mod in_flight;
mod notice;
mod rate;
mod refusal;
mod share;
mod stop;
mod trace;

use std::convert::Infallible;
use std::time::Duration;

use http::{Request, Response};
use tokio_util::sync::CancellationToken;
use tonic::Status;
use tonic::body::Body;
use tower::util::BoxCloneSyncService;
use tower::{Service, ServiceExt};

use crate::auth::Auth;
use crate::rpc::status::{Failure, adopt};

pub use caller::Caller;
pub(crate) use deadline::Deadline;
pub(crate) use handover::Handover;
pub(crate) use in_flight::InFlight;
pub use rate::RequestRate;
pub(crate) use rate::{Charge, RequestLimit};
pub(crate) use share::Memory;

/// A gRPC server, ready for a connection to speak to.
pub type GrpcService = BoxCloneSyncService<Request<Body>, Response<Body>, Infallible>;

/// What the layers are told.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LayerSettings {
    /// Calls that may be in the handlers at a time.
    pub(crate) max_in_flight: usize,
    /// Calls that one caller may have open at a time, those that wait among them.
    pub(crate) max_calls_per_caller: usize,
    /// How often one caller may ask; none: as often as it likes.
    pub(crate) request_rate: Option<RequestRate>,
    /// How long a call may take until its answer begins, where its caller does not say less.
    pub(crate) max_call_time: Duration,
}

/// Puts the layers around `handlers`, the innermost first: read from the bottom up to follow a call in.
pub(crate) fn stack<S>(
    handlers: S,
    settings: &LayerSettings,
    auth: Auth,
    shutdown: CancellationToken,
) -> GrpcService
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Clone + Send + Sync + 'static,
    S::Future: Send + 'static,
{
    // Next to the handlers, so that no other layer can drop an answer between the lease and its guard.
    let service = handover::HandoverService::new(handlers);

    // Where no other layer's body lies between: it ends streams that would hold up a stop.
    let service = stop::StopService::new(service, shutdown);

    // Within the shedding: a call that is shed costs its caller nothing. The charge goes on to the
    // handlers, who know how many jobs a call brings.
    let limit = settings.request_rate.map(RequestLimit::new);
    let service = rate::RateService::new(service, limit);

    // Outside of whatever reads requests and makes answers: it counts what of them is under way.
    let service = share::ShareService::new(service, settings.max_calls_per_caller);

    // Outside of rates and shares, which are counted by who calls; within the shedding, for it is some work. Streams
    // end from here when a token is taken back.
    let service = identify::IdentifyService::new(service, auth);

    // Outside of all that is work: under overload, calls must be refused for as little work as possible. A
    // handler that waits hands its permit back.
    let service = in_flight::InFlightService::new(service, settings.max_in_flight);

    // Outside of whatever can take time. An expired call drops all that is within: permit, wait, lease.
    let service = deadline::DeadlineService::new(service, settings.max_call_time);

    // tonic's own refusals, made below by what it cannot read, get the contract's codes and details.
    let service = service.map_response(in_our_words);

    // Outermost, so that every answer has its request id and every refusal is traced.
    let service = trace::trace(service);

    BoxCloneSyncService::new(service)
}

/// An answer that refuses a call.
fn refuse(failure: Failure) -> Response<Body> {
    Status::from(failure).into_http()
}

/// `response`, or ours in its place when it is a refusal that tonic made.
fn in_our_words(response: Response<Body>) -> Response<Body> {
    if !response.headers().contains_key("grpc-status") {
        return response;
    }
    match Status::from_header_map(response.headers()).as_ref().and_then(adopt) {
        Some(failure) => refuse(failure),
        None => response,
    }
}

/// Whether a call asks for the server's health: it must be answered whatever the load is.
fn is_health<B>(request: &Request<B>) -> bool {
    request.uri().path().starts_with("/grpc.health.v1.Health/")
}

#[cfg(test)]
mod tests;
