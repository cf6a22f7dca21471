//! Where jobs live that outlive the log: sled, one tree for each way of waiting. Nothing is answered from
//! here while it is written; what must be durable before what is the caller's to order, with [`Home::flush`].
//!
//! It knows records and rows, neither the log nor the engine's rules. Layouts: `docs/STORAGE.md`.

mod batch;
mod body;
mod check;
mod compact;
mod detail;
mod drain;
mod growth;
mod idempotency;
mod job;
mod load;
mod meta;
mod moving;
mod open;
mod part;
mod queue;
mod removal;
mod request;
pub(crate) mod row;
mod seal;
pub(crate) mod value;

use std::path::PathBuf;

use bytes::Bytes;
use sled::{Db, Tree};
use sluice_engine::{Detail, JobId, JobState, QueueRecord};

use self::body::Kind;
use self::job::StoredJob;
use self::value::Malformed;
use super::{Body, StoreError};

pub(crate) use self::meta::Meta;
pub(crate) use self::moving::{Moving, MovingJob};
pub(crate) use self::seal::Seal;

/// The home of jobs. Shared between the thread that writes it and those that read bodies.
#[derive(Clone)]
pub(crate) struct Home {
    dir: PathBuf,
    db: Db,
    states: [Tree; StateTree::ALL.len()],
    body: Tree,
    drain: Tree,
    queue: Tree,
    request: Tree,
    batch: Tree,
    idempotency: Tree,
    meta: Tree,
}

/// The trees that hold jobs by where they stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum StateTree {
    /// READY and LEASED: what is in a worker's hands is back here if it fails.
    Ready,
    /// SCHEDULED.
    Scheduled,
    /// RETRYING.
    Retry,
    /// DEAD and DRAINED: kept whole, and can be requeued.
    Dead,
    /// COMPLETED, CANCELLED, EXPIRED, DROPPED: history.
    Done,
}

impl StateTree {
    const ALL: [StateTree; 5] =
        [StateTree::Ready, StateTree::Scheduled, StateTree::Retry, StateTree::Dead, StateTree::Done];

    /// Where a job in `state` lives.
    pub(crate) fn of(state: JobState) -> StateTree {
        match state {
            JobState::Ready | JobState::Leased => StateTree::Ready,
            JobState::Scheduled => StateTree::Scheduled,
            JobState::Retrying => StateTree::Retry,
            JobState::Dead | JobState::Drained => StateTree::Dead,
            JobState::Completed | JobState::Cancelled | JobState::Expired | JobState::Dropped => {
                StateTree::Done
            }
        }
    }

    fn name(self) -> &'static str {
        match self {
            StateTree::Ready => "ready",
            StateTree::Scheduled => "scheduled",
            StateTree::Retry => "retry",
            StateTree::Dead => "dead",
            StateTree::Done => "done",
        }
    }
}

impl Home {
    /// Whose home it is and how far the log has moved in; none while it is new.
    pub(crate) fn meta(&self) -> Result<Option<Meta>, StoreError> {
        let Some(value) = self.meta.get(meta::KEY).map_err(|e| self.failed("read meta", e))? else {
            return Ok(None);
        };
        meta::decode(&value).map(Some).map_err(|e| self.damaged("meta", meta::KEY, e))
    }

    /// Notes how far the log has moved in.
    pub(crate) fn put_meta(&self, meta: &Meta) -> Result<(), StoreError> {
        self.put(&self.meta, meta::KEY, meta::encode(meta))
    }

    /// Everything written so far is durable afterwards: see `os::refuse_sync_file_range`.
    pub(crate) fn flush(&self) -> Result<(), StoreError> {
        self.db.flush().map(drop).map_err(|e| self.failed("flush", e))
    }

    /// Does what may find sled damaged, and makes its panics errors.
    pub(crate) fn guarded<T>(&self, work: impl FnOnce() -> Result<T, StoreError>) -> Result<T, StoreError> {
        open::guarded(&self.dir, work)
    }

    /// Tells whether a queue's record is the one that was written before.
    pub(crate) fn queue_hash(record: &QueueRecord) -> u64 {
        xxhash_rust::xxh3::xxh3_64(&queue::encode(record))
    }

    /// Values are small, so sled must not have moved any to files of their own, which it never syncs.
    pub(crate) fn check_no_blobs(&self) -> Result<(), StoreError> {
        open::check_no_blobs(&self.dir)
    }

    /// Bytes of its files.
    pub(crate) fn size_on_disk(&self) -> Result<u64, StoreError> {
        self.db.size_on_disk().map_err(|e| self.failed("measure", e))
    }

    /// Every row of every tree: the tree's name, key and value.
    #[cfg(test)]
    pub(crate) fn all_rows(&self) -> Vec<(String, Vec<u8>, Vec<u8>)> {
        let mut rows = Vec::new();
        for name in self.db.tree_names() {
            for row in &self.db.open_tree(&name).unwrap() {
                let (key, value) = row.unwrap();
                rows.push((String::from_utf8(name.to_vec()).unwrap(), key.to_vec(), value.to_vec()));
            }
        }
        rows
    }

    /// How many rows a tree has.
    #[cfg(test)]
    pub(crate) fn rows(&self, tree: &str) -> usize {
        self.db.open_tree(tree).unwrap().len()
    }

    /// The body of a job, without its detail; empty when it is not here.
    pub(crate) fn body(&self, id: JobId) -> Result<Body, StoreError> {
        match self.whole(id, Kind::Body)? {
            None => Ok(Body::default()),
            Some(whole) => body::decode(whole).map_err(|e| self.damaged("body", &body::prefix(id), e)),
        }
    }

