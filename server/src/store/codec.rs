//! Mutations as bytes. It knows neither files nor frames. Layouts are in docs/STORAGE.md: a kind's
//! number and layout never change; another layout is another kind.
//!
//! All numbers are little-endian. An event is `kind u8, bytes u32`, then so many bytes.

mod besides;
mod field;
#[cfg(test)]
mod golden;
mod job;
mod node;
#[cfg(test)]
pub(crate) mod sample;
mod setting;

use bytes::{Buf, BufMut, Bytes};
use sluice_engine::{
    BatchName, Due, Enqueued, JobError, JobId, LimitRecord, LimitSettings, Mutation, Next, Priority, QueueId,
    QueueName, RequestKey, ReturnCause, Span, Timestamp, WallTime,
};

pub(crate) use besides::{get_besides, put_besides};
pub(crate) use field::{DecodeError, get_bytes, get_count, get_text, put_bytes, put_count, put_text, take};
pub(crate) use job::{body_of, get_attributes, next_record, put_attributes};
pub(crate) use setting::{get_first_settings, get_patch, get_settings, put_patch, put_settings};

use job::RawJob;

/// The kinds of event, as they are on disk: keep the numbers.
mod kind {
    /// With the first settings. Read, and written no more.
    pub(super) const FIRST_QUEUE_PUT: u8 = 1;
    pub(super) const ENQUEUED: u8 = 2;
    pub(super) const PROMOTED: u8 = 3;
    pub(super) const LEASED: u8 = 4;
    pub(super) const EXTENDED: u8 = 5;
    pub(super) const ACKED: u8 = 6;
    pub(super) const RETURNED: u8 = 7;
    pub(super) const DRAINED: u8 = 8;
    pub(super) const REQUEUED: u8 = 9;
    pub(super) const PURGED: u8 = 10;
    pub(super) const FORGOTTEN: u8 = 11;
    pub(super) const DRAIN_FORGOTTEN: u8 = 12;
    pub(super) const REQUESTED: u8 = 13;
    pub(super) const RETIRED: u8 = 14;
    pub(super) const QUEUE_PUT: u8 = 15;
    pub(super) const REQUESTED_BESIDES: u8 = 16;
    pub(super) const UPDATED: u8 = 17;
    pub(super) const CANCEL_REQUESTED: u8 = 18;
    pub(super) const CANCELLED: u8 = 19;
    pub(super) const EXPIRED: u8 = 20;
    pub(super) const DROPPED: u8 = 21;
    pub(super) const REQUEUED_LATER: u8 = 22;
    pub(super) const BATCH_ANNOUNCED: u8 = 23;
    pub(super) const BATCHES_FORGOTTEN: u8 = 24;
    pub(super) const QUEUE_DELETED: u8 = 25;
    pub(super) const QUEUE_FORGOTTEN: u8 = 26;
    pub(super) const CHARGED: u8 = 27;
    pub(super) const FROZEN: u8 = 28;
    pub(super) const NODE_STATE: u8 = 29;
    pub(super) const NODE_RESET: u8 = 30;
    pub(super) const LIMIT_PUT: u8 = 31;
    pub(super) const LIMIT_DELETED: u8 = 32;
    pub(super) const SETTLED: u8 = 33;
}

/// A job's record within an event, told to whoever wants to find it again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Birth {
    /// The job.
    pub id: JobId,
    /// Jobs from this one to the last of its event.
    pub left: u32,
    /// Where its record begins, in the bytes that were encoded to or decoded from.
    pub offset: usize,
    /// Where it ends.
    pub end: usize,
}

