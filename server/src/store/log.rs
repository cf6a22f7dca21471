//! The log: jobs are born here, and everything that happens to them is written here first. One group is
//! one frame, one write and one sync.
//!
//! It knows mutations and files; where jobs go that outlive it, it does not know. The format is in
//! docs/STORAGE.md.

mod check;
mod closed;
mod frame;
#[cfg(test)]
mod golden;
mod id_set;
mod index;
mod open;
mod place;
mod replay;
mod segment;
mod supply;
mod tail;
#[cfg(test)]
mod test;

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sluice_engine::{JobId, Mutation, Now, Timestamp};

pub(crate) use check::{Examined, examine};
pub(crate) use closed::ClosedSegment;
#[cfg(test)]
pub(crate) use open::Replayed;
pub(crate) use place::{LogPlace, read_bodies};
pub(crate) use segment::Segment;
pub(crate) use tail::Group;
pub use tail::{Groups, Tail};

use self::frame::{FrameHeader, MAX_BODY_BYTES};
use self::index::FrameIndex;
use self::segment::{SegmentHeader, first_chain, frame_seed};
use self::supply::Supply;
use self::tail::Tails;
use super::disk::Disk;
use super::{StoreError, codec};
use crate::planted::{self, Bug};

/// How a log is kept.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LogOptions {
    /// How large segments are; one that holds a larger frame is as large as that.
    pub segment_bytes: u64,
    /// Whether a thread makes segments before they are needed. Simulations do without, for one order of things.
    pub ahead: bool,
}

/// The log. The writer thread owns it.
pub(crate) struct Log {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    store_id: u128,
    options: LogOptions,
    state: State,
    /// There once the log was replayed.
    supply: Option<Supply>,
    /// Oldest first; the last is the active one.
    segments: VecDeque<Segment>,
    next_group: u64,
    /// The link of the next frame.
    chain: u32,
    last_job: JobId,
    used_bytes: u64,
    /// Those who read the groups beside the writer.
    tails: Tails,
    /// Room for a segment's header, a frame's header, the body: used again for each frame.
    buffer: Vec<u8>,
    frame_index: FrameIndex,
}

enum State {
    /// To be replayed.
    Opened(open::Found),
    /// Takes groups.
    Ready,
    /// A write or sync failed, or replay did: nothing is known of what the disk holds.
    Failed,
}

/// Where a frame's header lies in the buffer; before it there is room for a segment's.
const FRAME_AT: usize = segment::HEADER_BYTES;
/// Where the body lies in the buffer.
const BODY_AT: usize = FRAME_AT + frame::HEADER_BYTES;
/// A buffer that grew beyond this for one large group is given back.
const MAX_KEPT_BUFFER_BYTES: usize = 32 << 20;
/// Segments are at least so large (tests use small ones), and at most so that offsets fit 32 bits.
const SEGMENT_BYTES: std::ops::RangeInclusive<u64> = 4 << 10..=1 << 30;

impl Default for LogOptions {
    fn default() -> LogOptions {
        LogOptions { segment_bytes: 64 << 20, ahead: true }
    }
}

impl Log {
    /// Opens the log in `dir`/log, or begins one. Segments up to `retired_through` are needed no more.
    /// [`Log::replay`] comes next.
    ///
    /// # Errors
    /// When a segment is missing, damaged or of another store.
    pub(crate) fn open(
        disk: Arc<dyn Disk>,
        dir: &Path,
        store_id: u128,
        options: LogOptions,
        retired_through: u64,
    ) -> Result<Log, StoreError> {
        check_segment_bytes(&options)?;
        let dir = dir.join("log");
        let found = open::find(&*disk, &dir, store_id, retired_through)?;
        Ok(Log::new(disk, dir, store_id, options, State::Opened(found)))
    }

    /// Begins a log as if it had gone on to group `last_group`, and to the end of segment `retired_through`,
    /// which is not 0. It takes groups at once.
    ///
    /// # Errors
    /// When it cannot be made.
    pub(crate) fn begin_after(
        disk: Arc<dyn Disk>,
        dir: &Path,
        store_id: u128,
        options: LogOptions,
        retired_through: u64,
        last_group: u64,
    ) -> Result<Log, StoreError> {
        check_segment_bytes(&options)?;
        let dir = dir.join("log");
        disk.create_dir(&dir)
            .map_err(|source| StoreError::Io { what: format!("make {}", dir.display()), source })?;
        let (bytes, next) = (options.segment_bytes, retired_through + 1);
        let supply = Supply::new(Arc::clone(&disk), &dir, bytes, options.ahead, next)?;
        let log = Log::new(disk, dir, store_id, options, State::Ready);
        Ok(Log { supply: Some(supply), next_group: last_group + 1, ..log })
    }

