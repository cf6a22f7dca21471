//! Where the queue is kept. The writer thread owns the store and is the only one to change it; readers
//! of bodies work beside it.
//!
//! This file knows mutations, records and bodies; what a file or a tree is, only the implementations know.

mod backup;
mod codec;
#[cfg(test)]
pub(crate) mod conformance;
pub(crate) mod disk;
mod durable;
mod home;
pub(crate) mod log;
mod memory;

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use sluice_engine::{Attributes, Detail, JobId, Ledger, Loader, Mutation, Now, Span};

pub use backup::{Backup, Slice};
pub use durable::{Checked, Durable, DurableOptions, Restored, check, restore};
pub use log::{Groups, Tail};
pub use memory::{Failure, Memory};

/// A place where the queue is kept.
pub trait Store: Send {
    /// Brings everything into `loader`, and makes the store ready for commits. Called once, first.
    /// Gives the time of the last group, after which engine time goes on; none for a new store.
    ///
    /// # Errors
    /// When the store is damaged or cannot be read: the message says what and where.
    fn load(&mut self, loader: &mut Loader) -> Result<Option<Now>, StoreError>;

    /// Makes a group durable, whole or not at all. After an error nothing more may be asked of the
    /// store, and nobody may be answered.
    ///
    /// # Errors
    /// When the group may not be durable.
    fn commit(&mut self, now: Now, mutations: &[Mutation]) -> Result<(), StoreError>;

    /// Where the bodies of `ids` lie; none for a job the store does not know or whose body is gone.
    /// Whoever holds a place can read it, whatever happens to the job meanwhile.
    fn locate(&self, ids: &[JobId]) -> Vec<Option<Place>>;

    /// Reads bodies, on any thread.
    fn reader(&self) -> Arc<dyn BodyReader>;

    /// Does a bounded bit of what can be done between groups: hands jobs to their home, retires what
    /// is empty. To be called after each commit and while idle.
    ///
    /// # Errors
    /// As [`Store::commit`].
    fn upkeep(&mut self, ledger: &Ledger, now: Now) -> Result<Upkeep, StoreError>;

    /// Follows the groups that become durable from now on.
    ///
    /// # Errors
    /// When the store keeps none, or too many follow.
    fn follow(&self) -> Result<Tail, StoreError>;

    /// The groups since `tail` was last asked about, in order.
    ///
    /// # Errors
    /// When more of them would have had to be kept than may be.
    fn groups(&self, tail: &Tail) -> Result<Groups, StoreError>;

    /// How the store is doing.
    fn pressure(&self) -> Pressure;

    /// The file in which a clock keeps its place from run to run; none: it does not.
    fn clock_file(&self) -> Option<PathBuf> {
        None
    }

    /// Notes a clean stop, and waits for what works beside the writer. Last call.
    ///
    /// # Errors
    /// As [`Store::commit`].
    fn close(&mut self, now: Now) -> Result<(), StoreError>;
}

/// Reads bodies, on any thread.
pub trait BodyReader: Send + Sync {
    /// The bodies at `places`, in their order. Blocks on the disk.
    ///
    /// # Errors
    /// When one cannot be read or is damaged.
    fn read(&self, places: &[Place]) -> Result<Vec<Body>, StoreError>;
}

/// Where a body lies. Holding it keeps the body from being overwritten.
#[derive(Clone, Debug)]
pub struct Place(pub(crate) PlaceKind);

/// The kinds of place, for the implementations.
#[derive(Clone, Debug)]
pub(crate) enum PlaceKind {
    /// Here it is: the memory store's kind.
    Memory(Body),
    /// In the log, where the job was born; its detail may be in sled.
    Log { id: JobId, place: log::LogPlace, detail_at_home: bool },
    /// In sled.
    Home {
        id: JobId,
        #[allow(dead_code, reason = "held, not looked at")]
        pin: durable::Pin,
    },
}

/// What of a job only the store keeps.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Body {
    /// As enqueued; none when it is gone (of a finished job).
    pub payload: Option<Bytes>,
    /// As enqueued.
    pub attributes: Attributes,
    /// What the engine has let go of, if it was at rest when it moved home.
    pub detail: Option<Box<Detail>>,
}

/// What upkeep asks of the writer.
#[derive(Debug, Default)]
pub struct Upkeep {
    /// To be committed with the next group.
    pub mutations: Vec<Mutation>,
    /// Jobs whose details the store can tell from now on ([`sluice_engine::Engine::release_details`]).
    pub at_rest: Vec<JobId>,
    /// Whether there is more to do at once.
    pub more: bool,
    /// When to ask again at the latest, even if nothing happens: something is under way beside the writer.
    pub again_in: Option<Span>,
}

/// How a store is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pressure {
    /// Well.
    #[default]
    None,
    /// Enqueues should slow down: moving home does not keep up.
    Slow,
    /// No room for enqueues (`STORAGE_FULL`); leases and acks go on.
    NoEnqueue,
    /// No room for leases either; acks go on.
    NoLease,
}

/// What went wrong with a store.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The operating system said no.
    #[error("{what}: {source}")]
    Io {
        /// What was tried, and on which file.
        what: String,
        /// What it said.
        source: std::io::Error,
    },
    /// What is there cannot be.
    #[error("damaged store: {0}")]
    Damaged(String),
    /// Another process uses it, or it is of another kind.
    #[error("{0}")]
    Unusable(String),
}
