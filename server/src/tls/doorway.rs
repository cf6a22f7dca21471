//! Where connections for pages come in: a slow handshake holds up nobody else.

use std::io;
use std::net::SocketAddr;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tracing::debug;

use super::{Port, Secured, Tls};
use crate::listener::Listener;

/// Connections that are ready for their pages.
pub struct Doorway {
    address: io::Result<SocketAddr>,
    ready: mpsc::Receiver<Secured>,
    /// Ends with the doorway.
    _accepting: JoinSet<()>,
}

/// Connections that wait to be served. The listener bounds how many there are.
const MAX_READY: usize = 16;

impl Doorway {
    /// The connections of a listener. To be called inside a runtime.
    #[must_use]
    pub fn new(listener: Listener, tls: Option<Tls>) -> Doorway {
        let address = listener.address();
        let (sender, ready) = mpsc::channel(MAX_READY);
        let mut accepting = JoinSet::new();
        accepting.spawn(accept(listener, tls, sender));
        Doorway { address, ready, _accepting: accepting }
    }
}

async fn accept(mut listener: Listener, tls: Option<Tls>, ready: mpsc::Sender<Secured>) {
    let mut handshakes = JoinSet::new();
    loop {
        let connection = tokio::select! {
            connection = listener.next() => connection,
            Some(_) = handshakes.join_next() => continue,
        };
        let (tls, ready) = (tls.clone(), ready.clone());
        handshakes.spawn(async move {
            let peer = connection.peer();
            match Secured::accept(connection, tls.as_ref(), Port::Http).await {
                Ok(secured) => drop(ready.send(secured).await),
                Err(error) => debug!(%peer, %error, "no TLS"),
            }
        });
    }
}

impl axum::serve::Listener for Doorway {
    type Io = Secured;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Secured, SocketAddr) {
        match self.ready.recv().await {
            Some(secured) => {
                let peer = secured.peer();
                (secured, peer)
            }
            // Nothing comes in any more.
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.address.as_ref().copied().map_err(|error| io::Error::from(error.kind()))
    }
}
