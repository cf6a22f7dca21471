//! Sees whether an answer was handed over to its caller.
//!
//! A handler's work ends when it returns its answer, but the answer may still be lost: the caller may
//! have gone away before the first byte. Who must know leaves a [`Handover`] in the answer's extensions.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Frame, SizeHint};
use pin_project_lite::pin_project;
use tonic::Status;
use tonic::body::Body;
use tower::Service;

/// What to do when the answer has been handed over. Dropped undone when it was not.
#[derive(Clone)]
pub(crate) struct Handover(Arc<Mutex<Option<Done>>>);

type Done = Box<dyn FnOnce() + Send>;

impl Handover {
    pub(crate) fn new(done: impl FnOnce() + Send + 'static) -> Handover {
        Handover(Arc::new(Mutex::new(Some(Box::new(done)))))
    }

    fn done(&self) {
        let done = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(done) = done {
            done();
        }
    }
}

/// Puts a watch on the bodies of answers that want one.
#[derive(Clone)]
pub(super) struct HandoverService<S> {
    inner: S,
}

impl<S> HandoverService<S> {
    pub(super) fn new(inner: S) -> HandoverService<S> {
        HandoverService { inner }
    }
}

impl<S> Service<Request<Body>> for HandoverService<S>
where
    S: Service<Request<Body>, Response = Response<Body>>,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = HandoverFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        HandoverFuture { inner: self.inner.call(request) }
    }
}

pin_project! {
    /// A call whose answer may want to be watched.
    pub(super) struct HandoverFuture<F> {
        #[pin]
        inner: F,
    }
}

impl<F, E> Future for HandoverFuture<F>
where
    F: Future<Output = Result<Response<Body>, E>>,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let mut response = ready!(self.project().inner.poll(cx))?;
        Poll::Ready(Ok(match response.extensions_mut().remove::<Handover>() {
            Some(handover) => response.map(|inner| Body::new(WatchedBody { inner, handover })),
            None => response,
        }))
    }
}

/// An answer that is watched. Its trailers are asked for only when its data is on the way: without
/// them no caller takes the call for done.
struct WatchedBody {
    inner: Body,
    handover: Handover,
}

impl http_body::Body for WatchedBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let frame = ready!(Pin::new(&mut self.inner).poll_frame(cx));
        match &frame {
            Some(Ok(frame)) if !frame.is_trailers() => {}
            Some(Ok(_)) | None => self.handover.done(),
            // Not handed over.
            Some(Err(_)) => {}
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
