//! Ends calls whose caller has stopped waiting for them, with DEADLINE_EXCEEDED.
//!
//! tonic looks at `grpc-timeout` too, but answers CANCELLED, and only until the answer begins. This layer
//! starts its clock first and so is first to ring, and it ends streams as well.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures::FutureExt;
use http::{HeaderMap, Request, Response};
use pin_project_lite::pin_project;
use tokio::time::{Instant, Sleep, sleep_until};
use tonic::body::Body;
use tower::Service;

use super::ending::Ending;
use super::refuse;
use crate::rpc::status::Failure;

/// When a call's caller stops waiting: in the request's extensions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Deadline(Instant);

impl Deadline {
    /// How long a handler may wait: a tenth less than there is, at most 100 ms, so that its answer arrives.
    pub(crate) fn wait(self) -> Duration {
        let left = self.0.saturating_duration_since(Instant::now());
        left - (left / 10).min(Duration::from_millis(100))
    }
}

/// Ends calls in time.
#[derive(Clone)]
pub(super) struct DeadlineService<S> {
    inner: S,
    max_call_time: Duration,
}

impl<S> DeadlineService<S> {
    pub(super) fn new(inner: S, max_call_time: Duration) -> DeadlineService<S> {
        DeadlineService { inner, max_call_time }
    }
}

impl<S> Service<Request<Body>> for DeadlineService<S>
where
    S: Service<Request<Body>, Response = Response<Body>>,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = Timed<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let said = timeout(request.headers());
        let time = said.map_or(self.max_call_time, |said| said.min(self.max_call_time));
        let now = Instant::now();
        request.extensions_mut().insert(Deadline(now + time));
        Timed {
            sleep: Some(Box::pin(sleep_until(now + time))),
            // A stream may last longer than a call without a deadline may take to answer.
            stream_end: said.map(|said| now + said),
            inner: self.inner.call(request),
        }
    }
}

/// How long the caller waits; none when it does not say, or says it wrong.
fn timeout(headers: &HeaderMap) -> Option<Duration> {
    /// Of the number in `grpc-timeout`, by gRPC's specification.
    const MAX_DIGITS: usize = 8;
    let said = headers.get("grpc-timeout")?.to_str().ok()?;
    let unit_at = said.len().checked_sub(1)?;
    let (number, unit) = said.split_at_checked(unit_at)?;
    if number.is_empty() || number.len() > MAX_DIGITS || !number.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let number: u64 = number.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(number * 3_600),
        "M" => Duration::from_secs(number * 60),
        "S" => Duration::from_secs(number),
        "m" => Duration::from_millis(number),
        "u" => Duration::from_micros(number),
        "n" => Duration::from_nanos(number),
        _ => return None,
    })
}

pin_project! {
    /// A call that ends in time.
    pub(super) struct Timed<F> {
        #[pin]
        inner: F,
        sleep: Option<Pin<Box<Sleep>>>,
        stream_end: Option<Instant>,
    }
}

impl<F, E> Future for Timed<F>
where
    F: Future<Output = Result<Response<Body>, E>>,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        if let Poll::Ready(answer) = this.inner.poll(cx) {
            let response = answer?;
            return Poll::Ready(Ok(match (this.sleep.take(), *this.stream_end) {
                (Some(mut sleep), Some(end)) => {
                    sleep.as_mut().reset(end);
                    let end = sleep.map(|()| Failure::DeadlineExceeded);
                    response.map(|body| Ending::body(body, end))
                }
                _ => response,
            }));
        }
        match this.sleep {
            Some(sleep) => ready!(sleep.as_mut().poll(cx)),
            None => return Poll::Pending,
        }
        Poll::Ready(Ok(refuse(Failure::DeadlineExceeded)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(value: &str) -> Option<Duration> {
        let mut headers = HeaderMap::new();
        headers.insert("grpc-timeout", value.parse().unwrap());
        timeout(&headers)
    }

    #[test]
    fn timeouts_are_read_in_every_unit() {
        assert_eq!(said("2H"), Some(Duration::from_secs(7_200)));
        assert_eq!(said("3M"), Some(Duration::from_secs(180)));
        assert_eq!(said("4S"), Some(Duration::from_secs(4)));
        assert_eq!(said("5m"), Some(Duration::from_millis(5)));
        assert_eq!(said("6u"), Some(Duration::from_micros(6)));
        assert_eq!(said("99999999n"), Some(Duration::from_nanos(99_999_999)));
        assert_eq!(timeout(&HeaderMap::new()), None);
    }

    #[test]
    fn timeouts_that_are_none_are_passed_over() {
        for value in ["", "S", "5", "5s", "-5S", "+5S", "123456789S", "5 S", "5SS"] {
            assert_eq!(said(value), None, "{value}");
        }
    }
}
