//! Looks through a log without changing it. What is wrong is noted, with segment and offset, and it goes on
//! behind that: an operator wants to know all that is lost.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use sluice_engine::{JobId, Mutation, Now};

use super::frame::FrameHeader;
use super::index::FrameIndex;
use super::open::{check_header, damaged, read_header};
use super::place::{self, LogPlace};
use super::replay::{Frames, read_all};
use super::segment::{Segment, SegmentFile, SegmentHeader, number_of, path_of};
use crate::store::{StoreError, codec};

/// What was found.
#[derive(Debug, Default)]
pub(crate) struct Examined {
    /// What is wrong.
    pub(crate) findings: Vec<StoreError>,
    /// What is not wrong, and worth a line.
    pub(crate) notes: Vec<String>,
    /// The last good group; 0: none.
    pub(crate) last_group: u64,
    /// Its time.
    pub(crate) last_now: Option<Now>,
    /// Whether that marks a stop in good order.
    pub(crate) ends_clean: bool,
    /// The number of the first file that is needed.
    pub(crate) first: Option<u64>,
    segments: VecDeque<Segment>,
}

/// Told of each good group in order, as long as none is missing.
pub(crate) type Visit<'a> = &'a mut dyn FnMut(u64, Now, Vec<Mutation>) -> Result<(), String>;

/// Looks through the log in `dir`/log; segments up to `retired_through` are needed no more;
/// without, it begins where it begins. Without `store_id` the first segment says whose it is.
///
/// # Errors
/// When it cannot be read.
pub(crate) fn examine(
    dir: &Path,
    store_id: Option<u128>,
    retired_through: Option<u64>,
    visit: Visit<'_>,
) -> Result<Examined, StoreError> {
    let dir = dir.join("log");
    let numbers = numbers(&dir)?;
    let begin = numbers.first().map_or(0, |first| first.saturating_sub(1));
    let retired_through = retired_through.unwrap_or(begin);
    let mut examiner = Examiner {
        examined: Examined::default(),
        store_id,
        expected: retired_through + 1,
        next: None,
        blank: Vec::new(),
        last_job: JobId(0),
        visit,
    };
    for number in numbers.into_iter().filter(|number| *number > retired_through) {
        let path = path_of(&dir, number);
        let file = File::open(&path).map_err(io("open", &path))?;
        examiner.segment(Arc::new(SegmentFile { number, path, file: Arc::new(file) }))?;
    }
    examiner.finish(&dir, retired_through)
}

impl Examined {
    /// How many segments hold frames.
    pub(crate) fn segments(&self) -> usize {
        self.segments.len()
    }

    /// Where the body of a job lies, if it was born in this log.
    pub(crate) fn locate(&self, id: JobId) -> Option<LogPlace> {
        place::locate(&self.segments, id)
    }
}

struct Examiner<'a> {
    examined: Examined,
    store_id: Option<u128>,
    /// The number of the next file.
    expected: u64,
    /// The group and the link of the next frame; none before the first segment.
    next: Option<(u64, u32)>,
    /// Files without a header, and what is in them.
    blank: Vec<(Arc<SegmentFile>, Bytes)>,
    last_job: JobId,
    visit: Visit<'a>,
}

