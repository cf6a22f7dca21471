//! A store whose files are not as they were left: a bit is another, a file is shorter, a file is gone. It is refused with
//! a word why, or it is whole; nothing else.

use std::fmt;
use std::fs::{self, OpenOptions};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;

use fastrand::Rng;
use tempfile::TempDir;

use super::script::{self, Script};
use super::{Told, clock};
use crate::{Setup, Sluiced, task};

/// How the server ended whose store is spoiled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// In good order.
    Stopped,
    /// By SIGKILL.
    Killed,
}

/// How far before the end of sled's file the harm is that sled itself takes for a write that was cut short.
const SLEDS_END: u64 = 1 << 20;

/// A store that was left, and what its client was told.
pub struct Sound {
    setup: Setup,
    server: Sluiced,
    told: Told,
    /// Where the bodies of small frames lie, by file.
    small_frames: Vec<(String, Range<u64>)>,
}

/// What is done to a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Harm {
    /// One bit, of eight times as many as there are bytes, is turned over.
    Flip(u64),
    /// Only so many bytes are left.
    Cut(u64),
    /// From here on so many bytes are zeros.
    Zero(u64, u64),
    /// It is gone, and all in it.
    Remove,
}

/// What came of it.
#[derive(Debug)]
pub struct Case {
    /// Which file, below the data directory.
    pub file: String,
    /// What was done.
    pub harm: Harm,
    /// Whether `sluiced check` found the damage.
    pub is_found: bool,
    /// Whether a start was refused; else it served what it was to serve, but for what it said it could not read.
    pub is_refused: bool,
    /// What is wrong.
    pub wrong: Vec<String>,
}

impl Sound {
    /// The store that a script leaves, of a server that is to start on it again once it is spoiled.
    pub async fn make(setup: Setup, script: Script, end: End) -> Sound {
        let mut server = setup.clone().start().await;
        let ended = script.run(&server).await;
        assert!(ended.failed.is_none(), "{:?}", ended.failed);
        match end {
            End::Stopped => server.stop().await,
            End::Killed => server.kill().await,
        }
        let small_frames = small_frames(&server.data());
        assert!(small_frames.len() > script.rounds, "{} small frames", small_frames.len());
        Sound { setup, server, told: ended.told, small_frames }
    }

    /// Its files, below the data directory, with their lengths. The ballast holds nothing.
    #[must_use]
    pub fn files(&self) -> Vec<(String, u64)> {
        let mut files = Vec::new();
        collect(&self.server.data(), "", &mut files);
        files.retain(|(name, _)| name != "ballast");
        files.sort();
        files
    }

    /// Places that matter: beginnings, headers, ends, and files that are gone.
    #[must_use]
    pub fn chosen(&self) -> Vec<(String, Harm)> {
        let mut chosen = Vec::new();
        for (file, length) in self.files() {
            if length == 0 {
                continue;
            }
            let mut add = |harm| chosen.push((file.clone(), harm));
            add(Harm::Flip(0));
            add(Harm::Cut(0));
            add(Harm::Remove);
            if file.ends_with(".log") {
                // The header of the first frame, its body, and the end of the file.
                add(Harm::Flip((64 + 9) * 8));
                add(Harm::Flip((64 + 64 + 100) * 8));
                add(Harm::Cut(length / 2));
            } else {
                add(Harm::Flip(length * 8 - 1));
                add(Harm::Cut(length - 1));
                add(Harm::Cut(length / 2));
                add(Harm::Zero(length / 4, length / 4));
            }
        }
        chosen.extend(["log", "sled"].map(|directory| (directory.to_owned(), Harm::Remove)));
        chosen
    }

    /// Any bit, any cut.
    #[must_use]
    pub fn random(&self, chance: &mut Rng) -> (String, Harm) {
        let files = self.files();
        let (file, length) = loop {
            let (file, length) = &files[chance.usize(..files.len())];
            if *length > 0 {
                break (file.clone(), *length);
            }
        };
        let harm = match chance.u8(..8) {
            7 => return self.in_sled(chance),
            6 => return self.in_small_frame(chance),
            0 => Harm::Cut(chance.u64(..length)),
            1 => Harm::Zero(chance.u64(..length), 4_096),
            _ => Harm::Flip(chance.u64(..length * 8)),
        };
        (file, harm)
    }

    /// A bit in the body of a small frame: an ack, a lease. Only the frame's own crc covers those, where the payloads that
    /// fill the rest of a log have theirs.
    #[must_use]
    pub fn in_small_frame(&self, chance: &mut Rng) -> (String, Harm) {
        let (file, body) = &self.small_frames[chance.usize(..self.small_frames.len())];
        (file.clone(), Harm::Flip(chance.u64(body.start * 8..body.end * 8)))
    }

    /// A bit in the last part of sled's file.
    #[must_use]
    pub fn in_sled(&self, chance: &mut Rng) -> (String, Harm) {
        let file = "sled/db".to_owned();
        let length = self.server.data().join(&file).metadata().unwrap().len();
        (file, Harm::Flip(chance.u64(length.saturating_sub(SLEDS_END) * 8..length * 8)))
    }

