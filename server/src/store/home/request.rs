//! Answered requests in the tree `request`: pages of many, oldest first, because a row each would cost
//! more than the request itself.
//!
//! ```text
//! key    segment u64, page u32
//! value  1, (id u128, content u64, time u64, first u64, count u32) …, crc
//! ```
//! A page goes as a whole when its youngest request is past the window.

use sluice_engine::bound::{MAX_REQUEST_IDS, REQUEST_ID_WINDOW};
use sluice_engine::{Enqueued, JobId, RequestKey, RequestRecord, Timestamp};

use super::value::{Decoder, Encoder, Malformed};

const VERSION: u8 = 1;
const RECORD_BYTES: usize = 16 + 8 + 8 + 8 + 4;

/// Requests of a page.
pub(crate) const PAGE_REQUESTS: usize = 160;

/// Pages beyond this hold nothing but what the engine has forgotten: segments end with a page that is
/// not full, hence twice what would do.
pub(crate) const MAX_PAGES: usize = 2 * MAX_REQUEST_IDS / PAGE_REQUESTS;

pub(crate) fn key(segment: u64, page: u32) -> [u8; 12] {
    let mut key = [0; 12];
    key[..8].copy_from_slice(&segment.to_be_bytes());
    key[8..].copy_from_slice(&page.to_be_bytes());
    key
}

/// All pages of a segment.
pub(crate) fn rows(
    segment: u64,
    requests: &[RequestRecord],
) -> impl Iterator<Item = ([u8; 12], Vec<u8>)> + '_ {
    (0..).zip(requests.chunks(PAGE_REQUESTS)).map(move |(page, requests)| {
        let key = key(segment, page);
        let mut e = Encoder::new(VERSION);
        for RequestRecord { request, answer, time } in requests {
            e.u128(request.id);
            e.raw(&request.content.to_be_bytes());
            e.raw(&time.0.to_be_bytes());
            e.raw(&answer.first.0.to_be_bytes());
            e.raw(&answer.count.to_be_bytes());
        }
        (key, e.seal(&key))
    })
}

pub(crate) fn decode(key: &[u8], value: &[u8]) -> Result<Vec<RequestRecord>, Malformed> {
    let (_, mut d) = Decoder::open(key, value, VERSION)?;
    let mut requests = Vec::with_capacity(value.len() / RECORD_BYTES);
    while !d.is_empty() {
        let request = RequestKey { id: d.u128()?, content: d.fixed_u64()? };
        let time = Timestamp(d.fixed_u64()?);
        let answer = Enqueued { first: JobId(d.fixed_u64()?), count: d.fixed_u32()?, besides: None };
        requests.push(RequestRecord { request, answer, time });
    }
    Ok(requests)
}

/// Whether the window has passed for all of a page.
pub(crate) fn is_past(requests: &[RequestRecord], now: Timestamp) -> bool {
    requests.iter().all(|request| now.since(request.time) >= REQUEST_ID_WINDOW)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::store::home::value::MAX_VALUE_BYTES;

    pub(crate) fn records(count: u64) -> Vec<RequestRecord> {
        (0..count)
            .map(|n| RequestRecord {
                request: RequestKey { id: u128::from(n) << 64, content: n },
                answer: Enqueued { first: JobId(n * 10), count: 10 },
                time: Timestamp(n),
            })
            .collect()
    }

    #[test]
    fn requests_come_back_in_order_from_values_that_fit() {
        let records = records(401);
        let rows: Vec<_> = rows(5, &records).collect();
        assert_eq!(rows.len(), 3);
        assert!(rows.iter().all(|(_, value)| value.len() <= MAX_VALUE_BYTES));
        let found: Vec<_> = rows.iter().flat_map(|(key, value)| decode(key, value).unwrap()).collect();
        assert_eq!(found, records);
    }

    #[test]
    fn page_is_past_when_its_youngest_request_is() {
        let records = records(3);
        assert!(!is_past(&records, Timestamp(1) + REQUEST_ID_WINDOW));
        assert!(is_past(&records, Timestamp(2) + REQUEST_ID_WINDOW));
    }

    #[test]
    fn bytes_on_disk_stay_as_they_are() {
        let bytes: Vec<u8> = rows(5, &records(2)).flat_map(|(_, value)| value).collect();
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, GOLDEN);
    }

    const GOLDEN: &str = "\
        01000000000000000000000000000000000000000000000000000000000000000000000000000000000000000a000000\
        0000000001000000000000000000000000000000010000000000000001000000000000000a0000000a8b185d7c";
}
