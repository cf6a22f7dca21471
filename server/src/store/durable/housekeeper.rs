//! Moves jobs home, order by order. It knows sled and the bodies in the log; when it runs, and what moves,
//! others decide.
//!
//! The order of writes is what makes a crash at any point harmless (`docs/STORAGE.md`): everything is
//! written and synced before what it replaces is removed; that is synced before queues of which nothing is left
//! are; that before it is noted how far the log has moved in; and only when the note is synced may the segment go.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use sluice_engine::{
    BatchName, BatchRecord, DrainRecord, IdempotencyRecord, JobId, JobRecord, JobState, Mutation, Now,
    QueueId, QueueRecord, RequestRecord, Span, Timestamp,
};

use super::DurableOptions;
use super::ballast::Ballast;
use super::reader::Pin;
use super::step::Step;
use super::thread::Signals;
use crate::store::home::{Home, Meta, Moving, MovingJob};
use crate::store::log::{self, ClosedSegment, LogPlace};
use crate::store::{Body, StoreError};

/// What is to be done. Orders are done in their order.
pub(super) enum Order {
    /// A segment is to move: read what only its events tell.
    Begin(ClosedSegment),
    /// Jobs.
    Jobs(Jobs),
    /// Queues as they are, as of a group.
    Queues(Vec<QueueRecord>, u64),
    /// Batches.
    Batches(Batches),
    /// A drained set, as of a group.
    Drain(Box<DrainRecord>, u64),
    /// A drained set that is no more.
    DrainGone(u128),
    /// Everything of the segment has been handed over.
    Finish(Finish),
    /// There is room for the ballast again.
    MakeBallast,
}

/// See [`Order::Jobs`].
#[derive(Default)]
pub(super) struct Jobs {
    /// Queues that are not at home yet, as of a group: a job there names a queue there, always.
    pub(super) queues: Vec<QueueRecord>,
    /// The group.
    pub(super) as_of: u64,
    /// As they are.
    pub(super) moving: Vec<HandedJob>,
    /// Those that are no more.
    pub(super) gone: Vec<JobId>,
}

/// What a batch is found by.
pub(super) type BatchKey = (QueueId, BatchName);

/// See [`Order::Batches`].
#[derive(Default)]
pub(super) struct Batches {
    /// The group.
    pub(super) as_of: u64,
    /// As they are.
    pub(super) moving: Vec<BatchRecord>,
    /// Those that are remembered no more.
    pub(super) gone: Vec<BatchKey>,
}

/// What a segment's events are about besides jobs, each once.
#[derive(Default)]
pub(super) struct Mentions {
    pub(super) drains: Vec<u128>,
    /// Those that were forgotten.
    pub(super) batches: Vec<BatchKey>,
}

/// A job, and where its body lies if it was born in the log.
pub(super) struct HandedJob {
    pub(super) job: MovingJob,
    pub(super) place: Option<LogPlace>,
}

/// See [`Order::Finish`].
pub(super) struct Finish {
    pub(super) segment: u64,
    /// The numbers given so far.
    pub(super) serial: u64,
    /// Queues up to this one were given theirs.
    pub(super) last_queue: QueueId,
    /// For windows that pass.
    pub(super) now: Timestamp,
    /// Held by whoever may still read what is to be removed.
    pub(super) readers: Pin,
}

/// What was done.
pub(super) enum Report {
    /// What a segment's events are about besides jobs.
    Read(Mentions),
    /// These jobs' records are durable.
    AtRest(Vec<Rest>),
    /// A segment is needed no more.
    Moved(u64),
    /// So many orders more are done and synced; what they had to tell came before.
    Done(usize),
    /// Nothing more will be done.
    Failed(StoreError),
}

/// A job at rest whose record is durable, if it is still the same life of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rest {
    pub(super) id: JobId,
    state: JobState,
    deliveries: u32,
    requeues: u32,
}

/// Does it.
pub(super) struct Housekeeper {
    home: Home,
    ballast: Ballast,
    store: u128,
    options: DurableOptions,
    signals: Signals,
    /// What is written and not synced.
    moving: Option<Moving>,
    resting: Vec<Rest>,
    unsettled: usize,
    is_in_segment: bool,
    /// Each queue's record as it was last written.
    queues: HashMap<QueueId, Written>,
    /// Queues that the segment's events say are no more.
    forgotten: Vec<QueueId>,
    /// Where to go on looking for idempotency keys that are remembered no more.
    idempotency_cursor: Vec<u8>,
}

/// What is known of a queue's record that was written.
struct Written {
    /// Tells whether it has changed: most have not.
    hash: u64,
    /// How long it remembers idempotency keys; none: it was deleted.
    window: Option<Span>,
}

