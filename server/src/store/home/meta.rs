//! Whose home it is and how far the log has moved in: the one row of the tree `meta`.
//!
//! ```text
//! key    "home"
//! value  1, store u128, moved_through, serial, crc
//! ```

use super::value::{Decoder, Encoder, Malformed};

const VERSION: u8 = 1;

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
}

pub(crate) fn encode(meta: &Meta) -> Vec<u8> {
    let mut e = Encoder::new(VERSION);
    e.u128(meta.store);
    e.u64(meta.moved_through);
    e.u64(meta.serial);
    e.seal(KEY)
}

pub(crate) fn decode(value: &[u8]) -> Result<Meta, Malformed> {
    let (_, mut d) = Decoder::open(KEY, value, VERSION)?;
    let meta = Meta { store: d.u128()?, moved_through: d.u64()?, serial: d.u64()? };
    d.end()?;
    Ok(meta)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn meta_comes_back_and_its_bytes_stay_as_they_are() {
        let meta = Meta { store: 0xABCD, moved_through: 300, serial: 7 };
        let value = encode(&meta);
        assert_eq!(decode(&value), Ok(meta));
        let hex: String = value.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, GOLDEN);
    }

    const GOLDEN: &str = "010000000000000000000000000000abcdac02078e61f550";
}
