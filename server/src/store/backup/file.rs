//! A backup as bytes: docs/STORAGE.md has the layout. What is cut short or changed is refused.

use std::io::Read;

use bytes::{Buf, BufMut, Bytes};
use sluice_engine::{Now, QueueId, Timestamp, WallTime};

use crate::store::StoreError;
use crate::store::codec::{get_bytes, get_text, put_bytes, put_text};
use crate::store::log::Group;

const MAGIC: [u8; 8] = *b"SLUICEBK";
/// The layout of a backup. Another layout has another number.
const VERSION: u32 = 1;
const HEADER_BYTES: usize = 64;
/// Bytes of an entry before those it counts.
const HEAD_BYTES: usize = 5;
/// The largest entry: a group of the log, with its numbers.
const MAX_ENTRY_BYTES: usize = (256 << 20) + 64;

/// The kinds of entry, as they are in files: keep the numbers.
mod kind {
    pub(super) const ROW: u8 = 1;
    pub(super) const GROUP: u8 = 2;
    pub(super) const END: u8 = 3;
}

/// What ends a backup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct End {
    /// The last group; what it all stands as of.
    pub(crate) group: u64,
    /// When it ended.
    pub(crate) now: Now,
    /// The numbers up to this one were given.
    pub(crate) serial: u64,
    /// Queues up to this one were given their numbers.
    pub(crate) last_queue: QueueId,
    /// So many segments count as moved home.
    pub(crate) segments: u64,
}

/// A part of a backup.
#[derive(Debug)]
pub(crate) enum Entry {
    /// A row of a tree.
    Row { tree: String, key: Vec<u8>, value: Vec<u8> },
    /// A group of the log.
    Group(Group),
    /// All was there.
    End(End),
}

/// Writes one, and counts what it writes.
#[derive(Debug)]
pub(super) struct BackupWriter {
    crc: u32,
    rows: u64,
    groups: u64,
}

/// Reads one.
pub(crate) struct BackupReader<R> {
    input: R,
    /// The last group before it began.
    pub(crate) after_group: u64,
    next_group: u64,
    crc: u32,
    rows: u64,
    groups: u64,
}

impl BackupWriter {
    pub(super) fn begin(after_group: u64, now: Now, out: &mut Vec<u8>) -> BackupWriter {
        let at = out.len();
        out.put_slice(&MAGIC);
        out.put_u32_le(VERSION);
        out.put_u32_le(0);
        out.put_u64_le(after_group);
        put_now(out, now);
        out.resize(at + HEADER_BYTES, 0);
        let crc = crc32c::crc32c(&out[at..]);
        BackupWriter { crc, rows: 0, groups: 0 }
    }

    pub(super) fn row(&mut self, tree: &str, key: &[u8], value: &[u8], out: &mut Vec<u8>) {
        self.rows += 1;
        self.entry(kind::ROW, out, |out| {
            put_text(out, tree);
            put_bytes(out, key);
            put_bytes(out, value);
        });
    }

    pub(super) fn group(&mut self, group: &Group, out: &mut Vec<u8>) {
        self.groups += 1;
        self.entry(kind::GROUP, out, |out| {
            out.put_u64_le(group.number);
            put_now(out, group.now);
            out.put_slice(&group.events);
        });
    }

    pub(super) fn end(&mut self, end: &End, out: &mut Vec<u8>) {
        let (rows, groups) = (self.rows, self.groups);
        self.entry(kind::END, out, |out| {
            out.put_u64_le(end.group);
            put_now(out, end.now);
            out.put_u64_le(end.serial);
            out.put_u32_le(end.last_queue.0);
            out.put_u64_le(end.segments);
            out.put_u64_le(rows);
            out.put_u64_le(groups);
        });
        out.put_u32_le(self.crc);
    }

