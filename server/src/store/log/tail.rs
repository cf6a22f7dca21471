//! Follows the log: the groups that became durable since one last looked, to be read beside the writer. What
//! the log lets go of meanwhile is kept for those who follow, up to a bound: the writer never waits for them.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use bytes::Bytes;

use super::frame::{self, FrameHeader, body_crc};
use super::segment::{self, Segment, SegmentFile, frame_seed};
use crate::store::StoreError;

/// Bytes of retired segments that are kept for one who follows slowly.
pub(super) const MAX_KEPT_BYTES: u64 = 1 << 30;
/// Those who follow at a time: each may keep as much.
const MAX_TAILS: usize = 4;

/// Follows a log, from when it was made.
#[derive(Debug)]
pub struct Tail(Arc<Mutex<State>>);

/// The log's side of all who follow it.
#[derive(Debug, Default)]
pub(super) struct Tails(Mutex<Vec<Weak<Mutex<State>>>>);

#[derive(Debug)]
struct State {
    /// The next group.
    next: u64,
    /// Where its frame begins, if its segment has frames before it.
    at: Option<At>,
    /// Retired segments with groups that were not asked for yet.
    kept: VecDeque<Stretch>,
    kept_bytes: u64,
    /// More would have to be kept than may be.
    is_lost: bool,
}

/// Where the next frame of a segment begins, and its link.
#[derive(Clone, Copy, Debug)]
struct At {
    segment: u64,
    offset: u64,
    chain: u32,
}

/// Groups, in order. Holding it keeps their files.
#[derive(Debug, Default)]
pub struct Groups(VecDeque<Stretch>);

/// A part of a segment.
#[derive(Clone, Debug)]
struct Stretch {
    file: Arc<SegmentFile>,
    seed: u32,
    offset: u64,
    end: u64,
    group: u64,
    chain: u32,
}

/// A group as it lies in the log.
#[derive(Clone, Debug)]
pub(crate) struct Group {
    pub(crate) number: u64,
    pub(crate) now: sluice_engine::Now,
    /// See `codec`.
    pub(crate) events: Bytes,
}

impl Tails {
    /// One more, who follows from group `next` on. `active` is the segment that has frames before it.
    pub(super) fn begin(&self, next: u64, active: Option<&Segment>, chain: u32) -> Result<Tail, StoreError> {
        let mut tails = self.lock();
        tails.retain(|tail| tail.strong_count() > 0);
        if tails.len() >= MAX_TAILS {
            return Err(StoreError::Unusable(format!("{MAX_TAILS} follow the log already")));
        }
        let at = active.map(|segment| At { segment: segment.number(), offset: segment.used_bytes, chain });
        let state = State { next, at, kept: VecDeque::new(), kept_bytes: 0, is_lost: false };
        let tail = Arc::new(Mutex::new(state));
        tails.push(Arc::downgrade(&tail));
        Ok(Tail(tail))
    }

    /// A segment is let go of.
    pub(super) fn retire(&self, segment: &Segment) {
        for tail in self.lock().iter().filter_map(Weak::upgrade) {
            lock(&tail).keep(segment);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Weak<Mutex<State>>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Tail {
    /// The last group that was asked for.
    pub(crate) fn last_group(&self) -> u64 {
        lock(&self.0).next - 1
    }

    /// As if so much were kept for it.
    #[cfg(test)]
    pub(super) fn count_as_kept(&self, bytes: u64) {
        lock(&self.0).kept_bytes = bytes;
    }

    /// The groups since the last time, of a log that has these segments and comes to `next` next.
    pub(super) fn groups(
        &self,
        segments: &VecDeque<Segment>,
        next: u64,
        chain: u32,
    ) -> Result<Groups, StoreError> {
        let mut state = lock(&self.0);
        if state.is_lost {
            return Err(StoreError::Unusable("who follows the log is too slow for it".to_owned()));
        }
        let mut groups = std::mem::take(&mut state.kept);
        state.kept_bytes = 0;
        groups.extend(segments.iter().filter_map(|segment| state.stretch(segment)));
        state.next = next;
        state.at = segments.back().map(|last| At { segment: last.number(), offset: last.used_bytes, chain });
        Ok(Groups(groups))
    }
}

impl State {
    fn keep(&mut self, segment: &Segment) {
        let Some(stretch) = self.stretch(segment) else { return };
        self.kept_bytes += stretch.end - stretch.offset;
        self.is_lost |= self.kept_bytes > MAX_KEPT_BYTES;
        if self.is_lost {
            self.kept.clear();
        } else {
            self.kept.push_back(stretch);
        }
    }

    /// What of a segment was not asked for yet.
    fn stretch(&self, segment: &Segment) -> Option<Stretch> {
        if segment.next_group <= self.next {
            return None;
        }
        let header = &segment.header;
        let at = self.at.filter(|at| at.segment == header.number);
        let (offset, group, chain) = match at {
            Some(at) => (at.offset, self.next, at.chain),
            None => (segment::HEADER_BYTES as u64, header.first_group, header.chain),
        };
        let file = Arc::clone(&segment.file);
        let seed = frame_seed(header.store_id, header.number);
        Some(Stretch { file, seed, offset, end: segment.used_bytes, group, chain })
    }
}

impl Groups {
    /// The next group; none at the end. Reads the disk.
    ///
    /// # Errors
    /// When it cannot be read, or is not any more what it was.
    pub(crate) fn next(&mut self) -> Result<Option<Group>, StoreError> {
        while let Some(stretch) = self.0.front_mut() {
            if stretch.offset < stretch.end {
                return stretch.next().map(Some);
            }
            self.0.pop_front();
        }
        Ok(None)
    }
}

impl Stretch {
    fn next(&mut self) -> Result<Group, StoreError> {
        let mut head = [0; frame::HEADER_BYTES];
        self.read(&mut head, self.offset)?;
        let (header, crc) = FrameHeader::decode(&head, self.seed)
            .filter(|(header, _)| header.group == self.group && header.chain == self.chain)
            .ok_or_else(|| self.lost())?;
        let mut events = vec![0; header.body_bytes as usize];
        self.read(&mut events, self.offset + frame::HEADER_BYTES as u64)?;
        if body_crc(header.chain, &events) != header.body_crc {
            return Err(self.lost());
        }
        self.offset += header.frame_bytes();
        self.group += 1;
        self.chain = crc;
        Ok(Group { number: header.group, now: header.now, events: events.into() })
    }

    fn read(&self, buffer: &mut [u8], offset: u64) -> Result<(), StoreError> {
        self.file.file.read_at(buffer, offset).map_err(|source| StoreError::Io {
            what: format!("read a group from {}", self.file.path.display()),
            source,
        })
    }

    fn lost(&self) -> StoreError {
        let (number, offset, path) = (self.file.number, self.offset, self.file.path.display());
        StoreError::Damaged(format!("segment {number}, offset {offset}: {path} has lost a frame"))
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}
