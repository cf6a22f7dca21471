//! A few connections to one server, taken in turn. One connection is limited by the lock of its
//! HTTP/2 state; several are not. Each is made when first used, and made again when it breaks.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use tonic::transport::{Channel, Endpoint};

use super::connector::Connector;

/// What one answer may have on its way to us: as much as the largest message of a stream needs soon.
const STREAM_WINDOW_BYTES: u32 = 1 << 20;
/// What all answers of a connection may: so large that one unread stream does not starve its siblings.
const CONNECTION_WINDOW_BYTES: u32 = 16 << 20;
/// A peer that died without a word is noticed after both of these.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(30);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(10);
/// The longest wait for a connection to be made.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub(super) struct Pool {
    channels: Box<[Channel]>,
    turn: AtomicUsize,
}

impl Pool {
    /// `connections` is at least 1.
    pub(super) fn new(endpoint: Endpoint, connections: usize) -> Pool {
        let endpoint = endpoint
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .http2_adaptive_window(false)
            .http2_keep_alive_interval(KEEP_ALIVE_INTERVAL)
            .keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
            .keep_alive_while_idle(true)
            .connect_timeout(CONNECT_TIMEOUT);
        let channels =
            (0..connections.max(1)).map(|_| endpoint.connect_with_connector_lazy(Connector::new())).collect();
        Pool { channels, turn: AtomicUsize::new(0) }
    }

    /// The connection whose turn it is.
    pub(super) fn next(&self) -> Channel {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        self.channels[turn % self.channels.len()].clone()
    }

    /// All of them.
    pub(super) fn all(&self) -> &[Channel] {
        &self.channels
    }
}
