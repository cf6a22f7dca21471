//! A job's record as a value of a state tree: version 1.
//!
//! ```text
//! key    id u64
//! value  1, as_of, state, queue, priority, sequence, create_time, due (0 | 1 engine | 2 wall; time),
//!        bytes, deliveries, attempts, requeues, flags (1 nacked, 2 detail), key, detail?, crc
//! detail flags (1 retry, 2 worker, 4 start, 8 end, 16 error, 32 result here, 64 result in `body`), each in
//!        this order; retry and error as in the log
//! ```

use std::sync::Arc;

use bytes::Bytes;
use sluice_engine::{Detail, Due, JobId, JobRecord, JobState, Key, Priority, QueueId, Timestamp, WallTime};

use super::value::{Decoder, Encoder, FRAME_BYTES, MAX_VALUE_BYTES, Malformed};
use crate::store::codec::{get_error, get_patch, put_error, put_patch};

const VERSION: u8 = 1;

/// A longer result goes to the tree `body`, in parts: state trees are read at every start.
pub(crate) const MAX_INLINE_RESULT: usize = 512;

/// What a state tree says of a job.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct StoredJob {
    /// The last group it includes.
    pub(crate) as_of: u64,
    /// The job. A result that lies apart is missing.
    pub(crate) record: JobRecord,
    /// How long the result is that lies apart.
    pub(crate) result_apart: Option<u32>,
}

pub(crate) fn key(id: JobId) -> [u8; 8] {
    id.0.to_be_bytes()
}

pub(crate) fn id(key: &[u8]) -> Result<JobId, Malformed> {
    key.try_into().map(|bytes| JobId(u64::from_be_bytes(bytes))).map_err(|_| Malformed::Field)
}

/// The result that must lie apart, if it is long.
pub(crate) fn result_apart(record: &JobRecord) -> Option<&Bytes> {
    record.detail.as_ref()?.result.as_ref().filter(|result| result.len() > MAX_INLINE_RESULT)
}

pub(crate) fn encode(record: &JobRecord, as_of: u64) -> Vec<u8> {
    let mut e = Encoder::new(VERSION);
    e.u64(as_of);
    e.u8(record.state as u8);
    e.u64(record.queue.0.into());
    e.u8(record.priority.get());
    e.u64(record.sequence);
    e.u64(record.create_time.0);
    match record.due {
        None => e.u8(0),
        Some(Due::Engine(time)) => {
            e.u8(1);
            e.u64(time.0);
        }
        Some(Due::Wall(time)) => {
            e.u8(2);
            e.u64(time.0);
        }
    }
    e.u64(record.bytes.into());
    e.u64(record.deliveries.into());
    e.u64(record.attempts.into());
    e.u64(record.requeues.into());
    e.u8(u8::from(record.nacked) | u8::from(record.detail.is_some()) << 1);
    e.bytes(record.key.as_bytes());
    if let Some(detail) = &record.detail {
        encode_detail(&mut e, detail);
    }
    debug_assert!(e.len() + FRAME_BYTES <= MAX_VALUE_BYTES, "every field of a record is bounded");
    e.seal(&key(record.id))
}

pub(crate) fn decode(key: &[u8], value: &[u8]) -> Result<StoredJob, Malformed> {
    let (_, mut d) = Decoder::open(key, value, VERSION)?;
    let as_of = d.u64()?;
    let state = JobState::from_number(d.u8()?).ok_or(Malformed::Field)?;
    let queue = QueueId(d.u32()?);
    let priority = Priority::new(d.u8()?.into()).ok_or(Malformed::Field)?;
    let sequence = d.u64()?;
    let create_time = WallTime(d.u64()?);
    let due = match d.u8()? {
        0 => None,
        1 => Some(Due::Engine(Timestamp(d.u64()?))),
        2 => Some(Due::Wall(WallTime(d.u64()?))),
        _ => return Err(Malformed::Field),
    };
    let (bytes, deliveries, attempts, requeues) = (d.u32()?, d.u32()?, d.u32()?, d.u32()?);
    let flags = d.u8()?;
    let name = Key::new(d.text()?.to_owned()).map_err(|_| Malformed::Field)?;
    let (detail, result_apart) = if flags & 2 == 0 { (None, None) } else { decode_detail(&mut d)? };
    d.end()?;
    let record = JobRecord {
        id: id(key)?,
        queue,
        key: name,
        priority,
        state,
        sequence,
        create_time,
        due,
        bytes,
        deliveries,
        attempts,
        requeues,
        nacked: flags & 1 != 0,
        cancel_requested: false,
        batch: None,
        detail: detail.map(Box::new),
    };
    Ok(StoredJob { as_of, record, result_apart })
}

fn encode_detail(e: &mut Encoder, detail: &Detail) {
    let result = detail.result.as_ref();
    let apart = result.is_some_and(|result| result.len() > MAX_INLINE_RESULT);
    let flags = [
        detail.retry.is_some(),
        detail.worker.is_some(),
        detail.start_time.is_some(),
        detail.end_time.is_some(),
        detail.error.is_some(),
        result.is_some() && !apart,
        apart,
    ];
    e.u8(bits(&flags));
    if let Some(retry) = &detail.retry {
        e.shared(put_patch, retry);
    }
    if let Some(worker) = &detail.worker {
        e.bytes(worker.as_bytes());
    }
    if let Some(time) = detail.start_time {
        e.u64(time.0);
    }
    if let Some(time) = detail.end_time {
        e.u64(time.0);
    }
    if let Some(error) = &detail.error {
        e.shared(put_error, error);
    }
    match result {
        Some(result) if apart => e.u64(result.len() as u64),
        Some(result) => e.bytes(result),
        None => {}
    }
}

