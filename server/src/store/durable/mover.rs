//! The writer's side of moving home: what moves, in which order, and what may be told of it. It hands over
//! copies between groups and never waits.
//!
//! Two things move: jobs that will rest for long, soon, one by one; and the oldest segment with all that
//! its events are about, when the log is over its budget.

use std::collections::{BTreeSet, VecDeque};
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, TrySendError, channel, sync_channel};
use std::thread::{self, JoinHandle};

use sluice_engine::bound::MAX_NODES_RESTATED;
use sluice_engine::{Due, JobId, JobRecord, JobState, Ledger, Mutation, Next, Now, QueueId, Span, Start};

use super::DurableOptions;
use super::ballast::Ballast;
use super::handing::{Batch, Handing};
use super::housekeeper::{BatchKey, Housekeeper, Order, Report, Rest};
use super::reader::Pin;
use super::thread::{Signals, run};
use crate::store::home::Home;
use crate::store::log::Log;
use crate::store::{StoreError, Upkeep};

/// Orders of one upkeep: the writer's next group waits for them.
const ORDERS_PER_UPKEEP: usize = 4;
/// Orders that wait for the thread.
const MAX_ORDERS: usize = 16;
/// Jobs that wait to move early; more of them move with their segment.
const MAX_WAITING: usize = 65_536;
/// Jobs at rest that one upkeep tells of.
const MAX_AT_REST: usize = 1_024;
/// A job that waits longer than this from now moves soon.
const LONG_WAIT: Span = Span::from_secs(60);

/// See the module.
pub(super) struct Mover {
    orders: Option<SyncSender<Order>>,
    reports: Receiver<Report>,
    signals: Signals,
    thread: Option<JoinHandle<()>>,
    /// An order that the thread had no room for.
    held: Option<Order>,
    /// Orders of which something is left: to be done, to be synced, or to be told.
    orders_left: usize,
    /// Jobs born in the log that are at home too, or on their way.
    early: BTreeSet<JobId>,
    /// Queues that are at home, or on their way.
    queues: BTreeSet<QueueId>,
    /// Batches whose records changed up to this change are at home, or on their way.
    batch_change: u64,
    /// Jobs to move early.
    waiting: VecDeque<JobId>,
    /// Jobs whose records are durable.
    resting: VecDeque<Rest>,
    phase: Phase,
    pin: Pin,
}

/// What is being done about the oldest segment.
enum Phase {
    /// Nothing.
    Idle,
    /// What limits know is said again, from this node on: some of it follows from this segment alone, and once it is
    /// noted that the segment is home, a start does not read it any more.
    Telling { handing: Handing, next_node: Option<u32> },
    /// Its jobs are handed over.
    Handing(Handing),
    /// All is handed over; jobs born up to this one.
    Waiting { born_through: u64 },
    /// It is home, and its retirement is to be committed.
    Retiring { segment: u64, is_told: bool, born_through: u64 },
}

impl Mover {
    /// Starts the thread.
    pub(super) fn start(
        home: Home,
        ballast: Ballast,
        store: u128,
        options: DurableOptions,
    ) -> Result<Mover, StoreError> {
        let (orders, inbox) = sync_channel(MAX_ORDERS);
        let (report, reports) = channel();
        let signals = Signals::default();
        let keeper = Housekeeper::new(home.clone(), ballast, store, options, signals.clone());
        let seen = signals.clone();
        let thread = thread::Builder::new()
            .name("store-home".to_owned())
            .spawn(move || run(keeper, &home, &inbox, &report, &seen))
            .map_err(|source| StoreError::Io {
                what: "start the thread that moves jobs".to_owned(),
                source,
            })?;
        Ok(Mover {
            orders: Some(orders),
            reports,
            signals,
            thread: Some(thread),
            held: None,
            orders_left: 0,
            early: BTreeSet::new(),
            queues: BTreeSet::new(),
            batch_change: 0,
            waiting: VecDeque::new(),
            resting: VecDeque::new(),
            phase: Phase::Idle,
            pin: Pin::default(),
        })
    }

    /// These jobs are at home; the log still has their birth.
    pub(super) fn found_early(&mut self, ids: Vec<JobId>) {
        self.early.extend(ids);
    }

    /// Whether a job born in the log may be at home too.
    pub(super) fn is_early(&self, id: JobId) -> bool {
        self.early.contains(&id)
    }

    /// To be held by who is to read from home.
    pub(super) fn pin(&self) -> Pin {
        self.pin.clone()
    }

    /// Whether the thread is to hurry.
    pub(super) fn urge(&self, is_urgent: bool) {
        self.signals.is_urgent.store(is_urgent, Ordering::Relaxed);
    }

