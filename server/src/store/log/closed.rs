//! A segment that takes no more frames, to be read again beside the writer: what moves home with it that
//! only its events tell.

use std::sync::Arc;

use sluice_engine::{Mutation, Now};

use super::replay::{Frames, read_all};
use super::segment::{SegmentFile, SegmentHeader};
use super::{Log, Segment};
use crate::store::{StoreError, codec};

/// See the module. Holding it keeps the file from being used again.
#[derive(Debug)]
pub(crate) struct ClosedSegment {
    file: Arc<SegmentFile>,
    header: SegmentHeader,
    end: u64,
}

impl Log {
    /// The oldest segment, unless frames are still added to it.
    pub(crate) fn oldest_closed(&self) -> Option<(&Segment, ClosedSegment)> {
        let segment = self.segments.front().filter(|segment| !segment.active)?;
        let file = Arc::clone(&segment.file);
        Some((segment, ClosedSegment { file, header: segment.header, end: segment.used_bytes }))
    }
}

impl ClosedSegment {
    /// Its number.
    pub(crate) fn number(&self) -> u64 {
        self.header.number
    }

    /// Visits its groups in order.
    ///
    /// # Errors
    /// When it cannot be read, or is not any more what it was.
    pub(crate) fn visit(&self, mut visit: impl FnMut(Now, Vec<Mutation>)) -> Result<(), StoreError> {
        let bytes = read_all(&self.file)?;
        let mut frames = Frames::new(&bytes, &self.header);
        while (frames.at as u64) < self.end {
            let at = frames.at;
            let damaged = |what: &str| {
                let (number, path) = (self.header.number, self.file.path.display());
                StoreError::Damaged(format!("segment {number}, offset {at}: {path} {what}"))
            };
            let (frame, body) = frames.next().ok_or_else(|| damaged("has lost a frame"))?;
            let mutations = codec::decode(&bytes.slice(body), |_| {})
                .map_err(|error| damaged(&format!("has a good frame that {error}")))?;
            visit(frame.now, mutations);
        }
        Ok(())
    }
}
