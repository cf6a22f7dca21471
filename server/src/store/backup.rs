//! A backup: all that the engine knows as of one group, and the bodies, taken while the queue is served.
//!
//! It is taken as a start reads a store: records first, each with the last group that it includes, then the
//! groups since. The writer hands over a slice of records between groups and goes on; nothing waits until
//! all slices are taken, and no slice is as of the same group as the one before. What happens to a job
//! meanwhile is in the groups, all of which go into the backup from the moment it began to the moment it
//! ended. Reading it back, each record passes over the groups that it includes. So what a restored store
//! shows is the engine after the last of those groups, by the same rules that make a crash in the midst of
//! moving home harmless:
//!
//! - a job that was there when it began is a record, or was removed by a group of the backup before its slice;
//! - a job that came later is in a group, with its body;
//! - queues are taken after all jobs: the totals include the removals of jobs that no slice has. They are taken
//!   before as well, for those that are removed meanwhile;
//! - batches are taken after all jobs, as queues are: they count the jobs that are gone;
//! - idempotency keys older than the backup are records, younger ones are in groups with their jobs;
//! - what limits know is said again, in groups, once it has begun;
//! - a drained set never changes, and one that is forgotten is forgotten by a group; requests are remembered
//!   twice without harm.

mod file;

use std::collections::VecDeque;

use sluice_engine::{
    BatchName, BatchRecord, DrainRecord, IdempotencyRecord, JobId, JobRecord, Ledger, Now, QueueId,
    QueueRecord, RequestRecord, Timestamp,
};

pub(crate) use self::file::{BackupReader, End, Entry};

use self::file::BackupWriter;
use super::home::row;
use super::log::{Groups, Tail};
use super::{Body, BodyReader, Place, Store, StoreError};

/// Jobs of a slice, and bytes of their bodies after which it holds no more.
const SLICE_JOBS: usize = 512;
const SLICE_BYTES: u64 = 4 << 20;
/// Queues of a slice.
const SLICE_QUEUES: usize = 256;
/// Batches of a slice.
const SLICE_BATCHES: usize = 4_096;
/// Requests or idempotency keys of a slice. A slice goes home as a segment's would.
const SLICE_REQUESTS: usize = 16_000;
/// Bytes that are written at most before whoever asked can pass them on, but for a single thing that is larger.
const WRITE_BYTES: usize = 1 << 20;

/// A backup on its way.
pub struct Backup {
    tail: Tail,
    stage: Stage,
    /// The numbers given before it began: what came later is in groups.
    serial: u64,
    /// When it began.
    begun: Timestamp,
    /// Request slices so far: they stand for so many segments that have moved home.
    segments: u64,
    writer: BackupWriter,
}

/// What was taken between two groups, to be written beside the writer.
pub struct Slice {
    as_of: u64,
    queues: VecDeque<QueueRecord>,
    jobs: Vec<TakenJob>,
    drain: Option<DrainRecord>,
    requests: Option<(u64, Vec<RequestRecord>)>,
    batches: Vec<BatchRecord>,
    idempotency: Option<(u64, Vec<IdempotencyRecord>)>,
    groups: Groups,
    end: Option<End>,
}

struct TakenJob {
    record: JobRecord,
    detail_at_rest: bool,
    place: Option<Place>,
}

/// What is taken next.
enum Stage {
    QueuesBefore(VecDeque<QueueId>),
    /// From this one on.
    Jobs {
        from: u64,
    },
    QueuesAfter(VecDeque<QueueId>),
    Batches(VecDeque<(QueueId, BatchName)>),
    Drains(VecDeque<u128>),
    /// Later than this.
    Requests(Option<Timestamp>),
    /// Behind these of this queue.
    Idempotency(Option<(QueueId, Timestamp)>),
    End,
    Ended,
}

