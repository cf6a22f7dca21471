//! Brings an engine back from what a store holds: records first, then the groups of the log.

use std::collections::BTreeMap;

use hashbrown::HashMap;

use crate::engine::{Engine, EngineConfig};
use crate::id::{JobId, QueueId};
use crate::job::JobRecord;
use crate::ledger::{Contradiction, Coverage, DrainRecord, IdempotencyRecord, Ledger, RequestRecord};
use crate::mutation::Mutation;
use crate::name::BatchName;
use crate::queue::{BatchRecord, QueueRecord};
use crate::time::Now;

/// Why what a store holds cannot be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadError(pub String);

/// Collects the facts. Each record carries `as_of`, the last group it includes: mutations of that
/// group and those before are passed over for it. Of two records of one thing the higher `as_of` wins.
pub struct Loader {
    config: EngineConfig,
    ledger: Ledger,
    as_of: AsOf,
}

/// Up to which group the records include what the log says.
#[derive(Default)]
struct AsOf {
    jobs: HashMap<JobId, u64>,
    queues: BTreeMap<QueueId, u64>,
    drains: BTreeMap<u128, u64>,
    batches: BTreeMap<(QueueId, BatchName), u64>,
    /// The group being replayed.
    group: u64,
}

impl Coverage for AsOf {
    fn job(&self, id: JobId) -> bool {
        self.jobs.get(&id).is_some_and(|as_of| *as_of >= self.group)
    }

    fn queue(&self, id: QueueId) -> bool {
        self.queues.get(&id).is_some_and(|as_of| *as_of >= self.group)
    }

    fn batch(&self, queue: QueueId, name: &BatchName) -> bool {
        if self.batches.is_empty() {
            return false;
        }
        self.batches.get(&(queue, name.clone())).is_some_and(|as_of| *as_of >= self.group)
    }
}

impl Loader {
    /// Nothing yet.
    #[must_use]
    pub fn new(config: EngineConfig) -> Loader {
        Loader { config, ledger: Ledger::default(), as_of: AsOf::default() }
    }

    /// The numbers up to this one were given: they are not given again.
    pub fn serial(&mut self, serial: u64) {
        self.ledger.raise_serial(serial);
    }

    /// Queues up to this one were given their numbers: of those that do not come as records or in groups
    /// nothing is left, and what groups say of their jobs is passed over.
    pub fn last_queue(&mut self, last: QueueId) {
        self.ledger.raise_last_queue(last);
    }

    /// A queue.
    pub fn queue(&mut self, record: QueueRecord, as_of: u64) {
        if is_newest(self.as_of.queues.get(&record.id), as_of) {
            self.as_of.queues.insert(record.id, as_of);
            self.ledger.put_queue(record);
        }
    }

    /// A job. Its queue has come before.
    ///
    /// # Errors
    /// When the record contradicts another.
    pub fn job(&mut self, record: JobRecord, as_of: u64) -> Result<(), LoadError> {
        if is_newest(self.as_of.jobs.get(&record.id), as_of) {
            self.as_of.jobs.insert(record.id, as_of);
            self.ledger.put_job(record)?;
        }
        Ok(())
    }

    /// A drained set.
    pub fn drain(&mut self, record: DrainRecord, as_of: u64) {
        if is_newest(self.as_of.drains.get(&record.request.id), as_of) {
            self.as_of.drains.insert(record.request.id, as_of);
            self.ledger.put_drain(record);
        }
    }

    /// A batch. Its queue has come before.
    pub fn batch(&mut self, record: BatchRecord, as_of: u64) {
        let key = (record.queue, record.name.clone());
        if is_newest(self.as_of.batches.get(&key), as_of) {
            self.as_of.batches.insert(key, as_of);
            self.ledger.batches.put(record);
        }
    }

    /// An idempotency key. Records come oldest first for each queue, after the queues and before any group.
    /// Those of queues that are gone are passed over.
    pub fn idempotency(&mut self, record: IdempotencyRecord) {
        if self.ledger.is_open(record.queue) {
            self.ledger.idempotency.insert(record);
        }
    }

    /// An answered request. Records come oldest first, before any group.
    pub fn request(&mut self, record: RequestRecord) {
        self.ledger.requests.insert(record);
    }

    /// A group of the log. Groups come in order.
    ///
    /// # Errors
    /// When a mutation contradicts the facts.
    pub fn group(
        &mut self,
        number: u64,
        now: Now,
        mutations: impl IntoIterator<Item = Mutation>,
    ) -> Result<(), LoadError> {
        self.as_of.group = number;
        for mutation in mutations {
            self.ledger.apply(&mutation, now, &self.as_of)?;
        }
        Ok(())
    }

    /// The engine, with the tree, timers and positions derived.
    ///
    /// # Errors
    /// When the facts contradict each other, or a job that was enqueued is neither there nor was it removed.
    pub fn finish(self, now: Now) -> Result<Engine, LoadError> {
        let (engine, missing) = self.finish_what_is_left(now)?;
        missing.map_or(Ok(engine), Err)
    }

    /// As [`Loader::finish`], for a look at what may be damaged: that jobs are missing is told beside.
    ///
    /// # Errors
    /// When the facts contradict each other.
    pub fn finish_what_is_left(self, now: Now) -> Result<(Engine, Option<LoadError>), LoadError> {
        self.ledger.check_queues()?;
        let missing = self.ledger.check_totals().err().map(LoadError::from);
        Ok((Engine::from_ledger(self.config, self.ledger, now), missing))
    }
}

fn is_newest(known: Option<&u64>, as_of: u64) -> bool {
    known.is_none_or(|known| *known < as_of)
}

impl From<Contradiction> for LoadError {
    fn from(contradiction: Contradiction) -> LoadError {
        LoadError(contradiction.0)
    }
}

impl std::fmt::Display for LoadError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for LoadError {}
