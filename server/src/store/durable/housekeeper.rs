//! Moves jobs home, order by order. It knows sled and the bodies in the log; when it runs, and what moves,
//! others decide.
//!
//! The order of writes is what makes a crash at any point harmless (`docs/STORAGE.md`): everything is
//! written and synced before what it replaces is removed; that is synced before it is noted how far the
//! log has moved in; and only when the note is synced may the segment go.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use sluice_engine::{
    DrainRecord, JobId, JobRecord, JobState, Mutation, QueueId, QueueRecord, RequestRecord, Timestamp,
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
    /// A drained set, as of a group.
    Drain(Box<DrainRecord>, u64),
    /// A drained set that is no more.
    DrainGone(u128),
    /// Everything of the segment has been handed over.
    Finish(Finish),
    /// There is room for the ballast again.
    MakeBallast(Ballast),
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
    /// For windows that pass.
    pub(super) now: Timestamp,
    /// Held by whoever may still read what is to be removed.
    pub(super) readers: Pin,
}

/// What was done.
pub(super) enum Report {
    /// The drained sets that a segment's events are about.
    Drains(Vec<u128>),
    /// These jobs' records are durable.
    AtRest(Vec<Rest>),
    /// A segment is needed no more.
    Moved(u64),
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
    store: u128,
    options: DurableOptions,
    signals: Signals,
    /// What is written and not synced.
    moving: Option<Moving>,
    resting: Vec<Rest>,
    unsettled: usize,
    is_in_segment: bool,
    /// A hash of each queue's record as it was last written: most have not changed.
    queues: HashMap<QueueId, u64>,
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
    pub(super) fn new(home: Home, store: u128, options: DurableOptions, signals: Signals) -> Housekeeper {
        Housekeeper {
            home,
            store,
            options,
            signals,
            moving: None,
            resting: Vec::new(),
            unsettled: 0,
            is_in_segment: false,
            queues: HashMap::new(),
        }
    }

    /// Jobs that were written outside of a segment's move and are not durable yet.
    pub(super) fn unsettled(&self) -> usize {
        if self.is_in_segment { 0 } else { self.unsettled }
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
            Order::Drain(record, as_of) => self.moving().put_drain(&record, as_of)?,
            Order::DrainGone(set) => self.moving().drop_drain(set),
            Order::Finish(finish) => return self.finish(&finish),
            Order::MakeBallast(ballast) => {
                if let Err(error) = ballast.make() {
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

    /// The requests of a segment go over at once: nothing about them changes any more.
    fn begin(&mut self, closed: &ClosedSegment) -> Result<Report, StoreError> {
        self.is_in_segment = true;
        let mut requests: Vec<RequestRecord> = Vec::new();
        let mut drains: Vec<u128> = Vec::new();
        closed.visit(|now, mutations| {
            for mutation in mutations {
                match mutation {
                    Mutation::Requested { request, answer } => {
                        requests.push(RequestRecord { request, answer, time: now.engine });
                    }
                    Mutation::Drained { request, .. } => drains.push(request.id),
                    Mutation::DrainForgotten { set } => drains.push(set),
                    _ => {}
                }
            }
        })?;
        self.moving().put_requests(closed.number(), &requests)?;
        self.options.reach(Step::RequestsWritten)?;
        drains.sort_unstable();
        drains.dedup();
        Ok(Report::Drains(drains))
    }

    fn put_jobs(&mut self, jobs: &[HandedJob]) -> Result<(), StoreError> {
        let bodies = self.bodies(jobs)?;
        for (handed, body) in jobs.iter().zip(&bodies) {
            self.moving().put_job(&handed.job, body.as_ref())?;
            let record = &handed.job.record;
            if matches!(record.state, JobState::Dead | JobState::Drained) && !handed.job.detail_at_rest {
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
            if self.queues.insert(record.id, hash) != Some(hash) {
                self.moving().put_queue(record, as_of)?;
            }
        }
        Ok(())
    }

    fn finish(&mut self, finish: &Finish) -> Result<Vec<Report>, StoreError> {
        wait_for(&finish.readers, &self.signals);
        // A segment of which nothing is left still has requests and a note to write.
        self.moving();
        let mut reports = self.settle(finish.now)?;
        let moved_through = finish.segment;
        self.home.put_meta(&Meta { store: self.store, moved_through, serial: finish.serial })?;
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
