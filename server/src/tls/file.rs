//! Reads certificates and keys.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{ConfigBuilder, RootCertStore, ServerConfig, WantsVerifier};

use super::{Configs, TlsFiles};

/// Why there is no TLS. Names the setting; quotes nothing of a file.
#[derive(Debug, thiserror::Error)]
#[error("{setting} {}: {what}", .path.display())]
pub struct TlsError {
    setting: &'static str,
    path: PathBuf,
    what: String,
}

/// Bytes of a file: a bundle of all authorities there are has a quarter of it.
const MAX_FILE_BYTES: u64 = 1 << 20;

impl TlsFiles {
    pub(super) fn read(&self) -> Result<Configs, TlsError> {
        let chain = certificates("tls_cert", &self.cert)?;
        let provider = Arc::new(ring::default_provider());
        let grpc = match &self.client_ca {
            Some(path) => {
                let setting = "tls_client_ca";
                let mut roots = RootCertStore::empty();
                for certificate in certificates(setting, path)? {
                    roots.add(certificate).map_err(|error| wrong(setting, path, error))?;
                }
                let verifier =
                    WebPkiClientVerifier::builder_with_provider(roots.into(), Arc::clone(&provider));
                let verifier = verifier.build().map_err(|error| wrong(setting, path, error))?;
                self.builder(&provider)?.with_client_cert_verifier(verifier)
            }
            None => self.builder(&provider)?.with_no_client_auth(),
        };
        let http = self.builder(&provider)?.with_no_client_auth();
        let key = || {
            PrivateKeyDer::from_pem_slice(&bytes("tls_key", &self.key)?)
                .map_err(|_| wrong("tls_key", &self.key, "holds no private key as PEM"))
        };
        let fit = |error| wrong("tls_key", &self.key, format_args!("does not fit tls_cert: {error}"));
        let mut grpc = grpc.with_single_cert(chain.clone(), key()?).map_err(fit)?;
        let mut http = http.with_single_cert(chain, key()?).map_err(fit)?;
        grpc.alpn_protocols = vec![b"h2".to_vec()];
        http.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Configs { grpc: Arc::new(grpc), http: Arc::new(http) })
    }

    fn builder(
        &self,
        provider: &Arc<CryptoProvider>,
    ) -> Result<ConfigBuilder<ServerConfig, WantsVerifier>, TlsError> {
        ServerConfig::builder_with_provider(Arc::clone(provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| wrong("tls_cert", &self.cert, error))
    }
}

fn certificates(setting: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes(setting, path)?).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        _ => Err(wrong(setting, path, "holds no certificate as PEM")),
    }
}

fn bytes(setting: &'static str, path: &Path) -> Result<Vec<u8>, TlsError> {
    let read = || -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        File::open(path)?.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let bytes = read().map_err(|error| wrong(setting, path, format_args!("cannot be read: {error}")))?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(wrong(setting, path, "has more than 1 MiB"));
    }
    Ok(bytes)
}

fn wrong(setting: &'static str, path: &Path, what: impl std::fmt::Display) -> TlsError {
    TlsError { setting, path: path.to_owned(), what: what.to_string() }
}
