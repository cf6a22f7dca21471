//! The store of a simulation: the log on a simulated disk, and a home that is written whole or not at all.
//!
//! sled itself cannot be simulated: it has threads and files of its own, and harnesses of its own with them. What is
//! simulated is all that the log and the engine have to do with it: records as of different groups, the note of what
//! has moved, the retirement of segments, and a crash between any two of these.

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};

use sluice_engine::bound::MAX_NODES_RESTATED;
use sluice_engine::{JobId, Ledger, Loader, Mutation, Now};

use super::bug::Bug;
use super::home::{Home, Taking};
use crate::store::disk::sim::SimDisk;
use crate::store::log::{Log, LogOptions, read_bodies};
use crate::store::{Body, BodyReader, Groups, Place, PlaceKind, Pressure, Store, StoreError, Tail, Upkeep};

const STORE: u128 = 0x5311_ce00;
/// So small that a script fills a few, and on one thread.
const OPTIONS: LogOptions = LogOptions { segment_bytes: 8 << 10, ahead: false };
/// Bytes of the log at which the oldest segment moves home.
const BUDGET_BYTES: u64 = 20 << 10;

/// What outlives a process, besides the disk; and what the simulation alone knows.
#[derive(Clone, Default)]
pub(super) struct Shelf(Arc<Mutex<Kept>>);

#[derive(Default)]
pub(super) struct Kept {
    pub(super) home: Home,
    /// Every group that was said to be durable, from the first on.
    pub(super) groups: Vec<Group>,
    /// The group of which nobody knows whether it is.
    pub(super) attempted: Option<Group>,
    /// Segments that moved home so far.
    pub(super) moved: usize,
}

/// A group; an empty one marks a clean stop.
#[derive(Clone)]
pub(super) struct Group {
    pub(super) now: Now,
    pub(super) mutations: Vec<Mutation>,
}

impl Shelf {
    pub(super) fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap()
    }
}

/// See the module.
pub(super) struct SimStore {
    log: Log,
    shelf: Shelf,
    last_group: u64,
    phase: Phase,
    bug: Option<Bug>,
}

/// What is being done about the oldest segment: the phases of the real mover.
enum Phase {
    Idle,
    Telling(Option<u32>),
    Taking(Taking),
    Retiring { segment: u64, is_told: bool },
}

impl SimStore {
    pub(super) fn open(disk: &SimDisk, shelf: &Shelf, bug: Option<Bug>) -> Result<SimStore, StoreError> {
        let moved_through = shelf.kept().home.moved_through;
        let log = Log::open(Arc::new(disk.clone()), Path::new("/d"), STORE, OPTIONS, moved_through)?;
        Ok(SimStore { log, shelf: shelf.clone(), last_group: 0, phase: Phase::Idle, bug })
    }

    /// The last group that is durable.
    pub(super) fn last_group(&self) -> u64 {
        self.last_group
    }

    /// Notes what is tried, then does it.
    fn append(
        &mut self,
        group: Group,
        write: impl FnOnce(&mut Log) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        self.shelf.kept().attempted = Some(group);
        let result = write(&mut self.log);
        if self.bug != Some(Bug::GoesOnAfterFailedSync) {
            result?;
        }
        self.last_group += 1;
        let mut kept = self.shelf.kept();
        let group = kept.attempted.take();
        kept.groups.extend(group);
        Ok(())
    }
}

impl Store for SimStore {
    fn load(&mut self, loader: &mut Loader) -> Result<Option<Now>, StoreError> {
        let kept = self.shelf.kept();
        let as_of = kept.home.load(loader)?;
        let replayed = self.log.replay(&mut |group, now, mutations, segment| {
            loader.group(group, now, mutations).map_err(|error| {
                StoreError::Damaged(format!("segment {segment} of the log, group {group}: {error}"))
            })
        })?;
        if as_of > replayed.last_group {
            return Err(StoreError::Damaged(format!("a record includes group {as_of}, which is lost")));
        }
        self.last_group = replayed.last_group;
        Ok(replayed.last_now)
    }

