//! What stands in the trees, as rows: for a backup, which is rows that another home takes as they are.

use sluice_engine::{
    Attributes, BatchRecord, DrainRecord, IdempotencyRecord, JobRecord, QueueRecord, RequestRecord,
};

use super::body::{self, Kind};
use super::moving::keeps_payload;
use super::value::MAX_VALUE_BYTES;
use super::{Home, StateTree, batch, detail, drain, idempotency, job, part, queue, request};
use crate::store::{Body, StoreError};

/// Takes a row: its tree, its key, its value.
pub(crate) type Take<'a> = &'a mut dyn FnMut(&str, &[u8], &[u8]);

/// A job as it stood after group `as_of`, with all that is kept of it.
pub(crate) fn job(record: &JobRecord, as_of: u64, body: &Body, take: Take<'_>) {
    let tree = StateTree::of(record.state);
    let kept = match keeps_payload(record.state) {
        true => Some(body.payload.as_ref()),
        // Of a finished job only the attributes are kept, if it has any.
        false => (body.attributes != Attributes::default()).then_some(None),
    };
    if let Some(payload) = kept {
        whole(record, Kind::Body, &body::encode(payload, &body.attributes), take);
    }
    if let Some(result) = detail::result_apart(record) {
        whole(record, Kind::Result, result, take);
    }
    if let Some(history) = detail::history_apart(record) {
        let key = body::history_key(record.id, as_of);
        take("body", &key, &body::encode_history(&key, &history));
    }
    take(tree.name(), &job::key(record.id), &job::encode(record, as_of));
}

/// A queue as it stood after group `as_of`.
pub(crate) fn queue(record: &QueueRecord, as_of: u64, take: Take<'_>) {
    for (key, value) in part::rows(&queue::encode(record), |part| queue::key(record.id, as_of, part)) {
        take("queue", &key, &value);
    }
}

/// A drained set as it stood after group `as_of`.
pub(crate) fn drain(record: &DrainRecord, as_of: u64, take: Take<'_>) {
    for (key, value) in drain::rows(record, as_of) {
        take("drain", &key, &value);
    }
}

/// Answered requests, oldest first, as if they had come home with `segment`.
pub(crate) fn requests(segment: u64, records: &[RequestRecord], take: Take<'_>) {
    for (page, value, chunk) in request::rows(segment, records) {
        for (key, value) in request::besides_rows(page, chunk) {
            take("request", &key, &value);
        }
        take("request", &page, &value);
    }
}

/// Remembered idempotency keys of a queue, oldest first, as if they had come home with `segment`.
pub(crate) fn idempotency(segment: u64, records: &[IdempotencyRecord], take: Take<'_>) {
    for (key, value) in idempotency::rows(segment, records) {
        take("idempotency", &key, &value);
    }
}

/// A batch as it stood after group `as_of`.
pub(crate) fn batch(record: &BatchRecord, as_of: u64, take: Take<'_>) {
    let key = batch::key(record.queue, &record.name);
    take("batch", &key, &batch::encode(&key, record, as_of));
}

impl Home {
    /// Puts a row of a backup where it belongs.
    ///
    /// # Errors
    /// When it is larger than any that is written, or cannot be written.
    pub(crate) fn put_row(&self, tree: &str, key: &[u8], value: &[u8]) -> Result<(), StoreError> {
        if value.len() > MAX_VALUE_BYTES {
            return Err(self.damaged(tree, key, format_args!("a value of {} bytes", value.len())));
        }
        let tree = self.db.open_tree(tree).map_err(|e| self.failed("open a tree", e))?;
        self.put(&tree, key, value.to_vec())
    }
}

fn whole(record: &JobRecord, kind: Kind, bytes: &[u8], take: Take<'_>) {
    for (key, value) in part::rows(bytes, |part| body::key(record.id, kind, part)) {
        take("body", &key, &value);
    }
}
