//! What a loss of power may leave of a disk: all that was synced, and of the rest any part, block by block, name by name.
//! And what a server would make of it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use fastrand::Rng;
use sluice_engine::{EngineConfig, JobId, JobQuery, Key, Loader, StateSet, WallTime};
use sluice_proto::v1::JobState;
use sluice_server::clock::Clock;
use sluice_server::store::{Durable, DurableOptions, Store, StoreError};

use super::recording::{Change, Disk, File, Node, ROOT};
use super::told::Shown;

/// What a disk writes whole or not at all.
const BLOCK: usize = 4_096;
/// Jobs read in one go.
const PAGE: usize = 1_000;

/// How much of what was not synced is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Luck {
    Nothing,
    Everything,
    /// By chance, each with this probability in percent.
    Some(u8),
}

impl Luck {
    fn draw(chance: &mut Rng) -> Luck {
        match chance.u8(..8) {
            0 => Luck::Nothing,
            1 => Luck::Everything,
            2 => Luck::Some(10),
            3 => Luck::Some(90),
            _ => Luck::Some(50),
        }
    }

    fn holds(self, chance: &mut Rng) -> bool {
        match self {
            Luck::Nothing => false,
            Luck::Everything => true,
            Luck::Some(percent) => chance.u8(..100) < percent,
        }
    }

    /// How many of the first `count` changes of one thing.
    fn prefix(self, count: usize, chance: &mut Rng) -> usize {
        match self {
            Luck::Nothing => 0,
            Luck::Everything => count,
            Luck::Some(_) => chance.usize(..=count),
        }
    }
}

/// Makes in `to`, which is empty, what is left of `disk`.
pub fn make(disk: &Disk<'_>, to: &Path, chance: &mut Rng) {
    let mut made = BTreeSet::new();
    make_directory(disk, ROOT, to, chance, &mut made);
}

fn make_directory(disk: &Disk<'_>, directory: Node, to: &Path, chance: &mut Rng, made: &mut BTreeSet<Node>) {
    let names = &disk.directories[&directory];
    let mut left = names.durable.clone();
    let luck = Luck::draw(chance);
    if chance.bool() {
        // In order, as a journal has them.
        let kept = luck.prefix(names.pending.len(), chance);
        names.pending[..kept].iter().for_each(|(_, change)| change.apply(&mut left));
    } else {
        for (_, change) in &names.pending {
            if luck.holds(chance) {
                change.apply(&mut left);
            }
        }
    }
    for (name, node) in left {
        let path = to.join(name);
        match disk.files.get(&node) {
            Some(file) => fs::write(path, contents(file, chance)).unwrap(),
            // A directory has one name.
            None if made.insert(node) => {
                fs::create_dir(&path).unwrap();
                make_directory(disk, node, &path, chance, made);
            }
            None => {}
        }
    }
}

/// Of each block any of its versions since the last sync; of its lengths any.
fn contents(file: &File, chance: &mut Rng) -> Vec<u8> {
    let mut bytes = file.durable.clone();
    if file.pending.is_empty() {
        return bytes;
    }
    let luck = Luck::draw(chance);
    let mut lengths = vec![bytes.len()];
    let mut blocks = BTreeMap::<usize, Vec<(usize, &[u8])>>::new();
    for (_, change) in &file.pending {
        let last = lengths[lengths.len() - 1];
        match change {
            Change::Cut(length) => lengths.push(*length as usize),
            Change::Write(offset, written) => {
                let offset = *offset as usize;
                lengths.push(last.max(offset + written.len()));
                let mut at = 0;
                while at < written.len() {
                    let block = (offset + at) / BLOCK;
                    let end = written.len().min((block + 1) * BLOCK - offset);
                    blocks.entry(block).or_default().push((offset + at, &written[at..end]));
                    at = end;
                }
            }
        }
    }
    let length = match luck {
        Luck::Nothing => lengths[0],
        Luck::Everything => lengths[lengths.len() - 1],
        Luck::Some(_) if chance.bool() => lengths[lengths.len() - 1],
        Luck::Some(_) => lengths[chance.usize(..lengths.len())],
    };
    for versions in blocks.into_values() {
        let kept = if versions.len() == 1 {
            usize::from(luck.holds(chance))
        } else {
            luck.prefix(versions.len(), chance)
        };
        for (offset, written) in &versions[..kept] {
            let end = offset + written.len();
            if bytes.len() < end {
                bytes.resize(end, 0);
            }
            bytes[*offset..end].copy_from_slice(written);
        }
    }
    bytes.resize(length, 0);
    bytes
}