/// How long a reader may keep what is to be removed: far longer than a read takes.
const MAX_READER_WAIT: Duration = Duration::from_secs(10);
const READER_POLL: Duration = Duration::from_millis(5);

impl Rest {
    fn of(record: &JobRecord) -> Rest {
        let JobRecord { id, state, deliveries, requeues, .. } = *record;
        Rest { id, state, deliveries, requeues }
    }

    /// Whether nothing has happened to the job since.
    pub(super) fn is_still(&self, record: &JobRecord) -> bool {
        *self == Rest::of(record)
    }
}

impl Housekeeper {
    pub(super) fn new(
        home: Home,
        ballast: Ballast,
        store: u128,
        options: DurableOptions,
        signals: Signals,
    ) -> Housekeeper {
        Housekeeper {
            home,
            ballast,
            store,
            options,
            signals,
            moving: None,
            resting: Vec::new(),
            unsettled: 0,
            is_in_segment: false,
            queues: HashMap::new(),
            forgotten: Vec::new(),
            idempotency_cursor: Vec::new(),
        }
    }

    /// Jobs that were written outside of a segment's move and are not durable yet.
    pub(super) fn unsettled(&self) -> usize {
        if self.is_in_segment { 0 } else { self.unsettled }
    }

    /// Whether the disk has room for what comes next; if need be, the ballast's.
    pub(super) fn has_room(&self) -> Result<bool, StoreError> {
        if self.home.has_room_to_grow()? {
            return Ok(true);
        }
        self.ballast.give_up_on_full_disk()?;
        self.home.has_room_to_grow()
    }

    /// Does one thing.
    pub(super) fn take(&mut self, order: Order) -> Result<Vec<Report>, StoreError> {
        match order {
            Order::Begin(closed) => return self.begin(&closed).map(|report| vec![report]),
            Order::Jobs(jobs) => {
                self.put_queues(&jobs.queues, jobs.as_of)?;
                self.put_jobs(&jobs.moving)?;
                let moving = self.moving();
                jobs.gone.into_iter().for_each(|id| moving.drop_job(id));
            }
            Order::Queues(records, as_of) => self.put_queues(&records, as_of)?,
            Order::Batches(batches) => self.put_batches(batches)?,
            Order::Drain(record, as_of) => self.moving().put_drain(&record, as_of)?,
            Order::DrainGone(set) => self.moving().drop_drain(set),
            Order::Finish(finish) => return self.finish(&finish),
            Order::MakeBallast => {
                if let Err(error) = self.ballast.make() {
                    tracing::warn!(%error, "cannot make the ballast");
                }
            }
        }
        Ok(Vec::new())
    }

    /// Makes durable what was written, and removes what it replaces.
    pub(super) fn settle(&mut self, now: Timestamp) -> Result<Vec<Report>, StoreError> {
        let Some(moving) = self.moving.take() else { return Ok(Vec::new()) };
        self.unsettled = 0;
        self.options.reach(Step::Written)?;
        self.home.flush()?;
        self.options.reach(Step::WrittenSynced)?;
        moving.remove_stale(now)?;
        self.options.reach(Step::Removed)?;
        self.home.flush()?;
        self.options.reach(Step::RemovedSynced)?;
        self.home.check_no_blobs()?;
        Ok(vec![Report::AtRest(std::mem::take(&mut self.resting))])
    }

    /// The requests and idempotency keys of a segment go over at once: nothing about them changes any more.
    fn begin(&mut self, closed: &ClosedSegment) -> Result<Report, StoreError> {
        self.is_in_segment = true;
        let mut read = Reading::default();
        closed.visit(|now, mutations| mutations.into_iter().for_each(|mutation| read.take(mutation, now)))?;
        self.moving().put_requests(closed.number(), &read.requests)?;
        self.moving().put_idempotency(closed.number(), &read.keys)?;
        self.options.reach(Step::RequestsWritten)?;
        self.forgotten = read.forgotten;
        let mut mentions = read.mentions;
        mentions.drains.sort_unstable();
        mentions.drains.dedup();
        mentions.batches.sort_unstable();
        mentions.batches.dedup();
        Ok(Report::Read(mentions))
    }

    fn put_jobs(&mut self, jobs: &[HandedJob]) -> Result<(), StoreError> {
        let bodies = self.bodies(jobs)?;
        for (handed, body) in jobs.iter().zip(&bodies) {
            self.moving().put_job(&handed.job, body.as_ref())?;
            let record = &handed.job.record;
            if record.state.is_buried() && !handed.job.detail_at_rest {
                self.resting.push(Rest::of(record));
            }
            self.options.reach(Step::JobWritten)?;
        }
        self.unsettled += jobs.len();
        Ok(())
    }