/// Appends a mutation to `out`.
pub(crate) fn encode(mutation: &Mutation, out: &mut Vec<u8>, mut birth: impl FnMut(Birth)) {
    match mutation {
        Mutation::QueuePut { queue, name, settings, version } => event(out, kind::QUEUE_PUT, |out| {
            out.put_u32_le(queue.0);
            out.put_u64_le(*version);
            put_text(out, name);
            put_settings(out, settings);
        }),
        Mutation::Enqueued { queue, first, jobs } => event(out, kind::ENQUEUED, |out| {
            out.put_u32_le(queue.0);
            out.put_u64_le(first.0);
            out.put_u32_le(jobs.len() as u32);
            for (index, spec) in jobs.iter().enumerate() {
                let id = JobId(first.0 + index as u64);
                let offset = out.len();
                job::put_job(out, id, spec);
                birth(Birth { id, left: (jobs.len() - index) as u32, offset, end: out.len() });
            }
        }),
        Mutation::Promoted { id, sequence } => event(out, kind::PROMOTED, |out| {
            out.put_u64_le(id.0);
            out.put_u64_le(*sequence);
        }),
        Mutation::Updated { id, priority, due, sequence } => event(out, kind::UPDATED, |out| {
            out.put_u64_le(id.0);
            out.put_u8(priority.get());
            put_due(out, *due);
            out.put_u64_le(*sequence);
        }),
        Mutation::Leased { jobs, expire, worker } => event(out, kind::LEASED, |out| {
            out.put_u64_le(expire.0);
            put_text(out, worker);
            put_ids(out, jobs);
        }),
        Mutation::Charged { queue, charges } => event(out, kind::CHARGED, |out| {
            out.put_u32_le(queue.0);
            node::put_charges(out, charges);
        }),
        Mutation::Settled { queue, settlement } => event(out, kind::SETTLED, |out| {
            out.put_u32_le(queue.0);
            node::put_settlement(out, settlement);
        }),
        Mutation::Frozen { queue, key, until, step } => event(out, kind::FROZEN, |out| {
            out.put_u32_le(queue.0);
            put_text(out, key);
            out.put_u64_le(until.0);
            out.put_u8(*step);
        }),
        Mutation::NodeState { queue, key, state } => event(out, kind::NODE_STATE, |out| {
            out.put_u32_le(queue.0);
            put_text(out, key);
            node::put_state(out, state);
        }),
        Mutation::NodeReset { queue, key } => event(out, kind::NODE_RESET, |out| {
            out.put_u32_le(queue.0);
            put_text(out, key);
        }),
        Mutation::LimitPut(record) => event(out, kind::LIMIT_PUT, |out| {
            out.put_u32_le(record.id.0);
            out.put_u64_le(record.version);
            put_text(out, &record.name);
            out.put_u64_le(record.settings.priority_ageing.0);
            node::put_node(out, &record.settings.node);
        }),
        Mutation::LimitDeleted { limit } => event(out, kind::LIMIT_DELETED, |out| out.put_u32_le(limit.0)),
        Mutation::Extended { id, expire } => event(out, kind::EXTENDED, |out| {
            out.put_u64_le(id.0);
            out.put_u64_le(expire.0);
        }),
        Mutation::Acked { id, result } => event(out, kind::ACKED, |out| {
            out.put_u64_le(id.0);
            // No result ends here: an ack is the most frequent event of all.
            if let Some(result) = result {
                put_bytes(out, result);
            }
        }),
        Mutation::CancelRequested { id } => {
            event(out, kind::CANCEL_REQUESTED, |out| out.put_u64_le(id.0));
        }
        Mutation::Cancelled { id } => event(out, kind::CANCELLED, |out| out.put_u64_le(id.0)),
        Mutation::Expired { jobs } => event(out, kind::EXPIRED, |out| put_ids(out, jobs)),
        Mutation::Dropped { jobs } => event(out, kind::DROPPED, |out| put_ids(out, jobs)),
        Mutation::Returned { id, cause, next, error } => event(out, kind::RETURNED, |out| {
            out.put_u64_le(id.0);
            out.put_u8(*cause as u8);
            put_next(out, *next);
            if let Some(error) = error {
                put_error(out, error);
            }
        }),
        Mutation::Drained { queue, request, jobs } => event(out, kind::DRAINED, |out| {
            out.put_u32_le(queue.0);
            put_request(out, *request);
            put_ids(out, jobs);
        }),
        Mutation::Requeued { id, sequence } => event(out, kind::REQUEUED, |out| {
            out.put_u64_le(id.0);
            out.put_u64_le(*sequence);
        }),
        Mutation::RequeuedLater { id, time } => event(out, kind::REQUEUED_LATER, |out| {
            out.put_u64_le(id.0);
            out.put_u64_le(time.0);
        }),
        Mutation::Purged { jobs } => event(out, kind::PURGED, |out| put_ids(out, jobs)),
        Mutation::Forgotten { jobs } => event(out, kind::FORGOTTEN, |out| put_ids(out, jobs)),
        Mutation::DrainForgotten { set } => event(out, kind::DRAIN_FORGOTTEN, |out| out.put_u128_le(*set)),
        Mutation::Requested { request, answer } => match &answer.besides {
            None => event(out, kind::REQUESTED, |out| put_answered(out, *request, answer)),
            Some(besides) => event(out, kind::REQUESTED_BESIDES, |out| {
                put_answered(out, *request, answer);
                put_besides(out, besides);
            }),
        },
        Mutation::BatchAnnounced { queue, batch, total } => event(out, kind::BATCH_ANNOUNCED, |out| {
            out.put_u32_le(queue.0);
            put_text(out, batch);
            out.put_u64_le(*total);
        }),
        Mutation::BatchesForgotten { queue, batches } => event(out, kind::BATCHES_FORGOTTEN, |out| {
            out.put_u32_le(queue.0);
            put_count(out, batches.len());
            batches.iter().for_each(|batch| put_text(out, batch));
        }),
        Mutation::QueueDeleted { queue } => event(out, kind::QUEUE_DELETED, |out| out.put_u32_le(queue.0)),
        Mutation::QueueForgotten { queue } => {
            event(out, kind::QUEUE_FORGOTTEN, |out| out.put_u32_le(queue.0));
        }
        Mutation::Retired { segment } => event(out, kind::RETIRED, |out| out.put_u64_le(*segment)),
    }
}

