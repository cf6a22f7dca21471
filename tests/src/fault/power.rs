//! The power goes: a real run is recorded, images are built of what its disk may hold at any moment, and each is read as
//! a server reads it and judged by what the client had been told by that moment.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use fastrand::Rng;
use tempfile::TempDir;

use super::image;
use super::recording::Recording;
use super::{Script, Told};
use crate::{Setup, binary};

/// A run that was recorded.
pub struct Run {
    directory: TempDir,
    /// Where the data directory lies: its own name may be lost too.
    root: PathBuf,
    told: Told,
    /// How often the process synced a range of a file.
    pub range_syncs: usize,
}

/// What came of all images.
#[derive(Debug, Default)]
pub struct Verdict {
    /// Images that were read.
    pub images: usize,
    /// Of those, such with jobs.
    pub with_jobs: usize,
    /// What was wrong with how many of them.
    pub wrong: usize,
    /// The first few of them, with where and what.
    pub examples: Vec<String>,
}

/// Examples that are kept.
const MAX_EXAMPLES: usize = 10;
/// The directory of the store in an image.
const DATA: &str = "data";
/// Images made of one moment.
const OF_A_MOMENT: usize = 4;

/// Records a script that is killed at its end, and another after a restart.
pub async fn record(setup: Setup, script: Script) -> Run {
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("recording");
    let mut server = setup.at_rest();
    let root = server.data().parent().expect("it lies somewhere").to_owned();
    for (name, value) in [
        ("LD_PRELOAD", binary::recorder()),
        ("RECORDER_ROOT", root.as_path()),
        ("RECORDER_FILE", file.as_path()),
    ] {
        server.set(name, value.to_str().unwrap());
    }
    server.start().await;
    let first = script.run(&server).await;
    assert!(first.failed.is_none(), "{:?}", first.failed);
    server.kill_and_start().await;
    let second = Script { life: script.life + 1, ..script }.run_on(&server, first.told).await;
    assert!(second.failed.is_none(), "{:?}", second.failed);
    server.stop().await;
    let mut run = Run { directory, root, told: second.told, range_syncs: 0 };
    let recording = run.recording();
    run.check_against(&recording);
    run.range_syncs = recording.range_syncs();
    run
}

impl Run {
    /// The recording, whole, gives just the files that are there: nothing was written past it.
    fn check_against(&self, recording: &Recording) {
        let mut disk = recording.begin();
        disk.go_to(recording.len());
        let mut seen = disk.seen();
        let mut found = BTreeMap::new();
        collect(&self.root, &self.root.join(DATA), &mut found);
        found.remove("/data/ballast");
        seen.remove("/data/ballast");
        let (seen_names, names): (Vec<_>, Vec<_>) = (seen.keys().collect(), found.keys().collect());
        assert_eq!(seen_names, names);
        for (name, bytes) in &found {
            assert!(seen[name] == *bytes, "{name} is not as it was recorded");
        }
    }

    fn recording(&self) -> Recording {
        Recording::read(&self.directory.path().join("recording"), &self.root)
    }

    /// Builds and judges `count` images, on two threads.
    #[must_use]
    pub fn judge(&self, count: usize, seed: u64) -> Verdict {
        std::thread::scope(|scope| {
            let part = |number: u64| {
                scope.spawn(move || self.judge_part(count / 2, seed.wrapping_mul(2).wrapping_add(number)))
            };
            let parts = [part(0), part(1)].map(|part| part.join().unwrap());
            parts.into_iter().fold(Verdict::default(), Verdict::and)
        })
    }

    fn judge_part(&self, count: usize, seed: u64) -> Verdict {
        let mut chance = Rng::with_seed(seed);
        let recording = self.recording();
        let moments = count.div_ceil(OF_A_MOMENT);
        let mut moments: Vec<usize> = (0..moments).map(|_| chance.usize(1..=recording.len())).collect();
        moments.sort_unstable();
        let mut disk = recording.begin();
        let mut verdict = Verdict::default();
        for at in moments {
            disk.go_to(at);
            for _ in 0..OF_A_MOMENT {
                let image = in_memory();
                image::make(&disk, image.path(), &mut chance);
                let what = format!("seed {seed}, entry {at} of {}", recording.len());
                let wrong = match image::recover(&image.path().join(DATA)) {
                    Ok(shown) => {
                        verdict.with_jobs += usize::from(!shown.is_empty());
                        self.told.judge(&shown, recording.time_before(at))
                    }
                    Err(error) => vec![error],
                };
                verdict.add(&what, &wrong);
            }
        }
        verdict
    }
}

impl Verdict {
    fn add(&mut self, what: &str, wrong: &[String]) {
        self.images += 1;
        let Some(first) = wrong.first() else { return };
        self.wrong += 1;
        if self.examples.len() < MAX_EXAMPLES {
            self.examples.push(format!("{what}: {first} (and {} more)", wrong.len() - 1));
        }
    }

    fn and(mut self, other: Verdict) -> Verdict {
        self.images += other.images;
        self.with_jobs += other.with_jobs;
        self.wrong += other.wrong;
        self.examples.extend(other.examples);
        self.examples.truncate(MAX_EXAMPLES);
        self
    }
}

/// A directory in memory, if there is such a place: images are many.
fn in_memory() -> TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

fn collect(root: &Path, dir: &Path, found: &mut BTreeMap<String, Vec<u8>>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(root, &path, found);
        } else {
            let name = format!("/{}", path.strip_prefix(root).unwrap().display());
            found.insert(name, fs::read(&path).unwrap());
        }
    }
}
