//! What one caller may hold at a time: calls that are open, requests that are not whole, answers that were not taken.
//! Whoever waits, watches, writes a byte a minute or reads none may do so for as long as it likes; beyond its share it
//! would be everybody else's memory and places.

mod answer;
mod memory;
mod message;
mod request;

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use futures::future::Either;
use http::{Request, Response};
use pin_project_lite::pin_project;
use tonic::body::Body;
use tower::Service;

use self::answer::AnswerBody;
pub(crate) use self::memory::Memory;
use self::request::RequestBody;
use super::caller::Caller;
use super::notice::Notice;
use super::refusal::Refusal;
use crate::rpc::status::Failure;

/// Bytes of requests and answers of one caller: thirty-two of the largest. Who writes and reads holds few of them.
const MAX_BYTES: usize = 128 << 20;

/// The shares of all callers who have a call open.
struct Shares {
    max_calls: usize,
    callers: Mutex<HashMap<Caller, Taken>>,
    refused: Notice,
}

/// What of its share a caller has.
#[derive(Default)]
struct Taken {
    calls: usize,
    bytes: Arc<AtomicUsize>,
}

/// One call's part of its caller's share, until the last of its bytes is gone.
pub(super) struct Share {
    caller: Caller,
    bytes: Arc<AtomicUsize>,
    /// Of those, what its handler makes the answer of: until it is written, it holds its bytes itself.
    made: AtomicUsize,
    shares: Arc<Shares>,
}

/// Bytes that a call holds.
struct Held {
    share: Arc<Share>,
    bytes: usize,
}

impl Shares {
    fn take(self: &Arc<Shares>, caller: Caller) -> Result<Share, Failure> {
        let mut callers = self.callers();
        let taken = callers.entry(caller.clone()).or_default();
        let failure = if taken.calls >= self.max_calls {
            Failure::TooManyCalls
        } else if taken.bytes.load(Ordering::Relaxed) >= MAX_BYTES {
            Failure::TooMuchHeld
        } else {
            taken.calls += 1;
            let bytes = Arc::clone(&taken.bytes);
            drop(callers);
            return Ok(Share { caller, bytes, made: AtomicUsize::new(0), shares: Arc::clone(self) });
        };
        // Of a caller without calls nothing is kept.
        if taken.calls == 0 {
            callers.remove(&caller);
        }
        drop(callers);
        if let Some(left_out) = self.refused.take() {
            tracing::warn!(%caller, ?failure, left_out, "caller holds more than its share");
        }
        Err(failure)
    }

    /// Counting is all that is done under the lock: it cannot be left half done.
    fn callers(&self) -> MutexGuard<'_, HashMap<Caller, Taken>> {
        self.callers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Share {
    /// Its answer is made of so many bytes from now on, and no more of those from before; whether the share has so many.
    fn make_of(&self, bytes: usize) -> bool {
        exchange(&self.bytes, self.made.swap(bytes, Ordering::Relaxed), bytes)
    }
}

/// Counts so many bytes in `total` in place of those that somebody `had`. Whether the share has so many; less than before
/// has room whatever there is.
fn exchange(total: &AtomicUsize, had: usize, bytes: usize) -> bool {
    let others = total.fetch_add(bytes, Ordering::Relaxed).saturating_sub(had);
    total.fetch_sub(had, Ordering::Relaxed);
    bytes <= had || others.saturating_add(bytes) <= MAX_BYTES
}

impl Drop for Share {
    fn drop(&mut self) {
        self.make_of(0);
        let mut callers = self.shares.callers();
        if let Some(taken) = callers.get_mut(&self.caller) {
            taken.calls -= 1;
            if taken.calls == 0 {
                callers.remove(&self.caller);
            }
        }
    }
}

impl Held {
    /// Holds nothing yet.
    fn of(share: &Arc<Share>) -> Held {
        Held { share: Arc::clone(share), bytes: 0 }
    }

    /// Holds what the answer was made of.
    fn of_made(share: &Arc<Share>) -> Held {
        Held { share: Arc::clone(share), bytes: share.made.swap(0, Ordering::Relaxed) }
    }

