//! What of a job is long lies in the tree `body`, in parts: its body, and a result too long for its record.
//!
//! ```text
//! key    id u64, kind (1 body | 2 result), part u16
//! body   payload (0 none | 1), attributes as in the log, payload
//! ```

use bytes::Bytes;
use sluice_engine::{Attributes, JobId};

use super::value::{Decoder, Encoder, Malformed};
use crate::store::Body;
use crate::store::codec::{get_attributes, put_attributes};

/// What a row of the tree is a part of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum Kind {
    /// Attributes and payload.
    Body = 1,
    /// What the ack gave.
    Result = 2,
}

pub(crate) fn key(id: JobId, kind: Kind, part: u16) -> [u8; 11] {
    let mut key = [0; 11];
    key[..8].copy_from_slice(&id.0.to_be_bytes());
    key[8] = kind as u8;
    key[9..].copy_from_slice(&part.to_be_bytes());
    key
}

/// All rows of a job begin with this.
pub(crate) fn prefix(id: JobId) -> [u8; 8] {
    id.0.to_be_bytes()
}

/// A body as one piece of bytes. `detail` is not part of it.
pub(crate) fn encode(payload: Option<&Bytes>, attributes: &Attributes) -> Vec<u8> {
    let mut e = Encoder::new(u8::from(payload.is_some()));
    e.shared(put_attributes, attributes);
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
    let has_payload = match d.u8()? {
        0 => false,
        1 => true,
        _ => return Err(Malformed::Field),
    };
    let attributes = d.shared(get_attributes)?;
    Ok((attributes, has_payload, d.rest().len()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::home::part::{PART_BYTES, rows};

    fn attributes() -> Attributes {
        Attributes { labels: vec![("event".into(), "push".into())], content_type: "application/json".into() }
    }

    #[test]
    fn body_comes_back_with_and_without_its_payload() {
        for payload in [Some(Bytes::from_static(b"hi")), Some(Bytes::new()), None] {
            let whole = encode(payload.as_ref(), &attributes());
            let body = decode(whole.into()).unwrap();
            assert_eq!(body, Body { payload, attributes: attributes(), detail: None });
        }
    }

    #[test]
    fn largest_attributes_fit_the_first_part() {
        let label = ("n".repeat(128).into(), "v".repeat(128).into());
        let attributes = Attributes { labels: vec![label; 16], content_type: "c".repeat(128).into() };
        assert!(encode(None, &attributes).len() <= PART_BYTES);
    }

    #[test]
    fn bytes_on_disk_stay_as_they_are() {
        let whole = encode(Some(&Bytes::from_static(b"hi")), &attributes());
        let (_, value) = rows(&whole, |part| key(JobId(7), Kind::Body, part)).next().unwrap();
        let hex: String = value.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, GOLDEN);
    }

    const GOLDEN: &str = "012001106170706c69636174696f6e2f6a736f6e01056576656e74047075736868695bb84f25";
}
