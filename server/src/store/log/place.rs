//! Where bodies lie in the log, and how they are read: on any thread, beside the writer.

use std::borrow::Borrow;
use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use sluice_engine::JobId;

use super::index::Extent;
use super::segment::{Segment, SegmentFile};
use crate::store::codec::{self, DecodeError};
use crate::store::{Body, StoreError};

/// Gaps up to this are read over: a call costs more than the bytes.
const MAX_GAP_BYTES: u32 = 64 << 10;
/// The most that one call reads, but for a single extent that is larger.
const MAX_READ_BYTES: u32 = 4 << 20;

/// Where a body lies in the log, if it is there. Holding it keeps the segment from being used again.
#[derive(Clone, Debug)]
pub(crate) struct LogPlace {
    pub(super) file: Arc<SegmentFile>,
    pub(super) extent: Extent,
}

/// Where the body of a job lies, if it was born in these segments.
pub(super) fn locate(segments: &VecDeque<Segment>, id: JobId) -> Option<LogPlace> {
    let after = segments.partition_point(|segment| segment.born_before < id);
    let segment = segments.get(after.checked_sub(1)?)?;
    segment.born.filter(|(first, last)| (*first..=*last).contains(&id))?;
    Some(LogPlace { file: Arc::clone(&segment.file), extent: segment.index.find(id)? })
}

/// The bodies at `places`, in their order; none where no such job was born. Reads in order of the
/// places on disk, neighbours in one call; each body's crc is checked.
///
/// # Errors
/// When one cannot be read or is damaged.
pub(crate) fn read_bodies(
    places: &[(JobId, impl Borrow<LogPlace>)],
) -> Result<Vec<Option<Body>>, StoreError> {
    let mut order: Vec<usize> = (0..places.len()).collect();
    order.sort_unstable_by_key(|&at| {
        let (id, place) = (places[at].0, places[at].1.borrow());
        (place.file.number, place.extent.offset, id)
    });
    let mut bodies = vec![None; places.len()];
    let mut rest = &order[..];
    while !rest.is_empty() {
        let (run, after) = rest.split_at(run_length(places, rest));
        read_run(places, run, &mut bodies)?;
        rest = after;
    }
    Ok(bodies)
}

/// How many of the first of `order` can be read in one call.
fn run_length(places: &[(JobId, impl Borrow<LogPlace>)], order: &[usize]) -> usize {
    let first = places[order[0]].1.borrow();
    let mut end = first.extent.end;
    let mut is_near = |at: &usize| {
        let next = places[*at].1.borrow();
        let near = Arc::ptr_eq(&first.file, &next.file)
            && next.extent.offset.saturating_sub(end) <= MAX_GAP_BYTES
            && (next.extent.end <= end || next.extent.end - first.extent.offset <= MAX_READ_BYTES);
        end = end.max(next.extent.end);
        near
    };
    1 + order[1..].iter().take_while(|at| is_near(at)).count()
}

/// Reads what one call can.
fn read_run(
    places: &[(JobId, impl Borrow<LogPlace>)],
    run: &[usize],
    bodies: &mut [Option<Body>],
) -> Result<(), StoreError> {
    let first = places[run[0]].1.borrow();
    let start = first.extent.offset;
    let end = run.iter().map(|&at| places[at].1.borrow().extent.end).max().unwrap_or(start);
    let mut memory = vec![0; (end - start) as usize];
    first.file.file.read_at(&mut memory, start.into()).map_err(|source| StoreError::Io {
        what: format!("read bodies from {}", first.file.path.display()),
        source,
    })?;
    let memory = Bytes::from(memory);

    let mut walk: Option<Walk<'_>> = None;
    for &at in run {
        let (id, place) = (places[at].0, places[at].1.borrow());
        let damaged = |error: DecodeError| {
            let offset = place.extent.offset;
            StoreError::Damaged(format!("{}, offset {offset}: job {id} {error}", place.file.path.display()))
        };
        let walk = match &mut walk {
            Some(walk) if walk.extent == place.extent => walk,
            _ => {
                let extent = place.extent;
                let stretch = &memory[(extent.offset - start) as usize..(extent.end - start) as usize];
                walk.insert(Walk { extent, input: stretch, next: extent.first, left: extent.left })
            }
        };
        bodies[at] = walk.find(id, &memory).map_err(damaged)?;
    }
    Ok(())
}

/// Goes through the records of an extent, forward only.
struct Walk<'a> {
    extent: Extent,
    input: &'a [u8],
    /// The job whose record is next.
    next: JobId,
    /// Records before the next event.
    left: u32,
}

impl Walk<'_> {
    /// The body of `id`, which is not before those asked for already.
    fn find(&mut self, id: JobId, memory: &Bytes) -> Result<Option<Body>, DecodeError> {
        while !self.input.is_empty() {
            if self.left == 0 {
                if let Some((first, count)) = codec::next_jobs(&mut self.input)? {
                    (self.next, self.left) = (first, count);
                }
                continue;
            }
            if self.next > id {
                return Ok(None);
            }
            // The record stays for whoever asks for the same job again.
            let mut rest = self.input;
            let record = codec::next_record(&mut rest)?;
            if self.next == id {
                return codec::body_of(id, record, memory).map(Some).ok_or(DecodeError::Invalid("record"));
            }
            self.input = rest;
            self.left -= 1;
            self.next = JobId(self.next.0 + 1);
        }
        Ok(None)
    }
}
