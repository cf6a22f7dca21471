//! A home whose file has grown far beyond what it holds is copied when it is opened; a crash at each step
//! of that leaves everything there.

use std::fs;
use std::path::Path;

use super::crash::{AT, DIR, EndAt, end_child};
use super::picture::Picture;
use super::rig::{Rig, Subject};
use super::workload::Workload;
use crate::store::check;
use crate::store::durable::Step;

/// Rows of 7 KB that are written and removed.
const BLOAT_ROWS: u64 = 3_000;
const STEPS: [Step; 4] = [Step::HomeCopied, Step::CopySynced, Step::OldHomeAside, Step::CopyInPlace];

/// A store whose home holds little in a file that is large for it.
fn bloated(dir: &Path) -> (Picture, sluice_engine::Now, Vec<u128>) {
    let subject = Subject::at(dir, None);
    let mut rig = subject.start(Rig::dawn()).unwrap();
    let mut work = Workload::new(61);
    work.run(&mut rig, 400);
    rig.settle();
    let picture = Picture::take(&rig, &work.sets);
    // Nobody has sealed its file, so it may be another.
    let now = rig.stop(false);
    // What a long life does to it: much was there, and is gone.
    let db = sled::open(dir.join("sled")).unwrap();
    let body = db.open_tree("body").unwrap();
    let keys = || (0..BLOAT_ROWS).map(|n| (1 << 62 | n).to_be_bytes());
    for key in keys() {
        body.insert(key, vec![7; 7_000]).unwrap();
    }
    db.flush().unwrap();
    keys().for_each(|key| drop(body.remove(key).unwrap()));
    db.flush().unwrap();
    (picture, now, work.sets)
}

fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).unwrap();
    let mut names: Vec<String> = entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.retain(|name| name.starts_with("sled"));
    names.sort();
    names
}

#[test]
fn bloated_home_is_smaller_after_a_start_and_holds_what_it_held() {
    let dir = tempfile::tempdir().unwrap();
    let (picture, now, sets) = bloated(dir.path());
    let before = fs::metadata(dir.path().join("sled/db")).unwrap().len();
    let rig = Subject::compacting(dir.path(), None).start(now).unwrap();
    let after = fs::metadata(dir.path().join("sled/db")).unwrap().len();
    assert!(after < before, "{before} bytes before, {after} after");
    assert_eq!(names(dir.path()), ["sled"]);
    Picture::take(&rig, &sets).assert_is(&picture, "compacted");
    let now = rig.stop(false);
    assert_eq!(check(dir.path()).unwrap().findings, Vec::<String>::new());
    let rig = Subject::at(dir.path(), None).start(now).unwrap();
    Picture::take(&rig, &sets).assert_is(&picture, "compacted, restarted");
}

#[test]
fn home_below_the_threshold_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let (_, now, _) = bloated(dir.path());
    let inode = |dir: &Path| std::os::unix::fs::MetadataExt::ino(&fs::metadata(dir.join("sled")).unwrap());
    let before = inode(dir.path());
    drop(Subject::at(dir.path(), None).start(now).unwrap());
    assert_eq!(inode(dir.path()), before);
}

/// Not a test: what [`end_child`] starts.
#[test]
#[ignore = "started by the tests of this module"]
fn child() {
    if let (Ok(dir), Ok(at)) = (std::env::var(DIR), std::env::var(AT)) {
        let steps = EndAt::new(at);
        drop(Subject::compacting(Path::new(&dir), Some(steps)).start(Rig::dawn()));
    }
}

#[test]
fn crash_at_any_step_of_compaction_leaves_a_whole_home() {
    for step in STEPS {
        let dir = tempfile::tempdir().unwrap();
        let (picture, now, sets) = bloated(dir.path());
        let ended = end_child("store::conformance::compact::child", dir.path(), &format!("{step:?}:1"));
        assert!(ended, "{step:?} is reached");
        assert_eq!(check(dir.path()).unwrap().findings, Vec::<String>::new(), "after {step:?}");
        let rig = Subject::at(dir.path(), None).start(now).unwrap();
        Picture::take(&rig, &sets).assert_is(&picture, &format!("after {step:?}"));
        assert_eq!(names(dir.path()), ["sled"], "after {step:?}");
    }
}
