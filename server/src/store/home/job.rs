//! A job's record as a value of a state tree: version 2.
//!
//! ```text
//! key    id u64
//! value  2, as_of, state, queue, priority, sequence, create_time, due (0 | 1 engine | 2 wall; time),
//!        bytes, deliveries, attempts, requeues, flags (1 nacked, 2 detail, 4 cancel requested, 8 batch), key,
//!        batch?, detail?, crc
//! ```
//! Version 1 has the first two flags only.

use sluice_engine::{
    BatchName, Due, JobId, JobRecord, JobState, Key, Priority, QueueId, Timestamp, WallTime,
};

use super::detail::{self, Apart};
use super::value::{Decoder, Encoder, FRAME_BYTES, MAX_VALUE_BYTES, Malformed};

const VERSION: u8 = 2;

/// What a record has: keep the bits.
mod flag {
    pub(super) const NACKED: u8 = 1;
    pub(super) const DETAIL: u8 = 1 << 1;
    pub(super) const CANCEL_REQUESTED: u8 = 1 << 2;
    pub(super) const BATCH: u8 = 1 << 3;
    pub(super) const ALL: u8 = (1 << 4) - 1;
}

/// What a state tree says of a job.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct StoredJob {
    /// The last group it includes.
    pub(crate) as_of: u64,
    /// The job. What lies apart is missing.
    pub(crate) record: JobRecord,
    /// What of its detail lies apart.
    pub(crate) apart: Apart,
}

pub(crate) fn key(id: JobId) -> [u8; 8] {
    id.0.to_be_bytes()
}

pub(crate) fn id(key: &[u8]) -> Result<JobId, Malformed> {
    key.try_into().map(|bytes| JobId(u64::from_be_bytes(bytes))).map_err(|_| Malformed::Field)
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
    let mut flags = if record.nacked { flag::NACKED } else { 0 };
    flags |= if record.detail.is_some() { flag::DETAIL } else { 0 };
    flags |= if record.cancel_requested { flag::CANCEL_REQUESTED } else { 0 };
    flags |= if record.batch.is_some() { flag::BATCH } else { 0 };
    e.u8(flags);
    e.bytes(record.key.as_bytes());
    if let Some(batch) = &record.batch {
        e.bytes(batch.as_bytes());
    }
    if let Some(detail) = &record.detail {
        detail::encode(&mut e, detail);
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
    if flags & !flag::ALL != 0 {
        return Err(Malformed::Field);
    }
    let has = |flag: u8| flags & flag != 0;
    let name = Key::new(d.text()?.to_owned()).map_err(|_| Malformed::Field)?;
    let batch = has(flag::BATCH).then(|| d.text()).transpose()?.map(BatchName::new).transpose();
    let batch = batch.map_err(|_| Malformed::Field)?;
    let (detail, apart) = has(flag::DETAIL).then(|| detail::decode(&mut d)).transpose()?.unzip();
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
        nacked: has(flag::NACKED),
        cancel_requested: has(flag::CANCEL_REQUESTED),
        batch,
        detail: detail.map(Box::new),
    };
    Ok(StoredJob { as_of, record, apart: apart.unwrap_or_default() })
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::store::home::detail::tests::{first_detail, full_detail, largest_detail};

    /// Every field said that was there first.
    fn first_record() -> JobRecord {
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
            cancel_requested: false,
            batch: None,
            detail: Some(Box::new(first_detail())),
        }
    }

    /// Every field said.
    pub(crate) fn full_record() -> JobRecord {
        JobRecord {
            cancel_requested: true,
            batch: Some(BatchName::new("import").unwrap()),
            detail: Some(Box::new(full_detail())),
            ..first_record()
        }
    }

    #[test]
    fn every_field_comes_back_as_it_was() {
        let mut records = vec![first_record(), full_record()];
        for state in JobState::ALL {
            for due in [None, Some(Due::Engine(Timestamp(u64::MAX))), Some(Due::Wall(WallTime(3)))] {
                let detail = (state == JobState::Ready).then(Box::default);
                records.push(JobRecord { state, due, detail, nacked: false, batch: None, ..full_record() });
            }
        }
        for record in records {
            let value = encode(&record, 42);
            let stored = decode(&key(record.id), &value).unwrap();
            assert_eq!(stored, StoredJob { as_of: 42, record, apart: Apart::default() });
        }
    }

    #[test]
    fn largest_record_fits_a_value() {
        let mut record = full_record();
        record.key = Key::new("k".repeat(256)).unwrap();
        record.batch = Some(BatchName::new(&"b".repeat(128)).unwrap());
        record.sequence = u64::MAX;
        for attempts in 0..=10 {
            record.detail = Some(Box::new(largest_detail(attempts)));
            assert!(encode(&record, u64::MAX).len() <= MAX_VALUE_BYTES, "{attempts} attempts");
        }
    }

    #[test]
    fn bytes_on_disk_stay_as_they_are() {
        let value = encode(&full_record(), 42);
        let hex: String = value.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, GOLDEN);
    }

    #[test]
    fn version_1_is_read() {
        let hex: String = FIRST_GOLDEN.split_whitespace().collect();
        let value: Vec<u8> =
            (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect();
        let record = first_record();
        let stored = decode(&key(record.id), &value).unwrap();
        assert_eq!(stored, StoredJob { as_of: 42, record, apart: Apart::default() });
    }

    const GOLDEN: &str = "\
        022a060907ac028080a8b1e39fe7cb17014d80020605010f11626f7434322f67726f75702f636861743706696d706f72\
        74bf071f0500000080b2e60e00000000000000000000f83f001a711802000000000000000000000008776f726b65722d\
        31010203453432086e6f20726f757465026f6b80b09dc2df01630205017705ffffffffffffffffff01030006017706ff\
        ffffffffffffffff01030103453432086e6f20726f757465ee407ad3";

    const FIRST_GOLDEN: &str = "\
        012a060907ac028080a8b1e39fe7cb17014d80020605010311626f7434322f67726f75702f63686174373f1f05000000\
        80b2e60e00000000000000000000f83f001a711802000000000000000000000008776f726b65722d3101020345343208\
        6e6f20726f757465026f6bf2b01a2c";
}
