//! What the disk beside the data does for the least that is durable: 4 KiB written and synced.

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::FileExt,
    path::Path,
    time::Duration,
};

use tokio::time::Instant;
use uuid::Uuid;

use super::sample::Sample;

const BLOCK: [u8; 4096] = [0x5a; 4096];
/// Blocks of the file: written one after another, from the beginning again at the end.
const BLOCKS: u64 = 4096;
/// How long one turn lasts at most, and how many writes it takes.
const SLICE: Duration = Duration::from_millis(500);
const MAX_WRITES: usize = 1_000;

/// A zeroed file that nobody else sees.
#[derive(Debug)]
pub(super) struct Disk {
    file: File,
    next_block: u64,
    sample: Sample,
}

impl Disk {
    /// Makes the file and zeroes it, so that a sync need not write where its blocks are.
    pub(super) fn open(dir: &Path) -> io::Result<Disk> {
        let path = dir.join(format!("bench-{}.tmp", Uuid::now_v7()));
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(&path)?;
        // Gone with its last handle, whatever becomes of us.
        fs::remove_file(&path)?;
        for block in 0..BLOCKS {
            file.write_all_at(&[0; BLOCK.len()], block * BLOCK.len() as u64)?;
        }
        file.sync_all()?;
        Ok(Disk { file, next_block: 0, sample: Sample::default() })
    }

    /// One turn.
    pub(super) async fn slice(self) -> io::Result<Disk> {
        let joined = tokio::task::spawn_blocking(|| self.write()).await;
        joined.unwrap_or_else(|error| Err(io::Error::other(error)))
    }

    pub(super) fn into_sample(self) -> Sample {
        self.sample
    }

    fn write(mut self) -> io::Result<Disk> {
        let begin = Instant::now();
        for _ in 0..MAX_WRITES {
            let write = Instant::now();
            if write.duration_since(begin) >= SLICE {
                break;
            }
            self.file.write_all_at(&BLOCK, self.next_block * BLOCK.len() as u64)?;
            self.file.sync_data()?;
            self.sample.record(write.elapsed());
            self.next_block = (self.next_block + 1) % BLOCKS;
        }
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn disk_is_measured_and_nothing_is_left_behind() {
        let dir = std::env::temp_dir().join(format!("sluice-disk-{}", Uuid::now_v7()));
        fs::create_dir(&dir).unwrap();
        let disk = Disk::open(&dir).unwrap().slice().await.unwrap();
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 0);
        assert!(disk.into_sample().quantiles().p50 > 0.0);
        fs::remove_dir(&dir).unwrap();
    }
}