    /// Takes note of jobs that will rest for long.
    pub(super) fn observe(&mut self, now: Now, mutations: &[Mutation]) {
        for mutation in mutations {
            match mutation {
                Mutation::Returned { id, next: Next::Dead, .. } => self.wait(*id),
                Mutation::Returned { id, next: Next::Retry(time), .. } if is_far(Due::Engine(*time), now) => {
                    self.wait(*id);
                }
                Mutation::Updated { id, due: Some(due), .. } if is_far(*due, now) => self.wait(*id),
                Mutation::RequeuedLater { id, time } if is_far(Due::Engine(*time), now) => self.wait(*id),
                Mutation::Enqueued { first, jobs, .. } => {
                    for (id, job) in (first.0..).zip(jobs) {
                        let is_long = match job.start {
                            Start::Now => false,
                            Start::After(span) => span > LONG_WAIT,
                            Start::At(time) => is_far(Due::Wall(time), now),
                        };
                        if is_long {
                            self.wait(JobId(id));
                        }
                    }
                }
                _ => {}
            }
        }
    }

    /// Takes what the thread has to tell.
    pub(super) fn collect(
        &mut self,
        ledger: &Ledger,
        now: Now,
        upkeep: &mut Upkeep,
    ) -> Result<(), StoreError> {
        loop {
            match self.reports.try_recv() {
                Ok(Report::AtRest(resting)) => self.resting.extend(resting),
                Ok(Report::Read(mentions)) => {
                    if let Phase::Handing(handing) | Phase::Telling { handing, .. } = &mut self.phase {
                        handing.mentions = Some(mentions);
                    }
                }
                Ok(Report::Moved(segment)) => {
                    let born_through = match self.phase {
                        Phase::Waiting { born_through } => born_through,
                        _ => 0,
                    };
                    self.phase = Phase::Retiring { segment, is_told: false, born_through };
                }
                Ok(Report::Done(orders)) => self.orders_left -= orders,
                Ok(Report::Failed(error)) => return Err(error),
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => return Err(gone()),
            }
        }
        if let Phase::Retiring { segment, is_told, .. } = &mut self.phase
            && !*is_told
        {
            *is_told = true;
            upkeep.mutations.push(Mutation::Retired { segment: *segment });
        }
        self.tell(ledger, now, upkeep);
        let count = self.resting.len().min(MAX_AT_REST);
        for rest in self.resting.drain(..count) {
            // It may have begun a new life meanwhile.
            if ledger.record(rest.id).is_some_and(|record| rest.is_still(&record)) {
                upkeep.at_rest.push(rest.id);
            }
        }
        upkeep.more |= !self.resting.is_empty();
        Ok(())
    }

    /// Begins to move the oldest segment, unless one is on its way.
    pub(super) fn begin(&mut self, log: &Log) -> Result<(), StoreError> {
        if !matches!(self.phase, Phase::Idle) || self.held.is_some() {
            return Ok(());
        }
        let Some((segment, closed)) = log.oldest_closed() else { return Ok(()) };
        let handing = Handing::new(segment.number(), segment.born());
        self.phase = Phase::Telling { handing, next_node: Some(0) };
        self.give(Order::Begin(closed)).map(drop)
    }

    /// Says a bit of what limits know. What was said the last time is durable by now: it went with the group since.
    fn tell(&mut self, ledger: &Ledger, now: Now, upkeep: &mut Upkeep) {
        self.phase = match std::mem::replace(&mut self.phase, Phase::Idle) {
            Phase::Telling { handing, next_node: Some(first) } => {
                let (states, next_node) = ledger.node_states(first, MAX_NODES_RESTATED, now.engine);
                upkeep.mutations.extend(states);
                upkeep.more = true;
                Phase::Telling { handing, next_node }
            }
            Phase::Telling { handing, next_node: None } => Phase::Handing(handing),
            other => other,
        };
    }

    /// The retirement of a segment is durable, and its file goes.
    pub(super) fn retired(&mut self, segment: u64) {
        if let Phase::Retiring { segment: moved, born_through, .. } = self.phase
            && moved == segment
        {
            self.phase = Phase::Idle;
            self.early = self.early.split_off(&JobId(born_through.saturating_add(1)));
        }
    }

