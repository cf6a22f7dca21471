//! Reads the files of identities and of TLS again: on SIGHUP, and soon after one of them changed. A file that
//! is no good changes nothing, and the log says so.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::signal::unix::Signal;
use tokio::task::spawn_blocking;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::auth::{Auth, AuthFileError, Identities};
use crate::tls::{Tls, TlsError, TlsFiles};

/// What is read again.
#[derive(Default)]
pub struct Reload {
    sources: Vec<Source>,
}

/// How often files are looked at: a token that was taken out is good for no longer than this.
const LOOK: Duration = Duration::from_secs(1);

/// Files that belong together.
struct Source {
    paths: Vec<PathBuf>,
    /// How they looked before they were read last.
    seen: Vec<Option<Stamp>>,
    target: Target,
}

enum Target {
    Auth(PathBuf, Auth),
    Tls(Tls),
}

/// How a file looks from outside: another one when it was written, or when another was put in its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    file: (u64, u64),
    changed: (i64, i64),
    modified: (i64, i64),
    bytes: u64,
}

impl Reload {
    /// Those whom a file names, now and whenever it changes.
    ///
    /// # Errors
    /// When it is no good now.
    pub fn auth(&mut self, path: &Path) -> Result<Auth, AuthFileError> {
        let paths = vec![path.to_owned()];
        // Before it is read: what changes meanwhile is seen later.
        let seen = stamps(&paths);
        let auth = Auth::load(path)?;
        self.sources.push(Source { paths, seen, target: Target::Auth(path.to_owned(), auth.clone()) });
        Ok(auth)
    }

    /// TLS as files say, now and whenever they change.
    ///
    /// # Errors
    /// When they are no good now.
    pub fn tls(&mut self, files: TlsFiles) -> Result<Tls, TlsError> {
        let paths: Vec<PathBuf> = [Some(&files.cert), Some(&files.key), files.client_ca.as_ref()]
            .into_iter()
            .flatten()
            .cloned()
            .collect();
        let seen = stamps(&paths);
        let tls = Tls::load(files)?;
        self.sources.push(Source { paths, seen, target: Target::Tls(tls.clone()) });
        Ok(tls)
    }

    /// Whether there is nothing to read again.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.sources.is_empty()
    }

    /// Reads what changed, and all of it at each `hangup`, until `stopping`.
    pub async fn follow(mut self, mut hangup: Signal, stopping: CancellationToken) {
        let mut looks = interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let is_told = tokio::select! {
                () = stopping.cancelled() => return,
                _ = looks.tick() => false,
                Some(()) = hangup.recv() => true,
            };
            // A disk may be slow, or far away.
            let looked = spawn_blocking(move || {
                self.sources.iter_mut().for_each(|source| source.look(is_told));
                self
            });
            match looked.await {
                Ok(reload) => self = reload,
                Err(error) => return warn!(%error, "files are looked at no more"),
            }
        }
    }
}

impl Source {
    fn look(&mut self, is_told: bool) {
        let now = stamps(&self.paths);
        if now == self.seen && !is_told {
            return;
        }
        self.seen = now;
        match &self.target {
            Target::Auth(path, auth) => match Identities::load(path) {
                Ok(identities) => {
                    info!(identities = identities.count(), "identities read again");
                    auth.replace(identities);
                }
                Err(error) => {
                    warn!(path = ?path, error = ?error.to_string(), "auth_file is refused: identities stay as they were");
                }
            },
            Target::Tls(tls) => match tls.reload() {
                Ok(()) => info!("certificates read again"),
                Err(error) => {
                    warn!(error = ?error.to_string(), "certificates are refused: they stay as they were");
                }
            },
        }
    }
}

fn stamps(paths: &[PathBuf]) -> Vec<Option<Stamp>> {
    paths.iter().map(|path| stamp(path)).collect()
}

/// None: it is not there, or cannot be looked at.
fn stamp(path: &Path) -> Option<Stamp> {
    let seen = fs::metadata(path).ok()?;
    Some(Stamp {
        file: (seen.dev(), seen.ino()),
        changed: (seen.ctime(), seen.ctime_nsec()),
        modified: (seen.mtime(), seen.mtime_nsec()),
        bytes: seen.len(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(name: &str) -> String {
        format!("[[identity]]\nname = \"{name}\"\ncertificate = \"{name}\"\n")
    }

    fn is_known(auth: &Auth, name: &str) -> bool {
        let certificate = crate::auth::ClientCertificate::new([name].into_iter());
        auth.access(crate::auth::Credential::Certificate(certificate)).is_some()
    }

    #[test]
    fn file_that_changed_is_read_and_one_that_is_no_good_changes_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("auth.toml");
        fs::write(&path, entry("a")).unwrap();
        let mut reload = Reload::default();
        let auth = reload.auth(&path).unwrap();
        let source = &mut reload.sources[0];
        assert!(is_known(&auth, "a"));

        fs::write(&path, entry("bb")).unwrap();
        source.look(false);
        assert!(is_known(&auth, "bb") && !is_known(&auth, "a"));

        fs::write(&path, "no toml").unwrap();
        source.look(false);
        fs::remove_file(&path).unwrap();
        source.look(false);
        assert!(is_known(&auth, "bb"));

        // Another file in its place, as tools that write safely do it.
        let other = directory.path().join("new");
        fs::write(&other, entry("cc")).unwrap();
        fs::rename(&other, &path).unwrap();
        source.look(false);
        assert!(is_known(&auth, "cc") && !is_known(&auth, "bb"));
    }
}
