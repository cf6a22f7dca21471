//! TLS and mutual TLS, as clients and operators see them.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use sluice_tests::authority::{Authority, Issued};
use sluice_tests::guarded::{Files, Guarded, identity};
use sluice_tests::{cli, http};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};
use tonic::Code;

const PATIENCE: Duration = Duration::from_secs(60);
const ALL: &[&str] = &["enqueue", "consume", "read", "admin"];
const UNAVAILABLE: i32 = 64 + Code::Unavailable as i32;
const UNKNOWN: i32 = 64 + Code::Unauthenticated as i32;

/// Stats by who trusts `ca`; the exit code. It does not try for long.
async fn stats(guarded: &Guarded, ca: &str, more: &[(&str, &str)]) -> i32 {
    let url = guarded.secure_url();
    let mut variables = vec![("SLUICE_ADDR", &*url), ("SLUICE_CA_FILE", ca)];
    variables.extend(more);
    guarded.run_with(&variables, &["--timeout", "3s", "stats"]).await.code
}

#[tokio::test]
async fn s1_6_calls_go_over_tls_to_a_server_that_the_client_trusts_and_to_no_other() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let guarded = Guarded::start_secure(&identity("a", "secret", "*", ALL), &authority, None).await;
    let trusted = guarded.files().write("ca.pem", authority.pem());
    let other = guarded.files().write("other.pem", stranger.pem());
    let url = guarded.secure_url();
    let variables = [("SLUICE_ADDR", &*url), ("SLUICE_CA_FILE", &*trusted), ("SLUICE_TOKEN", "secret")];
    drop(guarded.run_with(&variables, &["enqueue", "--queue", "q", "--payload", "x"]).await.ok());
    drop(guarded.run_with(&variables, &["lease", "--queue", "q"]).await.ok());

    assert_eq!(stats(&guarded, &trusted, &[]).await, UNKNOWN, "TLS is no identity");
    let token = ("SLUICE_TOKEN", "secret");
    assert_eq!(stats(&guarded, &other, &[token]).await, UNAVAILABLE, "the server could be anybody");
    let plain = guarded.server.url();
    let variables = [("SLUICE_ADDR", &*plain), token];
    let refused = guarded.run_with(&variables, &["--timeout", "3s", "stats"]).await;
    assert_eq!(refused.code, UNAVAILABLE, "{}", refused.stderr);
    // Whoever means TLS and forgets the `s` does not send the token in the clear.
    let variables = [("SLUICE_ADDR", &*plain), ("SLUICE_CA_FILE", &*trusted), token];
    let refused = guarded.run_with(&variables, &["stats"]).await;
    assert_eq!(refused.code, 2, "{}", refused.stderr);
}

#[tokio::test]
async fn s1_6_certificate_is_as_good_as_a_token_where_clients_must_have_one() {
    let (authority, clients, stranger) = (Authority::new(), Authority::new(), Authority::new());
    let file = "[[identity]]\nname = \"worker\"\ncertificate = \"worker.internal\"\n\
                grants = [{ queues = [\"*\"], rights = [\"read\"] }]\n\n"
        .to_owned()
        + &identity("a", "secret", "*", ALL);
    let guarded = Guarded::start_secure(&file, &authority, Some(&clients)).await;
    let ca = guarded.files().write("ca.pem", authority.pem());
    let shown = |name: &str, issued: &Issued| {
        let cert = guarded.files().write(&format!("{name}.pem"), &issued.cert);
        (cert, guarded.files().write(&format!("{name}.key"), &issued.key))
    };
    let (cert, key) = shown("worker", &clients.issue(&["worker.internal"]));
    let worker = [("SLUICE_CERT_FILE", &*cert), ("SLUICE_KEY_FILE", &*key)];
    assert_eq!(stats(&guarded, &ca, &worker).await, 0);

    let (cert, key) = shown("other", &clients.issue(&["other.internal"]));
    let other = [("SLUICE_CERT_FILE", &*cert), ("SLUICE_KEY_FILE", &*key)];
    assert_eq!(stats(&guarded, &ca, &other).await, UNKNOWN, "signed, and nobody's");
    let with_token = [other[0], other[1], ("SLUICE_TOKEN", "secret")];
    assert_eq!(stats(&guarded, &ca, &with_token).await, 0, "a token says who it is");

    let (cert, key) = shown("forged", &stranger.issue(&["worker.internal"]));
    let forged = [("SLUICE_CERT_FILE", &*cert), ("SLUICE_KEY_FILE", &*key)];
    assert_eq!(stats(&guarded, &ca, &forged).await, UNAVAILABLE, "signed by somebody else");
    assert_eq!(stats(&guarded, &ca, &[("SLUICE_TOKEN", "secret")]).await, UNAVAILABLE, "no certificate");
    assert_eq!(stats(&guarded, &ca, &worker[..1]).await, 2, "a certificate without its key");
}

