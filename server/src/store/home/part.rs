//! What is too long for one value lies in several rows: the key of each ends with its part.
//!
//! ```text
//! value  1, [part 0: length of the whole], bytes, crc
//! ```
//! Part 0 is written last: where it is, the others are.

use super::value::{Decoder, Encoder, MAX_VALUE_BYTES, Malformed};

const VERSION: u8 = 1;

/// Bytes of a part: with its frame and the length it stays a value that sled keeps in its leaf.
pub(crate) const PART_BYTES: usize = MAX_VALUE_BYTES - 24;

/// Rows that hold `whole`, in the order in which they are to be written. `key` is that of a part.
pub(crate) fn rows<K: AsRef<[u8]>>(
    whole: &[u8],
    key: impl Fn(u16) -> K,
) -> impl Iterator<Item = (K, Vec<u8>)> {
    (0..count(whole.len())).rev().map(move |part| {
        let from = usize::from(part) * PART_BYTES;
        let to = whole.len().min(from + PART_BYTES);
        let key = key(part);
        let mut e = Encoder::new(VERSION);
        if part == 0 {
            e.u64(whole.len() as u64);
        }
        e.raw(&whole[from..to]);
        let value = e.seal(key.as_ref());
        (key, value)
    })
}

/// How many parts so many bytes take.
pub(crate) fn count(bytes: usize) -> u16 {
    u16::try_from(bytes.div_ceil(PART_BYTES).max(1)).expect("what is stored is far below 469 MB")
}

/// The length of the whole, and the bytes of part 0.
pub(crate) fn first<'a>(key: &[u8], value: &'a [u8]) -> Result<(usize, &'a [u8]), Malformed> {
    let (_, mut d) = Decoder::open(key, value, VERSION)?;
    let whole = usize::try_from(d.u64()?).map_err(|_| Malformed::Field)?;
    if whole > PART_BYTES * usize::from(u16::MAX) {
        return Err(Malformed::Field);
    }
    Ok((whole, d.rest()))
}

/// The bytes of another part.
pub(crate) fn next<'a>(key: &[u8], value: &'a [u8]) -> Result<&'a [u8], Malformed> {
    let (_, mut d) = Decoder::open(key, value, VERSION)?;
    Ok(d.rest())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_of_every_size_come_back_from_values_that_fit() {
        for size in [0, 1, PART_BYTES - 1, PART_BYTES, PART_BYTES + 1, 3 << 20] {
            let whole: Vec<u8> = (0..size).map(|i| (i / 7) as u8).collect();
            let mut found: Vec<_> = rows(&whole, u16::to_be_bytes).collect();
            assert_eq!(found.last().unwrap().0, [0, 0], "part 0 is written last");
            assert!(found.iter().all(|(_, value)| value.len() <= MAX_VALUE_BYTES));
            found.reverse();
            let (length, bytes) = first(&found[0].0, &found[0].1).unwrap();
            let mut joined = bytes.to_vec();
            for (key, value) in &found[1..] {
                joined.extend_from_slice(next(key, value).unwrap());
            }
            assert_eq!(length, size);
            assert_eq!(joined, whole);
        }
    }
}
