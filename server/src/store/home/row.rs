//! What stands in the trees, as rows: for a backup, which is rows that another home takes as they are.

use sluice_engine::{Attributes, DrainRecord, JobRecord, QueueRecord, RequestRecord};

use super::body::{self, Kind};
use super::{Home, StateTree, drain, job, part, queue, request};
use crate::store::{Body, StoreError};

/// Takes a row: its tree, its key, its value.
pub(crate) type Take<'a> = &'a mut dyn FnMut(&str, &[u8], &[u8]);

/// A job as it stood after group `as_of`, with all that is kept of it.
pub(crate) fn job(record: &JobRecord, as_of: u64, body: &Body, take: Take<'_>) {
    let tree = StateTree::of(record.state);
    let kept = match tree {
        // Of a finished job only the attributes are kept, if it has any.
        StateTree::Done => (body.attributes != Attributes::default()).then_some(None),
        _ => Some(body.payload.as_ref()),
    };
    if let Some(payload) = kept {
        whole(record, Kind::Body, &body::encode(payload, &body.attributes), take);
    }
    if let Some(result) = job::result_apart(record) {
        whole(record, Kind::Result, result, take);
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
    for (key, value) in request::rows(segment, records) {
        take("request", &key, &value);
    }
}

impl Home {
    /// Puts a row of a backup where it belongs.
    pub(crate) fn put_row(&self, tree: &str, key: &[u8], value: &[u8]) -> Result<(), StoreError> {
        let tree = self.db.open_tree(tree).map_err(|e| self.failed("open a tree", e))?;
        self.put(&tree, key, value.to_vec())
    }
}

fn whole(record: &JobRecord, kind: Kind, bytes: &[u8], take: Take<'_>) {
    for (key, value) in part::rows(bytes, |part| body::key(record.id, kind, part)) {
        take("body", &key, &value);
    }
}
