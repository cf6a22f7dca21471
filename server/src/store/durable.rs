//! The store on disk: a log for the young, sled for what stays.
//!
//! Every group goes into the log, and is answered when it is there. What outlives the log moves home on a
//! thread of its own: the writer hands it records between groups, as of the last group, and never waits
//! for it. Files, layouts and the order of writes: `docs/STORAGE.md`.

mod ballast;
mod check;
mod compact;
mod format;
mod handing;
mod housekeeper;
mod lock;
mod mover;
mod option;
mod reader;
mod recovery;
mod restore;
mod room;
pub(crate) mod step;
mod thread;

use std::path::PathBuf;
use std::sync::Arc;

use sluice_engine::{JobId, Ledger, Loader, Mutation, Now, Span};

use self::lock::Lock;
use self::mover::Mover;
use self::reader::HomeReader;
use self::room::Room;
pub(crate) use self::step::Step;
#[cfg(test)]
pub(crate) use self::step::Steps;
use super::home::{Meta, Seal};
use super::log::Log;
use super::{BodyReader, Groups, Place, PlaceKind, Pressure, Store, StoreError, Tail, Upkeep};

pub use self::check::{Checked, check};
pub use self::option::DurableOptions;
pub(crate) use self::reader::Pin;
pub use self::restore::{Restored, restore};

/// How often the writer looks after jobs that are on their way home, while nothing else happens: so often
/// that the thread does not run out of orders.
const BUSY_UPKEEP: Span = Span::from_millis(10);

/// The store on disk.
pub struct Durable {
    // Dropped in this order: the thread that moves jobs home goes before what it works on, the lock last.
    mover: Mover,
    log: Log,
    reader: Arc<HomeReader>,
    room: Room,
    options: DurableOptions,
    meta: Meta,
    /// Bytes of the log at which moving home begins.
    budget_bytes: u64,
    /// The last group that is durable.
    last_group: u64,
    dir: PathBuf,
    lock: Lock,
}

impl Durable {
    /// Where it is.
    #[must_use]
    pub fn dir(&self) -> &std::path::Path {
        &self.dir
    }
}

impl Store for Durable {
    fn load(&mut self, loader: &mut Loader) -> Result<Option<Now>, StoreError> {
        self.recover(loader)
    }

    fn commit(&mut self, now: Now, mutations: &[Mutation]) -> Result<(), StoreError> {
        self.last_group = self.log.append(now, mutations)?;
        for mutation in mutations {
            if let Mutation::Retired { segment } = mutation {
                self.options.reach(Step::RetirementCommitted)?;
                self.log.retire(*segment)?;
                self.mover.retired(*segment);
            }
        }
        self.mover.observe(now, mutations);
        Ok(())
    }

    fn locate(&self, ids: &[JobId]) -> Vec<Option<Place>> {
        let place = |id: &JobId| match self.log.locate(*id) {
            Some(place) => PlaceKind::Log { id: *id, place, detail_at_home: self.mover.is_early(*id) },
            None => PlaceKind::Home { id: *id, pin: self.mover.pin() },
        };
        ids.iter().map(|id| Some(Place(place(id)))).collect()
    }

    fn reader(&self) -> Arc<dyn BodyReader> {
        self.reader.clone()
    }

    fn clock_file(&self) -> Option<PathBuf> {
        Some(self.dir.join("CLOCK"))
    }

    fn upkeep(&mut self, ledger: &Ledger, now: Now) -> Result<Upkeep, StoreError> {
        let mut upkeep = Upkeep::default();
        self.mover.collect(ledger, now, &mut upkeep)?;
        let is_over = self.log.used_bytes() > self.budget_bytes;
        self.mover.urge(self.log.used_bytes() > self.budget_bytes.saturating_mul(3) / 2);
        if is_over {
            self.mover.begin(&self.log)?;
        }
        upkeep.more |= self.mover.feed(ledger, &self.log, self.last_group, now)?;
        upkeep.again_in = self.mover.is_busy().then_some(BUSY_UPKEEP);
        self.room.look(now, &mut self.log, &mut self.mover)?;
        Ok(upkeep)
    }

    fn follow(&self) -> Result<Tail, StoreError> {
        self.log.follow()
    }

    fn groups(&self, tail: &Tail) -> Result<Groups, StoreError> {
        self.log.groups(tail)
    }

    fn pressure(&self) -> Pressure {
        let is_behind = self.log.used_bytes() > self.budget_bytes.saturating_mul(2);
        match self.room.pressure() {
            Pressure::None if is_behind => Pressure::Slow,
            pressure => pressure,
        }
    }

    fn close(&mut self, now: Now) -> Result<(), StoreError> {
        self.mover.stop()?;
        self.log.append_clean(now)?;
        let home = self.reader.take()?;
        home.flush()?;
        home.close()?;
        let sled = self.dir.join("sled");
        let failed = |source| StoreError::Io { what: format!("seal {}", sled.display()), source };
        self.lock.mark_clean(Seal::of(&sled).map_err(failed)?)
    }
}
