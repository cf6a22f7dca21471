//! Idempotency keys in the tree `idempotency`: pages of many, oldest first, because a row each would cost more than
//! the key itself.
//!
//! ```text
//! key    segment u64, page u32
//! value  1, (queue u32, hash u128, job u64, time u64) …, crc
//! ```
//! A page goes as a whole when nothing on it is remembered any more. The hashes are here as they are: how keys are
//! hashed never changes.

use sluice_engine::{IdempotencyRecord, JobId, QueueId, Span, Timestamp};

use super::value::{Decoder, Encoder, Malformed};

const VERSION: u8 = 1;
const RECORD_BYTES: usize = 4 + 16 + 8 + 8;

/// Keys of a page: so many fit a value.
pub(crate) const PAGE_KEYS: usize = 198;

pub(crate) fn key(segment: u64, page: u32) -> [u8; 12] {
    let mut key = [0; 12];
    key[..8].copy_from_slice(&segment.to_be_bytes());
    key[8..].copy_from_slice(&page.to_be_bytes());
    key
}

/// All pages of a segment.
pub(crate) fn rows(
    segment: u64,
    records: &[IdempotencyRecord],
) -> impl Iterator<Item = ([u8; 12], Vec<u8>)> + '_ {
    (0..).zip(records.chunks(PAGE_KEYS)).map(move |(page, records)| {
        let key = key(segment, page);
        let mut e = Encoder::new(VERSION);
        for record in records {
            e.raw(&record.queue.0.to_be_bytes());
            e.u128(record.hash);
            e.raw(&record.job.0.to_be_bytes());
            e.raw(&record.time.0.to_be_bytes());
        }
        (key, e.seal(&key))
    })
}

pub(crate) fn decode(key: &[u8], value: &[u8]) -> Result<Vec<IdempotencyRecord>, Malformed> {
    let (_, mut d) = Decoder::open(key, value, VERSION)?;
    let mut records = Vec::with_capacity(value.len() / RECORD_BYTES);
    while !d.is_empty() {
        records.push(IdempotencyRecord {
            queue: QueueId(d.fixed_u32()?),
            hash: d.u128()?,
            job: JobId(d.fixed_u64()?),
            time: Timestamp(d.fixed_u64()?),
        });
    }
    Ok(records)
}

/// Whether nothing on a page is remembered any more. `window` is that of a queue; none for one that is gone.
pub(crate) fn is_past(
    records: &[IdempotencyRecord],
    window: impl Fn(QueueId) -> Option<Span>,
    now: Timestamp,
) -> bool {
    records.iter().all(|record| window(record.queue).is_none_or(|window| record.time + window <= now))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::store::home::value::MAX_VALUE_BYTES;

    pub(crate) fn records(count: u64) -> Vec<IdempotencyRecord> {
        (0..count)
            .map(|n| IdempotencyRecord {
                queue: QueueId(n as u32 % 2),
                hash: u128::from(n) << 70,
                job: JobId(n * 10),
                time: Timestamp(n),
            })
            .collect()
    }

    #[test]
    fn keys_come_back_in_order_from_values_that_fit() {
        let records = records(401);
        let rows: Vec<_> = rows(5, &records).collect();
        assert_eq!(rows.len(), 3);
        assert!(rows.iter().all(|(_, value)| value.len() <= MAX_VALUE_BYTES));
        let found: Vec<_> = rows.iter().flat_map(|(key, value)| decode(key, value).unwrap()).collect();
        assert_eq!(found, records);
    }

    #[test]
    fn page_is_past_when_every_queue_has_forgotten_its_keys() {
        let records = records(2);
        let window = |queue: QueueId| (queue == QueueId(0)).then_some(Span(10));
        assert!(!is_past(&records, window, Timestamp(9)));
        assert!(is_past(&records, window, Timestamp(10)));
    }

    #[test]
    fn bytes_on_disk_stay_as_they_are() {
        let bytes: Vec<u8> = rows(5, &records(2)).flat_map(|(_, value)| value).collect();
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, GOLDEN);
    }

    const GOLDEN: &str = "\
        010000000000000000000000000000000000000000000000000000000000000000000000000000000100000000000000\
        400000000000000000000000000000000a00000000000000010d09c7e1";
}
