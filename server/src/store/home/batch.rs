//! A batch's record in the tree `batch`.
//!
//! ```text
//! key    queue u32, name
//! value  1, as_of, total? u8, total, change_time, number of states, (state u8, jobs gone in it) …, crc
//! ```

use sluice_engine::{BatchName, BatchRecord, JobState, QueueId, StateCounts, Timestamp};

use super::value::{Decoder, Encoder, Malformed};

const VERSION: u8 = 1;

pub(crate) fn key(queue: QueueId, name: &BatchName) -> Vec<u8> {
    [&queue.0.to_be_bytes()[..], name.as_bytes()].concat()
}

pub(crate) fn encode(key: &[u8], record: &BatchRecord, as_of: u64) -> Vec<u8> {
    let mut e = Encoder::new(VERSION);
    e.u64(as_of);
    e.u8(u8::from(record.total.is_some()));
    record.total.into_iter().for_each(|total| e.u64(total));
    e.u64(record.change_time.0);
    let gone: Vec<_> = JobState::ALL.into_iter().filter(|state| record.gone.get(*state) > 0).collect();
    e.u64(gone.len() as u64);
    for state in gone {
        e.u8(state as u8);
        e.u64(record.gone.get(state));
    }
    e.seal(key)
}

/// The record, and the last group it includes.
pub(crate) fn decode(key: &[u8], value: &[u8]) -> Result<(BatchRecord, u64), Malformed> {
    let (queue, name) = key.split_first_chunk::<4>().ok_or(Malformed::Field)?;
    let name = std::str::from_utf8(name).ok().and_then(|name| BatchName::new(name).ok());
    let (_, mut d) = Decoder::open(key, value, VERSION)?;
    let as_of = d.u64()?;
    let total = match d.u8()? {
        0 => None,
        1 => Some(d.u64()?),
        _ => return Err(Malformed::Field),
    };
    let change_time = Timestamp(d.u64()?);
    let mut gone = StateCounts::default();
    for _ in 0..d.u64()? {
        let state = JobState::from_number(d.u8()?).ok_or(Malformed::Field)?;
        gone = gone.with(state, d.u64()?);
    }
    d.end()?;
    let record = BatchRecord {
        queue: QueueId(u32::from_be_bytes(*queue)),
        name: name.ok_or(Malformed::Field)?,
        total,
        gone,
        change_time,
    };
    Ok((record, as_of))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn record(name: &str) -> BatchRecord {
        BatchRecord {
            queue: QueueId(9),
            name: BatchName::new(name).unwrap(),
            total: Some(500),
            gone: StateCounts::default().with(JobState::Completed, 300).with(JobState::Dead, 1),
            change_time: Timestamp(77),
        }
    }

    #[test]
    fn every_field_comes_back_as_it_was() {
        let all =
            JobState::ALL.into_iter().fold(StateCounts::default(), |counts, s| counts.with(s, u64::MAX));
        let empty = BatchRecord { total: None, gone: StateCounts::default(), ..record("b") };
        for record in [record("import"), empty, BatchRecord { gone: all, ..record(&"n".repeat(128)) }] {
            let key = key(record.queue, &record.name);
            assert_eq!(decode(&key, &encode(&key, &record, 42)), Ok((record, 42)));
        }
    }

    #[test]
    fn bytes_on_disk_stay_as_they_are() {
        let record = record("import");
        let value = encode(&key(record.queue, &record.name), &record, 42);
        let hex: String = value.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, GOLDEN);
    }

    const GOLDEN: &str = "012a01f4034d0205ac02060143108d83";
}