    fn entry(&mut self, kind: u8, out: &mut Vec<u8>, content: impl FnOnce(&mut Vec<u8>)) {
        let at = out.len();
        out.put_u8(kind);
        out.put_u32_le(0);
        content(out);
        let bytes = (out.len() - at - HEAD_BYTES) as u32;
        out[at + 1..at + HEAD_BYTES].copy_from_slice(&bytes.to_le_bytes());
        self.crc = crc32c::crc32c_append(self.crc, &out[at..]);
    }
}

impl<R: Read> BackupReader<R> {
    /// Begins to read.
    ///
    /// # Errors
    /// When it is no backup, or of another layout.
    pub(crate) fn open(mut input: R) -> Result<BackupReader<R>, StoreError> {
        let mut header = [0; HEADER_BYTES];
        fill(&mut input, &mut header)?;
        let mut fields = &header[8..];
        if header[..8] != MAGIC {
            return Err(StoreError::Unusable("it is no backup of Sluice".to_owned()));
        }
        let version = fields.get_u32_le();
        if version != VERSION {
            let what = format!("it is of layout {version}, which this version does not know");
            return Err(StoreError::Unusable(what));
        }
        fields.get_u32_le();
        let after_group = fields.get_u64_le();
        let next_group = after_group.checked_add(1).ok_or_else(|| spoiled("a group that cannot be"))?;
        let crc = crc32c::crc32c(&header);
        Ok(BackupReader { input, after_group, next_group, crc, rows: 0, groups: 0 })
    }

    /// The next entry. Nothing comes after the end, and only with the end is it known that all before it is
    /// as it was written.
    ///
    /// # Errors
    /// When it is cut short or was changed.
    pub(crate) fn next(&mut self) -> Result<Entry, StoreError> {
        let mut head = [0; HEAD_BYTES];
        fill(&mut self.input, &mut head)?;
        let bytes = (&head[1..]).get_u32_le() as usize;
        if bytes > MAX_ENTRY_BYTES {
            return Err(spoiled("an entry that is too long"));
        }
        let mut content = Vec::new();
        // No room is made for a length that is not there.
        let read = (&mut self.input).take(bytes as u64).read_to_end(&mut content).map_err(io)?;
        if read < bytes {
            return Err(cut());
        }
        self.crc = crc32c::crc32c_append(crc32c::crc32c_append(self.crc, &head), &content);
        let content = Bytes::from(content);
        let entry = self.entry(head[0], &content);
        entry.ok_or_else(|| spoiled("an entry that makes no sense"))?
    }

    fn entry(&mut self, kind: u8, content: &Bytes) -> Option<Result<Entry, StoreError>> {
        let mut fields: &[u8] = content;
        match kind {
            kind::ROW => {
                self.rows += 1;
                let tree = get_text(&mut fields).ok()?.to_owned();
                let key = get_bytes(&mut fields).ok()?.to_vec();
                let value = get_bytes(&mut fields).ok()?.to_vec();
                fields.is_empty().then_some(Ok(Entry::Row { tree, key, value }))
            }
            kind::GROUP => {
                self.groups += 1;
                let number = fields.try_get_u64_le().ok()?;
                let now = get_now(&mut fields)?;
                if number != self.next_group {
                    return Some(Err(spoiled("groups that do not follow one another")));
                }
                self.next_group += 1;
                let events = content.slice_ref(fields);
                Some(Ok(Entry::Group(Group { number, now, events })))
            }
            kind::END => {
                let group = fields.try_get_u64_le().ok()?;
                let now = get_now(&mut fields)?;
                let serial = fields.try_get_u64_le().ok()?;
                let last_queue = QueueId(fields.try_get_u32_le().ok()?);
                let segments = fields.try_get_u64_le().ok()?;
                let counts = (fields.try_get_u64_le().ok()?, fields.try_get_u64_le().ok()?);
                if !fields.is_empty() || segments == 0 {
                    return None;
                }
                let is_all = counts == (self.rows, self.groups) && group + 1 == self.next_group;
                let end = End { group, now, serial, last_queue, segments };
                Some(self.end(is_all).map(|()| Entry::End(end)))
            }
            _ => None,
        }
    }

