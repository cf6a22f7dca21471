//! Reads a log back, and tells a torn end from damage.
//!
//! A frame is written only after the one before is durable. So at most the last frame can be torn, and
//! nothing good can lie behind it: a good frame behind a bad one means that something durable was lost.

use std::ops::Range;

use bytes::Bytes;

use super::frame::{ALIGN_BYTES, FrameHeader, HEADER_BYTES, body_crc};
use super::segment::{SegmentFile, SegmentHeader, frame_seed};
use crate::planted::{self, Bug};
use crate::store::StoreError;

/// Goes through the frames of a segment.
pub(super) struct Frames<'a> {
    bytes: &'a [u8],
    seed: u32,
    /// Where the next frame begins.
    pub at: usize,
    /// What its group must be.
    pub group: u64,
    /// What it must be linked to.
    pub chain: u32,
}

impl<'a> Frames<'a> {
    pub(super) fn new(bytes: &'a [u8], header: &SegmentHeader) -> Frames<'a> {
        Frames {
            bytes,
            seed: frame_seed(header.store_id, header.number),
            at: super::segment::HEADER_BYTES,
            group: header.first_group,
            chain: header.chain,
        }
    }

    /// The next frame: its header, and where its body lies. None at the first that is not good.
    pub(super) fn next(&mut self) -> Option<(FrameHeader, Range<usize>)> {
        let (header, crc) = FrameHeader::decode(self.bytes.get(self.at..)?, self.seed)?;
        let start = self.at + HEADER_BYTES;
        let body = start..start + header.body_bytes as usize;
        let is_next = header.group == self.group && header.chain == self.chain;
        if !is_next {
            return None;
        }
        let is_whole = body_crc(header.chain, self.bytes.get(body.clone())?) == header.body_crc;
        if !is_whole && !planted::has(Bug::NoFrameCrc) {
            return None;
        }
        self.at += header.frame_bytes() as usize;
        self.group += 1;
        self.chain = crc;
        Some((header, body))
    }

    /// Goes on at the header at `at`, whatever was lost before it.
    pub(super) fn resume(&mut self, at: usize) {
        if let Some((header, _)) = self.bytes.get(at..).and_then(|rest| FrameHeader::decode(rest, self.seed))
        {
            (self.at, self.group, self.chain) = (at, header.group, header.chain);
        }
    }

    /// Where a header of this segment lies that was written after all frames so far, if one does. The
    /// one at the end itself counts only if it is not the next frame, torn.
    pub(super) fn later_frame(&self) -> Option<usize> {
        let is_later = |at: &usize| {
            FrameHeader::decode(&self.bytes[*at..], self.seed).is_some_and(|(header, _)| {
                if *at == self.at {
                    header.group != self.group || header.chain != self.chain
                } else {
                    header.group >= self.group
                }
            })
        };
        (self.at..self.bytes.len()).step_by(ALIGN_BYTES).find(is_later)
    }
}

/// Whether the last frame of a segment marks a clean stop. Looks at headers alone.
pub(super) fn ends_clean(bytes: &[u8], header: &SegmentHeader) -> bool {
    let seed = frame_seed(header.store_id, header.number);
    let mut at = super::segment::HEADER_BYTES;
    let mut clean = false;
    while let Some((header, _)) = bytes.get(at..).and_then(|rest| FrameHeader::decode(rest, seed)) {
        at += header.frame_bytes() as usize;
        clean = header.clean;
    }
    clean
}

/// All of a segment.
pub(super) fn read_all(file: &SegmentFile) -> Result<Bytes, StoreError> {
    let read = || {
        let mut bytes = vec![0; file.file.bytes()? as usize];
        file.file.read_at(&mut bytes, 0)?;
        Ok(Bytes::from(bytes))
    };
    read().map_err(|source| StoreError::Io { what: format!("read {}", file.path.display()), source })
}

/// Zeros over what a torn frame may have left after `end`, block by block, and makes that durable.
pub(super) fn clear_tail(file: &SegmentFile, bytes: &[u8], end: usize) -> Result<(), StoreError> {
    const BLOCK_BYTES: usize = 64 << 10;
    let clear = || {
        let mut at = end;
        while at < bytes.len() {
            let block = at..bytes.len().min((at + 1).next_multiple_of(BLOCK_BYTES));
            at = block.end;
            if bytes[block.clone()].iter().any(|byte| *byte != 0) {
                file.file.zero(block.start as u64..block.end as u64)?;
            }
        }
        file.file.sync_data()
    };
    clear().map_err(|source| StoreError::Io {
        what: format!("clear the end of {}", file.path.display()),
        source,
    })
}
