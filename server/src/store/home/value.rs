//! How values in sled are written: a version first, fields, a crc32c over key and value last. Numbers are
//! LEB128 where no size is given, else big-endian; texts and bytes have their length before them.
//!
//! It knows nothing of what the fields mean.

use bytes::Bytes;

use crate::store::codec::DecodeError;

/// The most bytes of one value. A leaf of up to 17 values must stay below the size at which sled moves
/// it to a file of its own, which it never syncs (about 131 KB).
pub(crate) const MAX_VALUE_BYTES: usize = 7 << 10;

/// What encloses the fields: the version and the crc.
pub(crate) const FRAME_BYTES: usize = 1 + 4;

/// Writes a value.
pub(crate) struct Encoder(Vec<u8>);

/// Reads a value.
pub(crate) struct Decoder<'a>(&'a [u8]);

/// A value that cannot be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Malformed {
    /// The crc is another: bytes have changed.
    Crc,
    /// It was written by a later version.
    Version(u8),
    /// A field is missing, too many are there, or one is out of range.
    Field,
}

impl Encoder {
    pub(crate) fn new(version: u8) -> Encoder {
        Encoder(vec![version])
    }

    /// Fields without a version: a piece of a value.
    pub(crate) fn fields() -> Encoder {
        Encoder(Vec::new())
    }

    pub(crate) fn u8(&mut self, number: u8) {
        self.0.push(number);
    }

    pub(crate) fn u64(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.0.push(number as u8 | 0x80);
            number >>= 7;
        }
        self.0.push(number as u8);
    }

    pub(crate) fn u128(&mut self, number: u128) {
        self.0.extend_from_slice(&number.to_be_bytes());
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        self.u64(bytes.len() as u64);
        self.raw(bytes);
    }

    /// What the log writes the same way.
    pub(crate) fn shared<T: ?Sized>(&mut self, put: impl FnOnce(&mut Vec<u8>, &T), value: &T) {
        put(&mut self.0, value);
    }

    /// Without a length: the rest of the value, or of a known size.
    pub(crate) fn raw(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// The fields alone, for a value in parts: what was given as version is the first byte.
    pub(crate) fn into_inner(self) -> Vec<u8> {
        self.0
    }

    /// The value, for `key`.
    pub(crate) fn seal(self, key: &[u8]) -> Vec<u8> {
        seal(key, self.0)
    }
}

/// The value of `key` with this content.
pub(crate) fn seal(key: &[u8], mut content: Vec<u8>) -> Vec<u8> {
    let crc = crc(key, &content);
    content.extend_from_slice(&crc.to_be_bytes());
    content
}

impl<'a> Decoder<'a> {
    /// Opens the value of `key`, of a version up to `newest`; says which it is.
    pub(crate) fn open(key: &[u8], value: &'a [u8], newest: u8) -> Result<(u8, Decoder<'a>), Malformed> {
        let (rest, stored) = value.split_last_chunk::<4>().ok_or(Malformed::Crc)?;
        if crc(key, rest) != u32::from_be_bytes(*stored) {
            return Err(Malformed::Crc);
        }
        let (version, fields) = rest.split_first().ok_or(Malformed::Field)?;
        if *version == 0 || *version > newest {
            return Err(Malformed::Version(*version));
        }
        Ok((*version, Decoder(fields)))
    }

