//! What the tree of one queue is to do, said as simply as possible: every question is answered by looking
//! at all jobs.

use std::collections::{BTreeMap, BTreeSet};

use super::Slot;
use crate::time::{Span, Timestamp};

/// Segments of a key. In a node's path, [`OWN`] stands for the jobs of exactly the path before it.
type Path = Vec<String>;

const OWN: &str = "/";

#[derive(Clone, Debug)]
pub(super) struct Job {
    pub(super) key: Path,
    pub(super) priority: u8,
    pub(super) sequence: u64,
    pub(super) slot: Slot,
}

/// A place in a ring.
#[derive(Clone, Copy, Debug)]
struct Standing {
    priority: u8,
    /// Lower goes first.
    turn: u64,
    since: Timestamp,
}

#[derive(Debug, Default)]
pub(super) struct Model {
    pub(super) ageing: Span,
    pub(super) jobs: Vec<Job>,
    /// Paths that have nodes below them.
    inner: BTreeSet<Path>,
    standing: BTreeMap<Path, Standing>,
    /// When the front of a key's priority entered or was last served.
    since: BTreeMap<(Path, u8), Timestamp>,
    turns: u64,
}

impl Model {
    pub(super) fn new(ageing: Span) -> Model {
        Model { ageing, ..Model::default() }
    }

    pub(super) fn push(&mut self, job: Job, now: Timestamp) {
        for length in 1..job.key.len() {
            let path = job.key[..length].to_vec();
            if self.inner.insert(path.clone()) && self.jobs.iter().any(|other| other.key == path) {
                let place = self.standing[&path];
                self.standing.insert(own(&path), place);
            }
        }
        self.since.entry((job.key.clone(), job.priority)).or_insert(now);
        self.jobs.push(job);
        self.look(now);
    }

    pub(super) fn remove(&mut self, slot: Slot, now: Timestamp) -> Job {
        let at = self.jobs.iter().position(|job| job.slot == slot).expect("it is ready");
        let job = self.jobs.remove(at);
        self.look(now);
        job
    }

    pub(super) fn pop(&mut self, now: Timestamp) -> Option<Job> {
        let mut path = Path::new();
        let mut served = Vec::new();
        while self.is_inner(&path) {
            let lanes: Vec<u8> =
                self.children(&path).iter().map(|child| self.standing[child].priority).collect();
            let front = |priority: u8| {
                let ring = self.children(&path).into_iter().filter(|c| self.standing[c].priority == priority);
                ring.min_by_key(|child| self.standing[child].turn).expect("somebody stands there")
            };
            let chosen = self.most_urgent(&lanes, now, |priority| self.standing[&front(priority)].since)?;
            path = front(chosen);
            served.push(path.clone());
        }
        let key: Path = path.into_iter().filter(|segment| segment != OWN).collect();
        let lanes: Vec<u8> = self.jobs.iter().filter(|j| j.key == key).map(|j| j.priority).collect();
        let chosen = self.most_urgent(&lanes, now, |priority| self.since[&(key.clone(), priority)])?;
        let mine = self.jobs.iter().filter(|j| j.key == key && j.priority == chosen);
        let job = mine.min_by_key(|j| j.sequence).expect("its lane was chosen").clone();
        self.since.insert((key, chosen), now);
        self.jobs.retain(|other| other.slot != job.slot);
        for node in served {
            if self.best(&node) == Some(self.standing[&node].priority) {
                self.turns += 1;
                let place = self.standing.get_mut(&node).expect("it was served");
                (place.turn, place.since) = (self.turns, now);
            }
        }
        self.look(now);
        Some(job)
    }

    fn most_urgent(&self, lanes: &[u8], now: Timestamp, since: impl Fn(u8) -> Timestamp) -> Option<u8> {
        let waited = |priority: u8| match self.ageing {
            Span::ZERO => 0,
            _ => now.since(since(priority)).0,
        };
        lanes.iter().copied().max_by_key(|p| (u64::from(*p) * self.ageing.0 + waited(*p), *p))
    }

    /// Everyone goes where they belong.
    fn look(&mut self, now: Timestamp) {
        let jobs = &self.jobs;
        self.inner.retain(|path| jobs.iter().any(|job| job.key.starts_with(path)));
        self.since.retain(|(key, p), _| jobs.iter().any(|job| job.key == *key && job.priority == *p));
        let mut nodes = BTreeSet::new();
        let mut open = vec![Path::new()];
        while let Some(path) = open.pop() {
            if self.is_inner(&path) {
                open.extend(self.children(&path));
            }
            nodes.insert(path);
        }
        self.standing.retain(|path, _| nodes.contains(path));
        for path in nodes {
            let Some(priority) = self.best(&path) else { continue };
            if self.standing.get(&path).is_none_or(|place| place.priority != priority) {
                self.turns += 1;
                self.standing.insert(path, Standing { priority, turn: self.turns, since: now });
            }
        }
    }

    fn is_inner(&self, path: &Path) -> bool {
        path.is_empty() || self.inner.contains(path)
    }

    fn children(&self, path: &Path) -> BTreeSet<Path> {
        let below = self.jobs.iter().filter(|job| job.key.starts_with(path));
        below.map(|job| if job.key == *path { own(path) } else { job.key[..=path.len()].to_vec() }).collect()
    }

    fn best(&self, path: &Path) -> Option<u8> {
        let below = |key: &Path| match path.split_last() {
            Some((last, key_of)) if last == OWN => key == key_of,
            _ => key.starts_with(path),
        };
        self.jobs.iter().filter(|job| below(&job.key)).map(|job| job.priority).max()
    }
}

fn own(path: &Path) -> Path {
    let mut own = path.clone();
    own.push(OWN.to_owned());
    own
}
