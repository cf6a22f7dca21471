//! A queue's record in the tree `queue`, in parts: its counts by error code may be long.
//!
//! ```text
//! key    queue u32, as_of u64, part u16
//! whole  version 2, name, settings as in the log, their version, create_time, totals, deleted u8, number of codes,
//!        (code, count) …
//! ```
//! Version 1 has the first settings of the log, eight totals, and is not deleted.
//!
//! A newer record lies beside the older one until the older one is removed, so that no mixture of both
//! is ever read.

use sluice_engine::{QueueId, QueueName, QueueRecord, QueueTotals, WallTime};

use super::value::{Decoder, Encoder, Malformed};
use crate::store::codec::{get_first_settings, get_settings, put_settings};

const FIRST_VERSION: u8 = 1;
const VERSION: u8 = 2;

pub(crate) fn key(id: QueueId, as_of: u64, part: u16) -> [u8; 14] {
    let mut key = [0; 14];
    key[..4].copy_from_slice(&id.0.to_be_bytes());
    key[4..12].copy_from_slice(&as_of.to_be_bytes());
    key[12..].copy_from_slice(&part.to_be_bytes());
    key
}

/// Whose row it is, as of when, and which part.
pub(crate) fn parse(key: &[u8]) -> Result<(QueueId, u64, u16), Malformed> {
    let mut d = key;
    let id = take(&mut d).map(u32::from_be_bytes).ok_or(Malformed::Field)?;
    let as_of = take(&mut d).map(u64::from_be_bytes).ok_or(Malformed::Field)?;
    let part = take(&mut d).map(u16::from_be_bytes).ok_or(Malformed::Field)?;
    if d.is_empty() { Ok((QueueId(id), as_of, part)) } else { Err(Malformed::Field) }
}

pub(crate) fn encode(record: &QueueRecord) -> Vec<u8> {
    let mut e = Encoder::new(VERSION);
    e.bytes(record.name.as_bytes());
    e.shared(put_settings, &record.settings);
    e.u64(record.version);
    e.u64(record.create_time.0);
    let t = &record.totals;
    for total in
        [t.enqueued, t.completed, t.failed_attempts, t.dead, t.throttled, t.drained, t.requeued, t.removed]
    {
        e.u64(total);
    }
    for total in [t.dropped, t.cancelled, t.expired] {
        e.u64(total);
    }
    e.u8(u8::from(record.deleted));
    e.u64(t.failed_by_code.len() as u64);
    for (code, count) in &t.failed_by_code {
        e.bytes(code.as_bytes());
        e.u64(*count);
    }
    e.into_inner()
}

pub(crate) fn decode(id: QueueId, whole: &[u8]) -> Result<QueueRecord, Malformed> {
    let mut d = Decoder::inside(whole);
    let layout = d.u8()?;
    if !(FIRST_VERSION..=VERSION).contains(&layout) {
        return Err(Malformed::Version(layout));
    }
    let is_first = layout == FIRST_VERSION;
    let name = QueueName::new(d.text()?).map_err(|_| Malformed::Field)?;
    let settings = if is_first { d.shared(get_first_settings)? } else { d.shared(get_settings)? };
    let version = d.u64()?;
    let create_time = WallTime(d.u64()?);
    let mut totals = QueueTotals {
        enqueued: d.u64()?,
        completed: d.u64()?,
        failed_attempts: d.u64()?,
        dead: d.u64()?,
        throttled: d.u64()?,
        drained: d.u64()?,
        requeued: d.u64()?,
        removed: d.u64()?,
        ..QueueTotals::default()
    };
    let mut deleted = false;
    if !is_first {
        (totals.dropped, totals.cancelled, totals.expired) = (d.u64()?, d.u64()?, d.u64()?);
        deleted = match d.u8()? {
            0 => false,
            1 => true,
            _ => return Err(Malformed::Field),
        };
    }
    for _ in 0..d.u64()? {
        totals.failed_by_code.insert(d.text()?.into(), d.u64()?);
    }
    d.end()?;
    Ok(QueueRecord { id, name, settings, version, create_time, totals, deleted })
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (chunk, rest) = bytes.split_first_chunk::<N>()?;
    *bytes = rest;
    Some(*chunk)
}

#[cfg(test)]
pub(crate) mod tests {
    use sluice_engine::{QueueSettings, Span};

    use super::*;
    use crate::store::codec::sample::full_settings;

    /// Every field said that was there first.
    fn first_record(id: u32, codes: usize) -> QueueRecord {
        QueueRecord {
            id: QueueId(id),
            name: QueueName::new("webhooks").unwrap(),
            settings: QueueSettings { retention: Span::from_secs(7), ..QueueSettings::default() },
            version: 3,
            create_time: WallTime(11),
            totals: QueueTotals {
                enqueued: 10,
                completed: 9,
                failed_attempts: 8,
                dead: 7,
                throttled: 6,
                drained: 5,
                requeued: 4,
                removed: 3,
                failed_by_code: (0..codes).map(|n| (format!("{n:0128}").into(), n as u64)).collect(),
                ..QueueTotals::default()
            },
            deleted: false,
        }
    }

    /// Every field said.
    pub(crate) fn record(id: u32, codes: usize) -> QueueRecord {
        let first = first_record(id, codes);
        QueueRecord {
            settings: full_settings(),
            totals: QueueTotals { dropped: 2, cancelled: 1, expired: 300, ..first.totals },
            deleted: true,
            ..first
        }
    }

    #[test]
    fn every_field_comes_back_as_it_was() {
        for codes in [0, 1, 65] {
            for record in [first_record(9, codes), record(9, codes)] {
                assert_eq!(decode(QueueId(9), &encode(&record)), Ok(record));
            }
        }
        assert_eq!(parse(&key(QueueId(1), 2, 3)), Ok((QueueId(1), 2, 3)));
        assert_eq!(parse(b"short"), Err(Malformed::Field));
    }

    #[test]
    fn bytes_on_disk_stay_as_they_are() {
        let hex: String = encode(&record(9, 0)).iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, GOLDEN);
    }

    #[test]
    fn version_1_is_read() {
        let hex: String = FIRST_GOLDEN.split_whitespace().collect();
        let whole: Vec<u8> =
            (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect();
        assert_eq!(decode(QueueId(9), &whole), Ok(first_record(9, 0)));
    }

    const GOLDEN: &str = "\
        0208776562686f6f6b730500000000ca9a3b000000000000000000000040005847f80d0000009a9999999999c93f00ac\
        23fc0600000000a0b8304603000000000004000000000000420769350900005847f80d0000001fe80300000000000000\
        00004000000000020814000000000000e03f9a9999999999e93f1400000080f0fa02000000000a00000000e1f5050000\
        00000500000000c2eb0b00000000005847f80d000000010a626f742a2f67726f7570030a000000000000000000100000\
        00000003030b0a090807060504030201ac020100";

    const FIRST_GOLDEN: &str = "\
        0108776562686f6f6b730500000000ca9a3b000000000000000000000040005847f80d0000009a9999999999c93f00ac\
        23fc0600000000863ba10100000000000004000000000000420769350900005847f80d000000030b0a09080706050403\
        00";
}
