//! What came of an enqueue besides its new jobs, as bytes.

use std::sync::Arc;

use bytes::{Buf, BufMut};
use sluice_engine::{Besides, JobId};

use super::{DecodeError, at_most, get_count, get_ids, put_count, put_ids};

/// Bytes of a duplicate: its place in the request, and the job that was there.
const DUPLICATE_BYTES: usize = 4 + 8;

/// Duplicates, then jobs that made room.
pub(crate) fn put_besides(out: &mut Vec<u8>, besides: &Besides) {
    put_count(out, besides.duplicates.len());
    out.reserve(besides.duplicates.len() * DUPLICATE_BYTES);
    for (place, id) in &besides.duplicates {
        out.put_u32_le(*place);
        out.put_u64_le(id.0);
    }
    put_ids(out, &besides.dropped);
}

/// See [`put_besides`].
pub(crate) fn get_besides(input: &mut &[u8]) -> Result<Arc<Besides>, DecodeError> {
    let count = get_count(input)?;
    let mut duplicates = Vec::with_capacity(at_most(count, input, DUPLICATE_BYTES));
    for _ in 0..count {
        duplicates.push((input.try_get_u32_le()?, JobId(input.try_get_u64_le()?)));
    }
    Ok(Arc::new(Besides { duplicates, dropped: get_ids(input)? }))
}