impl Backup {
    /// Begins one, between groups, and gives what it begins with.
    ///
    /// # Errors
    /// When the store cannot be followed.
    pub fn begin(ledger: &Ledger, store: &dyn Store, now: Now) -> Result<(Backup, Vec<u8>), StoreError> {
        let tail = store.follow()?;
        let mut out = Vec::new();
        let writer = BackupWriter::begin(tail.last_group(), now, &mut out);
        let stage = Stage::QueuesBefore(ledger.queue_ids().collect());
        let (serial, begun) = (ledger.serial(), now.engine);
        Ok((Backup { tail, stage, serial, begun, segments: 0, writer }, out))
    }

    /// Whether all was taken.
    #[must_use]
    pub fn is_ended(&self) -> bool {
        matches!(self.stage, Stage::Ended)
    }

    /// Takes the next slice, between groups: a bounded bit of records, and the groups since the last one.
    ///
    /// # Errors
    /// When the log has let go of groups that were not taken yet: the backup was read too slowly.
    pub fn take(&mut self, ledger: &Ledger, store: &dyn Store, now: Now) -> Result<Slice, StoreError> {
        let groups = store.groups(&self.tail)?;
        let as_of = self.tail.last_group();
        let mut slice = Slice {
            as_of,
            queues: VecDeque::new(),
            jobs: Vec::new(),
            drain: None,
            requests: None,
            batches: Vec::new(),
            idempotency: None,
            groups,
            end: None,
        };
        self.stage = match std::mem::replace(&mut self.stage, Stage::Ended) {
            Stage::QueuesBefore(mut left) => {
                slice.queues = queues(ledger, &mut left);
                match left.is_empty() {
                    false => Stage::QueuesBefore(left),
                    true => Stage::Jobs { from: 0 },
                }
            }
            Stage::Jobs { from } => match take_jobs(ledger, store, from, self.serial, &mut slice.jobs) {
                Some(from) => Stage::Jobs { from },
                None => Stage::QueuesAfter(ledger.queue_ids().collect()),
            },
            Stage::QueuesAfter(mut left) => {
                slice.queues = queues(ledger, &mut left);
                match left.is_empty() {
                    false => Stage::QueuesAfter(left),
                    // All of them by name: one that changes again is still to be taken.
                    true => Stage::Batches(batches(ledger)),
                }
            }
            Stage::Batches(mut left) => {
                let names = left.drain(..left.len().min(SLICE_BATCHES));
                // One that is gone is forgotten by a group.
                let records = names.filter_map(|(queue, name)| ledger.batch_record(queue, &name));
                slice.batches = records.cloned().collect();
                match left.is_empty() {
                    false => Stage::Batches(left),
                    true => Stage::Drains(ledger.drain_ids().collect()),
                }
            }
            Stage::Drains(mut left) => {
                // One at a time: a set may be as large as a million ids.
                slice.drain = left.pop_front().and_then(|set| ledger.drain_record(set));
                match left.is_empty() {
                    false => Stage::Drains(left),
                    true => Stage::Requests(None),
                }
            }
            Stage::Requests(after) => {
                let mut requests = ledger.requests_after(after, SLICE_REQUESTS);
                requests.retain(|request| request.time <= self.begun);
                match requests.last().map(|last| last.time) {
                    Some(last) => {
                        self.segments += 1;
                        slice.requests = Some((self.segments, requests));
                        Stage::Requests(Some(last))
                    }
                    None => Stage::Idempotency(None),
                }
            }
            Stage::Idempotency(after) => {
                let mut keys = ledger.idempotency_after(after, SLICE_REQUESTS);
                match keys.last().map(|last| (last.queue, last.time)) {
                    Some(last) => {
                        keys.retain(|key| key.time <= self.begun);
                        self.segments += 1;
                        slice.idempotency = Some((self.segments, keys));
                        Stage::Idempotency(Some(last))
                    }
                    None => Stage::End,
                }
            }
            Stage::End | Stage::Ended => {
                // A store that has moved something home has at least one segment less.
                let segments = self.segments.max(1);
                let (serial, last_queue) = (ledger.serial(), ledger.last_queue());
                slice.end = Some(End { group: as_of, now, serial, last_queue, segments });
                Stage::Ended
            }
        };
        Ok(slice)
    }

