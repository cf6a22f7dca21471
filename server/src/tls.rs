//! TLS for both ports, by rustls and ring. Certificates change while the server runs: connections that are
//! there stay as they are, new ones get what there is now.
//!
//! Knows nothing of what is spoken over a connection, nor what a client's certificate allows.

mod doorway;
mod file;
mod secured;

use std::path::PathBuf;
use std::sync::Arc;

use rustls::ServerConfig;
use tokio::sync::watch;

pub use doorway::Doorway;
pub use file::TlsError;
pub use secured::Secured;

/// Where what TLS needs is found.
#[derive(Clone, Debug)]
pub struct TlsFiles {
    /// The server's certificate, and those that lead to it.
    pub cert: PathBuf,
    /// Its key.
    pub key: PathBuf,
    /// Who signs certificates of clients; none: they need none.
    pub client_ca: Option<PathBuf>,
}

/// TLS as it is now; clones change together.
#[derive(Clone, Debug)]
pub struct Tls {
    files: Arc<TlsFiles>,
    now: Arc<watch::Sender<Configs>>,
}

/// What is offered on each port.
#[derive(Clone, Debug)]
struct Configs {
    grpc: Arc<ServerConfig>,
    http: Arc<ServerConfig>,
}

/// Where a connection came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Port {
    /// Calls: clients show certificates if they must.
    Grpc,
    /// Pages: probes have no certificates, people have tokens.
    Http,
}

impl Tls {
    /// What the files say.
    ///
    /// # Errors
    /// When one cannot be read, or they do not fit each other.
    pub fn load(files: TlsFiles) -> Result<Tls, TlsError> {
        let now = files.read()?;
        Ok(Tls { files: Arc::new(files), now: Arc::new(watch::Sender::new(now)) })
    }

    /// Looks at the files again. Nothing changes when they are no good.
    ///
    /// # Errors
    /// As of [`Tls::load`].
    pub fn reload(&self) -> Result<(), TlsError> {
        self.now.send_replace(self.files.read()?);
        Ok(())
    }

    fn config(&self, port: Port) -> Arc<ServerConfig> {
        let now = self.now.borrow();
        match port {
            Port::Grpc => Arc::clone(&now.grpc),
            Port::Http => Arc::clone(&now.http),
        }
    }
}
