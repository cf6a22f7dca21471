//! A store without a disk, for tests of everything above it. It can be told to fail, and what it holds
//! outlives the one who used it, as a disk would.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sluice_engine::{JobId, Ledger, Loader, Mutation, Now};

use super::{Body, BodyReader, Groups, Place, PlaceKind, Pressure, Store, StoreError, Tail, Upkeep};

/// A store in memory. A clone is the same store: what a restarted server opens, or the switch by which
/// a test makes it fail.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    inner: Arc<Mutex<Inner>>,
}

/// When a commit is to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Which commit from now on: 1 is the next.
    pub commit: u64,
    /// Whether what it carries is kept all the same: an error says only that it *may* not be durable.
    pub kept: bool,
}

#[derive(Debug, Default)]
struct Inner {
    groups: Vec<Group>,
    bodies: HashMap<JobId, Body>,
    failure: Option<Failure>,
    broken: bool,
    pressure: Pressure,
    clean: bool,
}

#[derive(Clone, Debug)]
struct Group {
    now: Now,
    mutations: Vec<Mutation>,
}

impl Memory {
    /// An empty store.
    #[must_use]
    pub fn new() -> Memory {
        Memory::default()
    }

    /// Makes a commit fail.
    pub fn fail(&self, failure: Failure) {
        self.lock().failure = Some(failure);
    }

    /// Makes the store say how it is doing.
    pub fn press(&self, pressure: Pressure) {
        self.lock().pressure = pressure;
    }

    /// How many groups it holds.
    #[must_use]
    pub fn groups(&self) -> usize {
        self.lock().groups.len()
    }

    /// Whether it was closed, and not used since.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.lock().clean
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store for Memory {
    fn load(&mut self, loader: &mut Loader) -> Result<Option<Now>, StoreError> {
        let mut inner = self.lock();
        inner.broken = false;
        inner.clean = false;
        for (number, group) in (1..).zip(&inner.groups) {
            loader
                .group(number, group.now, group.mutations.iter().cloned())
                .map_err(|error| StoreError::Damaged(format!("group {number}: {error}")))?;
        }
        Ok(inner.groups.last().map(|group| group.now))
    }

    fn commit(&mut self, now: Now, mutations: &[Mutation]) -> Result<(), StoreError> {
        let mut inner = self.lock();
        if inner.broken {
            return Err(failed("commit after a failed commit"));
        }
        if let Some(failure) = &mut inner.failure {
            failure.commit = failure.commit.saturating_sub(1);
            if failure.commit == 0 {
                if failure.kept {
                    inner.keep(now, mutations);
                }
                inner.failure = None;
                inner.broken = true;
                return Err(failed("commit"));
            }
        }
        inner.keep(now, mutations);
        Ok(())
    }

    fn locate(&self, ids: &[JobId]) -> Vec<Option<Place>> {
        let inner = self.lock();
        ids.iter().map(|id| inner.bodies.get(id).map(|body| Place(PlaceKind::Memory(body.clone())))).collect()
    }

    fn reader(&self) -> Arc<dyn BodyReader> {
        Arc::new(MemoryReader)
    }

    fn upkeep(&mut self, _ledger: &Ledger, _now: Now) -> Result<Upkeep, StoreError> {
        Ok(Upkeep::default())
    }

    fn follow(&self) -> Result<Tail, StoreError> {
        Err(StoreError::Unusable("a store in memory is not followed".to_owned()))
    }

    fn groups(&self, _tail: &Tail) -> Result<Groups, StoreError> {
        Err(StoreError::Unusable("a store in memory is not followed".to_owned()))
    }

    fn pressure(&self) -> Pressure {
        self.lock().pressure
    }

    fn close(&mut self, _now: Now) -> Result<(), StoreError> {
        self.lock().clean = true;
        Ok(())
    }
}

/// A place in memory is the body itself.
struct MemoryReader;

impl BodyReader for MemoryReader {
    fn read(&self, places: &[Place]) -> Result<Vec<Body>, StoreError> {
        places
            .iter()
            .map(|place| match &place.0 {
                PlaceKind::Memory(body) => Ok(body.clone()),
                #[allow(unreachable_patterns, reason = "other stores add theirs")]
                _ => Err(StoreError::Unusable("a place of another store".to_owned())),
            })
            .collect()
    }
}

impl Inner {
    fn keep(&mut self, now: Now, mutations: &[Mutation]) {
        self.clean = false;
        for mutation in mutations {
            match mutation {
                Mutation::Enqueued { first, jobs, .. } => {
                    for (id, job) in (first.0..).zip(jobs) {
                        let body = Body {
                            payload: Some(job.payload.clone()),
                            attributes: job.attributes.clone(),
                            detail: None,
                        };
                        self.bodies.insert(JobId(id), body);
                    }
                }
                Mutation::Purged { jobs } | Mutation::Forgotten { jobs } => {
                    for id in jobs {
                        self.bodies.remove(id);
                    }
                }
                _ => {}
            }
        }
        self.groups.push(Group { now, mutations: mutations.to_vec() });
    }
}

fn failed(what: &str) -> StoreError {
    StoreError::Io { what: format!("{what} (memory)"), source: std::io::Error::other("told to fail") }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use sluice_engine::{JobSpec, QueueId};

    use super::*;

    fn enqueued(first: u64) -> Vec<Mutation> {
        let spec = JobSpec { payload: Bytes::from(format!("job {first}")), ..JobSpec::default() };
        vec![Mutation::Enqueued { queue: QueueId(1), first: JobId(first), jobs: vec![spec] }]
    }

    #[test]
    fn commit_fails_when_told_and_every_one_after_it() {
        let mut store = Memory::new();
        store.fail(Failure { commit: 2, kept: false });
        store.commit(Now::default(), &enqueued(1)).unwrap();
        assert!(store.commit(Now::default(), &enqueued(2)).is_err());
        assert!(store.commit(Now::default(), &enqueued(3)).is_err());
        assert_eq!(store.groups(), 1);
    }

    #[test]
    fn failed_commit_may_be_kept_all_the_same() {
        let mut store = Memory::new();
        store.fail(Failure { commit: 1, kept: true });
        assert!(store.commit(Now::default(), &enqueued(1)).is_err());
        assert_eq!(store.groups(), 1);
    }

    #[test]
    fn bodies_are_read_by_whoever_holds_their_place() {
        let mut store = Memory::new();
        store.commit(Now::default(), &enqueued(7)).unwrap();
        let places = store.clone().locate(&[JobId(7), JobId(8)]);
        store.commit(Now::default(), &[Mutation::Purged { jobs: vec![JobId(7)] }]).unwrap();
        assert!(places[1].is_none());
        let body = store.reader().read(&[places[0].clone().unwrap()]).unwrap().remove(0);
        assert_eq!(body.payload.unwrap(), "job 7");
        assert!(store.locate(&[JobId(7)])[0].is_none());
    }
}
