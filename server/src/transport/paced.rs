//! A connection that is read no faster than what is said on it is to some purpose.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

use super::balance::Balance;
use super::frames::Frames;
use super::preface::PREFACE;

/// A connection whose preface was read, and is there to be read again, and whose frames are counted in both directions.
/// Only reading is ever held up, never an answer.
pub(super) struct Paced<S> {
    stream: S,
    /// What is still to be read again.
    preface: &'static [u8],
    heard: Frames,
    said: Frames,
    balance: Balance,
    /// Made when it is first needed: most connections never do.
    sleep: Option<Pin<Box<Sleep>>>,
}

impl<S> Paced<S> {
    /// Of a stream whose preface was read.
    pub(super) fn new(stream: S) -> Paced<S> {
        Paced {
            stream,
            preface: PREFACE,
            heard: Frames::default(),
            said: Frames::default(),
            balance: Balance::full(Instant::now()),
            sleep: None,
        }
    }

    /// Waits while nothing is left to be spent.
    fn poll_balance(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while self.balance.is_spent() {
            let Some(until) = self.balance.wait(Instant::now()) else { break };
            let sleep = self.sleep.get_or_insert_with(|| Box::pin(sleep_until(until)));
            if sleep.deadline() != until {
                sleep.as_mut().reset(until);
            }
            ready!(sleep.as_mut().poll(cx));
        }
        self.sleep = None;
        Poll::Ready(())
    }

    /// Counts the first bytes of these parts, which were written.
    fn count_said<'a>(
        &mut self,
        mut written: usize,
        parts: impl IntoIterator<Item = &'a [u8]>,
        cx: &mut Context<'_>,
    ) {
        for part in parts {
            let passed = &part[..written.min(part.len())];
            written -= passed.len();
            self.said.follow(passed, |frame| self.balance.pay(frame));
            if written == 0 {
                break;
            }
        }
        if self.sleep.is_some() && !self.balance.is_spent() {
            // There is something again, before time would have paid it.
            cx.waker().wake_by_ref();
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Paced<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.preface.is_empty() {
            let (part, left) = this.preface.split_at(this.preface.len().min(buffer.remaining()));
            buffer.put_slice(part);
            this.preface = left;
            return Poll::Ready(Ok(()));
        }
        ready!(this.poll_balance(cx));
        let before = buffer.filled().len();
        ready!(Pin::new(&mut this.stream).poll_read(cx, buffer))?;
        this.heard.follow(&buffer.filled()[before..], |frame| this.balance.charge(frame));
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Paced<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = ready!(Pin::new(&mut this.stream).poll_write(cx, bytes))?;
        this.count_said(written, [bytes], cx);
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = ready!(Pin::new(&mut this.stream).poll_write_vectored(cx, parts))?;
        this.count_said(written, parts.iter().map(|part| &**part), cx);
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures::FutureExt;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
    use tokio::task::unconstrained;

    use super::*;
    use crate::transport::MAX_STREAMS;

    const PING: &[u8] = b"\0\0\x08\x06\0\0\0\0\0pingpong";
    const CALL: &[u8] = b"\0\0\x02\x01\x04\0\0\0\x01hd";
    const END: &[u8] = b"\0\0\x02\x01\x05\0\0\0\x01tl";

    /// Both ends, of which one has read the preface again.
    async fn begun() -> (Paced<DuplexStream>, DuplexStream) {
        let (ours, theirs) = duplex(1 << 20);
        let mut paced = Paced::new(ours);
        let mut preface = [0; PREFACE.len()];
        paced.read_exact(&mut preface).await.unwrap();
        assert_eq!(preface, PREFACE);
        (paced, theirs)
    }

    /// How many of these frames are read at once.
    fn read_at_once(paced: &mut Paced<DuplexStream>, frame: &[u8]) -> usize {
        let mut read = 0;
        let mut buffer = vec![0; frame.len()];
        while unconstrained(paced.read_exact(&mut buffer)).now_or_never().is_some() {
            assert_eq!(buffer, frame);
            read += 1;
        }
        read
    }

    #[tokio::test(start_paused = true)]
    async fn frames_that_carry_nothing_are_read_at_a_rate() {
        let (mut paced, mut theirs) = begun().await;
        theirs.write_all(&PING.repeat(40_000)).await.unwrap();
        assert_eq!(read_at_once(&mut paced, PING), 8_193);
        let begun = Instant::now();
        let mut buffer = vec![0; PING.len()];
        for _ in 0..20_000 {
            paced.read_exact(&mut buffer).await.unwrap();
        }
        let took = begun.elapsed();
        assert!(Duration::from_millis(990) < took && took < Duration::from_millis(1_010), "{took:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_for_answers_is_read_again_as_soon_as_they_are_written() {
        const EXTRA: usize = 1_000;
        const ALL: usize = MAX_STREAMS as usize + EXTRA;
        let (paced, mut theirs) = begun().await;
        let (mut from, mut to) = tokio::io::split(paced);
        theirs.write_all(&CALL.repeat(ALL)).await.unwrap();
        let reading = tokio::spawn(async move {
            // Frame by frame: what is read at a time may be more than what is left.
            let mut call = vec![0; CALL.len()];
            for _ in 0..ALL {
                from.read_exact(&mut call).await.unwrap();
            }
            Instant::now()
        });
        let begun = Instant::now();
        tokio::task::yield_now().await;
        for _ in 0..EXTRA {
            to.write_all(END).await.unwrap();
        }
        to.flush().await.unwrap();
        // Time alone would have taken more than a second.
        assert!(reading.await.unwrap() - begun < Duration::from_millis(10));
    }
}