/// Every mutation of `events`. Payloads share its memory; everything that the engine keeps is copied,
/// so that no job holds a segment in memory.
///
/// # Errors
/// When the bytes are not what [`encode`] wrote.
pub(crate) fn decode(events: &Bytes, mut birth: impl FnMut(Birth)) -> Result<Vec<Mutation>, DecodeError> {
    let mut mutations = Vec::new();
    let mut input: &[u8] = events;
    while !input.is_empty() {
        let (kind, mut fields) = next_event(&mut input)?;
        mutations.push(decode_event(kind, &mut fields, events, &mut birth)?);
        if !fields.is_empty() {
            return Err(DecodeError::Excess);
        }
    }
    Ok(mutations)
}

/// Goes past the next event; into it, if it is an enqueue: then says the first id and how many records follow.
///
/// # Errors
/// When `input` does not begin with an event.
pub(crate) fn next_jobs(input: &mut &[u8]) -> Result<Option<(JobId, u32)>, DecodeError> {
    let kind = input.try_get_u8()?;
    let bytes = input.try_get_u32_le()?;
    if kind != kind::ENQUEUED {
        take(input, bytes as usize)?;
        return Ok(None);
    }
    input.try_get_u32_le()?; // the queue
    Ok(Some((JobId(input.try_get_u64_le()?), input.try_get_u32_le()?)))
}

