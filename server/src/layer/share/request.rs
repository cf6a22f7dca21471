//! A request while it is read: what is not whole of its message is its caller's to hold.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use tonic::Status;
use tonic::body::Body;

use super::message::Messages;
use super::{Held, Share};
use crate::rpc::status::Failure;

/// A request's body.
pub(super) struct RequestBody {
    inner: Body,
    messages: Messages,
    held: Held,
}

impl RequestBody {
    pub(super) fn new(inner: Body, share: &Arc<Share>) -> RequestBody {
        RequestBody { inner, messages: Messages::default(), held: Held::of(share) }
    }
}

impl http_body::Body for RequestBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let frame = ready!(Pin::new(&mut self.inner).poll_frame(cx));
        if let Some(Ok(frame)) = &frame
            && let Some(data) = frame.data_ref()
        {
            let this = &mut *self;
            if !this.held.hold(this.messages.take(data)) {
                this.inner = Body::empty();
                return Poll::Ready(Some(Err(Failure::TooMuchHeld.into())));
            }
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
