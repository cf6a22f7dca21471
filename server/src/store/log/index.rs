//! Where the bodies of a segment's jobs lie: a sparse list, an extent for each group and for each 64 KiB
//! of it. The jobs themselves need no entry.

use sluice_engine::JobId;

use crate::store::codec::Birth;

/// A new extent begins with the first job that is so far from the beginning of the last: what is read
/// at most to find one job, besides that job.
const EXTENT_BYTES: u32 = 64 << 10;

/// A stretch of a segment that holds jobs. It begins with a job's record; after `left` records come
/// whole events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Extent {
    /// The job whose record comes first.
    pub first: JobId,
    /// Where it begins in the file.
    pub offset: u32,
    /// Where the last record ends.
    pub end: u32,
    /// Records from the first to the end of its event.
    pub left: u32,
}

/// The extents of a segment, in order.
#[derive(Debug, Default)]
pub(super) struct Index {
    extents: Vec<Extent>,
}

/// The extents of one frame, while it is encoded or decoded. Offsets are from `base`.
#[derive(Debug, Default)]
pub(super) struct FrameIndex {
    extents: Vec<Extent>,
    /// The first and last job born in the frame.
    pub born: Option<(JobId, JobId)>,
    in_order: bool,
}

impl FrameIndex {
    pub(super) fn clear(&mut self) {
        self.extents.clear();
        self.born = None;
        self.in_order = true;
    }

    /// Takes note of a job's record.
    pub(super) fn birth(&mut self, birth: Birth) {
        let (offset, end) = (birth.offset as u32, birth.end as u32);
        let born = self.born.get_or_insert((birth.id, JobId(0)));
        self.in_order &= born.1 < birth.id;
        born.1 = birth.id;
        match self.extents.last_mut() {
            Some(extent) if offset - extent.offset < EXTENT_BYTES => extent.end = end,
            _ => self.extents.push(Extent { first: birth.id, offset, end, left: birth.left }),
        }
    }

    /// Whether ids grow, from `last` on: jobs are found by it.
    pub(super) fn follows(&self, last: JobId) -> bool {
        self.in_order && self.born.is_none_or(|(first, _)| first > last)
    }
}

impl Index {
    /// Takes over a frame's extents; `base` is where its offsets count from.
    pub(super) fn extend(&mut self, frame: &FrameIndex, base: u64) {
        let base = base as u32;
        self.extents.extend(frame.extents.iter().map(|extent| Extent {
            offset: base + extent.offset,
            end: base + extent.end,
            ..*extent
        }));
    }

    /// The extent that holds `id`, if any does.
    pub(super) fn find(&self, id: JobId) -> Option<Extent> {
        let after = self.extents.partition_point(|extent| extent.first <= id);
        self.extents.get(after.checked_sub(1)?).copied()
    }
}