    /// Fields without a frame.
    pub(crate) fn inside(fields: &'a [u8]) -> Decoder<'a> {
        Decoder(fields)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, Malformed> {
        let (first, rest) = self.0.split_first().ok_or(Malformed::Field)?;
        self.0 = rest;
        Ok(*first)
    }

    pub(crate) fn u64(&mut self) -> Result<u64, Malformed> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.u8()?;
            let bits = u64::from(byte & 0x7F);
            if bits << shift >> shift != bits {
                return Err(Malformed::Field);
            }
            number |= bits << shift;
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err(Malformed::Field)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, Malformed> {
        self.u64()?.try_into().map_err(|_| Malformed::Field)
    }

    pub(crate) fn u128(&mut self) -> Result<u128, Malformed> {
        Ok(u128::from_be_bytes(self.chunk()?))
    }

    /// Of a known size: big-endian.
    pub(crate) fn fixed_u64(&mut self) -> Result<u64, Malformed> {
        Ok(u64::from_be_bytes(self.chunk()?))
    }

    /// Of a known size: big-endian.
    pub(crate) fn fixed_u32(&mut self) -> Result<u32, Malformed> {
        Ok(u32::from_be_bytes(self.chunk()?))
    }

    pub(crate) fn bytes(&mut self) -> Result<&'a [u8], Malformed> {
        let len = usize::try_from(self.u64()?).map_err(|_| Malformed::Field)?;
        let (bytes, rest) = self.0.split_at_checked(len).ok_or(Malformed::Field)?;
        self.0 = rest;
        Ok(bytes)
    }

    pub(crate) fn text(&mut self) -> Result<&'a str, Malformed> {
        std::str::from_utf8(self.bytes()?).map_err(|_| Malformed::Field)
    }

    pub(crate) fn owned_bytes(&mut self) -> Result<Bytes, Malformed> {
        self.bytes().map(Bytes::copy_from_slice)
    }

    /// What the log writes the same way.
    pub(crate) fn shared<T>(
        &mut self,
        get: impl FnOnce(&mut &'a [u8]) -> Result<T, DecodeError>,
    ) -> Result<T, Malformed> {
        get(&mut self.0).map_err(|_| Malformed::Field)
    }

    /// All that is left.
    pub(crate) fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.0)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Nothing may be left.
    pub(crate) fn end(self) -> Result<(), Malformed> {
        if self.is_empty() { Ok(()) } else { Err(Malformed::Field) }
    }

    fn chunk<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (chunk, rest) = self.0.split_first_chunk::<N>().ok_or(Malformed::Field)?;
        self.0 = rest;
        Ok(*chunk)
    }
}

impl std::fmt::Display for Malformed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Malformed::Crc => f.write_str("the crc is wrong"),
            Malformed::Version(version) => write!(f, "version {version} is not known here"),
            Malformed::Field => f.write_str("its fields make no sense"),
        }
    }
}

/// Over the key too: a value under another's key is damage.
fn crc(key: &[u8], value: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(key), value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_come_back_as_they_were() {
        let mut encoder = Encoder::new(3);
        for number in [0, 1, 127, 128, 300, u64::from(u32::MAX), u64::MAX] {
            encoder.u64(number);
        }
        encoder.bytes("naïve".as_bytes());
        encoder.u128(u128::MAX - 7);
        let value = encoder.seal(b"key");
        let (version, mut decoder) = Decoder::open(b"key", &value, 3).unwrap();
        assert_eq!(version, 3);
        for number in [0, 1, 127, 128, 300, u64::from(u32::MAX), u64::MAX] {
            assert_eq!(decoder.u64(), Ok(number));
        }
        assert_eq!(decoder.text(), Ok("naïve"));
        assert_eq!(decoder.u128(), Ok(u128::MAX - 7));
        decoder.end().unwrap();
    }

    #[test]
    fn changed_bit_or_another_key_is_seen() {
        let mut encoder = Encoder::new(1);
        encoder.bytes(b"payload");
        let value = encoder.seal(b"key");
        assert_eq!(Decoder::open(b"kex", &value, 1).err(), Some(Malformed::Crc));
        for bit in 0..value.len() * 8 {
            let mut changed = value.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Decoder::open(b"key", &changed, 1).err(), Some(Malformed::Crc), "bit {bit}");
        }
    }

    #[test]
    fn later_version_is_refused_and_short_values_are_no_panic() {
        let value = Encoder::new(2).seal(b"");
        assert_eq!(Decoder::open(b"", &value, 1).err(), Some(Malformed::Version(2)));
        assert_eq!(Decoder::open(b"", b"", 1).err(), Some(Malformed::Crc));
        assert_eq!(Decoder::inside(&[0xFF; 11]).u64(), Err(Malformed::Field));
        assert_eq!(Decoder::inside(&[0x05, 1]).bytes(), Err(Malformed::Field));
    }
}
