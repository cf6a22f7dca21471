//! Where connections come in: bounded over all and for each address, patient when the system has no
//! more files to give, and with the socket options that matter.
//!
//! Knows nothing of what is spoken over them.

mod connection;
mod slot;

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use futures::Stream;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, sleep};
use tracing::warn;

pub use connection::Connection;
pub use slot::ConnectionLimit;

use slot::Slots;

/// A place where connections come in.
pub struct Listener {
    socket: TcpListener,
    slots: Slots,
    /// How long to wait after the next accept error.
    back_off: Duration,
    refused: Refused,
}

/// After the first accept error that is no fault of the caller's.
const MIN_BACK_OFF: Duration = Duration::from_millis(10);
/// However many errors follow on each other.
const MAX_BACK_OFF: Duration = Duration::from_secs(1);
/// A connection without traffic for so long is asked whether anybody is there.
const KEEPALIVE: Duration = Duration::from_secs(60);
/// A flood of refused connections must not become a flood of log lines.
const LOG_INTERVAL: Duration = Duration::from_secs(1);

impl Listener {
    /// Listens on `address`.
    ///
    /// # Errors
    /// When the address cannot be had.
    pub async fn bind(address: SocketAddr, limit: ConnectionLimit) -> io::Result<Listener> {
        let socket = TcpListener::bind(address).await?;
        Ok(Listener { socket, slots: Slots::new(limit), back_off: MIN_BACK_OFF, refused: Refused::default() })
    }

    /// Where it listens.
    ///
    /// # Errors
    /// When the system does not say.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// The next connection that there is room for. What there is no room for is closed at once: its
    /// caller learns more from that than from silence.
    pub async fn next(&mut self) -> Connection {
        loop {
            let (stream, peer) = match self.socket.accept().await {
                Ok(accepted) => accepted,
                Err(error) => {
                    self.recover(&error).await;
                    continue;
                }
            };
            self.back_off = MIN_BACK_OFF;
            match self.slots.take(peer.ip()) {
                Some(slot) => {
                    set_options(&stream);
                    return Connection::new(stream, peer, slot);
                }
                None => self.refused.note(peer),
            }
        }
    }

    /// The connections, for who wants a stream of them.
    pub fn into_stream(self) -> impl Stream<Item = Result<Connection, Infallible>> {
        futures::stream::unfold(
            self,
            |mut listener| async move { Some((Ok(listener.next().await), listener)) },
        )
    }

    async fn recover(&mut self, error: &io::Error) {
        let wait = self.wait_after(error);
        if !wait.is_zero() {
            warn!(%error, wait_ms = wait.as_millis() as u64, "cannot accept a connection");
            sleep(wait).await;
        }
    }

    fn wait_after(&mut self, error: &io::Error) -> Duration {
        // The caller hung up while waiting: nothing is wrong on our side.
        if matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset) {
            return Duration::ZERO;
        }
        // Most often there are no more file descriptors: at once would be a hot loop.
        let wait = self.back_off;
        self.back_off = (wait * 2).min(MAX_BACK_OFF);
        wait
    }
}

impl axum::serve::Listener for Listener {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        let connection = self.next().await;
        let peer = connection.peer();
        (connection, peer)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.address()
    }
}

/// Connections that there was no room for since the last log line.
#[derive(Default)]
struct Refused {
    count: u64,
    logged: Option<Instant>,
}

impl Refused {
    fn note(&mut self, peer: SocketAddr) {
        self.count += 1;
        if self.logged.is_none_or(|logged| logged.elapsed() >= LOG_INTERVAL) {
            warn!(%peer, refused = self.count, "too many connections");
            *self = Refused { count: 0, logged: Some(Instant::now()) };
        }
    }
}

/// Small answers must not wait for each other, and dead peers must be noticed. A connection that
/// refuses is about to break, and says so by itself.
fn set_options(stream: &TcpStream) {
    let keepalive = TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE / 6);
    let _ = stream.set_nodelay(true);
    let _ = SockRef::from(stream).set_tcp_keepalive(&keepalive);
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;

    use super::*;

    async fn listener(total: usize, per_address: usize) -> Listener {
        let limit = ConnectionLimit { total, per_address };
        Listener::bind("127.0.0.1:0".parse().unwrap(), limit).await.unwrap()
    }

    #[tokio::test]
    async fn connection_over_the_limit_is_closed_and_its_place_is_free_after_another_ended() {
        let mut listener = listener(10, 1).await;
        let address = listener.address().unwrap();
        let _first_caller = TcpStream::connect(address).await.unwrap();
        let first = listener.next().await;
        assert!(first.nodelay().unwrap());

        let mut second_caller = TcpStream::connect(address).await.unwrap();
        let accepting = tokio::spawn(async move {
            let third = listener.next().await;
            (listener, third)
        });
        assert_eq!(second_caller.read(&mut [0]).await.unwrap(), 0, "closed without a word");

        drop(first);
        let third_caller = TcpStream::connect(address).await.unwrap();
        let (_listener, third) = accepting.await.unwrap();
        assert_eq!(third.peer(), third_caller.local_addr().unwrap());
    }

    #[tokio::test]
    async fn accept_errors_are_waited_for_longer_and_longer_but_not_those_of_callers() {
        let mut listener = listener(1, 1).await;
        let no_files = io::Error::from_raw_os_error(24);
        let waits: Vec<u128> = (0..9).map(|_| listener.wait_after(&no_files).as_millis()).collect();
        assert_eq!(waits, [10, 20, 40, 80, 160, 320, 640, 1_000, 1_000]);
        let hung_up = io::Error::from(io::ErrorKind::ConnectionAborted);
        assert_eq!(listener.wait_after(&hung_up), Duration::ZERO);
    }
}
