//! A drained set in the tree `drain`: a head, and pages of ids in order. It never changes.
//!
//! ```text
//! key    set u128, page u32
//! page 0 1, as_of, content u64, queue, time, number of jobs, crc      written last
//! other  1, ids u64 …, crc
//! ```

use sluice_engine::{DrainRecord, JobId, QueueId, RequestKey, Timestamp};

use super::value::{Decoder, Encoder, Malformed};

const VERSION: u8 = 1;

/// Ids of a page.
pub(crate) const PAGE_JOBS: usize = 880;

/// What the first page says.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Head {
    /// The last group it includes.
    pub(crate) as_of: u64,
    /// The set, without its jobs.
    pub(crate) record: DrainRecord,
    /// How many jobs there are.
    pub(crate) jobs: u64,
}

pub(crate) fn key(set: u128, page: u32) -> [u8; 20] {
    let mut key = [0; 20];
    key[..16].copy_from_slice(&set.to_be_bytes());
    key[16..].copy_from_slice(&page.to_be_bytes());
    key
}

/// All rows of a set begin with this.
pub(crate) fn prefix(set: u128) -> [u8; 16] {
    set.to_be_bytes()
}

/// Whose row it is, and which page.
pub(crate) fn parse(key: &[u8]) -> Result<(u128, u32), Malformed> {
    let (set, page) = key.split_first_chunk::<16>().ok_or(Malformed::Field)?;
    let page = page.try_into().map_err(|_| Malformed::Field)?;
    Ok((u128::from_be_bytes(*set), u32::from_be_bytes(page)))
}

/// All rows of a set, in the order in which they are to be written.
pub(crate) fn rows(record: &DrainRecord, as_of: u64) -> impl Iterator<Item = ([u8; 20], Vec<u8>)> + '_ {
    let set = record.request.id;
    let pages = (1..).zip(record.jobs.chunks(PAGE_JOBS)).map(move |(page, jobs)| {
        let key = key(set, page);
        let mut e = Encoder::new(VERSION);
        for id in jobs {
            e.raw(&id.0.to_be_bytes());
        }
        (key, e.seal(&key))
    });
    pages.chain(std::iter::once_with(move || {
        let key = key(set, 0);
        let mut e = Encoder::new(VERSION);
        e.u64(as_of);
        e.raw(&record.request.content.to_be_bytes());
        e.u64(record.queue.0.into());
        e.u64(record.time.0);
        e.u64(record.jobs.len() as u64);
        (key, e.seal(&key))
    }))
}

pub(crate) fn decode_head(key: &[u8], value: &[u8]) -> Result<Head, Malformed> {
    let (id, _) = parse(key)?;
    let (_, mut d) = Decoder::open(key, value, VERSION)?;
    let as_of = d.u64()?;
    let content = d.fixed_u64()?;
    let queue = QueueId(d.u32()?);
    let time = Timestamp(d.u64()?);
    let jobs = d.u64()?;
    d.end()?;
    let record = DrainRecord { request: RequestKey { id, content }, queue, time, jobs: Vec::new() };
    Ok(Head { as_of, record, jobs })
}

/// Adds the ids of a page.
pub(crate) fn decode_page(key: &[u8], value: &[u8], jobs: &mut Vec<JobId>) -> Result<(), Malformed> {
    let (_, mut d) = Decoder::open(key, value, VERSION)?;
    while !d.is_empty() {
        jobs.push(JobId(d.fixed_u64()?));
    }
    Ok(())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::store::home::value::MAX_VALUE_BYTES;

    pub(crate) fn record(jobs: u64) -> DrainRecord {
        DrainRecord {
            request: RequestKey { id: u128::MAX / 3, content: 99 },
            queue: QueueId(4),
            time: Timestamp(1_000),
            jobs: (0..jobs).map(|n| JobId(u64::MAX - n)).collect(),
        }
    }

    #[test]
    fn sets_of_every_size_come_back_in_order_from_values_that_fit() {
        for jobs in [0, 1, PAGE_JOBS as u64, PAGE_JOBS as u64 + 1, 5_000] {
            let record = record(jobs);
            let found: Vec<_> = rows(&record, 7).collect();
            assert!(found.iter().all(|(_, value)| value.len() <= MAX_VALUE_BYTES));
            let (head_key, head_value) = found.last().unwrap();
            assert_eq!(parse(head_key), Ok((record.request.id, 0)), "the head is written last");
            let head = decode_head(head_key, head_value).unwrap();
            let mut ids = Vec::new();
            for (key, value) in &found[..found.len() - 1] {
                decode_page(key, value, &mut ids).unwrap();
            }
            assert_eq!((head.as_of, head.jobs), (7, jobs));
            assert_eq!(DrainRecord { jobs: ids, ..head.record }, record);
        }
    }

    #[test]
    fn bytes_on_disk_stay_as_they_are() {
        let bytes: Vec<u8> = rows(&record(2), 7).flat_map(|(_, value)| value).collect();
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, GOLDEN);
    }

    const GOLDEN: &str = "01fffffffffffffffffffffffffffffffef7a7f02f0107000000000000006304e80702405af69a";
}