/// The jobs that a server would find in `dir`, read as it reads them.
///
/// # Errors
/// When it would refuse the store.
pub fn recover(dir: &Path) -> Result<Vec<Shown>, String> {
    let mut options = DurableOptions::default();
    options.log_segment_bytes = 1 << 20;
    options.log_budget_bytes = Some(1 << 40);
    options.ballast_bytes = 0;
    // What this process writes, no power is lost to.
    options.trust_sync_file_range = true;
    let mut store = Durable::open(dir, options).map_err(|error| error.to_string())?;
    let mut loader = Loader::new(EngineConfig::default());
    let last = store.load(&mut loader).map_err(|error| error.to_string())?;
    let now = Clock::after(last, None).now();
    let engine = loader.finish(now).map_err(|error| error.to_string())?;
    let query = JobQuery {
        queue: None,
        states: StateSet::ALL,
        key_prefix: Key::default(),
        created: WallTime(0)..WallTime(u64::MAX),
        ended: None,
    };
    let (mut shown, mut from) = (Vec::new(), Some(JobId(0)));
    while let Some(first) = from {
        let page = engine.jobs(&query, first, PAGE, now);
        from = page.next;
        let ids: Vec<JobId> = page.jobs.iter().map(|job| job.id).collect();
        let payloads = payloads(&store, &ids).map_err(|error| error.to_string())?;
        shown.extend(page.jobs.iter().zip(payloads).map(|(job, payload)| Shown {
            name: job.key.to_string(),
            state: state_of(job.state),
            payload,
        }));
    }
    Ok(shown)
}

fn payloads(store: &Durable, ids: &[JobId]) -> Result<Vec<Option<Vec<u8>>>, StoreError> {
    let places = store.locate(ids);
    let known: Vec<_> = places.iter().flatten().cloned().collect();
    let mut bodies = store.reader().read(&known)?.into_iter();
    let payload = |body: Option<sluice_server::store::Body>| Some(body?.payload?.to_vec());
    Ok(places.iter().map(|place| payload(place.as_ref().and_then(|_| bodies.next()))).collect())
}

fn state_of(state: sluice_engine::JobState) -> JobState {
    use sluice_engine::JobState as State;
    match state {
        State::Scheduled => JobState::Scheduled,
        State::Ready => JobState::Ready,
        State::Leased => JobState::Leased,
        State::Retrying => JobState::Retrying,
        State::Completed => JobState::Completed,
        State::Dead => JobState::Dead,
        State::Cancelled => JobState::Cancelled,
        State::Expired => JobState::Expired,
        State::Dropped => JobState::Dropped,
        State::Drained => JobState::Drained,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(durable: &[u8], pending: Vec<Change>) -> File {
        File { durable: durable.to_vec(), pending: (0..).zip(pending).collect() }
    }

    #[test]
    fn what_was_synced_is_there_and_of_the_rest_any_part() {
        let write = |block: u64, byte: u8| Change::Write(block * BLOCK as u64, vec![byte; BLOCK].into());
        let file = file(&[1; 2 * BLOCK], vec![write(1, 2), write(2, 3), write(1, 4)]);
        let mut seen = BTreeSet::new();
        let mut chance = Rng::with_seed(7);
        for _ in 0..500 {
            let left = contents(&file, &mut chance);
            assert_eq!(left[..BLOCK], [1; BLOCK], "it was synced");
            let of = |block: usize| left.get(block * BLOCK).copied();
            seen.insert((of(1), of(2)));
        }
        let all: BTreeSet<(Option<u8>, Option<u8>)> = [1, 2, 4]
            .into_iter()
            .flat_map(|one| [None, Some(0), Some(3)].map(|two| (Some(one), two)))
            .collect();
        assert_eq!(seen, all);
    }
}