#[tokio::test]
async fn s1_6_certificates_are_read_again_and_a_pair_that_does_not_fit_changes_nothing() {
    let (first, second) = (Authority::new(), Authority::new());
    let guarded = Guarded::start_secure(&identity("a", "secret", "*", ALL), &first, None).await;
    let old = guarded.files().write("old.pem", first.pem());
    let new = guarded.files().write("new.pem", second.pem());
    let token = [("SLUICE_TOKEN", "secret")];
    let Issued { cert, key } = second.issue(&["localhost", "127.0.0.1"]);
    // The certificate without its key: whoever connects meanwhile gets the old pair.
    let _path = guarded.files().write("cert.pem", &cert);
    guarded.server.hang_up();
    let told = async {
        while !guarded.server.log().contains("certificates are refused") {
            assert_eq!(stats(&guarded, &old, &token).await, 0);
        }
    };
    tokio::time::timeout(PATIENCE, told).await.expect("the log tells of it");
    assert_eq!(stats(&guarded, &old, &token).await, 0);
    let _path = guarded.files().write("key.pem", &key);
    let changed = async { while stats(&guarded, &new, &token).await != 0 {} };
    tokio::time::timeout(PATIENCE, changed).await.expect("the new pair is read");
    assert_eq!(stats(&guarded, &old, &token).await, UNAVAILABLE);
}

#[tokio::test]
async fn s1_6_pages_are_served_over_tls_too() {
    let authority = Authority::new();
    // Clients need certificates for calls; probes have none.
    let file = identity("a", "secret", "*", ALL);
    let guarded = Guarded::start_secure(&file, &authority, Some(&authority)).await;
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority.pem().as_bytes()).unwrap()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let connector = TlsConnector::from(Arc::new(config));
    for (path, authorization, expected) in
        [("/healthz", None, 200), ("/stats", None, 401), ("/stats", Some("Bearer secret"), 200)]
    {
        let stream = tokio::net::TcpStream::connect(guarded.server.http()).await.unwrap();
        let stream = connector.connect(ServerName::try_from("localhost").unwrap(), stream).await.unwrap();
        assert_eq!(http::get_over(stream, path, authorization).await.0, expected, "{path}");
    }
}

#[tokio::test]
async fn s1_6_server_does_not_start_with_files_that_are_no_good() {
    let files = Files::default();
    let issued = Authority::new().issue(&["localhost"]);
    let cert = files.write("cert.pem", &issued.cert);
    let key = files.write("key.pem", &issued.key);
    let other = files.write("other.pem", &Authority::new().issue(&["localhost"]).key);
    let bad = files.write("bad.toml", "[[identity]]\nname = \"a\"\ntokens = [\"in_the_clear\"]\n");
    let data: PathBuf = files.path("data");
    for (arguments, named) in [
        (vec!["--tls-cert", &cert], "tls_key"),
        (vec!["--tls-cert", &cert, "--tls-key", &other], "tls_key"),
        (vec!["--tls-cert", &key, "--tls-key", &key], "tls_cert"),
        (vec!["--tls-cert", &cert, "--tls-key", &key, "--tls-client-ca", &key], "tls_client_ca"),
        (vec!["--auth-file", "/does/not/exist"], "auth_file"),
        (vec!["--auth-file", &bad], "identity \"a\""),
    ] {
        let said = cli::run_server(&data, &arguments).await;
        assert_eq!(said.code, 2, "{arguments:?}: {}", said.stderr);
        assert!(said.stderr.contains(named), "{arguments:?}: {}", said.stderr);
        assert!(!said.stderr.contains("in_the_clear"), "{}", said.stderr);
    }
}
