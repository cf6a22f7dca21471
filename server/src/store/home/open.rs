//! Opens sled, knowing its traps: a leftover of a crash that it would trip over, panics on damage, a
//! lock that the last user has not let go of yet.

use std::fs;
use std::io::{self, ErrorKind};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::thread;
use std::time::Duration;

use sled::{Config, Db};

use super::{Home, StateTree};
use crate::store::StoreError;

/// sled's own memory; its default is 1 GiB.
const CACHE_BYTES: u64 = 64 << 20;
/// The background flusher is also the collector of garbage. What depends on a flush does its own.
const FLUSH_EVERY_MS: u64 = 500;
/// How long a lock may outlive its owner, and how often to look.
pub(super) const LOCK_TRIES: u32 = 20;
pub(super) const LOCK_WAIT: Duration = Duration::from_millis(50);

impl Home {
    /// Opens the home in `dir`, or makes it. The caller holds the store's lock.
    ///
    /// # Errors
    /// When it is damaged, in use, or cannot be read.
    pub(crate) fn open(dir: &Path) -> Result<Home, StoreError> {
        let home = open_at(dir, dir)?;
        home.check_no_blobs()?;
        Ok(home)
    }
}

/// Opens what lies in `at`, and tells of it as if it lay in `dir`.
pub(super) fn open_at(at: &Path, dir: &Path) -> Result<Home, StoreError> {
    remove_unfinished_snapshots(at)?;
    let db = open_db(at, dir)?;
    guarded(dir, || with_trees(dir, db))
}

/// Does what may find sled damaged, and makes its panics errors.
pub(super) fn guarded<T>(dir: &Path, work: impl FnOnce() -> Result<T, StoreError>) -> Result<T, StoreError> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let why = panic
            .downcast_ref::<String>()
            .map(String::as_str)
            .or_else(|| panic.downcast_ref::<&str>().copied())
            .unwrap_or("no reason given");
        Err(StoreError::Damaged(format!("{}: sled gave up: {why}", dir.display())))
    })
}

/// See [`Home::check_no_blobs`].
pub(super) fn check_no_blobs(dir: &Path) -> Result<(), StoreError> {
    let blobs = dir.join("blobs");
    let mut entries = match fs::read_dir(&blobs) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(source) => return Err(StoreError::Io { what: format!("list {}", blobs.display()), source }),
    };
    match entries.next() {
        None => Ok(()),
        Some(_) => {
            Err(StoreError::Damaged(format!("{}: values lie where nothing is synced", blobs.display())))
        }
    }
}

pub(super) fn failed(dir: &Path, what: &str, error: sled::Error) -> StoreError {
    match error {
        sled::Error::Corruption { at, .. } => {
            StoreError::Damaged(format!("{}: sled found damage at {at:?} ({what})", dir.display()))
        }
        sled::Error::Io(source) => StoreError::Io { what: format!("{}: {what}", dir.display()), source },
        other => {
            StoreError::Io { what: format!("{}: {what}", dir.display()), source: io::Error::other(other) }
        }
    }
}

fn open_db(at: &Path, dir: &Path) -> Result<Db, StoreError> {
    let config = Config::default().path(at).cache_capacity(CACHE_BYTES).flush_every_ms(Some(FLUSH_EVERY_MS));
    let mut tries = LOCK_TRIES;
    loop {
        let opened = guarded(dir, || Ok(config.open()))?;
        match opened {
            Ok(db) => return Ok(db),
            Err(error) if tries > 0 && error.to_string().contains("could not acquire lock") => {
                tries -= 1;
                thread::sleep(LOCK_WAIT);
            }
            Err(error) => return Err(failed(dir, "open", error)),
        }
    }
}

fn with_trees(dir: &Path, db: Db) -> Result<Home, StoreError> {
    let tree = |name: &str| db.open_tree(name).map_err(|e| failed(dir, &format!("open the tree {name}"), e));
    let states = [
        tree(StateTree::Ready.name())?,
        tree(StateTree::Scheduled.name())?,
        tree(StateTree::Retry.name())?,
        tree(StateTree::Dead.name())?,
        tree(StateTree::Done.name())?,
    ];
    Ok(Home {
        dir: dir.to_owned(),
        states,
        body: tree("body")?,
        drain: tree("drain")?,
        queue: tree("queue")?,
        request: tree("request")?,
        batch: tree("batch")?,
        idempotency: tree("idempotency")?,
        meta: tree("meta")?,
        db,
    })
}

/// A crash while sled writes a snapshot leaves `snap.*.generating`, and it does not open again until that
/// is gone. A finished snapshot is never touched.
fn remove_unfinished_snapshots(dir: &Path) -> Result<(), StoreError> {
    let io = |source| StoreError::Io { what: format!("tidy {}", dir.display()), source };
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(io(error)),
    };
    for entry in entries {
        let entry = entry.map_err(io)?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with("snap.") && name.ends_with(".generating") {
            fs::remove_file(entry.path()).map_err(io)?;
        }
    }
    Ok(())
}
