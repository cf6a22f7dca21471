//! The body of an answer: its beginning, however long it is, up to the bound of a result.

use http_body_util::BodyExt;
use hyper::body::Body;

use crate::worker::MAX_RESULT_BYTES;

/// What was read of a body.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Beginning {
    pub(super) bytes: Vec<u8>,
    /// Whether there was more. What is not read to its end takes its connection along.
    pub(super) is_cut: bool,
}

impl Beginning {
    /// Reads on until the end or the bound. What was read stays, however it ends.
    pub(super) async fn read<B>(&mut self, mut body: B) -> Result<(), B::Error>
    where
        B: Body<Data: AsRef<[u8]>> + Unpin,
    {
        while !self.is_cut
            && let Some(frame) = body.frame().await
        {
            // Trailers say nothing to us.
            let Ok(data) = frame?.into_data() else { continue };
            let data = data.as_ref();
            let room = MAX_RESULT_BYTES - self.bytes.len();
            self.is_cut = data.len() > room;
            self.bytes.extend_from_slice(&data[..data.len().min(room)]);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use bytes::Bytes;
    use futures::stream;
    use http_body_util::{Full, StreamBody};
    use hyper::body::Frame;

    use super::*;

    async fn beginning(length: usize) -> Beginning {
        let mut beginning = Beginning::default();
        beginning.read(Full::new(Bytes::from(vec![b'x'; length]))).await.unwrap();
        beginning
    }

    #[tokio::test]
    async fn body_is_kept_up_to_the_bound() {
        assert_eq!(beginning(0).await, Beginning::default());
        let whole = beginning(MAX_RESULT_BYTES).await;
        assert_eq!((whole.bytes.len(), whole.is_cut), (MAX_RESULT_BYTES, false));
        let cut = beginning(MAX_RESULT_BYTES + 1).await;
        assert_eq!((cut.bytes.len(), cut.is_cut), (MAX_RESULT_BYTES, true));
    }

    #[tokio::test]
    async fn endless_body_is_not_read_beyond_the_bound() {
        let chunk = || Ok::<_, Infallible>(Frame::data(Bytes::from_static(&[b'x'; 1000])));
        let endless = StreamBody::new(stream::repeat_with(chunk));
        let mut beginning = Beginning::default();
        beginning.read(endless).await.unwrap();
        assert_eq!((beginning.bytes.len(), beginning.is_cut), (MAX_RESULT_BYTES, true));
    }

    #[tokio::test]
    async fn what_came_before_a_break_stays() {
        let frames = [Ok(Frame::data(Bytes::from_static(b"half"))), Err(std::io::Error::other("cut"))];
        let mut beginning = Beginning::default();
        assert!(beginning.read(StreamBody::new(stream::iter(frames))).await.is_err());
        assert_eq!(beginning.bytes, b"half");
    }
}
