//! A connection with TLS around it, or without.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use webpki::EndEntityCert;

use super::{Port, Tls};
use crate::auth::ClientCertificate;
use crate::listener::Connection;

/// A connection with TLS around it, or without.
pub enum Secured {
    /// Anybody on the way can read it.
    Plain(Connection),
    /// Nobody can.
    Tls(Box<TlsStream<Connection>>),
}

/// A handshake may take so long, or it only holds a place.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

impl Secured {
    /// The connection, after its handshake if there is TLS.
    ///
    /// # Errors
    /// When that fails or takes too long.
    pub async fn accept(connection: Connection, tls: Option<&Tls>, port: Port) -> io::Result<Secured> {
        let Some(tls) = tls else { return Ok(Secured::Plain(connection)) };
        let shaking = TlsAcceptor::from(tls.config(port)).accept(connection);
        match timeout(HANDSHAKE_TIMEOUT, shaking).await {
            Ok(stream) => Ok(Secured::Tls(Box::new(stream?))),
            Err(_) => Err(io::Error::from(io::ErrorKind::TimedOut)),
        }
    }

    /// Who is at the other end.
    #[must_use]
    pub fn peer(&self) -> SocketAddr {
        match self {
            Secured::Plain(connection) => connection.peer(),
            Secured::Tls(stream) => stream.get_ref().0.peer(),
        }
    }

    /// The names in the client's certificate, which was checked; none when it showed none.
    #[must_use]
    pub fn certificate(&self) -> Option<ClientCertificate> {
        let Secured::Tls(stream) = self else { return None };
        let shown = stream.get_ref().1.peer_certificates()?.first()?;
        let certificate = EndEntityCert::try_from(shown).ok()?;
        Some(ClientCertificate::new(certificate.valid_dns_names().chain(certificate.valid_uri_names())))
    }
}

impl AsyncRead for Secured {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Secured::Plain(connection) => Pin::new(connection).poll_read(cx, buffer),
            Secured::Tls(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Secured {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Secured::Plain(connection) => Pin::new(connection).poll_write(cx, bytes),
            Secured::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Secured::Plain(connection) => Pin::new(connection).poll_flush(cx),
            Secured::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Secured::Plain(connection) => Pin::new(connection).poll_shutdown(cx),
            Secured::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffers: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Secured::Plain(connection) => Pin::new(connection).poll_write_vectored(cx, buffers),
            Secured::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, buffers),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Secured::Plain(connection) => connection.is_write_vectored(),
            Secured::Tls(stream) => stream.is_write_vectored(),
        }
    }
}
