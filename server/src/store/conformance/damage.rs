//! Spoiled files: what a crash may leave is accepted, everything else is refused and named.

use std::fs;
use std::path::{Path, PathBuf};

use sluice_engine::JobSpec;

use super::picture::Picture;
use super::rig::{Rig, Subject};
use super::workload::{Workload, enqueue};
use crate::store::StoreError;

/// Bits of sled's file that are turned over, one at a time.
const BITS: u64 = 100;

/// A store with jobs in the log and at home, stopped without being closed.
pub(super) fn spoilable() -> (Subject, Rig, Vec<u128>) {
    let subject = Subject::durable();
    let mut rig = subject.start(Rig::dawn()).unwrap();
    let mut work = Workload::new(21);
    work.run(&mut rig, 400);
    rig.settle();
    work.run(&mut rig, 20);
    (subject, rig, work.sets)
}

/// The segments with frames, oldest first. Those made ahead are zeros, or still have another's number.
pub(super) fn segments(subject: &Subject) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = fs::read_dir(subject.dir().join("log"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "log"))
        .filter(|path| fs::read(path).unwrap()[32..40] == number(path).to_le_bytes())
        .collect();
    paths.sort();
    paths
}

pub(super) fn number(path: &Path) -> u64 {
    path.file_stem().unwrap().to_str().unwrap().parse().unwrap()
}

pub(super) fn change(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(path).unwrap();
    change(&mut bytes);
    fs::write(path, bytes).unwrap();
}

/// Why the store does not open.
fn refusal(subject: &Subject, rig: Rig) -> String {
    let now = rig.now;
    drop(rig);
    match subject.start(now) {
        Ok(_) => panic!("damage was accepted"),
        Err(StoreError::Damaged(why)) => why,
        Err(other) => panic!("not called damage: {other}"),
    }
}

#[test]
fn torn_last_group_is_as_if_it_never_was() {
    let (subject, mut rig, sets) = spoilable();
    let before = Picture::take(&rig, &sets);
    let mark = b"the body of the last job";
    let jobs = vec![JobSpec { payload: mark.repeat(100).into(), ..JobSpec::default() }];
    rig.apply(enqueue("alpha", jobs)).unwrap();
    let now = rig.stop(false);
    change(segments(&subject).last().unwrap(), |bytes| {
        let at = bytes.windows(mark.len()).rposition(|window| window == mark).unwrap();
        bytes[at..at + 8].fill(0);
    });
    let rig = subject.start(now).unwrap();
    Picture::take(&rig, &sets).assert_is(&before, "torn");
}

#[test]
fn damaged_middle_of_the_log_is_refused_and_named() {
    let (subject, rig, _) = spoilable();
    let segments = segments(&subject);
    let path = &segments[segments.len() - 2];
    change(path, |bytes| bytes[5_000] ^= 1);
    let why = refusal(&subject, rig);
    assert!(why.contains(&format!("segment {}, offset ", number(path))), "{why}");
}

#[test]
fn lost_segment_is_damage() {
    let (subject, rig, _) = spoilable();
    fs::remove_file(&segments(&subject)[0]).unwrap();
    refusal(&subject, rig);
}

#[test]
fn lost_home_is_damage() {
    let (subject, rig, _) = spoilable();
    let now = rig.stop(false);
    fs::remove_dir_all(subject.dir().join("sled")).unwrap();
    assert!(matches!(subject.start(now), Err(StoreError::Damaged(_))));
}

#[test]
fn lost_end_of_the_log_is_damage() {
    let (subject, mut rig, _) = spoilable();
    // What happens now goes into the newest segment, and early from there into sled.
    let mut work = Workload::new(22);
    work.run(&mut rig, 60);
    rig.settle();
    let newest = segments(&subject).pop().unwrap();
    let lost = number(&newest);
    for entry in fs::read_dir(subject.dir().join("log")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|e| e == "log") && number(&path) >= lost {
            fs::remove_file(path).unwrap();
        }
    }
    let why = refusal(&subject, rig);
    assert!(why.contains("but the log ends with group"), "{why}");
}

#[test]
fn home_of_another_store_is_damage() {
    let (subject, rig, _) = spoilable();
    let now = rig.stop(false);
    let (other, rig, _) = spoilable();
    rig.stop(false);
    let (sled, other_sled) = (subject.dir().join("sled"), other.dir().join("sled"));
    fs::remove_dir_all(&sled).unwrap();
    fs::rename(other_sled, sled).unwrap();
    let Err(StoreError::Damaged(why)) = subject.start(now) else { panic!("accepted") };
    assert!(why.contains("belongs to another store"), "{why}");
}

#[test]
fn damaged_sled_is_refused_without_a_panic() {
    let (subject, rig, _) = spoilable();
    let now = rig.stop(false);
    let db = subject.dir().join("sled/db");
    change(&db, |bytes| {
        let end = bytes.len();
        bytes[end / 16..end - end / 16].fill(0x5A);
    });
    assert!(subject.start(now).is_err());
}

#[test]
fn store_is_opened_once_at_a_time() {
    let (subject, rig, _) = spoilable();
    let Err(StoreError::Unusable(why)) = subject.start(rig.now) else { panic!("opened twice") };
    assert!(why.contains("in use by another process"), "{why}");
}

