//! What of a job is long lies in the tree `body`, in parts: its body, and a result too long for its record. A
//! history too long for it lies there too, in one part, under the record's `as_of`: that of an older record must
//! not become that of a newer one.
//!
//! ```text
//! key     id u64, kind (1 body | 2 result), part u16
//!         id u64, kind (3 history), as_of u64
//! body    flags (1 payload, 2 idempotency key), attributes as in the log, idempotency key?, payload
//! history 1, as in a record, crc
//! ```

use bytes::Bytes;
use sluice_engine::{Attempt, Attributes, JobId};

use super::detail::decode_history;
use super::value::{Decoder, Encoder, Malformed};
use crate::store::Body;
use crate::store::codec::{get_attributes, get_text, put_attributes, put_text};

const HISTORY_VERSION: u8 = 1;

/// What a body has: keep the bits.
mod flag {
    pub(super) const PAYLOAD: u8 = 1;
    pub(super) const IDEMPOTENCY_KEY: u8 = 1 << 1;
    pub(super) const ALL: u8 = (1 << 2) - 1;
}

/// What a row of the tree is a part of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum Kind {
    /// Attributes and payload.
    Body = 1,
    /// What the ack gave.
    Result = 2,
    /// Deliveries that were not acknowledged.
    History = 3,
}

pub(crate) fn key(id: JobId, kind: Kind, part: u16) -> [u8; 11] {
    let mut key = [0; 11];
    key[..8].copy_from_slice(&id.0.to_be_bytes());
    key[8] = kind as u8;
    key[9..].copy_from_slice(&part.to_be_bytes());
    key
}

pub(crate) fn history_key(id: JobId, as_of: u64) -> [u8; 17] {
    let mut key = [0; 17];
    key[..8].copy_from_slice(&id.0.to_be_bytes());
    key[8] = Kind::History as u8;
    key[9..].copy_from_slice(&as_of.to_be_bytes());
    key
}

/// The value of a history.
pub(crate) fn encode_history(key: &[u8], history: &[u8]) -> Vec<u8> {
    let mut e = Encoder::new(HISTORY_VERSION);
    e.raw(history);
    e.seal(key)
}

pub(crate) fn decode_history_row(key: &[u8], value: &[u8]) -> Result<Vec<Attempt>, Malformed> {
    let (_, mut d) = Decoder::open(key, value, HISTORY_VERSION)?;
    let history = decode_history(&mut d)?;
    d.end()?;
    Ok(history)
}

/// All rows of a job begin with this.
pub(crate) fn prefix(id: JobId) -> [u8; 8] {
    id.0.to_be_bytes()
}

/// A body as one piece of bytes. `detail` is not part of it.
pub(crate) fn encode(payload: Option<&Bytes>, attributes: &Attributes) -> Vec<u8> {
    let has_key = !attributes.idempotency_key.is_empty();
    let mut flags = if payload.is_some() { flag::PAYLOAD } else { 0 };
    flags |= if has_key { flag::IDEMPOTENCY_KEY } else { 0 };
    let mut e = Encoder::new(flags);
    e.shared(put_attributes, attributes);
    if has_key {
        e.shared(put_text, &*attributes.idempotency_key);
    }
    if let Some(payload) = payload {
        e.raw(payload);
    }
    e.into_inner()
}

pub(crate) fn decode(whole: Bytes) -> Result<Body, Malformed> {
    let (attributes, has_payload, left) = decode_attributes(&whole)?;
    let payload = match (has_payload, left) {
        (true, _) => Some(whole.slice(whole.len() - left..)),
        (false, 0) => None,
        (false, _) => return Err(Malformed::Field),
    };
    Ok(Body { payload, attributes, detail: None })
}

/// The attributes at the beginning of a body (part 0 holds them all), whether it has a payload, and how
/// many of the given bytes are the payload's.
pub(crate) fn decode_attributes(bytes: &[u8]) -> Result<(Attributes, bool, usize), Malformed> {
    let mut d = Decoder::inside(bytes);
    let flags = d.u8()?;
    if flags & !flag::ALL != 0 {
        return Err(Malformed::Field);
    }
    let mut attributes = d.shared(get_attributes)?;
    if flags & flag::IDEMPOTENCY_KEY != 0 {
        attributes.idempotency_key = d.shared(get_text)?.into();
    }
    Ok((attributes, flags & flag::PAYLOAD != 0, d.rest().len()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::home::part::{PART_BYTES, rows};

    fn attributes() -> Attributes {
        Attributes {
            labels: vec![("event".into(), "push".into())],
            content_type: "application/json".into(),
            idempotency_key: "".into(),
        }
    }

    fn keyed_attributes() -> Attributes {
        Attributes { idempotency_key: "order-17".into(), ..attributes() }
    }

    #[test]
    fn body_comes_back_with_and_without_its_payload() {
        for payload in [Some(Bytes::from_static(b"hi")), Some(Bytes::new()), None] {
            for attributes in [attributes(), keyed_attributes()] {
                let whole = encode(payload.as_ref(), &attributes);
                let body = decode(whole.into()).unwrap();
                assert_eq!(body, Body { payload: payload.clone(), attributes, detail: None });
            }
        }
    }

    #[test]
    fn largest_attributes_fit_the_first_part() {
        let label = ("n".repeat(128).into(), "v".repeat(128).into());
        let attributes = Attributes {
            labels: vec![label; 16],
            content_type: "c".repeat(128).into(),
            idempotency_key: "k".repeat(256).into(),
        };
        assert!(encode(None, &attributes).len() <= PART_BYTES);
    }

    #[test]
    fn bytes_on_disk_stay_as_they_are() {
        for (attributes, golden) in [(attributes(), GOLDEN), (keyed_attributes(), KEYED_GOLDEN)] {
            let whole = encode(Some(&Bytes::from_static(b"hi")), &attributes);
            let (_, value) = rows(&whole, |part| key(JobId(7), Kind::Body, part)).next().unwrap();
            assert_eq!(hex(&value), golden);
        }
        let key = history_key(JobId(7), 42);
        assert_eq!(hex(&encode_history(&key, &[0])), HISTORY_GOLDEN);
        assert_eq!(decode_history_row(&key, &encode_history(&key, &[0])), Ok(Vec::new()));
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    const KEYED_GOLDEN: &str = "\
        012903106170706c69636174696f6e2f6a736f6e01056576656e740470757368086f726465722d31376869a8bb0676";
    const HISTORY_GOLDEN: &str = "01001a6022d4";

    const GOLDEN: &str = "012001106170706c69636174696f6e2f6a736f6e01056576656e74047075736868695bb84f25";
}