    /// The crc of all, and nothing behind it.
    fn end(&mut self, is_all: bool) -> Result<(), StoreError> {
        let mut crc = [0; 4];
        fill(&mut self.input, &mut crc)?;
        if u32::from_le_bytes(crc) != self.crc {
            return Err(spoiled("another crc than it says"));
        }
        if !is_all {
            return Err(spoiled("less or more in it than it says"));
        }
        match self.input.read(&mut [0]).map_err(io)? {
            0 => Ok(()),
            _ => Err(spoiled("something behind its end")),
        }
    }
}

fn put_now(out: &mut Vec<u8>, now: Now) {
    out.put_u64_le(now.engine.0);
    out.put_u64_le(now.wall.0);
}

fn get_now(input: &mut &[u8]) -> Option<Now> {
    let engine = Timestamp(input.try_get_u64_le().ok()?);
    Some(Now { engine, wall: WallTime(input.try_get_u64_le().ok()?) })
}

fn fill(input: &mut impl Read, buffer: &mut [u8]) -> Result<(), StoreError> {
    input.read_exact(buffer).map_err(|error| match error.kind() {
        std::io::ErrorKind::UnexpectedEof => cut(),
        _ => io(error),
    })
}

fn io(source: std::io::Error) -> StoreError {
    StoreError::Io { what: "read the backup".to_owned(), source }
}

fn cut() -> StoreError {
    StoreError::Unusable("the backup is cut short".to_owned())
}

fn spoiled(what: &str) -> StoreError {
    StoreError::Unusable(format!("the backup is not as it was written: it has {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Now = Now { engine: Timestamp(5), wall: WallTime(7) };
    const END: End = End { group: 42, now: NOW, serial: 9, last_queue: QueueId(3), segments: 2 };

    fn written() -> Vec<u8> {
        let mut out = Vec::new();
        let mut writer = BackupWriter::begin(41, NOW, &mut out);
        writer.row("ready", b"key", b"value", &mut out);
        writer.group(&Group { number: 42, now: NOW, events: Bytes::from_static(b"events") }, &mut out);
        writer.end(&END, &mut out);
        out
    }

    fn read(bytes: &[u8]) -> Result<Vec<Entry>, StoreError> {
        let mut reader = BackupReader::open(bytes)?;
        let mut entries = Vec::new();
        loop {
            entries.push(reader.next()?);
            if let Some(Entry::End(_)) = entries.last() {
                return Ok(entries);
            }
        }
    }

    #[test]
    fn what_was_written_is_read_again() {
        let entries = read(&written()).unwrap();
        let [Entry::Row { tree, key, value }, Entry::Group(group), Entry::End(end)] = &entries[..] else {
            panic!("{entries:?}")
        };
        assert_eq!((&**tree, &key[..], &value[..]), ("ready", &b"key"[..], &b"value"[..]));
        assert_eq!((group.number, group.now, &group.events[..]), (42, NOW, &b"events"[..]));
        assert_eq!(*end, END);
    }

    #[test]
    fn backup_that_is_cut_changed_or_longer_is_refused() {
        let whole = written();
        for end in 0..whole.len() {
            assert!(read(&whole[..end]).is_err(), "cut at {end}");
        }
        for bit in 0..whole.len() * 8 {
            let mut changed = whole.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(read(&changed).is_err(), "bit {bit}");
        }
        assert!(read(&[&whole[..], b"x"].concat()).is_err());
    }

    #[test]
    fn bytes_stay_as_they_are() {
        let hex: String = written().iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, GOLDEN);
    }

    const GOLDEN: &str = "\
        534c55494345424b01000000000000002900000000000000050000000000000007000000000000000000000000000000\
        000000000000000000000000000000000110000000057265616479036b65790576616c7565021e0000002a0000000000\
        0000050000000000000007000000000000006576656e7473033c0000002a000000000000000500000000000000070000\
        0000000000090000000000000003000000020000000000000001000000000000000100000000000000c6153a62";
}
