//! An answer until its last byte was taken. HTTP/2 keeps for a slow reader what the handler gave long ago: so the bytes
//! themselves hold their part of the share, wherever they are. From who lets nothing come HTTP/2 does not even ask for
//! them: so the first are written at once.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Frame, SizeHint};
use tonic::Status;
use tonic::body::Body;

use super::{Held, Share};
use crate::rpc::status::Failure;

/// Bytes that are not worth counting: below, they are copied on their way.
const SMALL_BYTES: usize = 1 << 10;

/// An answer's body.
pub(super) struct AnswerBody {
    inner: Body,
    share: Arc<Share>,
    /// What was written before anybody asked for it.
    first: Option<Option<Result<Frame<Bytes>, Status>>>,
    is_cut: bool,
}

impl AnswerBody {
    pub(super) fn new(inner: Body, share: Arc<Share>, cx: &mut Context<'_>) -> AnswerBody {
        let mut answer = AnswerBody { inner, share, first: None, is_cut: false };
        if let Poll::Ready(first) = http_body::Body::poll_frame(Pin::new(&mut answer), cx) {
            answer.first = Some(first);
        }
        answer
    }
}

/// Bytes of an answer with what they hold.
struct HeldBytes {
    bytes: Bytes,
    _held: Held,
}

impl AsRef<[u8]> for HeldBytes {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl http_body::Body for AnswerBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if let Some(first) = self.first.take() {
            return Poll::Ready(first);
        }
        if self.is_cut {
            return Poll::Ready(None);
        }
        let frame = match ready!(Pin::new(&mut self.inner).poll_frame(cx)) {
            Some(Ok(frame)) => frame,
            other => return Poll::Ready(other),
        };
        let mut held = Held::of_made(&self.share);
        let bytes = match frame.into_data() {
            Ok(bytes) if bytes.len() >= SMALL_BYTES => bytes,
            Ok(bytes) => return Poll::Ready(Some(Ok(Frame::data(bytes)))),
            Err(frame) => return Poll::Ready(Some(Ok(frame))),
        };
        if held.hold(bytes.len()) {
            return Poll::Ready(Some(Ok(Frame::data(Bytes::from_owner(HeldBytes { bytes, _held: held })))));
        }
        // Whatever waits for it to be handed over learns that it was not.
        self.is_cut = true;
        self.inner = Body::empty();
        let mut trailers = HeaderMap::new();
        Status::from(Failure::AnswerNotTaken).add_header(&mut trailers)?;
        Poll::Ready(Some(Ok(Frame::trailers(trailers))))
    }

    fn is_end_stream(&self) -> bool {
        match &self.first {
            Some(first) => first.is_none(),
            None => self.is_cut || self.inner.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        if self.first.is_some() { SizeHint::default() } else { self.inner.size_hint() }
    }
}
