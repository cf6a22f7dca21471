//! Opens the home; where its file has grown far beyond what it holds, in a copy that takes its place.
//!
//! ```text
//! sled                     as it is
//! sled     sled.new        the copy is made, read again, synced
//!          sled.new  sled.old    the old is put aside
//! sled               sled.old    the copy takes its place
//! sled                     the old is removed
//! ```
//! Each name is synced before the next changes, so that a crash finds one of these lines, and in each of them
//! one whole home can be told from what is to be removed.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use tracing::{info, warn};

use super::DurableOptions;
use super::step::Step;
use crate::os;
use crate::store::StoreError;
use crate::store::home::Home;

/// A file so many times as large as what it holds is worth a copy: sled keeps 2.1 to 2.4 times when all is well.
const WORTH_RATIO: u64 = 3;
/// What a copy may take, in times of what it holds, while the old file is still there.
const COPY_RATIO: u64 = 3;

/// Where the home lies, and its copies.
pub(super) struct Seat {
    dir: PathBuf,
    home: PathBuf,
    copy: PathBuf,
    old: PathBuf,
}

impl Seat {
    pub(super) fn new(dir: &Path) -> Seat {
        Seat {
            dir: dir.to_owned(),
            home: dir.join("sled"),
            copy: dir.join("sled.new"),
            old: dir.join("sled.old"),
        }
    }

    /// Where a whole home lies now: a crash may have left it under the copy's name.
    pub(super) fn whole(&self) -> &Path {
        let is_between = !self.home.exists() && self.copy.exists() && self.old.exists();
        if is_between { &self.copy } else { &self.home }
    }

    /// Finishes or undoes what a crash cut short.
    pub(super) fn tidy(&self) -> Result<(), StoreError> {
        if self.whole() == self.copy {
            rename(&self.copy, &self.home, &self.dir)?;
        }
        if self.home.exists() {
            remove(&self.copy)?;
            remove(&self.old)?;
        }
        Ok(())
    }

    /// Opens the home, or makes one.
    pub(super) fn open(&self, options: &DurableOptions) -> Result<Home, StoreError> {
        if !self.home.exists() {
            self.make()?;
        }
        let home = Home::open(&self.home)?;
        if !home.guarded(|| self.is_worth_it(&home, options.compact_above_bytes))? {
            return Ok(home);
        }
        home.guarded(|| home.copy_to(&self.copy))?;
        options.reach(Step::HomeCopied)?;
        let before = home.size_on_disk()?;
        home.close()?;
        os::sync_dir(&self.dir).map_err(failed("sync", &self.dir))?;
        options.reach(Step::CopySynced)?;
        rename(&self.home, &self.old, &self.dir)?;
        options.reach(Step::OldHomeAside)?;
        rename(&self.copy, &self.home, &self.dir)?;
        options.reach(Step::CopyInPlace)?;
        remove(&self.old)?;
        let home = Home::open(&self.home)?;
        info!(dir = %self.home.display(), before_bytes = before, bytes = home.size_on_disk()?, "home compacted");
        Ok(home)
    }

    /// sled never opens again what a crash left of its first moments, and does not sync the names of its files: so a
    /// home is made beside its place, and takes it when it is whole.
    fn make(&self) -> Result<(), StoreError> {
        remove(&self.copy)?;
        Home::open(&self.copy)?.close()?;
        os::sync_dir(&self.dir).map_err(failed("sync", &self.dir))?;
        rename(&self.copy, &self.home, &self.dir)
    }

    fn is_worth_it(&self, home: &Home, least_bytes: u64) -> Result<bool, StoreError> {
        let size = home.size_on_disk()?;
        let is_worth = |live: u64| size > least_bytes.max(live.saturating_mul(WORTH_RATIO));
        // To read all bodies is itself only worth it if the records say so.
        if size <= least_bytes || !is_worth(home.reckoned_bytes()?) {
            return Ok(false);
        }
        let live = home.live_bytes()?;
        if !is_worth(live) {
            return Ok(false);
        }
        let free = os::space(&self.dir).map_err(failed("look at", &self.dir))?.free;
        if free < live.saturating_mul(COPY_RATIO) {
            warn!(size_bytes = size, live_bytes = live, free_bytes = free, "no room to compact the home");
            return Ok(false);
        }
        Ok(true)
    }
}

fn rename(from: &Path, to: &Path, dir: &Path) -> Result<(), StoreError> {
    fs::rename(from, to).and_then(|()| os::sync_dir(dir)).map_err(failed("rename", from))
}

/// Removes a directory, if it is there.
fn remove(dir: &Path) -> Result<(), StoreError> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(failed("remove", dir)(error)),
        _ => Ok(()),
    }
}

fn failed<'a>(what: &'a str, path: &'a Path) -> impl FnOnce(io::Error) -> StoreError + use<'a> {
    move |source| StoreError::Io { what: format!("{what} {}", path.display()), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn home_that_was_cut_short_while_it_was_made_is_made_again() {
        let dir = tempfile::tempdir().unwrap();
        let seat = Seat::new(dir.path());
        fs::create_dir(&seat.copy).unwrap();
        // What a kill leaves in the midst of sled's first write.
        fs::write(seat.copy.join("conf"), "min").unwrap();
        seat.tidy().unwrap();
        seat.open(&DurableOptions::default()).unwrap().close().unwrap();
        assert!(seat.home.join("db").exists() && !seat.copy.exists());
    }
}
