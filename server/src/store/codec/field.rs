//! The fields that mutations and records are made of: counts, texts, bytes. Fixed numbers are `bytes`' own.

use bytes::{Buf, BufMut, TryGetError};

/// Why bytes are not what was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum DecodeError {
    /// They end too early.
    #[error("ends too early")]
    Short,
    /// They go on after their end.
    #[error("goes on after its end")]
    Excess,
    /// An event of a kind that this version does not know.
    #[error("event of unknown kind {0}")]
    Kind(u8),
    /// A field has a value it cannot have.
    #[error("impossible {0}")]
    Invalid(&'static str),
}

impl From<TryGetError> for DecodeError {
    fn from(_: TryGetError) -> DecodeError {
        DecodeError::Short
    }
}

/// A count or length: seven bits a byte, lowest first, the high bit says that more follow (LEB128).
pub(crate) fn put_count(out: &mut Vec<u8>, count: usize) {
    debug_assert!(u32::try_from(count).is_ok(), "everything here has a bound far below 4 Gi");
    let mut rest = count;
    while rest >= 0x80 {
        out.put_u8(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.put_u8(rest as u8);
}

/// See [`put_count`].
pub(crate) fn get_count(input: &mut &[u8]) -> Result<usize, DecodeError> {
    let mut count = 0u64;
    for shift in (0..35).step_by(7) {
        let byte = input.try_get_u8()?;
        count |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return u32::try_from(count).map(|c| c as usize).map_err(|_| DecodeError::Invalid("count"));
        }
    }
    Err(DecodeError::Invalid("count"))
}

/// A length, then so many bytes.
pub(crate) fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_count(out, bytes.len());
    out.put_slice(bytes);
}

/// See [`put_bytes`].
pub(crate) fn get_bytes<'a>(input: &mut &'a [u8]) -> Result<&'a [u8], DecodeError> {
    let count = get_count(input)?;
    take(input, count)
}

/// As [`put_bytes`], in UTF-8.
pub(crate) fn put_text(out: &mut Vec<u8>, text: &str) {
    put_bytes(out, text.as_bytes());
}

/// See [`put_text`].
pub(crate) fn get_text<'a>(input: &mut &'a [u8]) -> Result<&'a str, DecodeError> {
    std::str::from_utf8(get_bytes(input)?).map_err(|_| DecodeError::Invalid("text"))
}

/// The next `count` bytes.
pub(crate) fn take<'a>(input: &mut &'a [u8], count: usize) -> Result<&'a [u8], DecodeError> {
    input.split_off(..count).ok_or(DecodeError::Short)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_take_one_byte_for_each_seven_bits() {
        for (count, bytes) in
            [(0, &[0][..]), (127, &[127]), (128, &[0x80, 1]), (0xffff_ffff, &[0xff, 0xff, 0xff, 0xff, 15])]
        {
            let mut out = Vec::new();
            put_count(&mut out, count);
            assert_eq!(out, bytes);
            assert_eq!(get_count(&mut &out[..]), Ok(count));
        }
    }

    #[test]
    fn counts_over_four_gibi_are_refused() {
        assert_eq!(get_count(&mut &[0xff, 0xff, 0xff, 0xff, 0x10][..]), Err(DecodeError::Invalid("count")));
        assert_eq!(get_count(&mut &[0x80; 10][..]), Err(DecodeError::Invalid("count")));
        assert_eq!(get_count(&mut &[0x80][..]), Err(DecodeError::Short));
    }
}
