//! `strace` as the hand that ends a process at a system call, or has the call fail. The server itself is not changed,
//! and knows nothing of it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// Which files a call must be about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// The log's.
    Log,
    /// sled's.
    Home,
    /// The others of the data directory.
    Store,
}

/// What happens instead of the call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// SIGKILL: the call is not made, nor any other.
    Kill,
    /// It fails: the disk is broken.
    BrokenDisk,
    /// It fails: the disk is full.
    FullDisk,
}

/// A call at which something happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The call.
    pub call: &'static str,
    /// Which of them.
    pub place: Place,
    /// So many of a thread are left alone before.
    pub nth: usize,
    /// What happens.
    pub action: Action,
}

/// How often a call comes, at most in one thread: a fault at the n-th falls on whichever thread is first there.
pub type Counts = BTreeMap<(&'static str, Place), usize>;

/// Calls that change what is on disk, or ask that it be there.
pub const CALLS: [&str; 9] =
    ["pwrite64", "write", "fdatasync", "fsync", "sync_file_range", "rename", "unlink", "ftruncate", "openat"];
/// Segments that a script may begin.
const SEGMENTS: u64 = 40;

impl Fault {
    /// The command that a server on `data` runs under for it; what it does is noted in `log`.
    #[must_use]
    pub fn command(&self, data: &Path, log: &Path) -> Vec<String> {
        let Fault { call, nth, .. } = self;
        let action = match self.action {
            Action::Kill => "signal=KILL",
            Action::BrokenDisk => "error=EIO",
            Action::FullDisk => "error=ENOSPC",
        };
        let mut command = strace(log);
        // The kernel's filter makes the other calls as quick as without strace. It hides sync_file_range, which the
        // server has refused, and signals are not delivered through it.
        if self.action != Action::Kill && self.call != "sync_file_range" {
            command.push("--seccomp-bpf".to_owned());
        }
        command.extend(["-e".to_owned(), format!("trace={call}")]);
        command.extend(["-e".to_owned(), format!("inject={call}:{action}:when={nth}")]);
        for path in self.place.paths(data) {
            command.extend(["-P".to_owned(), path.display().to_string()]);
        }
        command
    }

    /// Whether a process must not go on after this error: what it holds to be durable may not be. The thread that makes
    /// segments ahead may try again; it does not write and sync so often.
    #[must_use]
    pub fn is_fatal(&self) -> bool {
        let is_about_data = ["pwrite64", "fdatasync", "fsync"].contains(&self.call);
        match self.place {
            Place::Home => is_about_data,
            Place::Log => is_about_data && self.nth > SEGMENTS as usize,
            Place::Store => false,
        }
    }

    /// Whether it happened, by what `strace` noted, and how long after it the process ended.
    #[must_use]
    pub fn happened(&self, log: &Path) -> Option<Duration> {
        let text = fs::read_to_string(log).unwrap_or_default();
        let mut lines = text.lines();
        let mark = if self.action == Action::Kill { "+++ killed by SIGKILL" } else { "(INJECTED)" };
        let at = time_of(lines.by_ref().find(|line| line.contains(mark))?)?;
        let end = lines.filter(|line| line.contains("+++ ")).filter_map(time_of).next_back();
        Some(end.unwrap_or(at).saturating_sub(at))
    }
}

impl Place {
    /// All places.
    pub const ALL: [Place; 3] = [Place::Log, Place::Home, Place::Store];

    fn of(line: &str) -> Option<Place> {
        if line.contains("/data/log") {
            Some(Place::Log)
        } else if line.contains("/data/sled") {
            Some(Place::Home)
        } else if line.contains("/data/") {
            Some(Place::Store)
        } else {
            None
        }
    }

    fn paths(self, data: &Path) -> Vec<PathBuf> {
        let log = data.join("log");
        match self {
            Place::Log => {
                let file = |number: u64, end| log.join(format!("{number:08}.{end}"));
                let files = (1..=SEGMENTS).flat_map(|number| [file(number, "log"), file(number, "spare")]);
                files.chain([log.clone()]).collect()
            }
            // A new home is made beside its place.
            Place::Home => ["sled", "sled.new"]
                .iter()
                .flat_map(|home| ["", "db", "conf"].map(|name| data.join(home).join(name)))
                .collect(),
            Place::Store => ["LOCK", "FORMAT", "FORMAT.new", "ballast"].map(|name| data.join(name)).into(),
        }
    }
}

/// The command under which a server's calls are noted, each with its file.
#[must_use]
pub fn noting(log: &Path) -> Vec<String> {
    let mut command = strace(log);
    command.extend(["-y", "-s", "0", "-e"].map(str::to_owned));
    command.push(format!("trace={}", CALLS.join(",")));
    command
}

/// How often each call was noted.
#[must_use]
pub fn counts(log: &Path) -> Counts {
    let text = fs::read_to_string(log).unwrap();
    let mut of_threads = BTreeMap::<(&str, &'static str, Place), usize>::new();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        let (Some(thread), Some(_time), Some(rest)) = (words.next(), words.next(), words.next()) else {
            continue;
        };
        let Some(call) = CALLS.into_iter().find(|call| rest.starts_with(&format!("{call}("))) else {
            continue;
        };
        if let Some(place) = Place::of(line) {
            *of_threads.entry((thread, call, place)).or_default() += 1;
        }
    }
    let mut counts = Counts::new();
    for ((_, call, place), count) in of_threads {
        let most = counts.entry((call, place)).or_default();
        *most = count.max(*most);
    }
    counts
}

/// Whether there is an `strace`: `./test` installs it.
#[must_use]
pub fn is_there() -> bool {
    Command::new("strace").arg("--version").output().is_ok_and(|output| output.status.success())
}

/// As a grandchild, so that the server stays ours: its status, its signals.
fn strace(log: &Path) -> Vec<String> {
    let mut command = ["strace", "-D", "-f", "-ttt", "-o"].map(str::to_owned).to_vec();
    command.push(log.display().to_string());
    command
}

fn time_of(line: &str) -> Option<Duration> {
    let seconds: f64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(Duration::from_secs_f64(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_counted_by_thread_and_place() {
        let directory = tempfile::tempdir().unwrap();
        let log = directory.path().join("log");
        let lines = [
            "7 1.0 pwrite64(5</tmp/x/data/log/00000001.log>, \"\"..., 64, 0) = 64",
            "7 1.1 pwrite64(5</tmp/x/data/log/00000001.log>, \"\"..., 64, 64 <unfinished ...>",
            "7 1.2 <... pwrite64 resumed>) = 64",
            "8 1.3 pwrite64(5</tmp/x/data/log/00000002.log>, \"\"..., 64, 0) = 64",
            "8 1.4 fsync(6</tmp/x/data/sled/db>) = 0",
            "8 1.5 write(1<pipe:[1]>, \"\"..., 9) = 9",
        ];
        fs::write(&log, lines.join("\n")).unwrap();
        let expected = [(("pwrite64", Place::Log), 2), (("fsync", Place::Home), 1)].into_iter().collect();
        assert_eq!(counts(&log), expected);
    }
}
