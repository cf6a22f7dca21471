//! A job's record in an `Enqueued` event. Each has a crc of its own, so that a body can be read and
//! checked without the rest of its frame.
//!
//! `crc u32, bytes u32`, then so many bytes: `flags u8, priority u8`, further flags u8 if the highest bit of the
//! priority says so, the fields that the flags name, those of the further flags last, and the payload to the end. The crc is over the job's id and all that follows the crc: the record of
//! another job never passes.

use bytes::{Buf, BufMut, Bytes};
use sluice_engine::{
    Attributes, BatchName, Cost, JobId, JobSpec, Key, Priority, RetryPatch, Span, Start, WallTime,
};

use super::{DecodeError, get_count, get_patch, get_text, put_count, put_patch, put_text, take};
use crate::idempotency;
use crate::store::Body;

/// Bytes of a record before those it counts.
pub(super) const HEAD_BYTES: usize = 8;

/// The fields a record has: keep the bits.
mod flag {
    pub(super) const KEY: u8 = 1;
    pub(super) const START_AFTER: u8 = 1 << 1;
    pub(super) const START_AT: u8 = 1 << 2;
    pub(super) const RETRY: u8 = 1 << 3;
    pub(super) const ATTRIBUTES: u8 = 1 << 4;
    pub(super) const TTL: u8 = 1 << 5;
    pub(super) const BATCH: u8 = 1 << 6;
    pub(super) const IDEMPOTENCY_KEY: u8 = 1 << 7;
    /// In the priority's byte: further flags follow it.
    pub(super) const FURTHER: u8 = 1 << 7;
    /// The first of those.
    pub(super) const COST: u8 = 1;
    /// A fact, and no field.
    pub(super) const BYPASS_LIMITS: u8 = 1 << 1;
}

/// Appends a job's record.
pub(super) fn put_job(out: &mut Vec<u8>, id: JobId, job: &JobSpec) {
    let at = out.len();
    out.put_u64_le(0); // the head: known at the end
    put_fields(out, job);
    out.put_slice(&job.payload);
    let bytes = (out.len() - at - HEAD_BYTES) as u32;
    out[at + 4..at + 8].copy_from_slice(&bytes.to_le_bytes());
    let crc = crc_of(id, &out[at + 4..]);
    out[at..at + 4].copy_from_slice(&crc.to_le_bytes());
}

/// The next record, with its head.
pub(crate) fn next_record<'a>(input: &mut &'a [u8]) -> Result<&'a [u8], DecodeError> {
    let bytes = input.get(4..8).ok_or(DecodeError::Short)?.get_u32_le() as usize;
    take(input, HEAD_BYTES + bytes)
}

/// The body in `record`, which lies in `memory`; none when it is not whole or not that of `id`.
pub(crate) fn body_of(id: JobId, record: &[u8], memory: &Bytes) -> Option<Body> {
    if record.get(..4)?.get_u32_le() != crc_of(id, &record[4..]) {
        return None;
    }
    let raw = RawJob::parse(record).ok()?;
    Some(Body { payload: Some(memory.slice_ref(raw.payload)), attributes: raw.attributes, detail: None })
}

/// A record taken apart; what must be checked or copied is not yet.
pub(super) struct RawJob<'a> {
    priority: u8,
    key: &'a str,
    start: Start,
    retry: Option<Box<RetryPatch>>,
    attributes: Attributes,
    ttl: Option<Span>,
    batch: Option<&'a str>,
    cost: u32,
    bypass_limits: bool,
    payload: &'a [u8],
}