    fn commit(&mut self, now: Now, mutations: &[Mutation]) -> Result<(), StoreError> {
        let group = Group { now, mutations: mutations.to_vec() };
        let written = self.bug.map(|bug| bug.spoil(mutations));
        let written = written.as_deref().unwrap_or(mutations);
        self.append(group, |log| log.append(now, written).map(drop))?;
        for mutation in mutations {
            if let Mutation::Retired { segment } = mutation {
                self.log.retire(*segment)?;
                self.phase = Phase::Idle;
            }
        }
        Ok(())
    }

    fn locate(&self, ids: &[JobId]) -> Vec<Option<Place>> {
        let kept = self.shelf.kept();
        let place = |id: &JobId| match (kept.home.body(*id), self.log.locate(*id)) {
            (None, Some(place)) => PlaceKind::Log { id: *id, place, detail_at_home: false },
            (body, _) => PlaceKind::Memory(body.cloned().unwrap_or_default()),
        };
        ids.iter().map(|id| Some(Place(place(id)))).collect()
    }

    fn reader(&self) -> Arc<dyn BodyReader> {
        Arc::new(SimReader)
    }

    fn upkeep(&mut self, ledger: &Ledger, now: Now) -> Result<Upkeep, StoreError> {
        let mut upkeep = Upkeep::default();
        self.phase = match std::mem::replace(&mut self.phase, Phase::Idle) {
            Phase::Idle if self.log.used_bytes() > BUDGET_BYTES && self.log.oldest_closed().is_some() => {
                Phase::Telling(Some(0))
            }
            Phase::Telling(Some(first)) => {
                let (states, next) = ledger.node_states(first, MAX_NODES_RESTATED, now.engine);
                if self.bug != Some(Bug::NodesAreNotRestated) {
                    upkeep.mutations.extend(states);
                }
                Phase::Telling(next)
            }
            // What was said the last time went with the group since.
            Phase::Telling(None) => Phase::Taking(Taking::begin(ledger, self.last_group)),
            Phase::Taking(mut taking) => {
                let as_of = self.last_group + u64::from(self.bug == Some(Bug::RecordsClaimTooMuch));
                if taking.slice(ledger, self, as_of)? {
                    Phase::Taking(taking)
                } else {
                    let segment = self.keep(taking, ledger)?;
                    Phase::Retiring { segment, is_told: false }
                }
            }
            Phase::Retiring { segment, is_told: false } => {
                upkeep.mutations.push(Mutation::Retired { segment });
                Phase::Retiring { segment, is_told: true }
            }
            other => other,
        };
        upkeep.more = !matches!(self.phase, Phase::Idle | Phase::Retiring { is_told: true, .. });
        Ok(upkeep)
    }

    fn follow(&self) -> Result<Tail, StoreError> {
        self.log.follow()
    }

    fn groups(&self, tail: &Tail) -> Result<Groups, StoreError> {
        self.log.groups(tail)
    }

    fn pressure(&self) -> Pressure {
        Pressure::None
    }

    fn close(&mut self, now: Now) -> Result<(), StoreError> {
        self.append(Group { now, mutations: Vec::new() }, |log| log.append_clean(now))
    }
}

impl SimStore {
    /// The home holds what was taken, and what only the oldest segment tells.
    fn keep(&mut self, taking: Taking, ledger: &Ledger) -> Result<u64, StoreError> {
        let (_, closed) = self
            .log
            .oldest_closed()
            .ok_or_else(|| StoreError::Unusable("the segment that moves home is gone".to_owned()))?;
        let segment = closed.number();
        let mut kept = self.shelf.kept();
        kept.moved += 1;
        let mut home = taking.finish(ledger, &kept.home, segment);
        if self.bug != Some(Bug::RequestsDoNotMoveHome) {
            closed.visit(|now, mutations| home.remember(now, &mutations))?;
        }
        kept.home = home;
        Ok(segment)
    }
}

/// Reads from the log; what is at home comes with its place.
pub(super) struct SimReader;

impl BodyReader for SimReader {
    fn read(&self, places: &[Place]) -> Result<Vec<Body>, StoreError> {
        let read = |place: &Place| match &place.0 {
            PlaceKind::Memory(body) => Ok(body.clone()),
            PlaceKind::Log { id, place, .. } => {
                let body = read_bodies(&[(*id, place)])?.pop().flatten();
                body.ok_or_else(|| StoreError::Damaged(format!("job {id} is not where it was born")))
            }
            PlaceKind::Home { .. } => unreachable!("that is sled's"),
        };
        places.iter().map(read).collect()
    }
}
