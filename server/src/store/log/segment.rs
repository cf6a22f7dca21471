//! A segment: a file of frames, and what the log remembers of it.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::{Buf, BufMut};
use sluice_engine::{JobId, Mutation};

use super::id_set::IdSet;
use super::index::Index;
use crate::store::disk::DiskFile;

/// Bytes of a segment's header: its frames begin here.
pub(super) const HEADER_BYTES: usize = 64;
/// What comes after a segment's number in its file's name.
pub(super) const SUFFIX: &str = ".log";

const MAGIC: [u8; 8] = *b"SLUICELG";
/// The format of the log. Another format has another number.
const VERSION: u32 = 1;

/// A segment that frames have been written to, as the log knows it.
#[derive(Debug)]
pub(crate) struct Segment {
    pub(super) file: Arc<SegmentFile>,
    pub(super) header: SegmentHeader,
    pub(super) next_group: u64,
    pub(super) used_bytes: u64,
    /// The last job born before this segment; 0: not known, or none.
    pub(super) born_before: JobId,
    pub(super) born: Option<(JobId, JobId)>,
    pub(super) index: Index,
    pub(super) touched: IdSet,
    pub(super) active: bool,
}

/// A segment's file. Readers hold it, and while they do it is not used again.
pub(crate) struct SegmentFile {
    pub(super) number: u64,
    pub(super) path: PathBuf,
    pub(super) file: Arc<dyn DiskFile>,
}

/// What a segment says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SegmentHeader {
    pub store_id: u128,
    pub number: u64,
    pub first_group: u64,
    /// The link to the segment before: the header crc of its last frame.
    pub chain: u32,
}

/// Why bytes are not a segment's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HeaderFault {
    /// They are none: never written, torn or damaged.
    None,
    /// Another version of Sluice wrote it.
    Version(u32),
}

impl Segment {
    pub(super) fn new(file: Arc<SegmentFile>, header: SegmentHeader, born_before: JobId) -> Segment {
        Segment {
            file,
            header,
            next_group: header.first_group,
            used_bytes: HEADER_BYTES as u64,
            born_before,
            born: None,
            index: Index::default(),
            touched: IdSet::default(),
            active: true,
        }
    }

    /// Remembers which jobs a frame's mutations are about, and which were born in it.
    pub(super) fn note(&mut self, mutations: &[Mutation], born: Option<(JobId, JobId)>) {
        if let Some((first, last)) = born {
            self.born = Some((self.born.map_or(first, |(earliest, _)| earliest), last));
        }
        let earliest = self.born.map(|(first, _)| first);
        for mutation in mutations {
            for id in jobs_of(mutation) {
                if earliest.is_none_or(|earliest| *id < earliest) {
                    self.touched.insert(*id);
                }
            }
        }
    }

    /// Its number. Grows by one with each segment.
    pub(crate) fn number(&self) -> u64 {
        self.header.number
    }

    /// Its first and last group; none while it is empty.
    pub(crate) fn groups(&self) -> Option<(u64, u64)> {
        (self.next_group > self.header.first_group).then(|| (self.header.first_group, self.next_group - 1))
    }

    /// The first and last job born in it.
    pub(crate) fn born(&self) -> Option<(JobId, JobId)> {
        self.born
    }

    /// The jobs born earlier that its events are about.
    pub(crate) fn touched(&self) -> &IdSet {
        &self.touched
    }

    /// Bytes of its header and frames.
    #[cfg(test)]
    pub(crate) fn used_bytes(&self) -> u64 {
        self.used_bytes
    }

    /// Whether frames are still added to it.
    #[cfg(test)]
    pub(crate) fn is_active(&self) -> bool {
        self.active
    }
}

impl SegmentHeader {
    pub(super) fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        let mut out = &mut bytes[16..];
        out.put_u128_le(self.store_id);
        out.put_u64_le(self.number);
        out.put_u64_le(self.first_group);
        out.put_u32_le(self.chain);
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
        let crc = header_crc(&bytes);
        bytes[12..16].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<SegmentHeader, HeaderFault> {
        let bytes = bytes.get(..HEADER_BYTES).ok_or(HeaderFault::None)?;
        let mut input = &bytes[8..];
        let version = input.get_u32_le();
        if bytes[..8] != MAGIC || input.get_u32_le() != header_crc(bytes) {
            return Err(HeaderFault::None);
        }
        if version != VERSION {
            return Err(HeaderFault::Version(version));
        }
        Ok(SegmentHeader {
            store_id: input.get_u128_le(),
            number: input.get_u64_le(),
            first_group: input.get_u64_le(),
            chain: input.get_u32_le(),
        })
    }
}

/// The jobs that a mutation changes, but for those it brings into being.
fn jobs_of(mutation: &Mutation) -> &[JobId] {
    match mutation {
        Mutation::Promoted { id, .. }
        | Mutation::Extended { id, .. }
        | Mutation::Acked { id, .. }
        | Mutation::Updated { id, .. }
        | Mutation::CancelRequested { id }
        | Mutation::Cancelled { id }
        | Mutation::Returned { id, .. }
        | Mutation::Requeued { id, .. }
        | Mutation::RequeuedLater { id, .. } => std::slice::from_ref(id),
        Mutation::Leased { jobs, .. }
        | Mutation::Expired { jobs }
        | Mutation::Dropped { jobs }
        | Mutation::Drained { jobs, .. }
        | Mutation::Purged { jobs }
        | Mutation::Forgotten { jobs } => jobs,
        Mutation::QueuePut { .. }
        | Mutation::Enqueued { .. }
        | Mutation::Charged { .. }
        | Mutation::Settled { .. }
        | Mutation::Frozen { .. }
        | Mutation::NodeState { .. }
        | Mutation::NodeReset { .. }
        | Mutation::LimitPut(_)
        | Mutation::LimitDeleted { .. }
        | Mutation::DrainForgotten { .. }
        | Mutation::Requested { .. }
        | Mutation::BatchAnnounced { .. }
        | Mutation::BatchesForgotten { .. }
        | Mutation::QueueDeleted { .. }
        | Mutation::QueueForgotten { .. }
        | Mutation::Retired { .. } => &[],
    }
}

/// The seed of the crcs of a segment's frame headers. Differs for any two segments of a store: their
/// numbers differ in a run of fewer than 32 bits, which a crc of 32 bits always tells.
pub(super) fn frame_seed(store_id: u128, number: u64) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&store_id.to_le_bytes()), &number.to_le_bytes())
}

/// The link of the first frame of a store.
pub(super) fn first_chain(store_id: u128) -> u32 {
    crc32c::crc32c(&store_id.to_le_bytes())
}

/// Where segment `number` lies.
pub(super) fn path_of(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("{number:08}{SUFFIX}"))
}

/// The number in a file's name; none when it is no segment's.
pub(super) fn number_of(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(SUFFIX)?;
    let number = digits.parse().ok()?;
    (format!("{number:08}") == digits).then_some(number)
}

/// Over the whole header but itself.
fn header_crc(bytes: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&bytes[..12]), &bytes[16..HEADER_BYTES])
}

impl fmt::Debug for SegmentFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "segment {}", self.number)
    }
}
