//! Answered requests in the tree `request`: pages of many, oldest first, because a row each would cost
//! more than the request itself.
//!
//! ```text
//! key     segment u64, page u32
//! value   2, (id u128, content u64, time u64, first u64, count u32, besides? u8) …, crc
//! key     segment u64, page u32, place in the page u8, part u16
//! besides as in the log, in parts
//! ```
//! Version 1 has nothing besides. What is besides is written before its page, and goes after it. A page goes as a
//! whole when its youngest request is past the window.

use std::sync::Arc;

use sluice_engine::bound::{MAX_REQUEST_IDS, REQUEST_ID_WINDOW};
use sluice_engine::{Besides, Enqueued, JobId, RequestKey, RequestRecord, Timestamp};

use super::part;
use super::value::{Decoder, Encoder, Malformed};
use crate::store::codec::{get_besides, put_besides};

const VERSION: u8 = 2;
const RECORD_BYTES: usize = 16 + 8 + 8 + 8 + 4 + 1;

/// Requests of a page: so many fit a value.
pub(crate) const PAGE_REQUESTS: usize = 158;

/// Pages beyond this hold nothing but what the engine has forgotten: segments end with a page that is
/// not full, hence twice what would do.
pub(crate) const MAX_PAGES: usize = 2 * MAX_REQUEST_IDS / PAGE_REQUESTS;

pub(crate) fn key(segment: u64, page: u32) -> [u8; 12] {
    let mut key = [0; 12];
    key[..8].copy_from_slice(&segment.to_be_bytes());
    key[8..].copy_from_slice(&page.to_be_bytes());
    key
}

/// Where a part of what is besides lies.
pub(crate) fn besides_key(page_key: &[u8; 12], place: u8, part: u16) -> [u8; 15] {
    let mut key = [0; 15];
    key[..12].copy_from_slice(page_key);
    key[12] = place;
    key[13..].copy_from_slice(&part.to_be_bytes());
    key
}

/// The key of a page; none for what is besides.
pub(crate) fn page_key(key: &[u8]) -> Option<[u8; 12]> {
    key.try_into().ok()
}

/// What is besides on a page, in the order in which it is to be written.
pub(crate) fn besides_rows(
    page_key: [u8; 12],
    requests: &[RequestRecord],
) -> impl Iterator<Item = ([u8; 15], Vec<u8>)> + '_ {
    (0..).zip(requests).flat_map(move |(place, request)| {
        let rows = request.answer.besides.as_ref().map(|besides| {
            let mut whole = Vec::new();
            put_besides(&mut whole, besides);
            part::rows(&whole, |part| besides_key(&page_key, place, part)).collect::<Vec<_>>()
        });
        rows.unwrap_or_default()
    })
}

/// See [`besides_rows`].
pub(crate) fn decode_besides(mut whole: &[u8]) -> Result<Arc<Besides>, Malformed> {
    let besides = get_besides(&mut whole).map_err(|_| Malformed::Field)?;
    if whole.is_empty() { Ok(besides) } else { Err(Malformed::Field) }
}

/// All pages of a segment, with the requests on each.
pub(crate) fn rows(
    segment: u64,
    requests: &[RequestRecord],
) -> impl Iterator<Item = ([u8; 12], Vec<u8>, &[RequestRecord])> + '_ {
    (0..).zip(requests.chunks(PAGE_REQUESTS)).map(move |(page, chunk)| {
        let key = key(segment, page);
        let mut e = Encoder::new(VERSION);
        for RequestRecord { request, answer, time } in chunk {
            e.u128(request.id);
            e.raw(&request.content.to_be_bytes());
            e.raw(&time.0.to_be_bytes());
            e.raw(&answer.first.0.to_be_bytes());
            e.raw(&answer.count.to_be_bytes());
            e.u8(u8::from(answer.besides.is_some()));
        }
        (key, e.seal(&key), chunk)
    })
}

