//! Brings an engine back from what a store holds: records first, then the groups of the log.

use crate::engine::{Engine, EngineConfig};
use crate::job::JobRecord;
use crate::ledger::{DrainRecord, RequestRecord};
use crate::mutation::Mutation;
use crate::queue::QueueRecord;
use crate::time::Now;

/// Why what a store holds cannot be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadError(pub String);

/// Collects the facts. Each record carries `as_of`, the last group it includes: mutations of that
/// group and those before are passed over for it. Of two records of one thing the higher `as_of` wins.
pub struct Loader {}

impl Loader {
    /// Nothing yet.
    #[must_use]
    pub fn new(_config: EngineConfig) -> Loader {
        todo!()
    }

    /// The numbers up to this one were given: they are not given again.
    pub fn serial(&mut self, _serial: u64) {
        todo!()
    }

    /// A queue.
    pub fn queue(&mut self, _record: QueueRecord, _as_of: u64) {
        todo!()
    }

    /// A job. Its queue has come before.
    ///
    /// # Errors
    /// When the record contradicts another.
    pub fn job(&mut self, _record: JobRecord, _as_of: u64) -> Result<(), LoadError> {
        todo!()
    }

    /// A drained set.
    pub fn drain(&mut self, _record: DrainRecord, _as_of: u64) {
        todo!()
    }

    /// An answered request. Records come oldest first, before any group.
    pub fn request(&mut self, _record: RequestRecord) {
        todo!()
    }

    /// A group of the log. Groups come in order.
    ///
    /// # Errors
    /// When a mutation contradicts the facts.
    pub fn group(
        &mut self,
        _number: u64,
        _now: Now,
        _mutations: impl IntoIterator<Item = Mutation>,
    ) -> Result<(), LoadError> {
        todo!()
    }

    /// The engine, with the tree, timers and positions derived.
    ///
    /// # Errors
    /// When the facts contradict each other.
    pub fn finish(self, _now: Now) -> Result<Engine, LoadError> {
        todo!()
    }
}

impl std::fmt::Display for LoadError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for LoadError {}