    /// The bodies that have to move too.
    fn bodies(&self, jobs: &[HandedJob]) -> Result<Vec<Option<Body>>, StoreError> {
        let mut places = Vec::new();
        let mut indexes = Vec::new();
        for (index, HandedJob { job, place }) in jobs.iter().enumerate() {
            let Some(place) = place else { continue };
            if !job.may_be_home || !self.home.has_body(job.record.id)? {
                places.push((job.record.id, place.clone()));
                indexes.push(index);
            }
        }
        let mut bodies = vec![None; jobs.len()];
        for ((index, body), (id, _)) in indexes.into_iter().zip(log::read_bodies(&places)?).zip(&places) {
            if body.is_none() {
                return Err(StoreError::Damaged(format!("job {id} is not where it was born")));
            }
            bodies[index] = body;
        }
        Ok(bodies)
    }

    fn put_queues(&mut self, records: &[QueueRecord], as_of: u64) -> Result<(), StoreError> {
        for record in records {
            let hash = Home::queue_hash(record);
            let window = (!record.deleted).then_some(record.settings.idempotency_window);
            let before = self.queues.insert(record.id, Written { hash, window });
            if before.is_none_or(|before| before.hash != hash) {
                self.moving().put_queue(record, as_of)?;
            }
        }
        Ok(())
    }

    fn put_batches(&mut self, batches: Batches) -> Result<(), StoreError> {
        for record in &batches.moving {
            self.moving().put_batch(record, batches.as_of)?;
        }
        batches.gone.into_iter().for_each(|(queue, name)| self.moving().drop_batch(queue, name));
        Ok(())
    }

    /// A job, batch or set here names a queue here, always: so queues go when all that they held is gone for sure, and
    /// for sure themselves before the log forgets that they are to go.
    fn remove_forgotten_queues(&mut self) -> Result<(), StoreError> {
        let forgotten = std::mem::take(&mut self.forgotten);
        for id in &forgotten {
            self.queues.remove(id);
            self.home.remove_queue(*id)?;
        }
        self.options.reach(Step::QueuesRemoved)?;
        if forgotten.is_empty() { Ok(()) } else { self.home.flush() }
    }

    fn finish(&mut self, finish: &Finish) -> Result<Vec<Report>, StoreError> {
        wait_for(&finish.readers, &self.signals);
        // A segment of which nothing is left still has requests and a note to write.
        self.moving();
        let mut reports = self.settle(finish.now)?;
        self.remove_forgotten_queues()?;
        let window = |queue: QueueId| self.queues.get(&queue)?.window;
        self.home.remove_past_idempotency(&mut self.idempotency_cursor, window, finish.now)?;
        let moved_through = finish.segment;
        let (serial, last_queue) = (finish.serial, finish.last_queue);
        self.home.put_meta(&Meta { store: self.store, moved_through, serial, last_queue })?;
        self.options.reach(Step::Noted)?;
        self.home.flush()?;
        self.options.reach(Step::NotedSynced)?;
        self.is_in_segment = false;
        reports.push(Report::Moved(moved_through));
        Ok(reports)
    }

    fn moving(&mut self) -> &mut Moving {
        self.moving.get_or_insert_with(|| self.home.moving())
    }
}

/// What is read of a segment before it moves.
#[derive(Default)]
struct Reading {
    requests: Vec<RequestRecord>,
    keys: Vec<IdempotencyRecord>,
    mentions: Mentions,
    /// Queues that are no more.
    forgotten: Vec<QueueId>,
}

impl Reading {
    fn take(&mut self, mutation: Mutation, now: Now) {
        let time = now.engine;
        match mutation {
            Mutation::Requested { request, answer } => {
                self.requests.push(RequestRecord { request, answer, time });
            }
            Mutation::Enqueued { queue, first, jobs } => {
                let keys = (first.0..).map(JobId).zip(jobs).filter_map(|(job, spec)| {
                    spec.idempotency.map(|hash| IdempotencyRecord { queue, hash, job, time })
                });
                self.keys.extend(keys);
            }
            Mutation::Drained { request, .. } => self.mentions.drains.push(request.id),
            Mutation::DrainForgotten { set } => self.mentions.drains.push(set),
            Mutation::BatchesForgotten { queue, batches } => {
                self.mentions.batches.extend(batches.into_iter().map(|name| (queue, name)));
            }
            Mutation::QueueForgotten { queue } => self.forgotten.push(queue),
            _ => {}
        }
    }
}

/// Lets readers finish. One that takes too long finds the payload of a finished job gone, as it would a
/// moment later.
fn wait_for(readers: &Pin, signals: &Signals) {
    let mut left = MAX_READER_WAIT;
    let is_stopping = || signals.is_stopping.load(Ordering::Acquire);
    while !readers.is_free() && !left.is_zero() && !is_stopping() {
        thread::sleep(READER_POLL);
        left = left.saturating_sub(READER_POLL);
    }
}