fn decode_event(
    kind: u8,
    fields: &mut &[u8],
    events: &Bytes,
    birth: &mut impl FnMut(Birth),
) -> Result<Mutation, DecodeError> {
    Ok(match kind {
        kind::FIRST_QUEUE_PUT | kind::QUEUE_PUT => {
            let queue = QueueId(fields.try_get_u32_le()?);
            let version = fields.try_get_u64_le()?;
            let name = QueueName::new(get_text(fields)?).map_err(|_| DecodeError::Invalid("queue name"))?;
            let is_first = kind == kind::FIRST_QUEUE_PUT;
            let settings = if is_first { get_first_settings(fields)? } else { get_settings(fields)? };
            Mutation::QueuePut { queue, name, settings: Box::new(settings), version }
        }
        kind::ENQUEUED => {
            let queue = QueueId(fields.try_get_u32_le()?);
            let first = JobId(fields.try_get_u64_le()?);
            let count = fields.try_get_u32_le()?;
            let mut jobs = Vec::with_capacity(at_most(count as usize, fields, job::HEAD_BYTES));
            for index in 0..count {
                let id = JobId(first.0.checked_add(u64::from(index)).ok_or(DecodeError::Invalid("job id"))?);
                let offset = offset_in(events, fields);
                jobs.push(RawJob::parse(next_record(fields)?)?.spec(events)?);
                birth(Birth { id, left: count - index, offset, end: offset_in(events, fields) });
            }
            Mutation::Enqueued { queue, first, jobs }
        }
        kind::PROMOTED => {
            Mutation::Promoted { id: JobId(fields.try_get_u64_le()?), sequence: fields.try_get_u64_le()? }
        }
        kind::UPDATED => {
            let id = JobId(fields.try_get_u64_le()?);
            let priority =
                Priority::new(fields.try_get_u8()?.into()).ok_or(DecodeError::Invalid("priority"))?;
            let due = get_due(fields)?;
            Mutation::Updated { id, priority, due, sequence: fields.try_get_u64_le()? }
        }
        kind::LEASED => {
            let expire = Timestamp(fields.try_get_u64_le()?);
            let worker = get_text(fields)?.into();
            Mutation::Leased { jobs: get_ids(fields)?, expire, worker }
        }
        kind::CHARGED => Mutation::Charged {
            queue: QueueId(fields.try_get_u32_le()?),
            charges: node::get_charges(fields)?,
        },
        kind::SETTLED => Mutation::Settled {
            queue: QueueId(fields.try_get_u32_le()?),
            settlement: node::get_settlement(fields)?,
        },
        kind::FROZEN => Mutation::Frozen {
            queue: QueueId(fields.try_get_u32_le()?),
            key: node::get_key(fields)?,
            until: Timestamp(fields.try_get_u64_le()?),
            step: fields.try_get_u8()?,
        },
        kind::NODE_STATE => Mutation::NodeState {
            queue: QueueId(fields.try_get_u32_le()?),
            key: node::get_key(fields)?,
            state: Box::new(node::get_state(fields)?),
        },
        kind::NODE_RESET => {
            Mutation::NodeReset { queue: QueueId(fields.try_get_u32_le()?), key: node::get_key(fields)? }
        }
        kind::LIMIT_PUT => {
            let id = QueueId(fields.try_get_u32_le()?);
            let version = fields.try_get_u64_le()?;
            let name = setting::get_limit_name(fields)?;
            let priority_ageing = Span(fields.try_get_u64_le()?);
            let settings = LimitSettings { priority_ageing, node: node::get_node(fields)? };
            Mutation::LimitPut(Box::new(LimitRecord { id, name, settings, version }))
        }
        kind::LIMIT_DELETED => Mutation::LimitDeleted { limit: QueueId(fields.try_get_u32_le()?) },
        kind::EXTENDED => Mutation::Extended {
            id: JobId(fields.try_get_u64_le()?),
            expire: Timestamp(fields.try_get_u64_le()?),
        },
        kind::ACKED => {
            let id = JobId(fields.try_get_u64_le()?);
            let result =
                if fields.is_empty() { None } else { Some(Bytes::copy_from_slice(get_bytes(fields)?)) };
            Mutation::Acked { id, result }
        }
        kind::CANCEL_REQUESTED => Mutation::CancelRequested { id: JobId(fields.try_get_u64_le()?) },
        kind::CANCELLED => Mutation::Cancelled { id: JobId(fields.try_get_u64_le()?) },
        kind::EXPIRED => Mutation::Expired { jobs: get_ids(fields)? },
        kind::DROPPED => Mutation::Dropped { jobs: get_ids(fields)? },
        kind::RETURNED => {
            let id = JobId(fields.try_get_u64_le()?);
            let cause = ReturnCause::from_number(fields.try_get_u8()?)
                .ok_or(DecodeError::Invalid("cause of a return"))?;
            let next = get_next(fields)?;
            let error = if fields.is_empty() { None } else { Some(Box::new(get_error(fields)?)) };
            Mutation::Returned { id, cause, next, error }
        }
        kind::DRAINED => {
            let queue = QueueId(fields.try_get_u32_le()?);
            let request = get_request(fields)?;
            Mutation::Drained { queue, request, jobs: get_ids(fields)? }
        }
        kind::REQUEUED => {
            Mutation::Requeued { id: JobId(fields.try_get_u64_le()?), sequence: fields.try_get_u64_le()? }
        }
        kind::REQUEUED_LATER => Mutation::RequeuedLater {
            id: JobId(fields.try_get_u64_le()?),
            time: Timestamp(fields.try_get_u64_le()?),
        },
        kind::PURGED => Mutation::Purged { jobs: get_ids(fields)? },
        kind::FORGOTTEN => Mutation::Forgotten { jobs: get_ids(fields)? },
        kind::DRAIN_FORGOTTEN => Mutation::DrainForgotten { set: fields.try_get_u128_le()? },
        kind::REQUESTED | kind::REQUESTED_BESIDES => {
            let request = get_request(fields)?;
            let first = JobId(fields.try_get_u64_le()?);
            let count = fields.try_get_u32_le()?;
            let has_besides = kind == kind::REQUESTED_BESIDES;
            let besides = has_besides.then(|| get_besides(fields)).transpose()?;
            Mutation::Requested { request, answer: Enqueued { first, count, besides } }
        }
        kind::BATCH_ANNOUNCED => {
            let queue = QueueId(fields.try_get_u32_le()?);
            let batch = get_batch(fields)?;
            Mutation::BatchAnnounced { queue, batch, total: fields.try_get_u64_le()? }
        }
        kind::BATCHES_FORGOTTEN => {
            let queue = QueueId(fields.try_get_u32_le()?);
            let count = get_count(fields)?;
            let mut batches = Vec::with_capacity(at_most(count, fields, 2));
            for _ in 0..count {
                batches.push(get_batch(fields)?);
            }
            Mutation::BatchesForgotten { queue, batches }
        }
        kind::QUEUE_DELETED => Mutation::QueueDeleted { queue: QueueId(fields.try_get_u32_le()?) },
        kind::QUEUE_FORGOTTEN => Mutation::QueueForgotten { queue: QueueId(fields.try_get_u32_le()?) },
        kind::RETIRED => Mutation::Retired { segment: fields.try_get_u64_le()? },
        unknown => return Err(DecodeError::Kind(unknown)),
    })
}

