//! A frame: one group, whole or not at all. It knows neither files nor what the body means.
//!
//! The header's crc is seeded by store and segment, so that what a recycled file or a foreign store
//! left behind never passes. The body's crc is seeded by the crc of the frame before, so that frames
//! pass only in the order in which they were written.

use bytes::{Buf, BufMut};
use sluice_engine::{Now, Timestamp, WallTime};

/// Frames begin at multiples of this: after damage, only these places are searched for the next.
pub(super) const ALIGN_BYTES: usize = 64;
/// Bytes of a header.
pub(super) const HEADER_BYTES: usize = 64;
/// The largest body. A group closes at 16 MiB, but its last command may add as much as a drain of
/// [`sluice_engine::bound::MAX_BULK_JOBS`] ids: far from this, which only keeps a damaged length from
/// being believed.
pub(super) const MAX_BODY_BYTES: usize = 256 << 20;

const MAGIC: u32 = u32::from_le_bytes(*b"SLFR");
/// The engine was stopped after this frame, by request.
const FLAG_CLEAN: u32 = 1;

/// What a frame says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FrameHeader {
    /// Its group. Grows by one with each frame.
    pub group: u64,
    /// The group's time.
    pub now: Now,
    /// When, by engine time, the frame before was durable; 0: not told.
    pub synced: Timestamp,
    /// Bytes of the body.
    pub body_bytes: u32,
    /// The body's crc.
    pub body_crc: u32,
    /// The link to the frame before: that frame's header crc, or the segment's chain seed.
    pub chain: u32,
    /// Whether it marks a clean stop.
    pub clean: bool,
}

impl FrameHeader {
    /// The header's bytes, and their crc: the next frame's link.
    pub(super) fn encode(&self, seed: u32) -> ([u8; HEADER_BYTES], u32) {
        let mut bytes = [0; HEADER_BYTES];
        let mut out = &mut bytes[8..];
        out.put_u64_le(self.group);
        out.put_u64_le(self.now.engine.0);
        out.put_u64_le(self.now.wall.0);
        out.put_u64_le(self.synced.0);
        out.put_u32_le(self.body_bytes);
        out.put_u32_le(self.body_crc);
        out.put_u32_le(self.chain);
        out.put_u32_le(if self.clean { FLAG_CLEAN } else { 0 });
        let crc = crc32c::crc32c_append(seed, &bytes[8..]);
        bytes[..4].copy_from_slice(&MAGIC.to_le_bytes());
        bytes[4..8].copy_from_slice(&crc.to_le_bytes());
        (bytes, crc)
    }

    /// A header and its crc; none when `bytes` do not begin with one of this segment.
    pub(super) fn decode(bytes: &[u8], seed: u32) -> Option<(FrameHeader, u32)> {
        let bytes = bytes.get(..HEADER_BYTES)?;
        let mut input = bytes;
        if input.get_u32_le() != MAGIC {
            return None;
        }
        let crc = input.get_u32_le();
        if crc != crc32c::crc32c_append(seed, &bytes[8..]) {
            return None;
        }
        let header = FrameHeader {
            group: input.get_u64_le(),
            now: Now { engine: Timestamp(input.get_u64_le()), wall: WallTime(input.get_u64_le()) },
            synced: Timestamp(input.get_u64_le()),
            body_bytes: input.get_u32_le(),
            body_crc: input.get_u32_le(),
            chain: input.get_u32_le(),
            clean: input.get_u32_le() & FLAG_CLEAN != 0,
        };
        (header.body_bytes as usize <= MAX_BODY_BYTES).then_some((header, crc))
    }

    /// What the frame takes of its segment.
    pub(super) fn frame_bytes(&self) -> u64 {
        frame_bytes(self.body_bytes as usize) as u64
    }
}

/// What a frame with a body of so many bytes takes of its segment.
pub(super) fn frame_bytes(body_bytes: usize) -> usize {
    (HEADER_BYTES + body_bytes).next_multiple_of(ALIGN_BYTES)
}

/// A body's crc.
pub(super) fn body_crc(chain: u32, body: &[u8]) -> u32 {
    crc32c::crc32c_append(chain, body)
}