impl<'a> RawJob<'a> {
    pub(super) fn parse(record: &'a [u8]) -> Result<RawJob<'a>, DecodeError> {
        let mut input = record.get(HEAD_BYTES..).ok_or(DecodeError::Short)?;
        let flags = input.try_get_u8()?;
        let has = |flag: u8| flags & flag != 0;
        let priority = input.try_get_u8()?;
        let further = if priority & flag::FURTHER != 0 { input.try_get_u8()? } else { 0 };
        if further & !(flag::COST | flag::BYPASS_LIMITS) != 0 {
            return Err(DecodeError::Invalid("flags of a job"));
        }
        let priority = priority & !flag::FURTHER;
        let key = if has(flag::KEY) { get_text(&mut input)? } else { "" };
        let start = get_start(&mut input, has(flag::START_AFTER), has(flag::START_AT))?;
        let retry = has(flag::RETRY).then(|| get_patch(&mut input)).transpose()?.map(Box::new);
        let mut attributes = match has(flag::ATTRIBUTES) {
            true => get_attributes(&mut input)?,
            false => Attributes::default(),
        };
        let ttl = has(flag::TTL).then(|| input.try_get_u64_le()).transpose()?.map(Span);
        let batch = has(flag::BATCH).then(|| get_text(&mut input)).transpose()?;
        if has(flag::IDEMPOTENCY_KEY) {
            attributes.idempotency_key = get_text(&mut input)?.into();
        }
        let cost = if further & flag::COST != 0 { input.try_get_u32_le()? } else { Cost::DEFAULT.get() };
        let bypass_limits = further & flag::BYPASS_LIMITS != 0;
        Ok(RawJob {
            priority,
            key,
            start,
            retry,
            attributes,
            ttl,
            batch,
            cost,
            bypass_limits,
            payload: input,
        })
    }

    /// As it was enqueued; the payload shares `memory`.
    pub(super) fn spec(self, memory: &Bytes) -> Result<JobSpec, DecodeError> {
        let priority = Priority::new(self.priority.into()).ok_or(DecodeError::Invalid("priority"))?;
        let key = match self.key {
            "" => Key::default(),
            key => Key::new(key.to_owned()).map_err(|_| DecodeError::Invalid("key"))?,
        };
        let batch = self.batch.map(BatchName::new).transpose();
        Ok(JobSpec {
            payload: memory.slice_ref(self.payload),
            idempotency: hash_of(&self.attributes),
            attributes: self.attributes,
            key,
            priority,
            cost: Cost::new(self.cost).ok_or(DecodeError::Invalid("cost"))?,
            start: self.start,
            retry: self.retry,
            ttl: self.ttl,
            batch: batch.map_err(|_| DecodeError::Invalid("batch name"))?,
            bypass_limits: self.bypass_limits,
        })
    }
}

/// Content type and labels; not the idempotency key, which has its own place.
pub(crate) fn put_attributes(out: &mut Vec<u8>, attributes: &Attributes) {
    put_text(out, &attributes.content_type);
    put_count(out, attributes.labels.len());
    for (name, value) in &attributes.labels {
        put_text(out, name);
        put_text(out, value);
    }
}

/// See [`put_attributes`].
pub(crate) fn get_attributes(input: &mut &[u8]) -> Result<Attributes, DecodeError> {
    let content_type = get_text(input)?.into();
    let count = get_count(input)?;
    let mut labels = Vec::with_capacity(super::at_most(count, input, 2));
    for _ in 0..count {
        labels.push((get_text(input)?.into(), get_text(input)?.into()));
    }
    Ok(Attributes { labels, content_type, ..Attributes::default() })
}

/// What the engine is told of the idempotency key: it is not written, but follows from the key.
fn hash_of(attributes: &Attributes) -> Option<u128> {
    let key = &attributes.idempotency_key;
    (!key.is_empty()).then(|| idempotency::hash(key))
}

fn put_fields(out: &mut Vec<u8>, job: &JobSpec) {
    let mut flags = match job.start {
        Start::Now => 0,
        Start::After(_) => flag::START_AFTER,
        Start::At(_) => flag::START_AT,
    };
    debug_assert_eq!(job.idempotency, hash_of(&job.attributes), "the hash is that of the key");
    let Attributes { labels, content_type, idempotency_key } = &job.attributes;
    let has_attributes = !labels.is_empty() || !content_type.is_empty();
    flags |= if job.key.is_empty() { 0 } else { flag::KEY };
    flags |= if job.retry.is_some() { flag::RETRY } else { 0 };
    flags |= if has_attributes { flag::ATTRIBUTES } else { 0 };
    flags |= if job.ttl.is_some() { flag::TTL } else { 0 };
    flags |= if job.batch.is_some() { flag::BATCH } else { 0 };
    flags |= if idempotency_key.is_empty() { 0 } else { flag::IDEMPOTENCY_KEY };
    out.put_u8(flags);
    let mut further = if job.cost == Cost::DEFAULT { 0 } else { flag::COST };
    further |= if job.bypass_limits { flag::BYPASS_LIMITS } else { 0 };
    out.put_u8(job.priority.get() | if further == 0 { 0 } else { flag::FURTHER });
    if further != 0 {
        out.put_u8(further);
    }
    if !job.key.is_empty() {
        put_text(out, &job.key);
    }
    match job.start {
        Start::Now => {}
        Start::After(Span(nanos)) | Start::At(WallTime(nanos)) => out.put_u64_le(nanos),
    }
    if let Some(retry) = &job.retry {
        put_patch(out, retry);
    }
    if has_attributes {
        put_attributes(out, &job.attributes);
    }
    if let Some(ttl) = job.ttl {
        out.put_u64_le(ttl.0);
    }
    if let Some(batch) = &job.batch {
        put_text(out, batch);
    }
    if !idempotency_key.is_empty() {
        put_text(out, idempotency_key);
    }
    if job.cost != Cost::DEFAULT {
        out.put_u32_le(job.cost.get());
    }
}

fn get_start(input: &mut &[u8], after: bool, at: bool) -> Result<Start, DecodeError> {
    match (after, at) {
        (false, false) => Ok(Start::Now),
        (true, false) => Ok(Start::After(Span(input.try_get_u64_le()?))),
        (false, true) => Ok(Start::At(WallTime(input.try_get_u64_le()?))),
        (true, true) => Err(DecodeError::Invalid("start of a job")),
    }
}

fn crc_of(id: JobId, bytes: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&id.0.to_le_bytes()), bytes)
}
