//! Looks whether a store that nobody uses is whole, and changes nothing in it: each part by itself, then
//! whether they fit together and give an engine again.

mod body;

use std::borrow::Borrow;
use std::path::Path;

use sluice_engine::{EngineConfig, JobId, Loader};

use self::body::Bodies;
use super::compact::Seat;
use super::format;
use super::lock::Lock;
use crate::store::StoreError;
use crate::store::home::{Home, Meta};
use crate::store::log::{self, Examined};

/// What a check gave.
#[derive(Debug, Default)]
pub struct Checked {
    /// What is wrong, each with where.
    pub findings: Vec<String>,
    /// What is not wrong, and worth a line.
    pub notes: Vec<String>,
    /// Jobs that a start would know.
    pub jobs: u64,
    /// Queues that a start would know.
    pub queues: u64,
    /// Segments of the log that are needed.
    pub segments: usize,
    /// Rows in sled.
    pub rows: u64,
}

/// Jobs looked at in one go.
const SLICE_JOBS: usize = 4_096;

/// Checks the store in `dir`.
///
/// # Errors
/// When there is none, it is in use, or it cannot be read at all.
pub fn check(dir: &Path) -> Result<Checked, StoreError> {
    let lock = Lock::hold(dir)?;
    let mut checked = Checked::default();
    let store = match format::read(dir) {
        Ok(Some(store)) => Some(store),
        Ok(None) => return Err(StoreError::Unusable(format!("{} is no store of Sluice", dir.display()))),
        Err(error) => {
            checked.find(error);
            None
        }
    };
    let seat = Seat::new(dir);
    let sealed = if seat.whole().exists() { lock.check_seal(seat.whole()) } else { Ok(()) };
    let copy = tempfile::tempdir().map_err(|source| StoreError::Io {
        what: "make a directory for a copy of sled".to_owned(),
        source,
    })?;
    let home = checked.home(dir, &seat, copy.path())?;
    let meta = home.as_ref().and_then(|home| checked.meta(dir, home, store));
    let mut loader = home.as_ref().and_then(|home| checked.records(home, meta));
    // Without sled nobody knows where the log should begin.
    let moved_through = home.as_ref().map(|_| meta.map_or(0, |meta| meta.moved_through));
    let mut visit = |group, now, mutations| match &mut loader {
        Some((loader, _)) => loader.group(group, now, mutations).map_err(|error| error.0),
        None => Ok(()),
    };
    let log = log::examine(dir, store, moved_through, &mut visit)?;
    checked.log(&log);
    if lock.was_clean() && !log.ends_clean && log.findings.is_empty() {
        checked.find(lock.end_is_lost(dir));
    }
    // One of the two is not what it was, and it need not be the log.
    if let (Some(through), Some(first)) = (moved_through, log.first)
        && first != through + 1
    {
        let sled = dir.join("sled");
        checked.find(StoreError::Damaged(format!(
            "{}, tree meta: it took over segments up to {through}, but the log begins with segment {first}",
            sled.display()
        )));
    }
    if let (Some(home), Some((loader, as_of))) = (&home, loader) {
        if as_of > log.last_group {
            checked.find(StoreError::Damaged(format!(
                "{}: a record includes group {as_of}, but the log ends with group {}",
                dir.join("sled").display(),
                log.last_group
            )));
        }
        checked.engine(dir, loader, home, &log)?;
    }
    // Last: what else was found says more.
    sealed.err().into_iter().for_each(|error| checked.find(error));
    Ok(checked)
}

impl Checked {
    /// Looks at every row of sled; none when it does not open.
    fn home(&mut self, dir: &Path, seat: &Seat, copy: &Path) -> Result<Option<Home>, StoreError> {
        if !seat.whole().exists() {
            // A store that was killed when it was made has nothing yet.
            if dir.join("log").exists() {
                self.find(StoreError::Damaged(format!("{} is missing", seat.whole().display())));
            }
            return Ok(None);
        }
        Home::copy_files(seat.whole(), copy)?;
        match Home::open_copy(seat.whole(), copy) {
            Ok(home) => {
                let (findings, rows) = home.examine();
                findings.into_iter().for_each(|finding| self.find(finding));
                self.rows = rows;
                Ok(Some(home))
            }
            Err(error) => {
                self.find(error);
                Ok(None)
            }
        }
    }

    /// Whose home it is; none when nothing says so.
    fn meta(&mut self, dir: &Path, home: &Home, store: Option<u128>) -> Option<Meta> {
        let meta = home.guarded(|| home.meta()).unwrap_or_else(|error| {
            self.find(error);
            None
        });
        if let (Some(meta), Some(store)) = (meta, store)
            && meta.store != store
        {
            let sled = dir.join("sled");
            self.find(StoreError::Damaged(format!("{} belongs to another store", sled.display())));
        }
        meta
    }

    /// What sled holds, and the last group that it includes; none when it contradicts itself.
    fn records(&mut self, home: &Home, meta: Option<Meta>) -> Option<(Loader, u64)> {
        let mut loader = Loader::new(EngineConfig::default());
        loader.serial(meta.map_or(0, |meta| meta.serial));
        let loaded = home.load(&mut loader);
        match loaded {
            Ok(loaded) => Some((loader, loaded.as_of)),
            Err(error) => {
                self.find(error);
                None
            }
        }
    }

    fn log(&mut self, log: &Examined) {
        log.findings.iter().for_each(|finding| self.find(finding));
        self.notes.extend(log.notes.iter().cloned());
        self.segments = log.segments();
    }

    /// Looks whether what was loaded makes a queue.
    fn engine(&mut self, dir: &Path, loader: Loader, home: &Home, log: &Examined) -> Result<(), StoreError> {
        let (engine, missing) = match loader.finish_what_is_left(log.last_now.unwrap_or_default()) {
            Ok(loaded) => loaded,
            Err(error) => {
                self.findings.push(format!("{}: {error}", dir.display()));
                return Ok(());
            }
        };
        let mut bodies = Bodies::new(home, log);
        let mut from = 0;
        loop {
            let ids = engine.ledger().ids(from..=u64::MAX, SLICE_JOBS);
            let Some(last) = ids.last() else { break };
            from = last.0.saturating_add(1);
            for record in ids.iter().filter_map(|id: &JobId| engine.ledger().record(*id)) {
                self.jobs += 1;
                bodies.look(&record);
            }
        }
        bodies.finish().into_iter().for_each(|finding| self.find(finding));
        // Behind damage sums are wrong anyway.
        if let Some(missing) = missing
            && self.findings.is_empty()
        {
            self.findings.push(format!("{}, {missing}", dir.display()));
        }
        self.queues = engine.ledger().queue_ids().count() as u64;
        Ok(())
    }

    /// Notes what is wrong, once: two looks may find the same.
    fn find(&mut self, error: impl Borrow<StoreError>) {
        let finding = match error.borrow() {
            StoreError::Damaged(what) => what.clone(),
            other => other.to_string(),
        };
        if !self.findings.contains(&finding) {
            self.findings.push(finding);
        }
    }
}
