//! How a client is set up.

use std::{error::Error, ops::RangeInclusive, sync::Arc, time::Duration};

use tonic::{
    metadata::{Ascii, MetadataValue},
    transport::{Certificate, ClientTlsConfig, Endpoint, Identity},
};

use super::{Client, Shared, pool::Pool};
use crate::RetryPolicy;

/// Connections of a client.
const CONNECTIONS: RangeInclusive<usize> = 1..=64;
/// Enough that no single connection's lock is the limit, few enough to cost nothing.
const DEFAULT_CONNECTIONS: usize = 4;
/// How long a call may take, with all its repetitions.
const DEFAULT_CALL_TIMEOUT: Duration = Duration::from_secs(30);
/// The longest answer that is taken: gRPC's customary limit; the server fills to 3.5 MiB.
const DEFAULT_MAX_RESPONSE_BYTES: usize = 4 << 20;

/// Sets up a [`Client`].
#[derive(Clone, Debug)]
pub struct ClientBuilder {
    address: String,
    connections: usize,
    call_timeout: Duration,
    max_response_bytes: usize,
    retry: RetryPolicy,
    token: Option<String>,
    tls: Tls,
}

/// What is said about TLS, beyond that the address begins with `https`.
#[derive(Clone, Debug, Default)]
struct Tls {
    ca: Option<Certificate>,
    identity: Option<Identity>,
}

/// Why a client could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The address is not one.
    #[error("`{address}` is not an address such as http://127.0.0.1:7070")]
    Address {
        /// As it was given.
        address: String,
    },
    /// Too few or too many connections.
    #[error("{connections} connections: 1 to 64 are possible")]
    Connections {
        /// As it was given.
        connections: usize,
    },
    /// There is something about TLS, and the address is one without it: a token would be sent in the clear.
    #[error("`{address}` is without TLS: certificates need an address such as https://queue.internal:7070")]
    NotSecure {
        /// As it was given.
        address: String,
    },
    /// Certificates or the key cannot be used.
    #[error("certificates: {what}")]
    Certificate {
        /// In words.
        what: String,
    },
    /// The token cannot be sent.
    #[error("the token holds characters that a header cannot")]
    Token,
}

impl ClientBuilder {
    pub(super) fn new(address: String) -> ClientBuilder {
        ClientBuilder {
            address,
            connections: DEFAULT_CONNECTIONS,
            call_timeout: DEFAULT_CALL_TIMEOUT,
            max_response_bytes: DEFAULT_MAX_RESPONSE_BYTES,
            retry: RetryPolicy::default(),
            token: None,
            tls: Tls::default(),
        }
    }

    /// Connections that calls are spread over: 1 to 64, best 4 to 8. Default 4.
    #[must_use]
    pub fn connections(mut self, connections: usize) -> ClientBuilder {
        self.connections = connections;
        self
    }

    /// How long a call may take, with all its repetitions, besides a wait it asks for itself. Default 30 s.
    #[must_use]
    pub fn call_timeout(mut self, timeout: Duration) -> ClientBuilder {
        self.call_timeout = timeout;
        self
    }

    /// The longest answer that is taken. Default 4 MiB.
    #[must_use]
    pub fn max_response_bytes(mut self, bytes: usize) -> ClientBuilder {
        self.max_response_bytes = bytes;
        self
    }

    /// How calls are repeated.
    #[must_use]
    pub fn retry(mut self, policy: RetryPolicy) -> ClientBuilder {
        self.retry = policy;
        self
    }

    /// Sent as `authorization: Bearer` with every call. Default: none.
    #[must_use]
    pub fn token(mut self, token: impl Into<String>) -> ClientBuilder {
        self.token = Some(token.into());
        self
    }

    /// Who signed the server's certificate, as PEM, for an address that begins with `https`. Default: whom the
    /// system trusts.
    #[must_use]
    pub fn ca_certificate(mut self, pem: impl AsRef<[u8]>) -> ClientBuilder {
        self.tls.ca = Some(Certificate::from_pem(pem));
        self
    }

    /// The client's own certificate and its key, as PEM, for servers that ask for one. Default: none.
    #[must_use]
    pub fn client_certificate(mut self, cert: impl AsRef<[u8]>, key: impl AsRef<[u8]>) -> ClientBuilder {
        self.tls.identity = Some(Identity::from_pem(cert, key));
        self
    }

    /// The client. Connections are made when they are first used, so the server need not be there yet.
    /// To be called inside a Tokio runtime.
    ///
    /// # Errors
    /// When a setting makes no sense.
    pub fn build(self) -> Result<Client, BuildError> {
        if !CONNECTIONS.contains(&self.connections) {
            return Err(BuildError::Connections { connections: self.connections });
        }
        let unusable = || BuildError::Address { address: self.address.clone() };
        let endpoint = Endpoint::from_shared(self.address.clone()).map_err(|_| unusable())?;
        if endpoint.uri().authority().is_none() {
            return Err(unusable());
        }
        let endpoint = match endpoint.uri().scheme_str() {
            Some("https") => self.tls.secure(endpoint)?,
            Some("http") if self.tls.is_empty() => endpoint,
            Some("http") => return Err(BuildError::NotSecure { address: self.address }),
            _ => return Err(unusable()),
        };
        Ok(Client {
            shared: Arc::new(Shared {
                pool: Pool::new(endpoint, self.connections),
                call_timeout: self.call_timeout,
                max_response_bytes: self.max_response_bytes,
                retry: self.retry,
                authorization: self.token.map(|token| authorization(&token)).transpose()?,
            }),
        })
    }
}

impl Tls {
    fn is_empty(&self) -> bool {
        self.ca.is_none() && self.identity.is_none()
    }

    fn secure(self, endpoint: Endpoint) -> Result<Endpoint, BuildError> {
        let config = match self.ca {
            Some(ca) => ClientTlsConfig::new().ca_certificate(ca),
            None => ClientTlsConfig::new().with_native_roots(),
        };
        let config = match self.identity {
            Some(identity) => config.identity(identity),
            None => config,
        };
        endpoint.tls_config(config).map_err(|error| BuildError::Certificate { what: innermost(&error) })
    }
}

/// What is wrong: the errors around it only say that something is.
fn innermost(error: &dyn Error) -> String {
    match error.source() {
        Some(source) => innermost(source),
        None => error.to_string(),
    }
}

fn authorization(token: &str) -> Result<MetadataValue<Ascii>, BuildError> {
    let mut value: MetadataValue<Ascii> =
        format!("Bearer {}", token.trim()).parse().map_err(|_| BuildError::Token)?;
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn senseless_settings_are_refused() {
        let build = |address: &str| Client::builder(address).build();
        assert!(build("http://127.0.0.1:7070").is_ok());
        for address in ["", "127.0.0.1:7070", "ftp://host", "http://", "not an address"] {
            assert!(matches!(build(address), Err(BuildError::Address { .. })), "{address}");
        }
        assert!(build("https://host").is_ok());
        let unsafe_one = Client::builder("http://h:1").ca_certificate("").build();
        assert!(matches!(unsafe_one, Err(BuildError::NotSecure { .. })));
        let no_key = Client::builder("https://h:1").ca_certificate("").client_certificate("", "").build();
        assert!(matches!(no_key, Err(BuildError::Certificate { .. })));
        let none = Client::builder("http://h:1").connections(0).build();
        assert!(matches!(none, Err(BuildError::Connections { connections: 0 })));
        let token = Client::builder("http://h:1").token("a\nb").build();
        assert!(matches!(token, Err(BuildError::Token)));
    }
}
