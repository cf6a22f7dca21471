//! Opens a store: in which order its parts come up, and what must fit what.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::Path;
use std::sync::Arc;

use sluice_engine::{Loader, Now, QueueId};
use tracing::info;

use super::compact::Seat;
use super::format;
use super::lock::Lock;
use super::mover::Mover;
use super::reader::HomeReader;
use super::room::Room;
use super::{Durable, DurableOptions};
use crate::store::StoreError;
use crate::store::disk::RealDisk;
use crate::store::home::{Home, Meta};
use crate::store::log::{Log, LogOptions};
use crate::{os, planted};

impl Durable {
    /// Opens the store in `dir`, or makes one there. [`crate::store::Store::load`] comes next.
    ///
    /// # Errors
    /// When it is in use, damaged, of another layout, or cannot be read or written.
    pub fn open(dir: &Path, options: DurableOptions) -> Result<Durable, StoreError> {
        if !options.trust_sync_file_range && !os::sync_file_range_is_refused() {
            return Err(StoreError::Unusable(
                "sync_file_range is not refused in this process: sled would not sync for real".to_owned(),
            ));
        }
        os::private_dir(dir).map_err(io("make", dir))?;
        let mut lock = Lock::take(dir)?;
        let store = format::read_or_create(dir)?;
        let room = Room::open(dir, &options)?;

        let seat = Seat::new(dir);
        seat.tidy()?;
        let sled = dir.join("sled");
        match lock.seal() {
            Some(_) => lock.check_seal(&sled)?,
            None => forget_files(&sled).map_err(io("sync", &sled))?,
        }
        lock.break_seal()?;
        let home = seat.open(&options)?;
        let meta = match home.meta()? {
            Some(meta) if meta.store != store => {
                return Err(StoreError::Damaged(format!("{} belongs to another store", sled.display())));
            }
            Some(meta) => meta,
            None => begin_home(&home, store)?,
        };
        let log_options = LogOptions { segment_bytes: options.log_segment_bytes, ahead: true };
        let log = Log::open(Arc::new(RealDisk), dir, store, log_options, meta.moved_through)?;
        let budget_bytes = options.budget_bytes(os::space(dir).map_err(io("look at", dir))?);
        let mover = Mover::start(home.clone(), room.ballast().clone(), store, options.clone())?;
        Ok(Durable {
            mover,
            log,
            reader: Arc::new(HomeReader::new(home)),
            room,
            options,
            meta,
            budget_bytes,
            last_group: 0,
            dir: dir.to_owned(),
            lock,
        })
    }

    /// Records first, then the groups of the log: each record passes over the groups it includes.
    pub(super) fn recover(&mut self, loader: &mut Loader) -> Result<Option<Now>, StoreError> {
        let home = self.reader.home()?;
        let loaded = home.load(loader)?;
        loader.serial(self.meta.serial);
        loader.last_queue(self.meta.last_queue);
        let mover = &mut self.mover;
        let replayed = self.log.replay(&mut |group, now, mutations, segment| {
            mover.observe(now, &mutations);
            loader.group(group, now, planted::taken(mutations)).map_err(|error| {
                StoreError::Damaged(format!("segment {segment} of the log, group {group}: {error}"))
            })
        })?;
        if loaded.as_of > replayed.last_group {
            return Err(StoreError::Damaged(format!(
                "{}: a record includes group {}, but the log ends with group {}",
                self.dir.join("sled").display(),
                loaded.as_of,
                replayed.last_group
            )));
        }
        // After a kill the end of the log may be missing, and nobody was answered for that. After a stop it may not.
        let ends_clean = replayed.clean && replayed.first_group.is_some();
        if self.lock.was_clean() && !ends_clean {
            return Err(self.lock.end_is_lost(&self.dir));
        }
        self.last_group = replayed.last_group;
        let born = self.log.segments().filter_map(|segment| segment.born()).map(|(first, _)| first).min();
        if let Some(first) = born {
            self.mover.found_early(home.ids_from(first)?);
        }
        self.lock.mark_in_use()?;
        info!(
            dir = %self.dir.display(),
            jobs_at_home = loaded.jobs,
            segments = self.log.segments().len(),
            last_group = replayed.last_group,
            clean = self.lock.was_clean() && replayed.clean,
            "store loaded"
        );
        Ok(replayed.last_now)
    }
}

/// A new home says at once whose it is.
fn begin_home(home: &Home, store: u128) -> Result<Meta, StoreError> {
    let meta = Meta { store, moved_through: 0, serial: 0, last_queue: QueueId(0) };
    home.put_meta(&meta)?;
    home.flush()?;
    Ok(meta)
}

/// After a failed sync the page cache says what the disk does not hold, and nobody knows whether the last
/// process died of one.
fn forget_files(dir: &Path) -> io::Result<()> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            os::forget_pages(&File::open(entry.path())?)?;
        }
    }
    Ok(())
}

fn io<'a>(what: &'a str, path: &'a Path) -> impl FnOnce(io::Error) -> StoreError + use<'a> {
    move |source| StoreError::Io { what: format!("{what} {}", path.display()), source }
}
