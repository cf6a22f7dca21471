//! One process at a time uses a store; and whether the last one stopped in good order.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::store::StoreError;

const CLEAN: &[u8] = b"clean\n";

/// The lock, while it is held. The system lets go of it when the process ends, however it ends.
#[derive(Debug)]
pub(super) struct Lock {
    file: File,
    path: PathBuf,
    was_clean: bool,
}

impl Lock {
    /// Takes the lock of the store in `dir`. From here on its last stop counts as not clean, until
    /// [`Lock::mark_clean`].
    pub(super) fn take(dir: &Path) -> Result<Lock, StoreError> {
        let path = dir.join("LOCK");
        let opened =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(&path);
        let mut file = opened.map_err(|source| failed("open", &path, source))?;
        try_lock(&file, dir, &path)?;
        let was_clean = unmark(&mut file).map_err(|source| failed("read", &path, source))?;
        Ok(Lock { file, path, was_clean })
    }

    /// Takes the lock of a store that is not to be changed: what it says of the last stop stays as it is.
    pub(super) fn hold(dir: &Path) -> Result<Lock, StoreError> {
        let path = dir.join("LOCK");
        let mut file = match File::open(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Err(StoreError::Unusable(format!("{} is no store of Sluice", dir.display())));
            }
            opened => opened.map_err(|source| failed("open", &path, source))?,
        };
        try_lock(&file, dir, &path)?;
        let was_clean = is_marked(&mut file).map_err(|source| failed("read", &path, source))?;
        Ok(Lock { file, path, was_clean })
    }

    /// Whether the one who held it before stopped in good order.
    pub(super) fn was_clean(&self) -> bool {
        self.was_clean
    }

    /// The last stop was in good order, and yet the log of the store in `dir` does not end with it.
    pub(super) fn end_is_lost(&self, dir: &Path) -> StoreError {
        StoreError::Damaged(format!(
            "{}: the last stop was in good order, but the log does not end with it: its end is lost. To go on without, \
             remove {}",
            dir.join("log").display(),
            self.path.display()
        ))
    }

    /// Everything is on disk.
    pub(super) fn mark_clean(&mut self) -> Result<(), StoreError> {
        let marked = self.file.write_all(CLEAN).and_then(|()| self.file.sync_all());
        marked.map_err(|source| failed("write", &self.path, source))
    }
}

fn try_lock(file: &File, dir: &Path, path: &Path) -> Result<(), StoreError> {
    match file.try_lock() {
        Ok(()) => Ok(()),
        Err(TryLockError::WouldBlock) => {
            Err(StoreError::Unusable(format!("{} is in use by another process", dir.display())))
        }
        Err(TryLockError::Error(source)) => Err(failed("lock", path, source)),
    }
}

/// Takes the mark away, durably, and says whether it was there.
fn unmark(file: &mut File) -> io::Result<bool> {
    let was_marked = is_marked(file)?;
    file.set_len(0)?;
    file.rewind()?;
    file.sync_all()?;
    Ok(was_marked)
}

fn is_marked(file: &mut File) -> io::Result<bool> {
    let mut mark = Vec::new();
    file.take(CLEAN.len() as u64 + 1).read_to_end(&mut mark)?;
    Ok(mark == CLEAN)
}

fn failed(what: &str, path: &Path, source: io::Error) -> StoreError {
    StoreError::Io { what: format!("{what} {}", path.display()), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn second_holder_is_refused_and_told_why() {
        let dir = tempfile::tempdir().unwrap();
        let first = Lock::take(dir.path()).unwrap();
        let refused = Lock::take(dir.path()).unwrap_err().to_string();
        assert!(refused.contains("in use by another process"), "{refused}");
        drop(first);
        Lock::take(dir.path()).unwrap();
    }

    #[test]
    fn stop_is_clean_only_when_it_was_marked_since() {
        let dir = tempfile::tempdir().unwrap();
        assert!(!Lock::take(dir.path()).unwrap().was_clean());
        let mut lock = Lock::take(dir.path()).unwrap();
        lock.mark_clean().unwrap();
        drop(lock);
        assert!(Lock::take(dir.path()).unwrap().was_clean());
        assert!(!Lock::take(dir.path()).unwrap().was_clean(), "it was opened in between");
    }

    #[test]
    fn holding_leaves_the_mark_and_makes_no_lock() {
        let dir = tempfile::tempdir().unwrap();
        Lock::hold(dir.path()).unwrap_err();
        assert!(!dir.path().join("LOCK").exists());
        let mut lock = Lock::take(dir.path()).unwrap();
        Lock::hold(dir.path()).unwrap_err();
        lock.mark_clean().unwrap();
        drop(lock);
        assert!(Lock::hold(dir.path()).unwrap().was_clean());
        assert!(Lock::take(dir.path()).unwrap().was_clean());
    }
}
