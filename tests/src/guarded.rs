//! A server that asks who calls: its file of identities, its certificates, and callers with tokens.

use std::fs;
use std::path::PathBuf;

use tempfile::TempDir;
use tokio::process::Command;
use tonic::Request;

use crate::authority::{Authority, Issued};
use crate::cli::{Said, said};
use crate::{Setup, Sluiced, binary};

/// A server and the files that say who may do what.
pub struct Guarded {
    /// The server. Dropped first.
    pub server: Sluiced,
    files: Files,
}

/// Files of a test.
pub struct Files(TempDir);

impl Default for Files {
    fn default() -> Files {
        Files(TempDir::new().unwrap())
    }
}

impl Files {
    /// Where a file is, or will be.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Writes a file whole: nobody sees a part of it.
    #[must_use]
    pub fn write(&self, name: &str, text: &str) -> String {
        let new = self.path(&format!("{name}.new"));
        fs::write(&new, text).unwrap();
        fs::rename(&new, self.path(name)).unwrap();
        self.path(name).to_str().unwrap().to_owned()
    }
}

impl Guarded {
    /// A server whose callers are those that `identities` names.
    pub async fn start(identities: &str) -> Guarded {
        Guarded::start_as(Setup::default(), identities).await
    }

    /// The same, with more settings.
    pub async fn start_as(setup: Setup, identities: &str) -> Guarded {
        let files = Files::default();
        let auth = files.write("auth.toml", identities);
        let server = setup.argument("--auth-file").argument(&auth).start().await;
        Guarded { server, files }
    }

    /// A server with TLS under `authority`, that asks for certificates of `clients` when there are any.
    pub async fn start_secure(
        identities: &str,
        authority: &Authority,
        clients: Option<&Authority>,
    ) -> Guarded {
        let files = Files::default();
        let auth = files.write("auth.toml", identities);
        let Issued { cert, key } = authority.issue(&["localhost", "127.0.0.1"]);
        let (cert, key) = (files.write("cert.pem", &cert), files.write("key.pem", &key));
        let mut setup = Setup::default();
        for (flag, value) in [("--auth-file", &auth), ("--tls-cert", &cert), ("--tls-key", &key)] {
            setup = setup.argument(flag).argument(value);
        }
        if let Some(clients) = clients {
            let ca = files.write("clients.pem", clients.pem());
            setup = setup.argument("--tls-client-ca").argument(&ca);
        }
        Guarded { server: setup.start().await, files }
    }

    /// The files beside it.
    #[must_use]
    pub fn files(&self) -> &Files {
        &self.files
    }

    /// From soon on its callers are others.
    pub fn identities(&self, text: &str) {
        let _path = self.files.write("auth.toml", text);
    }

    /// Where it speaks gRPC with TLS.
    #[must_use]
    pub fn secure_url(&self) -> String {
        self.server.url().replacen("http", "https", 1)
    }

    /// Runs `sluice` with a token.
    pub async fn run(&self, token: &str, arguments: &[&str]) -> Said {
        let url = self.server.url();
        self.run_with(&[("SLUICE_ADDR", &url), ("SLUICE_TOKEN", token)], arguments).await
    }

    /// Runs `sluice` with these variables.
    pub async fn run_with(&self, variables: &[(&str, &str)], arguments: &[&str]) -> Said {
        let mut command = Command::new(binary::sluice());
        command.args(arguments).envs(variables.iter().copied()).kill_on_drop(true);
        said(command.stdin(std::process::Stdio::null()).output().await.unwrap())
    }
}

/// One who has `token` and these rights (`read`, `enqueue`, …) on queues like `pattern`, as the file says it.
#[must_use]
pub fn identity(name: &str, token: &str, pattern: &str, rights: &[&str]) -> String {
    identity_with(name, &[token], pattern, rights)
}

/// The same with any number of tokens.
#[must_use]
pub fn identity_with(name: &str, tokens: &[&str], pattern: &str, rights: &[&str]) -> String {
    let hashes: Vec<String> = tokens.iter().map(|token| format!("{:?}", sha256(token))).collect();
    format!(
        "[[identity]]\nname = {name:?}\ntokens = [{}]\n\
         grants = [{{ queues = [{pattern:?}], rights = {rights:?} }}]\n\n",
        hashes.join(", ")
    )
}

/// What `sha256sum` says of a token.
fn sha256(token: &str) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, token.as_bytes());
    digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A call by who has `token`.
pub fn by<M>(token: &str, message: M) -> Request<M> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
    request
}