fn decode_detail(d: &mut Decoder<'_>) -> Result<(Option<Detail>, Option<u32>), Malformed> {
    let flags = d.u8()?;
    let has = |bit: u8| flags & bit != 0;
    let mut detail = Detail::default();
    if has(1) {
        detail.retry = Some(Box::new(d.shared(get_patch)?));
    }
    if has(2) {
        detail.worker = Some(Arc::from(d.text()?));
    }
    if has(4) {
        detail.start_time = Some(WallTime(d.u64()?));
    }
    if has(8) {
        detail.end_time = Some(WallTime(d.u64()?));
    }
    if has(16) {
        detail.error = Some(Box::new(d.shared(get_error)?));
    }
    if has(32) {
        detail.result = Some(d.owned_bytes()?);
    }
    let apart = if has(64) { Some(d.u32()?) } else { None };
    Ok((Some(detail), apart))
}

/// The first flag is the lowest bit.
fn bits(flags: &[bool]) -> u8 {
    flags.iter().rev().fold(0, |bits, flag| bits << 1 | u8::from(*flag))
}

#[cfg(test)]
pub(crate) mod tests {
    use sluice_engine::{JobError, RetryPatch, Span};

    use super::*;

    /// Every field said.
    pub(crate) fn full_record() -> JobRecord {
        JobRecord {
            id: JobId(0x0102_0304),
            queue: QueueId(9),
            key: Key::new("bot42/group/chat7".to_owned()).unwrap(),
            priority: Priority::new(7).unwrap(),
            state: JobState::Dead,
            sequence: 300,
            create_time: WallTime(1_700_000_000_000_000_000),
            due: Some(Due::Engine(Timestamp(77))),
            bytes: 256,
            deliveries: 6,
            attempts: 5,
            requeues: 1,
            nacked: true,
            detail: Some(Box::new(Detail {
                retry: Some(Box::new(RetryPatch {
                    max_attempts: Some(5),
                    initial_backoff: Some(Span::from_millis(250)),
                    multiplier: Some(1.5),
                    max_backoff: Some(Span::from_secs(9)),
                    jitter: Some(0.0),
                })),
                worker: Some("worker-1".into()),
                start_time: Some(WallTime(1)),
                end_time: Some(WallTime(2)),
                error: Some(Box::new(JobError { code: "E42".into(), message: "no route".into() })),
                result: Some(Bytes::from_static(b"ok")),
            })),
        }
    }

    #[test]
    fn every_field_comes_back_as_it_was() {
        let mut records = vec![full_record()];
        for state in JobState::ALL {
            for due in [None, Some(Due::Engine(Timestamp(u64::MAX))), Some(Due::Wall(WallTime(3)))] {
                let detail = (state == JobState::Ready).then(Box::<Detail>::default);
                records.push(JobRecord { state, due, detail, nacked: false, ..full_record() });
            }
        }
        for record in records {
            let value = encode(&record, 42);
            let stored = decode(&key(record.id), &value).unwrap();
            assert_eq!(stored, StoredJob { as_of: 42, record, result_apart: None });
        }
    }

    #[test]
    fn long_result_lies_apart() {
        let mut record = full_record();
        let result = Bytes::from(vec![b'r'; MAX_INLINE_RESULT + 1]);
        record.detail.as_mut().unwrap().result = Some(result.clone());
        assert_eq!(result_apart(&record), Some(&result));
        let stored = decode(&key(record.id), &encode(&record, 42)).unwrap();
        assert_eq!(stored.result_apart, Some(513));
        assert_eq!(stored.record.detail.unwrap().result, None);
    }

    #[test]
    fn largest_record_fits_a_value() {
        let mut record = full_record();
        record.key = Key::new("k".repeat(256)).unwrap();
        record.sequence = u64::MAX;
        let detail = record.detail.as_mut().unwrap();
        detail.worker = Some("w".repeat(128).into());
        detail.error =
            Some(Box::new(JobError { code: "c".repeat(128).into(), message: "m".repeat(4096).into() }));
        detail.result = Some(Bytes::from(vec![0; MAX_INLINE_RESULT]));
        assert!(encode(&record, u64::MAX).len() <= MAX_VALUE_BYTES);
    }

    #[test]
    fn bytes_on_disk_stay_as_they_are() {
        let value = encode(&full_record(), 42);
        let hex: String = value.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, GOLDEN);
    }

    const GOLDEN: &str = "\
        012a060907ac028080a8b1e39fe7cb17014d80020605010311626f7434322f67726f75702f63686174373f1f05000000\
        80b2e60e00000000000000000000f83f001a711802000000000000000000000008776f726b65722d3101020345343208\
        6e6f20726f757465026f6bf2b01a2c";
}
