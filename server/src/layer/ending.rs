//! An answer that is ended from outside: what is under way of it is cut, and its trailers say why.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Frame, SizeHint};
use pin_project_lite::pin_project;
use tonic::Status;
use tonic::body::Body;

use crate::rpc::status::Failure;

pin_project! {
    /// `inner` until `end` says why no longer. What is ready goes first, unless the end is one at once.
    pub(super) struct Ending<E> {
        inner: Body,
        #[pin]
        end: E,
        at_once: bool,
        ended: bool,
    }
}

impl<E: Future<Output = Failure> + Send + 'static> Ending<E> {
    pub(super) fn body(inner: Body, end: E) -> Body {
        Body::new(Ending { inner, end, at_once: false, ended: false })
    }

    /// Ends though there is more that is ready.
    pub(super) fn at_once(inner: Body, end: E) -> Body {
        Body::new(Ending { inner, end, at_once: true, ended: false })
    }
}

impl<E: Future<Output = Failure>> http_body::Body for Ending<E> {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let mut this = self.project();
        if *this.ended {
            return Poll::Ready(None);
        }
        let at_once = match *this.at_once {
            true => this.end.as_mut().poll(cx),
            false => Poll::Pending,
        };
        let failure = match at_once {
            Poll::Ready(failure) => failure,
            Poll::Pending => {
                if let Poll::Ready(frame) = http_body::Body::poll_frame(Pin::new(&mut *this.inner), cx) {
                    return Poll::Ready(frame);
                }
                ready!(this.end.poll(cx))
            }
        };
        *this.ended = true;
        // Whatever it holds is let go now, not when the caller has read the trailers.
        *this.inner = Body::empty();
        let mut trailers = HeaderMap::new();
        Status::from(failure).add_header(&mut trailers)?;
        Poll::Ready(Some(Ok(Frame::trailers(trailers))))
    }

    fn is_end_stream(&self) -> bool {
        self.ended || self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
