//! What sled's files were when it let go of them, as a sum.
//!
//! At a start sled reads its file from where its last snapshot ends. What is wrong there it takes for a write that was
//! cut short: it goes on without the rest of that segment and says nothing. After a stop in good order nothing was cut
//! short, so what is another then is damage, and has to be found before sled opens: it zeroes what it left out.
//!
//! Older parts need no sum: sled knows where each page lies, and tells when its crc is wrong.

use std::fmt;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::str::FromStr;

/// sled's file is a row of segments; each says where in sled's log it belongs.
const SEGMENT_BYTES: usize = 512 << 10;
/// A segment begins with a crc u32, then its log sequence number i64, turned over by this, little-endian.
const LSN_AT: usize = 4;
const LSN_MASK: i64 = i64::MAX;
const HEADER_BYTES: usize = 20;

/// The sum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seal {
    /// Length of sled's file.
    bytes: u64,
    /// Of where the snapshot ends, and of every segment behind it with its place.
    crc: u32,
}

impl Seal {
    /// Of the home in `dir`, which nobody has open.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(crate) fn of(dir: &Path) -> io::Result<Seal> {
        let file = File::open(dir.join("db"))?;
        let bytes = file.metadata()?.len();
        let from = snapshot_end(dir)?;
        let mut crc = crc32c::crc32c(&from.to_le_bytes());
        let mut segment = vec![0; SEGMENT_BYTES];
        for at in (0..bytes).step_by(SEGMENT_BYTES) {
            let left = usize::try_from(bytes - at).unwrap_or(usize::MAX);
            let (header, rest) = segment[..left.min(SEGMENT_BYTES)].split_at_mut(HEADER_BYTES.min(left));
            file.read_exact_at(header, at)?;
            if lsn(header) < from {
                continue;
            }
            file.read_exact_at(rest, at + header.len() as u64)?;
            crc = crc32c::crc32c_append(crc, &at.to_le_bytes());
            crc = crc32c::crc32c_append(crc32c::crc32c_append(crc, header), rest);
        }
        Ok(Seal { bytes, crc })
    }
}

/// Where sled goes on reading; 0 without a snapshot. Its file is named after it, and has a crc that sled looks at.
fn snapshot_end(dir: &Path) -> io::Result<i64> {
    let mut end = 0;
    for entry in fs::read_dir(dir)? {
        let name = entry?.file_name();
        let number = name.to_str().and_then(|name| name.strip_prefix("snap."));
        if let Some(number) = number.and_then(|number| i64::from_str_radix(number, 16).ok()) {
            end = end.max(number);
        }
    }
    Ok(end / SEGMENT_BYTES as i64 * SEGMENT_BYTES as i64)
}

/// The place in sled's log that a segment claims; the last of all where it is cut off.
fn lsn(header: &[u8]) -> i64 {
    let bytes = header.get(LSN_AT..LSN_AT + size_of::<i64>()).and_then(|bytes| bytes.try_into().ok());
    bytes.map_or(i64::MAX, |bytes| i64::from_le_bytes(bytes) ^ LSN_MASK)
}

impl fmt::Display for Seal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x} {:08x}", self.bytes, self.crc)
    }
}

impl FromStr for Seal {
    type Err = ();

    fn from_str(text: &str) -> Result<Seal, ()> {
        let (bytes, crc) = text.split_once(' ').ok_or(())?;
        Ok(Seal {
            bytes: u64::from_str_radix(bytes, 16).map_err(drop)?,
            crc: u32::from_str_radix(crc, 16).map_err(drop)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::home::Home;

    /// A home with some rows in a tree of their own.
    fn home(dir: &Path, rows: std::ops::Range<u32>) {
        let home = Home::open(dir).unwrap();
        let tree = home.db.open_tree("any").unwrap();
        for row in rows {
            home.put(&tree, &row.to_be_bytes(), vec![7; 100]).unwrap();
        }
        drop(tree);
        home.flush().unwrap();
        home.close().unwrap();
    }

    #[test]
    fn seal_is_another_for_any_bit_behind_the_snapshot_and_comes_back_as_text() {
        let dir = tempfile::tempdir().unwrap();
        home(dir.path(), 0..20_000);
        // Its snapshot holds what came before.
        home(dir.path(), 20_000..30_000);
        let sealed = Seal::of(dir.path()).unwrap();
        assert_eq!(Seal::of(dir.path()).unwrap(), sealed);
        assert_eq!(sealed.to_string().parse(), Ok(sealed));

        let file = File::options().read(true).write(true).open(dir.path().join("db")).unwrap();
        let from = snapshot_end(dir.path()).unwrap();
        assert!(from > 0);
        let mut turned = 0;
        for at in (0..sealed.bytes).step_by(10_007) {
            let begin = at / SEGMENT_BYTES as u64 * SEGMENT_BYTES as u64;
            let mut header = [0; HEADER_BYTES];
            file.read_exact_at(&mut header, begin).unwrap();
            if lsn(&header) < from {
                continue;
            }
            turned += 1;
            let mut byte = [0];
            file.read_exact_at(&mut byte, at).unwrap();
            file.write_all_at(&[byte[0] ^ 4], at).unwrap();
            assert_ne!(Seal::of(dir.path()).unwrap(), sealed, "byte {at}");
            file.write_all_at(&byte, at).unwrap();
        }
        assert!(turned > 50, "{turned}");
        assert_eq!(Seal::of(dir.path()).unwrap(), sealed);
        file.set_len(sealed.bytes - 1).unwrap();
        assert_ne!(Seal::of(dir.path()).unwrap(), sealed);
    }

    #[test]
    fn what_is_no_seal_is_none() {
        for text in ["", " ", "12", "12 zz", "x 12", "1 2 3", "1 123456789"] {
            assert_eq!(text.parse::<Seal>(), Err(()), "{text}");
        }
    }
}
