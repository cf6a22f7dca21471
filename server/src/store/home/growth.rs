//! Room for sled's file to grow. sled ends for good at the first write that finds none, and nothing can be tried again:
//! so the room is taken before anything is written, and whoever fills the disk cannot take it any more.

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;

use super::Home;
use crate::os;
use crate::store::StoreError;

/// What is taken at a time.
const GROWTH_BYTES: u64 = 32 << 20;
/// What must be there at least: what is written between two looks is far less.
const LEAST_BYTES: u64 = 4 << 20;
/// What `stat(2)` counts in, whatever a block of the file system is.
const BLOCK_BYTES: u64 = 512;

impl Home {
    /// Takes room to grow, unless there is enough of it left. Whether there is room for what comes next.
    pub(crate) fn has_room_to_grow(&self) -> Result<bool, StoreError> {
        let path = self.dir.join("db");
        let taken = || {
            let file = File::options().write(true).open(&path)?;
            Ok(ahead(&file)? >= GROWTH_BYTES / 2
                || os::reserve_growth(&file, GROWTH_BYTES)?
                || os::reserve_growth(&file, LEAST_BYTES)?)
        };
        taken().map_err(|source| StoreError::Io { what: format!("take room for {}", path.display()), source })
    }
}

/// Room beyond the end that is the file's already.
fn ahead(file: &File) -> io::Result<u64> {
    let meta = file.metadata()?;
    Ok((meta.blocks() * BLOCK_BYTES).saturating_sub(meta.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_taken_once_and_again_when_it_is_used_up() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::open(dir.path()).unwrap();
        let file = File::options().write(true).open(dir.path().join("db")).unwrap();
        let ahead = || ahead(&file).unwrap();
        assert!(home.has_room_to_grow().unwrap());
        assert!(ahead() >= GROWTH_BYTES - BLOCK_BYTES, "{}", ahead());
        // sled gives back what is beyond the end when it cuts its file.
        file.set_len(file.metadata().unwrap().len()).unwrap();
        assert!(home.has_room_to_grow().unwrap());
        assert!(ahead() >= GROWTH_BYTES / 2, "{}", ahead());
    }
}