    /// Hands over a bounded bit, as of `as_of`, the last group that is durable. Says whether there is more
    /// to do at once.
    pub(super) fn feed(
        &mut self,
        ledger: &Ledger,
        log: &Log,
        as_of: u64,
        now: Now,
    ) -> Result<bool, StoreError> {
        if let Some(held) = self.held.take()
            && !self.give(held)?
        {
            return Ok(false);
        }
        for _ in 0..ORDERS_PER_UPKEEP {
            let order = match self.next_early(ledger, log, as_of, now) {
                Some(order) => order,
                None => match self.next_of_segment(ledger, log, as_of, now) {
                    Some(order) => order,
                    None => return Ok(false),
                },
            };
            if !self.give(order)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Whether something is on its way home, or waits to be.
    pub(super) fn is_busy(&self) -> bool {
        !matches!(self.phase, Phase::Idle)
            || self.held.is_some()
            || !self.waiting.is_empty()
            || self.orders_left > 0
    }

    /// There is room for the ballast. If the thread has no time for it, it is asked again later.
    pub(super) fn make_ballast(&mut self) -> Result<(), StoreError> {
        if self.held.is_some() { Ok(()) } else { self.give(Order::MakeBallast).map(drop) }
    }

    /// Ends the thread. What it has not finished is done again after the next start.
    pub(super) fn stop(&mut self) -> Result<(), StoreError> {
        self.signals.is_stopping.store(true, Ordering::Release);
        drop(self.orders.take());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            return Err(gone());
        }
        match self.reports.try_iter().find(|report| matches!(report, Report::Failed(_))) {
            Some(Report::Failed(error)) => Err(error),
            _ => Ok(()),
        }
    }

    /// A job born in the log goes home. Says whether for the first time.
    pub(super) fn note_early(&mut self, id: JobId) -> bool {
        self.early.insert(id)
    }

    /// A job of this queue goes home. Says whether it is the first.
    pub(super) fn note_queue(&mut self, id: QueueId) -> bool {
        self.queues.insert(id)
    }

    /// Batches whose records changed since they were asked for last.
    pub(super) fn changed_batches(&mut self, ledger: &Ledger) -> Vec<BatchKey> {
        let changed = ledger.batches_changed_after(self.batch_change);
        let (changes, batches): (Vec<u64>, Vec<BatchKey>) =
            changed.map(|(change, record)| (change, (record.queue, record.name.clone()))).unzip();
        self.batch_change = changes.last().copied().unwrap_or(self.batch_change);
        batches
    }

    /// Jobs born in the log that may be at home, in order, at most `limit`.
    pub(super) fn early_from(&self, first: JobId, last: JobId, limit: usize) -> Vec<JobId> {
        if first > last {
            return Vec::new();
        }
        self.early.range(first..=last).take(limit).copied().collect()
    }

    /// What is to be removed may be read by those who hold this; later readers find it gone.
    pub(super) fn renew_pin(&mut self) -> Pin {
        std::mem::take(&mut self.pin)
    }

    fn wait(&mut self, id: JobId) {
        if self.waiting.len() < MAX_WAITING {
            self.waiting.push_back(id);
        }
    }

    /// Sends an order, or holds it while there is no room.
    fn give(&mut self, order: Order) -> Result<bool, StoreError> {
        let orders = self.orders.as_ref().ok_or_else(gone)?;
        match orders.try_send(order) {
            Ok(()) => {
                self.orders_left += 1;
                Ok(true)
            }
            Err(TrySendError::Full(order)) => {
                self.held = Some(order);
                Ok(false)
            }
            // Why it ended is in its last report.
            Err(TrySendError::Disconnected(_)) => {
                let failed = self.reports.try_iter().find_map(|report| match report {
                    Report::Failed(error) => Some(error),
                    _ => None,
                });
                Err(failed.unwrap_or_else(gone))
            }
        }
    }

    fn next_early(&mut self, ledger: &Ledger, log: &Log, as_of: u64, now: Now) -> Option<Order> {
        let mut batch = Batch::default();
        while !batch.is_full()
            && let Some(id) = self.waiting.pop_front()
        {
            if let Some(record) = ledger.record(id)
                && rests_long(&record, now)
                && !ledger.is_detail_at_rest(id)
            {
                batch.add(record, self, ledger, log, as_of);
            }
        }
        (!batch.is_empty()).then(|| batch.into_order())
    }

    fn next_of_segment(&mut self, ledger: &Ledger, log: &Log, as_of: u64, now: Now) -> Option<Order> {
        let mut handing = match std::mem::replace(&mut self.phase, Phase::Idle) {
            Phase::Handing(handing) => handing,
            other => {
                self.phase = other;
                return None;
            }
        };
        let order = handing.next(self, ledger, log, as_of, now);
        self.phase = match order {
            Some(Order::Finish(_)) => {
                Phase::Waiting { born_through: handing.born.map_or(0, |born| *born.end()) }
            }
            _ => Phase::Handing(handing),
        };
        order
    }
}

impl Drop for Mover {
    fn drop(&mut self) {
        // Whoever wanted to know how it ended has called `stop`.
        let _ = self.stop();
    }
}

/// Whether a job will stay as it is for long.
fn rests_long(record: &JobRecord, now: Now) -> bool {
    match (record.state, record.due) {
        (JobState::Dead, _) => true,
        (JobState::Scheduled | JobState::Retrying, Some(due)) => is_far(due, now),
        _ => false,
    }
}

fn is_far(due: Due, now: Now) -> bool {
    match due {
        Due::Engine(time) => time.since(now.engine) > LONG_WAIT,
        Due::Wall(time) => time.since(now.wall) > LONG_WAIT,
    }
}

fn gone() -> StoreError {
    StoreError::Unusable("the thread that moves jobs home is gone".to_owned())
}