    /// Writes a bounded part of a slice; says whether there is more of it. Blocks on the disk.
    ///
    /// # Errors
    /// When a body or a group cannot be read.
    pub fn write(
        &mut self,
        slice: &mut Slice,
        reader: &dyn BodyReader,
        out: &mut Vec<u8>,
    ) -> Result<bool, StoreError> {
        let (as_of, writer) = (slice.as_of, &mut self.writer);
        for record in slice.queues.drain(..) {
            row::queue(&record, as_of, &mut |tree, key, value| writer.row(tree, key, value, out));
        }
        write_jobs(std::mem::take(&mut slice.jobs), as_of, reader, writer, out)?;
        if let Some(record) = slice.drain.take() {
            row::drain(&record, as_of, &mut |tree, key, value| writer.row(tree, key, value, out));
        }
        if let Some((segment, records)) = slice.requests.take() {
            row::requests(segment, &records, &mut |tree, key, value| writer.row(tree, key, value, out));
        }
        for record in slice.batches.drain(..) {
            row::batch(&record, as_of, &mut |tree, key, value| writer.row(tree, key, value, out));
        }
        if let Some((segment, records)) = slice.idempotency.take() {
            row::idempotency(segment, &records, &mut |tree, key, value| writer.row(tree, key, value, out));
        }
        while let Some(group) = slice.groups.next()? {
            writer.group(&group, out);
            if out.len() >= WRITE_BYTES {
                return Ok(true);
            }
        }
        if let Some(end) = slice.end.take() {
            writer.end(&end, out);
        }
        Ok(false)
    }
}

fn queues(ledger: &Ledger, left: &mut VecDeque<QueueId>) -> VecDeque<QueueRecord> {
    let count = left.len().min(SLICE_QUEUES);
    left.drain(..count).filter_map(|id| ledger.queue_record(id)).collect()
}

/// All whose jobs do not say all of them.
fn batches(ledger: &Ledger) -> VecDeque<(QueueId, BatchName)> {
    ledger.batches_changed_after(0).map(|(_, record)| (record.queue, record.name.clone())).collect()
}

/// Takes jobs from `from` on; says where the next slice begins, if there is one.
fn take_jobs(
    ledger: &Ledger,
    store: &dyn Store,
    from: u64,
    last: u64,
    jobs: &mut Vec<TakenJob>,
) -> Option<u64> {
    if from > last {
        return None;
    }
    let mut bytes = 0;
    let mut ids: Vec<JobId> = Vec::new();
    for id in ledger.ids(from..=last, SLICE_JOBS) {
        if bytes >= SLICE_BYTES {
            break;
        }
        if let Some(record) = ledger.record(id) {
            bytes += u64::from(record.bytes);
            ids.push(id);
            let detail_at_rest = ledger.is_detail_at_rest(id);
            jobs.push(TakenJob { record, detail_at_rest, place: None });
        }
    }
    for (job, place) in jobs.iter_mut().zip(store.locate(&ids)) {
        job.place = place;
    }
    ids.last().map(|last| last.0.saturating_add(1))
}

fn write_jobs(
    jobs: Vec<TakenJob>,
    as_of: u64,
    reader: &dyn BodyReader,
    writer: &mut BackupWriter,
    out: &mut Vec<u8>,
) -> Result<(), StoreError> {
    let places: Vec<Place> = jobs.iter().filter_map(|job| job.place.clone()).collect();
    let mut bodies = reader.read(&places)?.into_iter();
    for TakenJob { mut record, detail_at_rest, place } in jobs {
        let mut body = place.and_then(|_| bodies.next()).unwrap_or_else(Body::default);
        if detail_at_rest {
            // What the engine has let go of is with the body.
            record.detail = body.detail.take();
        }
        row::job(&record, as_of, &body, &mut |tree, key, value| writer.row(tree, key, value, out));
    }
    Ok(())
}
