//! Makes connections that write small messages together.
//!
//! HTTP/2 hands a vectored writer every message over 256 bytes by itself: a system call a call. Told that
//! there is no vectored write, it gathers messages up to 1 KiB, and writes many calls at once.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::{
    client::legacy::connect::{Connected, Connection, HttpConnector},
    rt::TokioIo,
};
use tokio::net::TcpStream;
use tonic::transport::Uri;
use tower::Service;

/// Makes connections.
#[derive(Clone, Debug)]
pub(super) struct Connector(HttpConnector);

/// A connection.
#[derive(Debug)]
pub(super) struct Gathering(TokioIo<TcpStream>);

impl Connector {
    pub(super) fn new() -> Connector {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        // TLS goes around what this makes.
        connector.enforce_http(false);
        Connector(connector)
    }
}

impl Service<Uri> for Connector {
    type Response = Gathering;
    type Error = <HttpConnector as Service<Uri>>::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Gathering, Self::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, address: Uri) -> Self::Future {
        let connecting = self.0.call(address);
        Box::pin(async { connecting.await.map(Gathering) })
    }
}

impl Connection for Gathering {
    fn connected(&self) -> Connected {
        self.0.connected()
    }
}

impl Read for Gathering {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buffer)
    }
}

impl Write for Gathering {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
