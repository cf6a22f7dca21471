//! A call that is refused before its message was read.
//!
//! HTTP/2 resets a stream that is answered before all of its request is there, and takes what still comes of it for a
//! mistake; after 256 of them, over the whole life of a connection, it hangs up. A caller that is over its rate has made
//! none. So the message is waited for, for a moment, and dropped.

use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http::{Request, Response};
use http_body::Body as _;
use tokio::time::{Sleep, sleep};
use tonic::body::Body;

use super::refuse;
use crate::bound::STREAM_WINDOW;
use crate::rpc::status::Failure;

/// How long an answer may wait: well below what a caller would notice.
const PATIENCE: Duration = Duration::from_millis(20);

/// The answer to such a call.
pub(super) struct Refusal<E> {
    message: Body,
    bytes_left: usize,
    patience: Option<Pin<Box<Sleep>>>,
    failure: Option<Failure>,
    error: PhantomData<fn() -> E>,
}

impl<E> Refusal<E> {
    pub(super) fn of(request: Request<Body>, failure: Failure) -> Refusal<E> {
        Refusal {
            message: request.into_body(),
            // What a caller may send ahead.
            bytes_left: STREAM_WINDOW as usize,
            patience: None,
            failure: Some(failure),
            error: PhantomData,
        }
    }

    /// Reads what there is; ready when there will be no more, or no more is waited for.
    fn poll_message(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while !self.message.is_end_stream() {
            match Pin::new(&mut self.message).poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => {
                    let bytes = frame.data_ref().map_or(0, bytes::Bytes::len);
                    let Some(left) = self.bytes_left.checked_sub(bytes) else { break };
                    self.bytes_left = left;
                }
                Poll::Ready(_) => break,
                Poll::Pending => {
                    let patience = self.patience.get_or_insert_with(|| Box::pin(sleep(PATIENCE)));
                    return patience.as_mut().poll(cx);
                }
            }
        }
        Poll::Ready(())
    }
}

impl<E> Future for Refusal<E> {
    type Output = Result<Response<Body>, E>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        ready!(self.poll_message(cx));
        Poll::Ready(Ok(refuse(self.failure.take().expect("an answer is given once"))))
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use bytes::Bytes;
    use futures::stream;
    use http_body::Frame;
    use http_body_util::StreamBody;
    use tokio::time::Instant;
    use tokio_stream::wrappers::ReceiverStream;

    use super::*;

    type Data = Result<Frame<Bytes>, Infallible>;

    fn refusal(message: impl stream::Stream<Item = Data> + Send + 'static) -> Refusal<Infallible> {
        let message = StreamBody::new(message);
        Refusal::of(Request::new(Body::new(message)), Failure::Overloaded)
    }

    fn data(bytes: usize) -> Data {
        Ok(Frame::data(vec![0; bytes].into()))
    }

    #[tokio::test(start_paused = true)]
    async fn answer_waits_for_the_end_of_the_message_and_not_for_long() {
        let begun = Instant::now();
        let (sender, message) = tokio::sync::mpsc::channel(1);
        let answer = tokio::spawn(refusal(ReceiverStream::new(message)));
        sender.send(data(10)).await.unwrap();
        sleep(PATIENCE / 2).await;
        assert!(!answer.is_finished());
        drop(sender);
        let Ok(answer) = answer.await.unwrap();
        assert!(begun.elapsed() < PATIENCE);
        assert_eq!(answer.headers()["grpc-status"], "14");

        let begun = Instant::now();
        let _answer = refusal(stream::pending()).await;
        assert!((PATIENCE..2 * PATIENCE).contains(&begun.elapsed()));
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_is_read_than_a_caller_may_send_ahead() {
        let endless = stream::repeat_with(|| data(1 << 16));
        let _answer = refusal(endless).await;
    }
}