    /// Whether what is here of a job needs a payload to run, and so must have one.
    pub(crate) fn needs_payload(&self, id: JobId) -> Result<bool, StoreError> {
        let newest = self.newest(&StateTree::ALL, id)?;
        Ok(newest.is_some_and(|stored| moving::keeps_payload(stored.record.state)))
    }

    /// The detail of a job at rest; none when it is not here.
    pub(crate) fn detail(&self, id: JobId) -> Result<Option<Box<Detail>>, StoreError> {
        // The job may begin and end a new life meanwhile, and what lay apart go: then its record is another.
        self.detail_now(id).or_else(|_| self.detail_now(id))
    }

    fn detail_now(&self, id: JobId) -> Result<Option<Box<Detail>>, StoreError> {
        match self.newest(&[StateTree::Dead, StateTree::Done], id)? {
            None => Ok(None),
            Some(stored) => Ok(self.with_apart(stored)?.record.detail),
        }
    }

    /// The newest that these trees say of a job.
    fn newest(&self, trees: &[StateTree], id: JobId) -> Result<Option<StoredJob>, StoreError> {
        let mut newest: Option<StoredJob> = None;
        for tree in trees {
            if let Some(stored) = self.stored(*tree, id)?
                && newest.as_ref().is_none_or(|other| other.as_of < stored.as_of)
            {
                newest = Some(stored);
            }
        }
        Ok(newest)
    }

    /// What a state tree says of a job.
    fn stored(&self, tree: StateTree, id: JobId) -> Result<Option<StoredJob>, StoreError> {
        let key = job::key(id);
        let value = self.states[tree as usize].get(key).map_err(|e| self.failed("read a job", e))?;
        value.map(|v| job::decode(&key, &v).map_err(|e| self.damaged(tree.name(), &key, e))).transpose()
    }

    /// With what of its detail lies apart.
    fn with_apart(&self, mut stored: StoredJob) -> Result<StoredJob, StoreError> {
        let id = stored.record.id;
        let apart = std::mem::take(&mut stored.apart);
        if let Some(bytes) = apart.result {
            let result = self.whole(id, Kind::Result)?;
            if result.as_ref().map(Bytes::len) != Some(bytes as usize) {
                return Err(self.damaged("body", &body::prefix(id), "a result is missing"));
            }
            stored.record.detail.get_or_insert_default().result = result;
        }
        if apart.history {
            let key = body::history_key(id, stored.as_of);
            let value = self.body.get(key).map_err(|e| self.failed("read a history", e))?;
            let value = value.ok_or_else(|| self.damaged("body", &key, "a history is missing"))?;
            let history = body::decode_history_row(&key, &value).map_err(self.malformed("body", &key))?;
            stored.record.detail.get_or_insert_default().history = history;
        }
        Ok(stored)
    }

    /// All parts together; none when there are none.
    fn whole(&self, id: JobId, kind: Kind) -> Result<Option<Bytes>, StoreError> {
        // A finished job's payload may go while it is read: then part 0 is another, so look again.
        for _ in 0..2 {
            let Some((bytes, mut whole)) = self.first_part(id, kind)? else { return Ok(None) };
            for part in 1..part::count(bytes) {
                let key = body::key(id, kind, part);
                let Some(value) = self.body.get(key).map_err(|e| self.failed("read a body", e))? else {
                    break;
                };
                whole.extend_from_slice(part::next(&key, &value).map_err(|e| self.damaged("body", &key, e))?);
            }
            if whole.len() == bytes {
                return Ok(Some(whole.into()));
            }
        }
        Err(self.damaged("body", &body::prefix(id), "parts are missing"))
    }

    /// The length of the whole, and what part 0 holds of it.
    fn first_part(&self, id: JobId, kind: Kind) -> Result<Option<(usize, Vec<u8>)>, StoreError> {
        let key = body::key(id, kind, 0);
        let Some(value) = self.body.get(key).map_err(|e| self.failed("read a body", e))? else {
            return Ok(None);
        };
        let (bytes, first) = part::first(&key, &value).map_err(|e| self.damaged("body", &key, e))?;
        Ok(Some((bytes, first.to_vec())))
    }

    fn put(&self, tree: &Tree, key: &[u8], value: Vec<u8>) -> Result<(), StoreError> {
        debug_assert!(value.len() <= value::MAX_VALUE_BYTES);
        tree.insert(key, value).map(drop).map_err(|e| self.failed("write", e))
    }

    fn remove(&self, tree: &Tree, key: &[u8]) -> Result<(), StoreError> {
        tree.remove(key).map(drop).map_err(|e| self.failed("remove", e))
    }

    fn failed(&self, what: &str, error: sled::Error) -> StoreError {
        open::failed(&self.dir, what, error)
    }

    fn damaged(&self, tree: &str, key: &[u8], why: impl std::fmt::Display) -> StoreError {
        let key: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
        StoreError::Damaged(format!("{}, tree {tree}, key {key}: {why}", self.dir.display()))
    }

    /// A body that must be here and is not.
    pub(crate) fn body_missing(&self, id: JobId) -> StoreError {
        self.damaged("body", &body::prefix(id), format!("the body of job {id} is missing"))
    }

    fn malformed<'a>(&'a self, tree: &'a str, key: &'a [u8]) -> impl Fn(Malformed) -> StoreError + 'a {
        move |error| self.damaged(tree, key, error)
    }
}

#[cfg(test)]
mod tests;
