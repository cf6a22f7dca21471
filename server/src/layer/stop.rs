//! Ends the streams of services that are not ours (watches of health, reflection) when the server stops:
//! they would hold it up for as long as it lets calls finish. Our own handlers end theirs themselves, and
//! answer first what came before.

use std::task::{Context, Poll};

use futures::FutureExt;
use futures::future::Map;
use http::{Request, Response};
use tokio_util::sync::CancellationToken;
use tonic::body::Body;
use tower::Service;

use super::ending::Ending;
use crate::rpc::status::Failure;

/// Ends foreign streams.
#[derive(Clone)]
pub(super) struct StopService<S> {
    inner: S,
    shutdown: CancellationToken,
}

impl<S> StopService<S> {
    pub(super) fn new(inner: S, shutdown: CancellationToken) -> StopService<S> {
        StopService { inner, shutdown }
    }
}

type Done<E> = Box<dyn FnOnce(Result<Response<Body>, E>) -> Result<Response<Body>, E> + Send>;

impl<S> Service<Request<Body>> for StopService<S>
where
    S: Service<Request<Body>, Response = Response<Body>>,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = futures::future::Either<S::Future, Map<S::Future, Done<S::Error>>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        // gRPC's own services all live here.
        if !request.uri().path().starts_with("/grpc.") {
            return self.inner.call(request).left_future();
        }
        let shutdown = self.shutdown.clone();
        let done: Done<S::Error> = Box::new(|answer| {
            let end = shutdown.cancelled_owned().map(|()| Failure::Stopping);
            answer.map(|response| response.map(|body| Ending::body(body, end)))
        });
        self.inner.call(request).map(done).right_future()
    }
}
