//! How many calls may be in the handlers at a time; the rest are shed at once.
//!
//! A limit of our own, because tonic's sits outside of all layers and refuses without a reason.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use futures::future::Either;
use http::{Request, Response};
use pin_project_lite::pin_project;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::body::Body;
use tower::Service;

use super::is_health;
use super::notice::Notice;
use super::refusal::Refusal;
use crate::rpc::status::Failure;

/// A call's place among those in flight: in the request's extensions. A handler that waits hands it back.
#[derive(Clone)]
pub(crate) struct InFlight {
    places: Arc<Places>,
    permit: Arc<Mutex<Option<OwnedSemaphorePermit>>>,
}

impl InFlight {
    /// Frees the place: from now on the call only waits.
    pub(crate) fn hand_back(&self) {
        drop(self.permit.lock().unwrap_or_else(PoisonError::into_inner).take());
    }

    /// A place for one message of a stream, until it is dropped.
    pub(crate) fn enter(&self) -> Result<OwnedSemaphorePermit, Failure> {
        self.places.enter().ok_or(Failure::Overloaded)
    }
}

struct Places {
    free: Arc<Semaphore>,
    shed: Notice,
}

impl Places {
    fn enter(&self) -> Option<OwnedSemaphorePermit> {
        let permit = Arc::clone(&self.free).try_acquire_owned().ok();
        if permit.is_none()
            && let Some(left_out) = self.shed.take()
        {
            tracing::warn!(left_out, "call shed: too many in flight");
        }
        permit
    }
}

/// Sheds.
#[derive(Clone)]
pub(super) struct InFlightService<S> {
    inner: S,
    places: Arc<Places>,
}

impl<S> InFlightService<S> {
    pub(super) fn new(inner: S, max_in_flight: usize) -> InFlightService<S> {
        let free = Arc::new(Semaphore::new(max_in_flight.min(Semaphore::MAX_PERMITS)));
        InFlightService { inner, places: Arc::new(Places { free, shed: Notice::new() }) }
    }
}

impl<S> Service<Request<Body>> for InFlightService<S>
where
    S: Service<Request<Body>, Response = Response<Body>>,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = Either<Held<S::Future>, Refusal<S::Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        if is_health(&request) {
            return Either::Left(Held { inner: self.inner.call(request), in_flight: None });
        }
        let Some(permit) = self.places.enter() else {
            return Either::Right(Refusal::of(request, Failure::Overloaded));
        };
        let permit = Arc::new(Mutex::new(Some(permit)));
        let in_flight = InFlight { places: Arc::clone(&self.places), permit };
        request.extensions_mut().insert(in_flight.clone());
        Either::Left(Held { inner: self.inner.call(request), in_flight: Some(in_flight) })
    }
}

pin_project! {
    /// A call that has a place until its answer begins, or nobody waits for it any more.
    pub(super) struct Held<F> {
        #[pin]
        inner: F,
        in_flight: Option<InFlight>,
    }

    impl<F> PinnedDrop for Held<F> {
        fn drop(this: Pin<&mut Self>) {
            // The handler may have kept its clone, in a stream.
            if let Some(in_flight) = this.project().in_flight {
                in_flight.hand_back();
            }
        }
    }
}

impl<F: Future> Future for Held<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        self.project().inner.poll(cx)
    }
}