/// Writes an event around its fields; its length is known when they are there.
fn event(out: &mut Vec<u8>, kind: u8, fields: impl FnOnce(&mut Vec<u8>)) {
    out.put_u8(kind);
    let at = out.len();
    out.put_u32_le(0);
    fields(out);
    let bytes = (out.len() - at - 4) as u32;
    out[at..at + 4].copy_from_slice(&bytes.to_le_bytes());
}

fn next_event<'a>(input: &mut &'a [u8]) -> Result<(u8, &'a [u8]), DecodeError> {
    let kind = input.try_get_u8()?;
    let bytes = input.try_get_u32_le()?;
    Ok((kind, take(input, bytes as usize)?))
}

fn offset_in(events: &Bytes, fields: &[u8]) -> usize {
    fields.as_ptr() as usize - events.as_ptr() as usize
}

/// Room for `count` things, but never more than `input` can hold: a count on disk is not to be trusted.
fn at_most(count: usize, input: &[u8], least_bytes: usize) -> usize {
    count.min(input.len() / least_bytes)
}

/// A list of ids.
pub(crate) fn put_ids(out: &mut Vec<u8>, ids: &[JobId]) {
    put_count(out, ids.len());
    out.reserve(ids.len() * 8);
    for id in ids {
        out.put_u64_le(id.0);
    }
}

