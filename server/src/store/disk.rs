//! The disk as the log sees it: files written at an offset and synced, names that are synced apart from
//! them. It knows nothing of what the bytes mean.
//!
//! It is a trait so that a simulation can own order, failure and power loss (`sim`).

mod real;
#[cfg(test)]
pub(crate) mod sim;

use std::fmt::Debug;
use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

pub(crate) use real::RealDisk;

/// Directories and names. A change of a name is durable after [`Disk::sync_dir`] of its directory.
pub(crate) trait Disk: Send + Sync {
    /// Makes a directory; one that is there is fine. Its parent is synced.
    fn create_dir(&self, path: &Path) -> io::Result<()>;

    /// The names in a directory, in no order.
    fn list(&self, dir: &Path) -> io::Result<Vec<String>>;

    /// Makes an empty file that was not there.
    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>>;

    /// Opens a file that is there.
    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>>;

    /// Gives a file another name.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Takes a file's name away. Who has it open can go on reading it.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Makes all changes of names in a directory durable.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
}

/// An open file. What was written is durable after [`DiskFile::sync_data`]; until then any subset of
/// its blocks may survive a loss of power.
pub(crate) trait DiskFile: Send + Sync + Debug {
    /// How long it is.
    fn bytes(&self) -> io::Result<u64>;

    /// Fills `buffer` from `offset` on; an error when the file ends before.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()>;

    /// Writes all of `bytes` at `offset`; the file grows as needed.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// Writes zeros, so that a later write there changes no metadata.
    fn zero(&self, range: Range<u64>) -> io::Result<()>;

    /// Makes the data, and what is needed to read it, durable.
    fn sync_data(&self) -> io::Result<()>;

    /// Lets go of cached pages: after a failed sync the cache says what the disk does not hold.
    fn forget_cache(&self) -> io::Result<()>;
}
