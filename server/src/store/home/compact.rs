//! sled's file never shrinks. How much of it is still of use, and a copy of that.

use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::thread;

use sled::Tree;

use super::value::Decoder;
use super::{Home, StateTree, job, open};
use crate::os;
use crate::store::StoreError;

/// The tree that sled makes by itself; nothing is in it.
const SLEDS_OWN: &[u8] = b"__sled__default";

/// What is in some rows: to be compared with a copy of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Sum {
    rows: u64,
    bytes: u64,
    crc: u32,
}

impl Home {
    /// Bytes of keys and values, reckoned from the records: no body is read.
    pub(crate) fn reckoned_bytes(&self) -> Result<u64, StoreError> {
        let mut bytes = 0;
        for tree in StateTree::ALL {
            for row in &self.states[tree as usize] {
                let (key, value) = row.map_err(|e| self.failed("read jobs", e))?;
                bytes += (key.len() + value.len()) as u64;
                let stored = job::decode(&key, &value).map_err(self.malformed(tree.name(), &key))?;
                bytes += u64::from(stored.apart.result.unwrap_or(0));
                if tree != StateTree::Done {
                    bytes += u64::from(stored.record.bytes);
                }
            }
        }
        for name in self.names().into_iter().filter(|name| !self.is_about_jobs(name)) {
            bytes += self.sum(&self.tree(&name)?)?.bytes;
        }
        Ok(bytes)
    }

    /// Bytes of keys and values: everything is read.
    pub(crate) fn live_bytes(&self) -> Result<u64, StoreError> {
        let mut bytes = 0;
        for name in self.names() {
            bytes += self.sum(&self.tree(&name)?)?.bytes;
        }
        Ok(bytes)
    }

    /// Makes a home in `dir` that holds what this one does, and reads it again before it says that it does.
    /// Flushed, and closed.
    pub(crate) fn copy_to(&self, dir: &Path) -> Result<(), StoreError> {
        let copy = Home::open(dir)?;
        let mut sums = Vec::new();
        for name in self.names() {
            let (from, to) = (self.tree(&name)?, copy.tree(&name)?);
            for row in &from {
                let (key, value) = row.map_err(|e| self.failed("read", e))?;
                // What is damaged must not become sound by being copied.
                Decoder::open(&key, &value, u8::MAX)
                    .map_err(self.malformed(&String::from_utf8_lossy(&name), &key))?;
                to.insert(key, value).map_err(|e| copy.failed("write", e))?;
            }
            sums.push((name, self.sum(&from)?));
        }
        copy.flush()?;
        for (name, sum) in sums {
            if copy.sum(&copy.tree(&name)?)? != sum {
                return Err(copy.damaged(&String::from_utf8_lossy(&name), &[], "is not what was copied"));
            }
        }
        copy.check_no_blobs()?;
        copy.close()
    }

    /// Lets go of everything, and waits until sled has: what it does when it ends, it does under this name, and does not
    /// sync. All files, and their names, are durable then.
    pub(crate) fn close(self) -> Result<(), StoreError> {
        let dir = self.dir.clone();
        drop(self);
        for _ in 0..open::LOCK_TRIES {
            let db = File::open(dir.join("db"))
                .map_err(|source| StoreError::Io { what: format!("close {}", dir.display()), source })?;
            if db.try_lock().is_ok() {
                return sync_files(&dir)
                    .map_err(|source| StoreError::Io { what: format!("sync {}", dir.display()), source });
            }
            thread::sleep(open::LOCK_WAIT);
        }
        Err(StoreError::Unusable(format!("{}: sled does not let go of its file", dir.display())))
    }

    fn names(&self) -> Vec<Vec<u8>> {
        let mut names: Vec<Vec<u8>> = self.db.tree_names().iter().map(|name| name.to_vec()).collect();
        names.retain(|name| name != SLEDS_OWN);
        names.sort();
        names
    }

    fn tree(&self, name: &[u8]) -> Result<Tree, StoreError> {
        self.db.open_tree(name).map_err(|e| self.failed("open a tree", e))
    }

    /// Whether records tell how much is in the tree.
    fn is_about_jobs(&self, name: &[u8]) -> bool {
        name == b"body" || StateTree::ALL.iter().any(|tree| tree.name().as_bytes() == name)
    }

    fn sum(&self, tree: &Tree) -> Result<Sum, StoreError> {
        let mut sum = Sum::default();
        for row in tree {
            let (key, value) = row.map_err(|e| self.failed("read", e))?;
            sum.rows += 1;
            sum.bytes += (key.len() + value.len()) as u64;
            sum.crc = crc32c::crc32c_append(crc32c::crc32c_append(sum.crc, &key), &value);
        }
        Ok(sum)
    }
}

/// Makes all files of a directory, and their names, durable.
fn sync_files(dir: &Path) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        File::open(entry?.path())?.sync_all()?;
    }
    os::sync_dir(dir)
}