/// See [`put_ids`].
pub(crate) fn get_ids(input: &mut &[u8]) -> Result<Vec<JobId>, DecodeError> {
    let count = get_count(input)?;
    let mut ids = Vec::with_capacity(at_most(count, input, 8));
    for _ in 0..count {
        ids.push(JobId(input.try_get_u64_le()?));
    }
    Ok(ids)
}

/// A request's key.
pub(crate) fn put_request(out: &mut Vec<u8>, request: RequestKey) {
    out.put_u128_le(request.id);
    out.put_u64_le(request.content);
}

/// See [`put_request`].
pub(crate) fn get_request(input: &mut &[u8]) -> Result<RequestKey, DecodeError> {
    Ok(RequestKey { id: input.try_get_u128_le()?, content: input.try_get_u64_le()? })
}

/// A job's error.
pub(crate) fn put_error(out: &mut Vec<u8>, error: &JobError) {
    put_text(out, &error.code);
    put_text(out, &error.message);
}

/// See [`put_error`].
pub(crate) fn get_error(input: &mut &[u8]) -> Result<JobError, DecodeError> {
    Ok(JobError { code: get_text(input)?.into(), message: get_text(input)?.into() })
}

fn get_batch(input: &mut &[u8]) -> Result<BatchName, DecodeError> {
    BatchName::new(get_text(input)?).map_err(|_| DecodeError::Invalid("batch name"))
}

fn put_answered(out: &mut Vec<u8>, request: RequestKey, answer: &Enqueued) {
    put_request(out, request);
    out.put_u64_le(answer.first.0);
    out.put_u32_le(answer.count);
}

fn put_due(out: &mut Vec<u8>, due: Option<Due>) {
    match due {
        None => out.put_u8(0),
        Some(Due::Engine(time)) => {
            out.put_u8(1);
            out.put_u64_le(time.0);
        }
        Some(Due::Wall(time)) => {
            out.put_u8(2);
            out.put_u64_le(time.0);
        }
    }
}

fn get_due(input: &mut &[u8]) -> Result<Option<Due>, DecodeError> {
    match input.try_get_u8()? {
        0 => Ok(None),
        1 => Ok(Some(Due::Engine(Timestamp(input.try_get_u64_le()?)))),
        2 => Ok(Some(Due::Wall(WallTime(input.try_get_u64_le()?)))),
        _ => Err(DecodeError::Invalid("time of a job")),
    }
}

fn put_next(out: &mut Vec<u8>, next: Next) {
    match next {
        Next::Ready => out.put_u8(0),
        Next::Retry(time) => {
            out.put_u8(1);
            out.put_u64_le(time.0);
        }
        Next::Dead => out.put_u8(2),
        Next::Cancelled => out.put_u8(3),
        Next::Expired => out.put_u8(4),
    }
}

fn get_next(input: &mut &[u8]) -> Result<Next, DecodeError> {
    match input.try_get_u8()? {
        0 => Ok(Next::Ready),
        1 => Ok(Next::Retry(Timestamp(input.try_get_u64_le()?))),
        2 => Ok(Next::Dead),
        3 => Ok(Next::Cancelled),
        4 => Ok(Next::Expired),
        _ => Err(DecodeError::Invalid("next state")),
    }
}
