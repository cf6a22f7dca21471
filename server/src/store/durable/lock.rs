//! One process at a time uses a store; and how the last one stopped.
//!
//! ```text
//! (empty)                     it did not stop in good order
//! clean                       it did: the log ends with its mark
//! clean, sled 1a0000 89abcdef and sled's files are what this seal says
//! ```
//! A start takes the seal away before it lets sled change its files, and the rest before anything is added to the log: so
//! one that is refused or killed in between leaves what the next has to know.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::store::StoreError;
use crate::store::home::Seal;

const CLEAN: &str = "clean";
const SEALED: &str = "clean, sled ";
/// A text that is longer is not ours.
const MAX_BYTES: u64 = 64;

/// How the last process stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stop {
    /// It was killed.
    Unclean,
    /// In good order; what sled's files were then, if that is still to be asked.
    Clean(Option<Seal>),
}

/// The lock, while it is held. The system lets go of it when the process ends, however it ends.
#[derive(Debug)]
pub(super) struct Lock {
    file: File,
    path: PathBuf,
    last: Stop,
}

impl Lock {
    /// Takes the lock of the store in `dir`.
    pub(super) fn take(dir: &Path) -> Result<Lock, StoreError> {
        let path = dir.join("LOCK");
        let opened =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(&path);
        Lock::of(opened.map_err(|source| failed("open", &path, source))?, dir, path)
    }

    /// Takes the lock of a store that is not to be changed.
    pub(super) fn hold(dir: &Path) -> Result<Lock, StoreError> {
        let path = dir.join("LOCK");
        match File::open(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                Err(StoreError::Unusable(format!("{} is no store of Sluice", dir.display())))
            }
            opened => Lock::of(opened.map_err(|source| failed("open", &path, source))?, dir, path),
        }
    }

    fn of(mut file: File, dir: &Path, path: PathBuf) -> Result<Lock, StoreError> {
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(StoreError::Unusable(format!("{} is in use by another process", dir.display())));
            }
            Err(TryLockError::Error(source)) => return Err(failed("lock", &path, source)),
        }
        let last = Stop::read(&mut file).map_err(|source| failed("read", &path, source))?;
        Ok(Lock { file, path, last })
    }

    /// Whether the one who held it before stopped in good order.
    pub(super) fn was_clean(&self) -> bool {
        matches!(self.last, Stop::Clean(_))
    }

    /// What sled's files were then; none when nobody knows.
    pub(super) fn seal(&self) -> Option<Seal> {
        match self.last {
            Stop::Clean(seal) => seal,
            Stop::Unclean => None,
        }
    }

    /// Looks at sled's files in `sled`, which nobody has open.
    pub(super) fn check_seal(&self, sled: &Path) -> Result<(), StoreError> {
        let Some(sealed) = self.seal() else { return Ok(()) };
        match Seal::of(sled) {
            Ok(found) if found == sealed => return Ok(()),
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Err(StoreError::Damaged(format!("{} is missing, or part of it", sled.display())));
            }
            Err(source) => return Err(failed("read", sled, source)),
        }
        Err(StoreError::Damaged(format!(
            "{}: the last stop was in good order, but this is not what it left: sled would go on without what is damaged. \
             To let it, remove {}",
            sled.join("db").display(),
            self.path.display()
        )))
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

    /// From here on nothing is said of sled's files.
    pub(super) fn break_seal(&mut self) -> Result<(), StoreError> {
        if self.seal().is_some() { self.write(Stop::Clean(None)) } else { Ok(()) }
    }

    /// From here on the store was not stopped in good order.
    pub(super) fn mark_in_use(&mut self) -> Result<(), StoreError> {
        self.write(Stop::Unclean)
    }

    /// Everything is on disk.
    pub(super) fn mark_clean(&mut self, seal: Seal) -> Result<(), StoreError> {
        self.write(Stop::Clean(Some(seal)))
    }

    /// A crash in between leaves less than a line, which is as good as nothing.
    fn write(&mut self, stop: Stop) -> Result<(), StoreError> {
        let text = match stop {
            Stop::Unclean => String::new(),
            Stop::Clean(None) => format!("{CLEAN}\n"),
            Stop::Clean(Some(seal)) => format!("{SEALED}{seal}\n"),
        };
        let file = &mut self.file;
        let written = (|| {
            file.set_len(0)?;
            file.rewind()?;
            file.write_all(text.as_bytes())?;
            file.sync_all()
        })();
        written.map_err(|source| failed("write", &self.path, source))
    }
}

impl Stop {
    fn read(file: &mut File) -> io::Result<Stop> {
        let mut text = Vec::new();
        file.take(MAX_BYTES).read_to_end(&mut text)?;
        let line = std::str::from_utf8(&text).ok().and_then(|text| text.strip_suffix('\n'));
        Ok(match line {
            Some(CLEAN) => Stop::Clean(None),
            Some(line) => match line.strip_prefix(SEALED).map(str::parse) {
                Some(Ok(seal)) => Stop::Clean(Some(seal)),
                _ => Stop::Unclean,
            },
            None => Stop::Unclean,
        })
    }
}

fn failed(what: &str, path: &Path, source: io::Error) -> StoreError {
    StoreError::Io { what: format!("{what} {}", path.display()), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seal() -> Seal {
        "1a0000 89abcdef".parse().unwrap()
    }

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
    fn how_the_last_one_stopped_is_known_until_the_store_is_used_again() {
        let dir = tempfile::tempdir().unwrap();
        let take = || Lock::take(dir.path()).unwrap();
        assert!(!take().was_clean());
        take().mark_clean(seal()).unwrap();
        assert_eq!(take().last, Stop::Clean(Some(seal())));
        take().break_seal().unwrap();
        assert_eq!(take().last, Stop::Clean(None));
        take().break_seal().unwrap();
        assert_eq!(take().last, Stop::Clean(None));
        take().mark_in_use().unwrap();
        assert_eq!(take().last, Stop::Unclean);
        take().break_seal().unwrap();
        assert_eq!(take().last, Stop::Unclean);
    }

    #[test]
    fn what_is_no_whole_line_counts_as_nothing() {
        let dir = tempfile::tempdir().unwrap();
        for text in [
            "clean",
            "clean\n\n",
            "clean, sled \n",
            "clean, sled 1a0000 89abcdef",
            "\u{ff}\n",
            &"c".repeat(100),
        ] {
            std::fs::write(dir.path().join("LOCK"), text).unwrap();
            assert_eq!(Lock::take(dir.path()).unwrap().last, Stop::Unclean, "{text}");
        }
    }

    #[test]
    fn holding_makes_no_lock() {
        let dir = tempfile::tempdir().unwrap();
        Lock::hold(dir.path()).unwrap_err();
        assert!(!dir.path().join("LOCK").exists());
        let mut lock = Lock::take(dir.path()).unwrap();
        Lock::hold(dir.path()).unwrap_err();
        lock.mark_clean(seal()).unwrap();
        drop(lock);
        assert_eq!(Lock::hold(dir.path()).unwrap().seal(), Some(seal()));
    }
}
