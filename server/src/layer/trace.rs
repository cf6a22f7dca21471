//! One span a call, with a request id that goes with it through the log and back to the caller.

use std::convert::Infallible;

use http::{HeaderName, HeaderValue, Request, Response};
use tonic::body::Body;
use tower::{Layer, Service, ServiceExt};
use tower_http::propagate_header::PropagateHeader;
use tower_http::request_id::{MakeRequestId, PropagateRequestIdLayer, RequestId, SetRequestIdLayer};
use tower_http::trace::{DefaultOnFailure, DefaultOnResponse, TraceLayer};
use tracing::{Level, Span};
use uuid::Uuid;

use super::caller::Caller;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const TRACE_PARENT: HeaderName = HeaderName::from_static("traceparent");
/// Bytes of an id that a caller gives: longer ones have no place in a log.
const MAX_GIVEN_BYTES: usize = 128;

/// Puts a span around each call of `inner`.
pub(super) fn trace<S>(
    inner: S,
) -> impl Service<
    Request<Body>,
    Response = Response<Body>,
    Error = Infallible,
    Future = impl Future<Output = Result<Response<Body>, Infallible>> + Send + use<S>,
> + Clone
+ Send
+ Sync
+ use<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Clone + Send + Sync + 'static,
    S::Future: Send + 'static,
{
    let service = TraceLayer::new_for_grpc()
        .make_span_with(span)
        .on_request(())
        .on_response(DefaultOnResponse::new().level(Level::DEBUG))
        // What a caller did wrong is its business; what we did wrong is logged where it happens.
        .on_failure(DefaultOnFailure::new().level(Level::DEBUG))
        .layer(inner);
    let service = PropagateRequestIdLayer::new(REQUEST_ID).layer(service);
    let service = PropagateHeader::new(service, TRACE_PARENT);
    let service = SetRequestIdLayer::new(REQUEST_ID, NewRequestId).layer(service);
    service.map_request(without_bad_ids).map_response(|response: Response<_>| response.map(Body::new))
}

fn span(request: &Request<Body>) -> Span {
    tracing::info_span!(
        "call",
        rpc = request.uri().path().trim_start_matches('/'),
        caller = %Caller::of(request.extensions()),
        // Known further in.
        principal = tracing::field::Empty,
        request_id = text(request, &REQUEST_ID),
        traceparent = text(request, &TRACE_PARENT),
    )
}

fn text<'a>(request: &'a Request<Body>, name: &HeaderName) -> Option<&'a str> {
    request.headers().get(name)?.to_str().ok()
}

/// Takes away ids that are too long or not text, before they are echoed or logged.
fn without_bad_ids(mut request: Request<Body>) -> Request<Body> {
    for name in [REQUEST_ID, TRACE_PARENT] {
        let good = |value: &HeaderValue| value.len() <= MAX_GIVEN_BYTES && value.to_str().is_ok();
        if request.headers().get(&name).is_some_and(|value| !good(value)) {
            request.headers_mut().remove(name);
        }
    }
    request
}

/// An id for calls that bring none.
#[derive(Clone, Copy)]
struct NewRequestId;

impl MakeRequestId for NewRequestId {
    fn make_request_id<B>(&mut self, _request: &Request<B>) -> Option<RequestId> {
        let mut text = Uuid::encode_buffer();
        let id = Uuid::now_v7().hyphenated().encode_lower(&mut text);
        HeaderValue::from_str(id).ok().map(RequestId::new)
    }
}