    /// Holds so many from now on, and no more those from before; whether the share has so many.
    fn hold(&mut self, bytes: usize) -> bool {
        exchange(&self.share.bytes, std::mem::replace(&mut self.bytes, bytes), bytes)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.share.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// Refuses who has its share.
#[derive(Clone)]
pub(super) struct ShareService<S> {
    inner: S,
    shares: Arc<Shares>,
}

impl<S> ShareService<S> {
    pub(super) fn new(inner: S, max_calls: usize) -> ShareService<S> {
        let shares = Shares { max_calls, callers: Mutex::default(), refused: Notice::new() };
        ShareService { inner, shares: Arc::new(shares) }
    }
}

impl<S> Service<Request<Body>> for ShareService<S>
where
    S: Service<Request<Body>, Response = Response<Body>>,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = Either<Sharing<S::Future>, Either<S::Future, Refusal<S::Error>>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        // It must be answered whoever asks; a watch of it is a stream like any other.
        if request.uri().path() == "/grpc.health.v1.Health/Check" {
            return Either::Right(Either::Left(self.inner.call(request)));
        }
        let share = match self.shares.take(Caller::of(request.extensions())) {
            Ok(share) => Arc::new(share),
            Err(failure) => return Either::Right(Either::Right(Refusal::of(request, failure))),
        };
        let mut request = request.map(|body| Body::new(RequestBody::new(body, &share)));
        request.extensions_mut().insert(Memory::of_share(&share));
        Either::Left(Sharing { inner: self.inner.call(request), share })
    }
}

pin_project! {
    /// A call that has its part until its answer is gone.
    pub(super) struct Sharing<F> {
        #[pin]
        inner: F,
        share: Arc<Share>,
    }
}

impl<F, E> Future for Sharing<F>
where
    F: Future<Output = Result<Response<Body>, E>>,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let response = ready!(this.inner.poll(cx))?;
        Poll::Ready(Ok(response.map(|body| Body::new(AnswerBody::new(body, Arc::clone(this.share), cx)))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shares(max_calls: usize) -> Arc<Shares> {
        Arc::new(Shares { max_calls, callers: Mutex::default(), refused: Notice::new() })
    }

    fn caller(last: u8) -> Caller {
        Caller::new([10, 0, 0, last].into())
    }

    #[test]
    fn one_caller_cannot_take_all_and_nothing_is_kept_of_who_has_gone() {
        let shares = shares(2);
        let held = [shares.take(caller(1)), shares.take(caller(1))];
        assert!(held.iter().all(Result::is_ok));
        assert!(matches!(shares.take(caller(1)), Err(Failure::TooManyCalls)));
        assert!(shares.take(caller(2)).is_ok());
        drop(held);
        assert!(shares.take(caller(1)).is_ok());
        assert_eq!(shares.callers().len(), 0);
    }

    #[test]
    fn bytes_of_all_calls_of_a_caller_count_until_they_are_gone() {
        let shares = shares(10);
        let [first, second] = [(); 2].map(|()| Arc::new(shares.take(caller(1)).unwrap_or_else(|_| panic!())));
        let (mut one, mut other) = (Held::of(&first), Held::of(&second));
        assert!(one.hold(MAX_BYTES - 10) && other.hold(10) && one.hold(MAX_BYTES - 10));
        assert!(!other.hold(11));
        assert!(matches!(shares.take(caller(1)), Err(Failure::TooMuchHeld)));
        assert!(shares.take(caller(2)).is_ok());
        drop(one);
        assert!(other.hold(11));
        assert!(shares.take(caller(1)).is_ok());
        drop((other, first, second));
        assert_eq!(shares.callers().len(), 0);
    }

    #[test]
    fn what_an_answer_is_made_of_counts_until_the_answer_does() {
        let shares = shares(10);
        let share = || Arc::new(shares.take(caller(1)).unwrap_or_else(|_| panic!()));
        let (first, second) = (share(), share());
        assert!(first.make_of(10) && first.make_of(MAX_BYTES - 10));
        assert!(second.make_of(10));
        assert!(!second.make_of(11), "there is no room for it");
        assert!(second.make_of(10), "less than before has room whatever there is");
        let mut held = Held::of_made(&first);
        assert!(held.hold(MAX_BYTES - 10), "its room is kept for it");
        assert!(!second.make_of(11));
        drop(held);
        assert!(second.make_of(MAX_BYTES));
        drop(second);
        assert!(first.make_of(MAX_BYTES));
        drop(first);
        assert_eq!(shares.callers().len(), 0);
    }
}
