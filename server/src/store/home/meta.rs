//! Whose home it is and how far the log has moved in: the one row of the tree `meta`.
//!
//! ```text
//! key    "home"
//! value  2, store u128, moved_through, serial, last queue, crc
//! ```
//! Version 1 has no last queue: no queue was ever forgotten then.

use sluice_engine::QueueId;

use super::value::{Decoder, Encoder, Malformed};

const VERSION: u8 = 2;

pub(crate) const KEY: &[u8] = b"home";

/// See the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Meta {
    /// The store it belongs to.
    pub(crate) store: u128,
    /// Segments up to this one live here now; 0: none.
    pub(crate) moved_through: u64,
    /// The numbers up to this one were given before that.
    pub(crate) serial: u64,
    /// Queues up to this one were given their numbers before that.
    pub(crate) last_queue: QueueId,
}

pub(crate) fn encode(meta: &Meta) -> Vec<u8> {
    let mut e = Encoder::new(VERSION);
    e.u128(meta.store);
    e.u64(meta.moved_through);
    e.u64(meta.serial);
    e.u64(meta.last_queue.0.into());
    e.seal(KEY)
}

pub(crate) fn decode(value: &[u8]) -> Result<Meta, Malformed> {
    let (version, mut d) = Decoder::open(KEY, value, VERSION)?;
    let (store, moved_through, serial) = (d.u128()?, d.u64()?, d.u64()?);
    let last_queue = QueueId(if version == 1 { 0 } else { d.u32()? });
    let meta = Meta { store, moved_through, serial, last_queue };
    d.end()?;
    Ok(meta)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn meta_comes_back_and_its_bytes_stay_as_they_are() {
        let meta = Meta { store: 0xABCD, moved_through: 300, serial: 7, last_queue: QueueId(9) };
        let value = encode(&meta);
        assert_eq!(decode(&value), Ok(meta));
        let hex: String = value.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, GOLDEN);
        let first: Vec<u8> = (0..FIRST_GOLDEN.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(&FIRST_GOLDEN[at..at + 2], 16).unwrap())
            .collect();
        assert_eq!(decode(&first), Ok(Meta { last_queue: QueueId(0), ..meta }));
    }

    const GOLDEN: &str = "020000000000000000000000000000abcdac0207096c7ab58c";
    const FIRST_GOLDEN: &str = "010000000000000000000000000000abcdac02078e61f550";
}