/// The requests of a page, and whether something is besides that lies apart.
pub(crate) fn decode(key: &[u8], value: &[u8]) -> Result<Vec<(RequestRecord, bool)>, Malformed> {
    let (version, mut d) = Decoder::open(key, value, VERSION)?;
    let mut requests = Vec::with_capacity(value.len() / RECORD_BYTES);
    while !d.is_empty() {
        let request = RequestKey { id: d.u128()?, content: d.fixed_u64()? };
        let time = Timestamp(d.fixed_u64()?);
        let answer = Enqueued { first: JobId(d.fixed_u64()?), count: d.fixed_u32()?, besides: None };
        let has_besides = version > 1
            && match d.u8()? {
                0 => false,
                1 => true,
                _ => return Err(Malformed::Field),
            };
        requests.push((RequestRecord { request, answer, time }, has_besides));
    }
    Ok(requests)
}

/// Whether the window has passed for all of a page.
pub(crate) fn is_past(requests: &[(RequestRecord, bool)], now: Timestamp) -> bool {
    requests.iter().all(|(request, _)| now.since(request.time) >= REQUEST_ID_WINDOW)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::store::home::value::MAX_VALUE_BYTES;

    pub(crate) fn records(count: u64) -> Vec<RequestRecord> {
        (0..count)
            .map(|n| RequestRecord {
                request: RequestKey { id: u128::from(n) << 64, content: n },
                answer: Enqueued { first: JobId(n * 10), count: 10, besides: None },
                time: Timestamp(n),
            })
            .collect()
    }

    #[test]
    fn requests_come_back_in_order_from_values_that_fit() {
        let records = records(401);
        let rows: Vec<_> = rows(5, &records).collect();
        assert_eq!(rows.len(), 3);
        assert!(rows.iter().all(|(_, value, _)| value.len() <= MAX_VALUE_BYTES));
        let found = rows.iter().flat_map(|(key, value, _)| decode(key, value).unwrap());
        assert_eq!(found.map(|(record, _)| record).collect::<Vec<_>>(), records);
    }

    #[test]
    fn what_is_besides_lies_apart_in_values_that_fit() {
        let mut records = records(2);
        let duplicates = (0..10_000).map(|place| (place, JobId(u64::MAX - u64::from(place)))).collect();
        let besides = Besides { duplicates, dropped: vec![JobId(5); 20_000] };
        records[1].answer.besides = Some(Arc::new(besides.clone()));
        let (page, value, chunk) = rows(5, &records).next().unwrap();
        assert_eq!(
            decode(&page, &value).unwrap().iter().map(|(_, apart)| *apart).collect::<Vec<_>>(),
            [false, true]
        );
        let mut parts: Vec<_> = besides_rows(page, chunk).collect();
        assert!(parts.iter().all(|(_, value)| value.len() <= MAX_VALUE_BYTES));
        parts.reverse();
        let mut whole = part::first(&parts[0].0, &parts[0].1).unwrap().1.to_vec();
        for (key, value) in &parts[1..] {
            whole.extend_from_slice(part::next(key, value).unwrap());
        }
        assert_eq!(*decode_besides(&whole).unwrap(), besides);
    }

    #[test]
    fn page_is_past_when_its_youngest_request_is() {
        let records: Vec<_> = records(3).into_iter().map(|record| (record, false)).collect();
        assert!(!is_past(&records, Timestamp(1) + REQUEST_ID_WINDOW));
        assert!(is_past(&records, Timestamp(2) + REQUEST_ID_WINDOW));
    }

    #[test]
    fn bytes_on_disk_stay_as_they_are() {
        let bytes: Vec<u8> = rows(5, &records(2)).flat_map(|(_, value, _)| value).collect();
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, GOLDEN);
    }

    #[test]
    fn version_1_is_read() {
        let hex: String = FIRST_GOLDEN.split_whitespace().collect();
        let value: Vec<u8> =
            (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect();
        let expected: Vec<_> = records(2).into_iter().map(|record| (record, false)).collect();
        assert_eq!(decode(&key(5, 0), &value), Ok(expected));
    }

    const GOLDEN: &str = "\
        02000000000000000000000000000000000000000000000000000000000000000000000000000000000000000a000000\
        000000000001000000000000000000000000000000010000000000000001000000000000000a0000000a007f6c3ea9";

    const FIRST_GOLDEN: &str = "\
        01000000000000000000000000000000000000000000000000000000000000000000000000000000000000000a000000\
        0000000001000000000000000000000000000000010000000000000001000000000000000a0000000a8b185d7c";
}
