//! The file CLOCK: which engine time a moment of the boot clock was. While the machine is not booted again engine time goes
//! on by that clock through stops and kills, whatever is done to the wall clock meanwhile.
//!
//! ```text
//! sluice clock 1
//! boot 0b51d21e-5a4f-4c4b-9a53-1f0d2b3c4d5e
//! engine 3600000000000
//! origin 81234567890
//! crc 89abcdef
//! ```
//!
//! It is a hint: one that is lost, torn, of another boot or of another machine is as if there were none.

use std::fs;
use std::io::{self, Read};
use std::path::Path;

use sluice_engine::Timestamp;

use crate::os;

const HEAD: &str = "sluice clock 1\n";
/// A file that is longer is not ours.
const MAX_BYTES: u64 = 256;
/// Where Linux says which boot this is.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// What engine time it was when the boot clock showed `origin`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Anchor {
    /// Which boot.
    pub(super) boot: String,
    pub(super) engine: Timestamp,
    /// Nanoseconds.
    pub(super) origin: u64,
}

/// Which boot this is; none where that is not told.
pub(super) fn boot() -> Option<String> {
    let id = fs::read_to_string(BOOT_ID).ok()?;
    let id = id.trim();
    (id.len() == 36 && id.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-')).then(|| id.to_owned())
}

impl Anchor {
    /// What the file says, if it is whole.
    pub(super) fn read(path: &Path) -> Option<Anchor> {
        let mut text = String::new();
        fs::File::open(path).ok()?.take(MAX_BYTES).read_to_string(&mut text).ok()?;
        let mut lines = text.strip_prefix(HEAD)?.lines();
        let mut field = |name: &str| lines.next()?.strip_prefix(name)?.strip_prefix(' ').map(str::to_owned);
        let anchor = Anchor {
            boot: field("boot")?,
            engine: Timestamp(field("engine")?.parse().ok()?),
            origin: field("origin")?.parse().ok()?,
        };
        (anchor.encode() == text).then_some(anchor)
    }

    /// Writes the file, whole or not at all.
    pub(super) fn write(&self, path: &Path) -> io::Result<()> {
        os::replace_file(path, self.encode().as_bytes())
    }

    fn encode(&self) -> String {
        let Anchor { boot, engine, origin } = self;
        let text = format!("{HEAD}boot {boot}\nengine {}\norigin {origin}\n", engine.0);
        let crc = crc32c::crc32c(text.as_bytes());
        format!("{text}crc {crc:08x}\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn anchor_is_read_as_it_was_written_and_not_when_it_was_changed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("CLOCK");
        assert_eq!(Anchor::read(&path), None);
        let anchor = Anchor { boot: boot().unwrap(), engine: Timestamp(u64::MAX), origin: 7 };
        anchor.write(&path).unwrap();
        assert_eq!(Anchor::read(&path), Some(anchor.clone()));
        fs::write(&path, anchor.encode().replace("origin 7", "origin 8")).unwrap();
        assert_eq!(Anchor::read(&path), None);
        fs::write(&path, &anchor.encode()[..40]).unwrap();
        assert_eq!(Anchor::read(&path), None);
    }
}
