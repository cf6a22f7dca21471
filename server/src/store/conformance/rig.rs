//! An engine on a store, driven by hand.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Once, RwLock};
use std::thread;
use std::time::Duration;

use sluice_engine::{
    Answer, Command, Effects, Engine, EngineConfig, JobId, JobQuery, Key, Loader, Now, QueueName, Span,
    StateSet, Ticket, Timestamp, WallTime,
};

use crate::os;
use crate::store::durable::Steps;
use crate::store::{Durable, DurableOptions, Memory, Store, StoreError};

/// Where stores are opened, again and again.
pub(super) enum Subject {
    Memory(Memory),
    Durable {
        dir: PathBuf,
        steps: Option<Arc<dyn Steps>>,
        compact_above_bytes: u64,
        _owned: Option<tempfile::TempDir>,
    },
}

/// See the module.
pub(super) struct Rig {
    pub(super) engine: Engine,
    pub(super) store: Box<dyn Store>,
    pub(super) now: Now,
    next_ticket: u64,
    /// Answers that nobody has taken yet.
    answers: BTreeMap<Ticket, Answer>,
}

/// Held while a process is started: until it has begun, it holds the locks of all stores that are open.
pub(super) static SPAWNING: RwLock<()> = RwLock::new(());

/// Segments and budget so small that a few hundred jobs move home.
const SEGMENT_BYTES: u64 = 128 << 10;
const BUDGET_BYTES: u64 = 256 << 10;

impl Subject {
    pub(super) fn memory() -> Subject {
        Subject::Memory(Memory::new())
    }

    pub(super) fn durable() -> Subject {
        let dir = tempfile::tempdir().unwrap();
        let at = dir.path().join("store");
        Subject::Durable { dir: at, steps: None, compact_above_bytes: u64::MAX, _owned: Some(dir) }
    }

    pub(super) fn at(dir: &Path, steps: Option<Arc<dyn Steps>>) -> Subject {
        Subject::Durable { dir: dir.to_owned(), steps, compact_above_bytes: u64::MAX, _owned: None }
    }

    /// Copies the home at each start, unless that is in vain.
    pub(super) fn compacting(dir: &Path, steps: Option<Arc<dyn Steps>>) -> Subject {
        Subject::Durable { dir: dir.to_owned(), steps, compact_above_bytes: 0, _owned: None }
    }

    pub(super) fn dir(&self) -> &Path {
        match self {
            Subject::Memory(_) => unreachable!("only a store on disk has a directory"),
            Subject::Durable { dir, .. } => dir,
        }
    }

    pub(super) fn open(&self) -> Result<Box<dyn Store>, StoreError> {
        match self {
            Subject::Memory(memory) => Ok(Box::new(memory.clone())),
            Subject::Durable { dir, steps, compact_above_bytes, .. } => {
                static FILTER: Once = Once::new();
                FILTER.call_once(|| os::refuse_sync_file_range().unwrap());
                let options = DurableOptions {
                    log_segment_bytes: SEGMENT_BYTES,
                    log_budget_bytes: Some(BUDGET_BYTES),
                    ballast_bytes: 0,
                    refuse_enqueues_below_bytes: Some(0),
                    compact_above_bytes: *compact_above_bytes,
                    steps: steps.clone(),
                    ..DurableOptions::default()
                };
                let _nobody_spawns = SPAWNING.read().unwrap();
                Ok(Box::new(Durable::open(dir, options)?))
            }
        }
    }

    /// An engine on what the store holds, at `now`.
    pub(super) fn start(&self, now: Now) -> Result<Rig, StoreError> {
        let mut store = self.open()?;
        let mut loader = Loader::new(EngineConfig::default());
        let last = store.load(&mut loader)?;
        assert!(last.is_none_or(|last| last.engine <= now.engine), "time goes on");
        let engine = loader.finish(now).map_err(|error| StoreError::Damaged(error.0))?;
        Ok(Rig { engine, store, now, next_ticket: 1, answers: BTreeMap::new() })
    }
}

impl Rig {
    /// Midday of some day, engine time one hour.
    pub(super) fn dawn() -> Now {
        Now { engine: Timestamp(3_600_000_000_000), wall: WallTime(1_700_000_000_000_000_000) }
    }

    pub(super) fn pass(&mut self, span: Span) {
        self.now = Now { engine: self.now.engine + span, wall: self.now.wall + span };
    }

    /// Does a command and all that is due, durably.
    pub(super) fn apply(&mut self, command: Command) -> Answer {
        let ticket = self.begin(command);
        self.answer(ticket).expect("it did not wait")
    }

    /// As [`Rig::apply`], for what may wait.
    pub(super) fn begin(&mut self, command: Command) -> Ticket {
        let ticket = Ticket(self.next_ticket);
        self.next_ticket += 1;
        let mut effects = Effects::default();
        self.engine.apply(ticket, command, self.now, &mut effects);
        self.engine.wake(self.now, &mut effects);
        self.commit(&effects).unwrap();
        self.answers.extend(effects.answers);
        ticket
    }

    /// The answer, once it is there.
    pub(super) fn answer(&mut self, ticket: Ticket) -> Option<Answer> {
        self.answers.remove(&ticket)
    }

    /// Whoever waits for the answer is gone.
    pub(super) fn abandon(&mut self, ticket: Ticket) {
        self.engine.apply(Ticket(0), Command::Abandon(ticket), self.now, &mut Effects::default());
    }

    /// Jobs in one of `states`, at most `limit`, from the first.
    pub(super) fn find(&self, queue: &QueueName, states: StateSet, limit: usize) -> Vec<JobId> {
        let query = JobQuery { queue: Some(queue.clone()), ..all_jobs(states) };
        self.engine.jobs(&query, JobId(0), limit, self.now).jobs.iter().map(|view| view.id).collect()
    }

    /// Does all that is due, durably.
    pub(super) fn wake(&mut self) {
        let mut effects = Effects::default();
        self.engine.wake(self.now, &mut effects);
        self.commit(&effects).unwrap();
    }

    /// One round of upkeep, as the writer does it. Says whether there was anything to do.
    pub(super) fn keep_up(&mut self) -> bool {
        let upkeep = self.store.upkeep(self.engine.ledger(), self.now).unwrap();
        self.engine.release_details(&upkeep.at_rest);
        if !upkeep.mutations.is_empty() {
            self.store.commit(self.now, &upkeep.mutations).unwrap();
        }
        let idle = upkeep.mutations.is_empty() && upkeep.at_rest.is_empty() && !upkeep.more;
        !idle || upkeep.again_in.is_some()
    }

    /// Some rounds of upkeep: something is left half way.
    pub(super) fn settle_quickly(&mut self) {
        for _ in 0..20 {
            self.keep_up();
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// Upkeep until nothing moves any more.
    pub(super) fn settle(&mut self) {
        while self.keep_up() {
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// Stops in good order, or as a process that is killed: nothing more is written on purpose.
    pub(super) fn stop(mut self, is_clean: bool) -> Now {
        if is_clean {
            self.store.close(self.now).unwrap();
        }
        self.now
    }

    fn commit(&mut self, effects: &Effects) -> Result<(), StoreError> {
        if effects.mutations.is_empty() { Ok(()) } else { self.store.commit(self.now, &effects.mutations) }
    }
}

/// Every job in one of `states`.
pub(super) fn all_jobs(states: StateSet) -> JobQuery {
    let created = WallTime(0)..WallTime(u64::MAX);
    JobQuery { queue: None, states, key_prefix: Key::default(), created, ended: None }
}
