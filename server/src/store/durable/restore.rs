//! Makes a store of a backup: its rows become the home, its groups the log. It gets a number of its own, so
//! that no segment of the one it was taken from fits it.
//!
//! FORMAT comes last: until then the directory is no store, and nobody serves it.

use std::fs::{self, File};
use std::io::{self, BufReader, ErrorKind};
use std::path::Path;
use std::sync::Arc;

use sluice_engine::Mutation;

use super::format;
use super::lock::Lock;
use crate::os;
use crate::store::backup::{BackupReader, End, Entry};
use crate::store::disk::RealDisk;
use crate::store::home::{Home, Meta, Seal};
use crate::store::log::{Group, Log, LogOptions};
use crate::store::{StoreError, codec};

/// What came back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Restored {
    /// Rows of sled.
    pub rows: u64,
    /// Groups of the log.
    pub groups: u64,
}

/// Bytes read from the file at once.
const READ_BYTES: usize = 1 << 20;
/// What a restore makes, and removes again when it fails; the directory was empty.
const PARTS: [&str; 4] = ["sled", "log", "LOCK", "FORMAT.new"];

/// Makes a store in `dir`, which is empty or not there, of the backup in `file`. Reads it twice: it is whole
/// before anything is made of it.
///
/// # Errors
/// When the backup is not whole, or the store cannot be made. Then `dir` is as empty as it was.
pub fn restore(file: &Path, dir: &Path) -> Result<Restored, StoreError> {
    refuse_unless_empty(dir)?;
    let (after_group, end) = verify(file)?;
    os::private_dir(dir).map_err(failed("make", dir))?;
    let restored = build(file, dir, after_group, &end);
    if restored.is_err() {
        clear(dir);
    }
    restored
}

fn refuse_unless_empty(dir: &Path) -> Result<(), StoreError> {
    match fs::read_dir(dir).map(|mut entries| entries.next().is_none()) {
        Ok(true) => Ok(()),
        Ok(false) => Err(StoreError::Unusable(format!("{} is not empty", dir.display()))),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(failed("list", dir)(error)),
    }
}

/// Reads all of it; says after which group it begins, and how it ends.
fn verify(file: &Path) -> Result<(u64, End), StoreError> {
    let mut reader = open(file)?;
    loop {
        match reader.next()? {
            Entry::Row { .. } => {}
            Entry::Group(group) => drop(mutations(&group)?),
            Entry::End(end) => return Ok((reader.after_group, end)),
        }
    }
}

fn build(file: &Path, dir: &Path, after_group: u64, end: &End) -> Result<Restored, StoreError> {
    let mut lock = Lock::take(dir)?;
    let store = format::draw()?;
    let home = Home::open(&dir.join("sled"))?;
    let mut log = Log::begin_after(
        Arc::new(RealDisk),
        dir,
        store,
        LogOptions { ahead: false, ..LogOptions::default() },
        end.segments,
        after_group,
    )?;
    let mut reader = open(file)?;
    let mut restored = Restored::default();
    loop {
        match reader.next()? {
            Entry::Row { tree, key, value } => {
                restored.rows += 1;
                home.put_row(&tree, &key, &value)?;
            }
            Entry::Group(group) => {
                restored.groups += 1;
                log.append(group.now, &mutations(&group)?)?;
            }
            Entry::End(_) => break,
        }
    }
    // Where engine time goes on, even if there was no group.
    log.append_clean(end.now)?;
    drop(log);
    let (serial, last_queue) = (end.serial, end.last_queue);
    home.put_meta(&Meta { store, moved_through: end.segments, serial, last_queue })?;
    home.flush()?;
    home.check_no_blobs()?;
    // Whatever sled's own flush is worth here: nothing counts before FORMAT is there.
    home.close()?;
    format::write(dir, store)?;
    let sled = dir.join("sled");
    lock.mark_clean(Seal::of(&sled).map_err(failed("read", &sled))?)?;
    if let Some(parent) = dir.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        os::sync_dir(parent).map_err(failed("sync", parent))?;
    }
    Ok(restored)
}

/// What a group says, but for what it says of another store's segments.
fn mutations(group: &Group) -> Result<Vec<Mutation>, StoreError> {
    let mut mutations = codec::decode(&group.events, |_| {})
        .map_err(|error| StoreError::Unusable(format!("group {} of the backup {error}", group.number)))?;
    mutations.retain(|mutation| !matches!(mutation, Mutation::Retired { .. }));
    Ok(mutations)
}

fn open(path: &Path) -> Result<BackupReader<BufReader<File>>, StoreError> {
    let file = File::open(path).map_err(failed("open", path))?;
    BackupReader::open(BufReader::with_capacity(READ_BYTES, file))
}

/// Half a store is of no use. Best effort: what stays is no store, and the next restore says that it is there.
fn clear(dir: &Path) {
    for part in PARTS {
        let path = dir.join(part);
        let _ = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
    }
}

fn failed<'a>(what: &'a str, path: &'a Path) -> impl FnOnce(io::Error) -> StoreError + use<'a> {
    move |source| StoreError::Io { what: format!("{what} {}", path.display()), source }
}