    fn new(disk: Arc<dyn Disk>, dir: PathBuf, store_id: u128, options: LogOptions, state: State) -> Log {
        Log {
            disk,
            dir,
            store_id,
            options,
            state,
            supply: None,
            segments: VecDeque::new(),
            next_group: 1,
            chain: first_chain(store_id),
            last_job: JobId(0),
            used_bytes: 0,
            tails: Tails::default(),
            buffer: Vec::new(),
            frame_index: FrameIndex::default(),
        }
    }

    /// Makes a group durable: one frame, one write, one sync. Its number.
    ///
    /// # Errors
    /// When it may not be durable. The log takes no group after that: the process must end.
    pub(crate) fn append(&mut self, now: Now, mutations: &[Mutation]) -> Result<u64, StoreError> {
        self.write(now, mutations, false)
    }

    /// Marks a clean stop.
    ///
    /// # Errors
    /// As [`Log::append`].
    pub(crate) fn append_clean(&mut self, now: Now) -> Result<(), StoreError> {
        self.write(now, &[], true).map(|_| ())
    }

    /// Every segment that holds frames, oldest first; the last is the active one.
    pub(crate) fn segments(&self) -> impl DoubleEndedIterator<Item = &Segment> + ExactSizeIterator {
        self.segments.iter()
    }

    /// Bytes of all frames and headers.
    pub(crate) fn used_bytes(&self) -> u64 {
        self.used_bytes
    }

    /// Bytes that can be appended before a segment is needed that is not there yet. Little is left when
    /// the disk is full: what the log still takes then is for acks and for retiring.
    pub(crate) fn room_bytes(&mut self) -> u64 {
        let Some(supply) = &mut self.supply else { return 0 };
        let next = if supply.is_ready() { self.options.segment_bytes } else { 0 };
        let active =
            self.segments.back().map_or(0, |s| self.options.segment_bytes.saturating_sub(s.used_bytes));
        active + next
    }

    /// Where the body of a job lies, if it was born in this log.
    pub(crate) fn locate(&self, id: JobId) -> Option<LogPlace> {
        place::locate(&self.segments, id)
    }

    /// Follows the groups from now on.
    ///
    /// # Errors
    /// When too many do.
    pub(crate) fn follow(&self) -> Result<Tail, StoreError> {
        self.tails.begin(self.next_group, self.segments.back(), self.chain)
    }

    /// The groups since `tail` was last asked about.
    ///
    /// # Errors
    /// When it was asked about too long ago.
    pub(crate) fn groups(&self, tail: &Tail) -> Result<Groups, StoreError> {
        tail.groups(&self.segments, self.next_group, self.chain)
    }

    /// Lets go of the oldest segment, once its retirement is durable.
    ///
    /// # Errors
    /// When it is not the oldest or is the active one.
    pub(crate) fn retire(&mut self, number: u64) -> Result<(), StoreError> {
        let supply = self.supply.as_mut().ok_or_else(not_ready)?;
        match self.segments.front() {
            Some(oldest) if oldest.number() == number && !oldest.active => {}
            _ => {
                return Err(StoreError::Unusable(format!(
                    "segment {number} of the log cannot be retired yet"
                )));
            }
        }
        if let Some(segment) = self.segments.pop_front() {
            self.tails.retire(&segment);
            self.used_bytes -= segment.used_bytes;
            supply.retire(segment.file)?;
        }
        Ok(())
    }

    fn write(&mut self, now: Now, mutations: &[Mutation], clean: bool) -> Result<u64, StoreError> {
        if !matches!(self.state, State::Ready) {
            return Err(not_ready());
        }
        // A failure below leaves it so: what the disk holds is not known then.
        self.state = State::Failed;
        self.encode(mutations)?;
        let group = self.write_frame(now, clean)?;
        self.note(mutations);
        if self.buffer.capacity() > MAX_KEPT_BUFFER_BYTES {
            self.buffer = Vec::new();
        }
        self.state = State::Ready;
        Ok(group)
    }

