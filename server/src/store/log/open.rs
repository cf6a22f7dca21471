//! Opening and replaying: which segments are there, whether they follow one another, and what they hold.

use std::path::Path;
use std::sync::Arc;

use sluice_engine::{Mutation, Now};

use super::replay::{Frames, clear_tail, ends_clean, read_all};
use super::segment::{self, HeaderFault, Segment, SegmentFile, SegmentHeader, number_of, path_of};
use super::supply::{SPARE_SUFFIX, Supply};
use super::{Log, State, not_ready};
use crate::store::disk::Disk;
use crate::store::{StoreError, codec};

/// What a replay found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Replayed {
    /// The first group of the oldest segment; none when there is no segment.
    pub first_group: Option<u64>,
    /// The last group that was ever made durable; 0: none.
    pub last_group: u64,
    /// Its time; none when no frame is left.
    pub last_now: Option<Now>,
    /// Whether the last stop was clean.
    pub clean: bool,
}

/// The segments of a log, oldest first.
pub(super) struct Found {
    /// Those with a header.
    begun: Vec<(Arc<SegmentFile>, SegmentHeader)>,
    /// Those after them: made ahead, and at most the first of them torn.
    blank: Vec<Arc<SegmentFile>>,
    retired_through: u64,
}

/// Looks at what lies in `dir`, and removes what is needed no more.
pub(super) fn find(
    disk: &dyn Disk,
    dir: &Path,
    store_id: u128,
    retired_through: u64,
) -> Result<Found, StoreError> {
    disk.create_dir(dir).map_err(io("make", dir))?;
    let mut numbers = Vec::new();
    for name in disk.list(dir).map_err(io("list", dir))? {
        let number = number_of(&name);
        if number.is_some_and(|number| number <= retired_through) || name.ends_with(SPARE_SUFFIX) {
            let path = dir.join(name);
            disk.remove(&path).map_err(io("remove", &path))?;
        } else {
            numbers.extend(number);
        }
    }
    numbers.sort_unstable();

    // From the newest back to the last that was begun, then the rest: a clean stop is marked at the end,
    // and only after an unclean one is the cache not to be trusted.
    let mut found = Found { begun: Vec::new(), blank: Vec::new(), retired_through };
    let mut is_clean = false;
    for number in numbers.into_iter().rev() {
        let path = path_of(dir, number);
        let file = disk.open(&path).map_err(io("open", &path))?;
        let file = Arc::new(SegmentFile { number, path, file });
        if !is_clean {
            distrust_cache(&file)?;
        }
        match read_header(&file)? {
            Some(header) => {
                check_header(&file, &header, store_id)?;
                if found.begun.is_empty() {
                    is_clean = ends_clean(&read_all(&file)?, &header);
                }
                found.begun.push((file, header));
            }
            None if found.begun.is_empty() => found.blank.push(file),
            None => return Err(damaged(&file, 0, "has no header, but a later segment has")),
        }
    }
    found.begun.reverse();
    found.blank.reverse();
    found.check_sequence(dir, store_id)?;
    Ok(found)
}

impl Found {
    /// Nothing may be missing, and what looks never written must be so.
    fn check_sequence(&self, dir: &Path, store_id: u128) -> Result<(), StoreError> {
        let numbers = self.begun.iter().map(|(file, _)| file).chain(&self.blank);
        for (file, expected) in numbers.zip(self.retired_through + 1..) {
            if file.number != expected {
                let what = format!("is there, but segment {expected} is missing");
                return Err(damaged(file, 0, &what));
            }
        }
        if self.begun.is_empty() && self.retired_through > 0 {
            return Err(StoreError::Damaged(format!(
                "{}: the log has nothing after segment {}, which was not its last",
                dir.display(),
                self.retired_through
            )));
        }
        for file in &self.blank {
            // Only frames of this very segment could be good in it, whatever its group: it has none.
            let header = SegmentHeader { store_id, number: file.number, first_group: 0, chain: 0 };
            if let Some(at) = Frames::new(&read_all(file)?, &header).later_frame() {
                return Err(damaged(file, 0, &format!("has no header, but a frame at offset {at}")));
            }
        }
        Ok(())
    }
}

impl Log {
    /// Visits every group in order, and makes the log ready for more. A torn last frame is passed over:
    /// it was never durable, and nobody was answered.
    ///
    /// # Errors
    /// When the log is damaged, with segment and offset, or cannot be read; or what `visit` said.
    pub(crate) fn replay(
        &mut self,
        visit: &mut dyn FnMut(u64, Now, Vec<Mutation>, u64) -> Result<(), StoreError>,
    ) -> Result<Replayed, StoreError> {
        let State::Opened(found) = std::mem::replace(&mut self.state, State::Failed) else {
            return Err(not_ready());
        };
        let mut replayed = Replayed { first_group: None, last_group: 0, last_now: None, clean: true };
        if let Some((_, header)) = found.begun.first() {
            replayed.first_group = Some(header.first_group);
            (self.next_group, self.chain) = (header.first_group, header.chain);
        }
        let count = found.begun.len();
        for (index, (file, header)) in found.begun.into_iter().enumerate() {
            self.replay_segment(file, header, index + 1 == count, &mut replayed, visit)?;
        }
        replayed.last_group = self.next_group - 1;

        // From the last: should power fail meanwhile, no gap is left.
        for file in found.blank.iter().rev() {
            self.disk.remove(&file.path).map_err(io("remove", &file.path))?;
        }
        self.disk.sync_dir(&self.dir).map_err(io("sync", &self.dir))?;
        let next = self.segments.back().map_or(found.retired_through, Segment::number) + 1;
        let (bytes, ahead) = (self.options.segment_bytes, self.options.ahead);
        self.supply = Some(Supply::new(Arc::clone(&self.disk), &self.dir, bytes, ahead, next)?);
        self.state = State::Ready;
        Ok(replayed)
    }

