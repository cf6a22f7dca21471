//! The first bytes of HTTP/2, which each caller sends: read here, for there they have a deadline. hyper would wait for
//! the rest of them for ever.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};

/// What a connection of HTTP/2 begins with (RFC 9113, section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A connection whose preface was read, and is there to be read again.
pub(super) struct Begun<S> {
    stream: S,
    /// Bytes of the preface that were read again.
    again: usize,
}

impl<S: AsyncRead + Unpin> Begun<S> {
    /// Reads the preface.
    ///
    /// # Errors
    /// When the connection ends before, or begins otherwise.
    pub(super) async fn read(mut stream: S) -> io::Result<Begun<S>> {
        let mut begin = [0; PREFACE.len()];
        let mut len = 0;
        while len < begin.len() {
            let read = stream.read(&mut begin[len..]).await?;
            len += read;
            if read == 0 || begin[..len] != PREFACE[..len] {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "it does not speak HTTP/2"));
            }
        }
        Ok(Begun { stream, again: 0 })
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Begun<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let left = &PREFACE[self.again..];
        if left.is_empty() {
            return Pin::new(&mut self.stream).poll_read(cx, buffer);
        }
        let part = left.len().min(buffer.remaining());
        buffer.put_slice(&left[..part]);
        self.again += part;
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Begun<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;

    use super::*;

    #[tokio::test]
    async fn preface_is_read_in_pieces_and_read_again_with_what_follows() {
        let (ours, mut theirs) = tokio::io::duplex(64);
        let reading = tokio::spawn(Begun::read(ours));
        for piece in [&PREFACE[..1], &PREFACE[1..20], &PREFACE[20..]] {
            theirs.write_all(piece).await.unwrap();
            tokio::task::yield_now().await;
        }
        theirs.write_all(b"settings").await.unwrap();
        drop(theirs);
        let mut begun = reading.await.unwrap().unwrap();
        let mut all = Vec::new();
        begun.read_to_end(&mut all).await.unwrap();
        assert_eq!(all, [PREFACE, b"settings"].concat());
    }

    #[tokio::test]
    async fn whoever_begins_otherwise_or_ends_is_refused_at_once() {
        for said in [&b"GET / HTTP/1.1"[..], b"PRI * HTTP/1", b"P"] {
            let (ours, mut theirs) = tokio::io::duplex(64);
            theirs.write_all(said).await.unwrap();
            theirs.shutdown().await.unwrap();
            assert!(Begun::read(ours).await.is_err());
        }
    }
}