impl Examiner<'_> {
    fn segment(&mut self, file: Arc<SegmentFile>) -> Result<(), StoreError> {
        if file.number != self.expected {
            let what = format!("is there, but segment {} is missing", self.expected);
            self.find(damaged(&file, 0, &what));
        }
        self.expected = file.number + 1;
        self.examined.first.get_or_insert(file.number);
        let bytes = read_all(&file)?;
        let header = match read_header(&file) {
            Ok(Some(header)) => header,
            Ok(None) => {
                self.blank.push((file, bytes));
                return Ok(());
            }
            Err(error) => {
                self.find(error);
                return Ok(());
            }
        };
        for (blank, _) in std::mem::take(&mut self.blank) {
            self.find(damaged(&blank, 0, "has no header, but a later segment has"));
        }
        let store_id = *self.store_id.get_or_insert(header.store_id);
        if let Err(error) = check_header(&file, &header, store_id) {
            self.find(error);
            return Ok(());
        }
        self.follow(&file, &header);
        self.frames(file, header, &bytes);
        Ok(())
    }

    /// Looks whether a segment begins where the one before ended.
    fn follow(&mut self, file: &SegmentFile, header: &SegmentHeader) {
        if let Some(next) = self.next
            && next != (header.first_group, header.chain)
        {
            let last = self.examined.segments.back();
            let (before, end) = last.map_or((file, 0), |last| (&*last.file, last.used_bytes as usize));
            let what =
                format!("a good frame of group {} is missing: segment {} comes later", next.0, file.number);
            self.examined.findings.push(damaged(before, end, &what));
        }
    }

    fn frames(&mut self, file: Arc<SegmentFile>, header: SegmentHeader, bytes: &Bytes) {
        let mut segment = Segment::new(Arc::clone(&file), header, self.last_job);
        let mut frames = Frames::new(bytes, &header);
        loop {
            let at = frames.at;
            if let Some((frame, body)) = frames.next() {
                if let Err(error) = self.frame(&mut segment, &frame, bytes, body) {
                    self.find(damaged(&file, at, &error));
                }
            } else if let Some(later) = frames.later_frame() {
                let what =
                    format!("has no good frame of group {}, but a later one at offset {later}", frames.group);
                self.find(damaged(&file, at, &what));
                frames.resume(later);
            } else {
                break;
            }
        }
        self.next = Some((frames.group, frames.chain));
        segment.next_group = frames.group;
        segment.used_bytes = frames.at as u64;
        self.examined.segments.push_back(segment);
    }

    fn frame(
        &mut self,
        segment: &mut Segment,
        frame: &FrameHeader,
        bytes: &Bytes,
        body: std::ops::Range<usize>,
    ) -> Result<(), String> {
        let mut index = FrameIndex::default();
        index.clear();
        let start = body.start as u64;
        let mutations = codec::decode(&bytes.slice(body), |birth| index.birth(birth))
            .map_err(|error| format!("has a good frame that {error}"))?;
        if !index.follows(self.last_job) {
            return Err("has jobs whose ids do not grow".to_owned());
        }
        segment.index.extend(&index, start);
        segment.note(&mutations, index.born);
        self.last_job = index.born.map_or(self.last_job, |(_, last)| last);
        self.examined.last_group = frame.group;
        self.examined.last_now = Some(frame.now);
        self.examined.ends_clean = frame.clean;
        // Behind a gap everything would contradict everything.
        if frame.clean || !self.examined.findings.is_empty() {
            return Ok(());
        }
        (self.visit)(frame.group, frame.now, mutations).map_err(|error| {
            format!("has a group, {}, that contradicts what was before: {error}", frame.group)
        })
    }

    /// What can be said only at the end.
    fn finish(mut self, dir: &Path, retired_through: u64) -> Result<Examined, StoreError> {
        if self.examined.segments.is_empty() && retired_through > 0 {
            self.find(StoreError::Damaged(format!(
                "{}: the log has nothing after segment {retired_through}, which was not its last",
                dir.display()
            )));
        }
        let store_id = self.store_id.unwrap_or(0);
        for (file, bytes) in std::mem::take(&mut self.blank) {
            let header = SegmentHeader { store_id, number: file.number, first_group: 0, chain: 0 };
            if let Some(at) = Frames::new(&bytes, &header).later_frame() {
                self.find(damaged(&file, 0, &format!("has no header, but a frame at offset {at}")));
            }
        }
        if let Some(last) = self.examined.segments.back() {
            let (file, end) = (Arc::clone(&last.file), last.used_bytes as usize);
            if read_all(&file)?.get(end..).is_some_and(|tail| tail.iter().any(|byte| *byte != 0)) {
                self.examined.notes.push(format!(
                    "segment {}, offset {end}: {} ends with a frame that was not finished, and that nobody \
                     was answered for; the next start clears it",
                    file.number,
                    file.path.display()
                ));
            }
        }
        Ok(self.examined)
    }

    fn find(&mut self, finding: StoreError) {
        self.examined.findings.push(finding);
    }
}

/// The numbers of all segments, in order.
fn numbers(dir: &Path) -> Result<Vec<u64>, StoreError> {
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(io("list", dir))?,
    };
    let mut numbers = Vec::new();
    for entry in entries {
        let name = entry.map_err(io("list", dir))?.file_name();
        numbers.extend(name.to_str().and_then(number_of));
    }
    numbers.sort_unstable();
    Ok(numbers)
}

fn io<'a>(what: &'a str, path: &'a Path) -> impl FnOnce(std::io::Error) -> StoreError + use<'a> {
    move |source| StoreError::Io { what: format!("{what} {}", path.display()), source }
}
