//! The way to a server, as one that can be cut.

use std::net::SocketAddr;

use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};
use tonic::transport::{Channel, Endpoint};

use crate::Sluiced;

/// Connections through it end when it is cut, or dropped: both sides find their sockets closed.
pub struct Cable {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl Cable {
    /// Lays it to a server.
    pub async fn to(server: &Sluiced) -> Cable {
        let url = server.url();
        let server = url.strip_prefix("http://").expect("it speaks without TLS").to_owned();
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let task = tokio::spawn(async move {
            // Dropped with this task, it drops all connections.
            let mut connections = JoinSet::new();
            loop {
                let (mut near, _) = listener.accept().await.unwrap();
                let server = server.clone();
                connections.spawn(async move {
                    let mut far = TcpStream::connect(server).await.unwrap();
                    near.set_nodelay(true).unwrap();
                    far.set_nodelay(true).unwrap();
                    let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
                });
            }
        });
        Cable { address, task }
    }

    /// A connection through it.
    #[must_use]
    pub fn channel(&self) -> Channel {
        Endpoint::from_shared(format!("http://{}", self.address)).unwrap().connect_lazy()
    }

    /// Cuts it.
    pub fn cut(self) {
        drop(self);
    }
}

impl Drop for Cable {
    fn drop(&mut self) {
        self.task.abort();
    }
}