    /// Brings the body into the buffer.
    fn encode(&mut self, mutations: &[Mutation]) -> Result<(), StoreError> {
        self.buffer.clear();
        self.buffer.resize(BODY_AT, 0);
        self.frame_index.clear();
        for mutation in mutations {
            codec::encode(mutation, &mut self.buffer, |birth| self.frame_index.birth(birth));
        }
        let bytes = self.buffer.len() - BODY_AT;
        if bytes > MAX_BODY_BYTES {
            return Err(StoreError::Unusable(format!("a group of {bytes} bytes does not fit the log")));
        }
        if !self.frame_index.follows(self.last_job) {
            return Err(StoreError::Unusable("job ids must grow: they are found by it".to_owned()));
        }
        Ok(())
    }

    /// Writes the frame whose body is in the buffer, into the active segment or the next.
    fn write_frame(&mut self, now: Now, clean: bool) -> Result<u64, StoreError> {
        let body_bytes = self.buffer.len() - BODY_AT;
        let frame_bytes = frame::frame_bytes(body_bytes) as u64;
        let is_new = self.segments.back().is_none_or(|active| {
            let is_empty = active.groups().is_none();
            !is_empty && active.used_bytes + frame_bytes > self.options.segment_bytes
        });
        if is_new {
            let file = self.supply.as_mut().ok_or_else(not_ready)?.take()?;
            self.begin_segment(file);
        }
        let active = self.segments.back_mut().ok_or_else(not_ready)?;

        let header = FrameHeader {
            group: self.next_group,
            now,
            synced: Timestamp(0),
            body_bytes: body_bytes as u32,
            body_crc: frame::body_crc(self.chain, &self.buffer[BODY_AT..]),
            chain: self.chain,
            clean,
        };
        let (head, crc) = header.encode(frame_seed(self.store_id, active.number()));
        self.buffer[FRAME_AT..BODY_AT].copy_from_slice(&head);
        self.buffer.resize(FRAME_AT + frame_bytes as usize, 0);
        let file = &active.file;
        let result = if is_new {
            // Header and first frame go together: an empty segment is not worth a sync.
            self.buffer[..FRAME_AT].copy_from_slice(&active.header.encode());
            file.file.write_at(&self.buffer, 0)
        } else {
            file.file.write_at(&self.buffer[FRAME_AT..], active.used_bytes)
        };
        let synced =
            || file.file.sync_data().or_else(|e| if planted::has(Bug::FailedSync) { Ok(()) } else { Err(e) });
        result.and_then(|()| synced()).map_err(|source| StoreError::Io {
            what: format!("append to {}", file.path.display()),
            source,
        })?;

        active.index.extend(&self.frame_index, active.used_bytes - FRAME_AT as u64);
        active.used_bytes += frame_bytes;
        active.next_group += 1;
        self.used_bytes += frame_bytes;
        self.chain = crc;
        self.next_group += 1;
        Ok(header.group)
    }

    fn begin_segment(&mut self, file: Arc<segment::SegmentFile>) {
        if let Some(last) = self.segments.back_mut() {
            last.active = false;
        }
        let header = SegmentHeader {
            store_id: self.store_id,
            number: file.number,
            first_group: self.next_group,
            chain: self.chain,
        };
        let segment = Segment::new(file, header, self.last_job);
        self.used_bytes += segment.used_bytes;
        self.segments.push_back(segment);
    }

    /// Remembers which jobs the active segment's last frame is about.
    fn note(&mut self, mutations: &[Mutation]) {
        let Some(active) = self.segments.back_mut() else { return };
        active.note(mutations, self.frame_index.born);
        if let Some((_, last)) = self.frame_index.born {
            self.last_job = last;
        }
    }
}

fn check_segment_bytes(options: &LogOptions) -> Result<(), StoreError> {
    if SEGMENT_BYTES.contains(&options.segment_bytes) && options.segment_bytes.is_multiple_of(4096) {
        return Ok(());
    }
    let (least, most) = SEGMENT_BYTES.into_inner();
    Err(StoreError::Unusable(format!(
        "segments of the log must be a multiple of 4096 from {least} to {most} bytes"
    )))
}

fn not_ready() -> StoreError {
    StoreError::Unusable("the log takes no groups: it was not replayed, or it failed".to_owned())
}