fn copy_all(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap() {
        let (path, target) = entry.map(|entry| (entry.path(), to.join(entry.file_name()))).unwrap();
        if path.is_dir() {
            fs::create_dir(&target).unwrap();
            copy_all(&path, &target);
        } else {
            fs::copy(&path, &target).unwrap();
        }
    }
}

/// How many jobs there are whose bodies cannot be read.
fn lost_bodies(rig: &Rig) -> usize {
    let ids = rig.engine.ledger().ids(0..=u64::MAX, usize::MAX);
    let reader = rig.store.reader();
    let read = |id| reader.read(&[rig.store.locate(&[id]).remove(0).unwrap()]);
    ids.into_iter().filter(|id| matches!(read(*id), Err(StoreError::Damaged(_)))).count()
}

/// sled takes what is wrong behind its last snapshot for a write that was cut short, and goes on without.
#[test]
fn any_bit_of_sleds_file_is_refused_or_harmless() {
    for is_clean in [true, false] {
        let (subject, rig, sets) = spoilable();
        let before = Picture::take(&rig, &sets);
        let now = rig.stop(is_clean);
        let db = fs::File::open(subject.dir().join("sled/db")).unwrap();
        // sled's threads may outlive the store, and must not write while it is copied.
        db.lock().unwrap();
        let length = db.metadata().unwrap().len();
        let seed = fastrand::u64(..);
        eprintln!("seed {seed}");
        let mut chance = fastrand::Rng::with_seed(seed);
        let mut refused = 0;
        for place in 0..BITS {
            let copy = tempfile::tempdir().unwrap();
            copy_all(subject.dir(), copy.path());
            let at = length / BITS * place + chance.u64(..length / BITS);
            change(&copy.path().join("sled/db"), |bytes| bytes[usize::try_from(at).unwrap()] ^= 16);
            let copied = Subject::at(copy.path(), None);
            match copied.start(now) {
                // A body is read when it is asked for, and not at a start: it must not pass for an empty one.
                Ok(rig) if !is_clean && lost_bodies(&rig) > 0 => {}
                Ok(rig) => {
                    Picture::take(&rig, &sets).assert_is(&before, &format!("byte {at}, clean {is_clean}"))
                }
                Err(StoreError::Damaged(_)) => {
                    refused += 1;
                    // A second try knows what the first knew.
                    assert!(copied.start(now).is_err(), "byte {at}, clean {is_clean}");
                }
                Err(other) => panic!("byte {at}, clean {is_clean}: not called damage: {other}"),
            }
        }
        assert!(refused > BITS / 4, "{refused} refused, clean {is_clean}");
    }
}

#[test]
fn job_that_is_lost_at_home_is_missed_at_a_start() {
    let (subject, rig, _) = spoilable();
    let now = rig.stop(false);
    let db = sled::open(subject.dir().join("sled")).unwrap();
    // The oldest: it is in no log any more.
    db.open_tree("dead").unwrap().pop_min().unwrap().unwrap();
    db.flush().unwrap();
    drop(db);
    let Err(StoreError::Damaged(why)) = subject.start(now) else { panic!("accepted") };
    assert!(why.contains("jobs were enqueued, but"), "{why}");
}

#[test]
fn body_that_is_lost_at_home_is_missed_when_it_is_read() {
    let (subject, rig, _) = spoilable();
    assert_eq!(lost_bodies(&rig), 0);
    let now = rig.stop(false);
    let db = sled::open(subject.dir().join("sled")).unwrap();
    let (dead, _) = db.open_tree("dead").unwrap().first().unwrap().unwrap();
    let bodies = db.open_tree("body").unwrap();
    let keys: Vec<_> = bodies.scan_prefix(dead).keys().map(Result::unwrap).collect();
    keys.iter().for_each(|key| drop(bodies.remove(key).unwrap()));
    db.flush().unwrap();
    drop((bodies, db));
    assert_eq!(lost_bodies(&subject.start(now).unwrap()), 1);
}

#[test]
fn sled_that_is_not_as_it_was_sealed_is_refused_until_somebody_says_so() {
    let (subject, rig, sets) = spoilable();
    let before = Picture::take(&rig, &sets);
    let now = rig.stop(true);
    let db = subject.dir().join("sled/db");
    let last = fs::metadata(&db).unwrap().len() - 1;
    let turn = || change(&db, |bytes| bytes[usize::try_from(last).unwrap()] ^= 1);
    turn();
    for _ in 0..2 {
        let Err(StoreError::Damaged(why)) = subject.start(now) else { panic!("accepted") };
        assert!(why.contains("this is not what it left"), "{why}");
    }
    // Nothing was written: as it was it is whole.
    turn();
    let rig = subject.start(now).unwrap();
    Picture::take(&rig, &sets).assert_is(&before, "sealed");
    let now = rig.stop(true);
    change(&db, |bytes| bytes.push(0));
    assert!(subject.start(now).is_err());
    fs::remove_file(subject.dir().join("LOCK")).unwrap();
    Picture::take(&subject.start(now).unwrap(), &sets).assert_is(&before, "on one's own risk");
}