    fn replay_segment(
        &mut self,
        file: Arc<SegmentFile>,
        header: SegmentHeader,
        is_last: bool,
        replayed: &mut Replayed,
        visit: &mut dyn FnMut(u64, Now, Vec<Mutation>, u64) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        if header.first_group != self.next_group || header.chain != self.chain {
            let last = self.segments.back();
            let (before, end) = last.map_or((&file, 0), |last| (&last.file, last.used_bytes as usize));
            let next = self.next_group;
            let what =
                format!("a good frame of group {next} is missing: segment {} comes later", file.number);
            return Err(damaged(before, end, &what));
        }
        let bytes = read_all(&file)?;
        let mut segment = Segment::new(Arc::clone(&file), header, self.last_job);
        let mut frames = Frames::new(&bytes, &header);
        let mut at = frames.at;
        while let Some((frame, body)) = frames.next() {
            self.frame_index.clear();
            let events = bytes.slice(body.clone());
            let mutations = codec::decode(&events, |birth| self.frame_index.birth(birth))
                .map_err(|error| damaged(&file, at, &format!("has a good frame that {error}")))?;
            if !self.frame_index.follows(self.last_job) {
                return Err(damaged(&file, at, "has jobs whose ids do not grow"));
            }
            segment.index.extend(&self.frame_index, body.start as u64);
            segment.note(&mutations, self.frame_index.born);
            self.last_job = self.frame_index.born.map_or(self.last_job, |(_, last)| last);
            replayed.last_now = Some(frame.now);
            replayed.clean = frame.clean;
            if !frame.clean {
                visit(frame.group, frame.now, mutations, file.number)?;
            }
            at = frames.at;
        }
        if let Some(later) = frames.later_frame() {
            let what =
                format!("has no good frame of group {}, but a later one at offset {later}", frames.group);
            return Err(damaged(&file, at, &what));
        }
        if is_last {
            clear_tail(&file, &bytes, at)?;
        }
        (self.next_group, self.chain) = (frames.group, frames.chain);
        segment.next_group = frames.group;
        segment.used_bytes = at as u64;
        segment.active = is_last;
        self.used_bytes += segment.used_bytes;
        self.segments.push_back(segment);
        Ok(())
    }
}

/// Makes the kernel read the file from the disk again.
fn distrust_cache(file: &SegmentFile) -> Result<(), StoreError> {
    file.file.sync_data().and_then(|()| file.file.forget_cache()).map_err(io("sync", &file.path))
}

pub(super) fn read_header(file: &SegmentFile) -> Result<Option<SegmentHeader>, StoreError> {
    let mut bytes = [0; segment::HEADER_BYTES];
    if file.file.bytes().map_err(io("read", &file.path))? < bytes.len() as u64 {
        return Ok(None);
    }
    file.file.read_at(&mut bytes, 0).map_err(io("read", &file.path))?;
    match SegmentHeader::decode(&bytes) {
        // A file used again still has the header of its last life until its first frame is written.
        Ok(header) if header.number < file.number => Ok(None),
        Ok(header) => Ok(Some(header)),
        Err(HeaderFault::None) => Ok(None),
        Err(HeaderFault::Version(version)) => Err(StoreError::Unusable(format!(
            "{} is of format {version}, which this version does not know",
            file.path.display()
        ))),
    }
}

pub(super) fn check_header(
    file: &SegmentFile,
    header: &SegmentHeader,
    store_id: u128,
) -> Result<(), StoreError> {
    if header.store_id != store_id {
        return Err(damaged(file, 0, &format!("belongs to another store, {:032x}", header.store_id)));
    }
    if header.number != file.number {
        return Err(damaged(file, 0, &format!("says that it is segment {}", header.number)));
    }
    if header.number == 1 && header.first_group != 1 || header.first_group == 0 {
        return Err(damaged(file, 0, &format!("begins with group {}", header.first_group)));
    }
    Ok(())
}

pub(super) fn damaged(file: &SegmentFile, offset: usize, what: &str) -> StoreError {
    StoreError::Damaged(format!("segment {}, offset {offset}: {} {what}", file.number, file.path.display()))
}

fn io<'a>(what: &'a str, path: &'a Path) -> impl FnOnce(std::io::Error) -> StoreError + use<'a> {
    move |source| StoreError::Io { what: format!("{what} {}", path.display()), source }
}