    /// Does it to a copy, checks that, starts on it, and judges.
    pub async fn try_one(&self, file: &str, harm: Harm) -> Case {
        let copy = TempDir::new().unwrap();
        let data = copy.path().join("data");
        copy_all(&self.server.data(), &data);
        let mut case =
            Case { file: file.to_owned(), harm, is_found: false, is_refused: false, wrong: Vec::new() };
        harm.apply(&data.join(file));
        let checked = task::check(&data).await;
        case.is_found = checked.code != 0;
        if case.is_found && !says_where(&checked.stdout, &checked.stderr) {
            case.wrong.push(format!("check: {}{}", checked.stdout, checked.stderr));
        }
        let mut server = self.setup.clone().at_rest_on(&data);
        if server.try_start().await {
            let shown = script::try_shown(&server).await;
            match shown {
                Ok(shown) => case.wrong.extend(self.told.judge(&shown, clock::now())),
                // It says that it cannot read what was asked for; `check` must know it too.
                Err(status) if case.is_found => case.is_refused = status.code() == tonic::Code::DataLoss,
                Err(status) => case.wrong.push(format!("check says that all is well, and a list: {status}")),
            }
            server.kill().await;
        } else {
            case.is_refused = true;
            let code = server.stopped().await.code();
            let log = server.log();
            let last = log.lines().last().unwrap_or_default().to_owned();
            let says_why = last.starts_with("sluiced: damaged store: ")
                || last.starts_with("sluiced: ") && last.contains("/data");
            if code != Some(1) || !says_why {
                case.wrong.push(format!("it is refused with {code:?}, and without a word why: {last}"));
            }
            if !case.is_found {
                case.wrong.push(format!("check says that all is well, and a start: {last}"));
            }
        }
        case
    }
}

impl Harm {
    fn apply(self, path: &Path) {
        if self == Harm::Remove {
            let removed = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
            return removed.unwrap();
        }
        let file = OpenOptions::new().read(true).write(true).open(path).unwrap();
        match self {
            Harm::Flip(bit) => {
                let mut byte = [0];
                file.read_exact_at(&mut byte, bit / 8).unwrap();
                byte[0] ^= 1 << (bit % 8);
                file.write_all_at(&byte, bit / 8).unwrap();
            }
            Harm::Cut(length) => file.set_len(length).unwrap(),
            Harm::Zero(from, count) => {
                let length = file.metadata().unwrap().len();
                let count = count.min(length - from);
                file.write_all_at(&vec![0; usize::try_from(count).unwrap()], from).unwrap();
            }
            Harm::Remove => {}
        }
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Case { file, harm, is_found, is_refused, wrong } = self;
        write!(f, "{file} {harm:?}: found {is_found}, refused {is_refused}")?;
        wrong.iter().take(3).try_for_each(|wrong| write!(f, "\n    WRONG: {wrong}"))
    }
}

/// Whether a check that found something says what and where, one way or the other.
fn says_where(stdout: &str, stderr: &str) -> bool {
    let names =
        |text: &str| ["segment", "sled", "FORMAT", "/data", "queue"].iter().any(|word| text.contains(word));
    stdout.contains("damaged: ") && names(stdout) || names(stderr)
}

/// Where in a log the bodies of frames lie that are smaller than any with a payload (docs/STORAGE.md).
fn small_frames(data: &Path) -> Vec<(String, Range<u64>)> {
    const ALIGN: usize = 64;
    const HEADER: u64 = 64;
    const MAX_BODY: u32 = 1_000;
    let mut files = Vec::new();
    collect(&data.join("log"), "log/", &mut files);
    files.sort();
    let mut frames = Vec::new();
    for (file, _) in files.into_iter().filter(|(name, _)| name.ends_with(".log")) {
        let bytes = fs::read(data.join(&file)).unwrap();
        for at in (0..bytes.len()).step_by(ALIGN).filter(|at| bytes[*at..].starts_with(b"SLFR")) {
            let length = u32::from_le_bytes(bytes[at + 40..at + 44].try_into().unwrap());
            if (1..MAX_BODY).contains(&length) {
                let body = at as u64 + HEADER;
                frames.push((file.clone(), body..body + u64::from(length)));
            }
        }
    }
    frames
}

fn collect(dir: &Path, prefix: &str, files: &mut Vec<(String, u64)>) {
    for entry in fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        let name = format!("{prefix}{}", entry.file_name().to_str().unwrap());
        let meta = entry.metadata().unwrap();
        if meta.is_dir() {
            collect(&entry.path(), &format!("{name}/"), files);
        } else {
            files.push((name, meta.len()));
        }
    }
}

/// A copy, with a ballast that takes no room.
fn copy_all(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let (path, target) = (entry.path(), to.join(entry.file_name()));
        if path.is_dir() {
            copy_all(&path, &target);
        } else if path.ends_with("ballast") {
            let length = entry.metadata().unwrap().len();
            fs::File::create(&target).unwrap().set_len(length).unwrap();
        } else {
            fs::copy(&path, &target).unwrap();
        }
    }
}
