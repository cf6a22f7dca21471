//! Bytes kept written for the day the disk is full: giving them up lets jobs move home and acks go on.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use tracing::warn;

use crate::store::StoreError;

/// What is written at once. No zeros: a file system could keep those without room.
static BLOCK: [u8; 64 << 10] = [0xA5; 64 << 10];

/// The file.
#[derive(Clone, Debug)]
pub(super) struct Ballast {
    path: PathBuf,
    bytes: u64,
}

impl Ballast {
    pub(super) fn new(dir: &Path, bytes: u64) -> Ballast {
        Ballast { path: dir.join("ballast"), bytes }
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether it is there, whole.
    pub(super) fn is_there(&self) -> bool {
        self.bytes > 0 && fs::metadata(&self.path).is_ok_and(|meta| meta.len() >= self.bytes)
    }

    /// Makes it, unless it is there. Half of one is of no use: on an error nothing is left of it.
    pub(super) fn make(&self) -> io::Result<()> {
        if self.bytes == 0 || self.is_there() {
            return Ok(());
        }
        let made = self.write();
        if made.is_err() {
            self.give_up()?;
        }
        made
    }

    /// Gives its room back, because there is no other.
    pub(super) fn give_up_on_full_disk(&self) -> Result<(), StoreError> {
        if self.is_there() {
            warn!(path = %self.path.display(), "the disk is full: giving up the ballast");
        }
        self.give_up()
            .map_err(|source| StoreError::Io { what: format!("give up {}", self.path.display()), source })
    }

    fn give_up(&self) -> io::Result<()> {
        match fs::remove_file(&self.path) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    fn write(&self) -> io::Result<()> {
        let mut options = OpenOptions::new();
        let mut file: File = options.write(true).create(true).truncate(true).mode(0o600).open(&self.path)?;
        let mut left = self.bytes;
        while left > 0 {
            let piece = left.min(BLOCK.len() as u64);
            file.write_all(&BLOCK[..piece as usize])?;
            left -= piece;
        }
        file.sync_all()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ballast_is_made_whole_and_given_up() {
        let dir = tempfile::tempdir().unwrap();
        let ballast = Ballast::new(dir.path(), 100_000);
        assert!(!ballast.is_there());
        ballast.make().unwrap();
        assert!(ballast.is_there());
        assert_eq!(fs::metadata(dir.path().join("ballast")).unwrap().len(), 100_000);
        ballast.give_up().unwrap();
        ballast.give_up().unwrap();
        assert!(!ballast.is_there());
    }

    #[test]
    fn no_ballast_is_no_file() {
        let dir = tempfile::tempdir().unwrap();
        let none = Ballast::new(dir.path(), 0);
        none.make().unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
