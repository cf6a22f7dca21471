//! A backup taken while the queue goes on gives a store that shows what the queue shows when it ends.

use std::fs;
use std::path::Path;

use sluice_engine::{Command, Outcome};

use super::picture::Picture;
use super::rig::{Rig, Subject};
use super::workload::Workload;
use crate::store::{Backup, StoreError, check, restore};

/// Takes a backup, with `between` done after each slice.
fn taken(rig: &mut Rig, mut between: impl FnMut(&mut Rig)) -> Vec<u8> {
    let (mut backup, mut out) = Backup::begin(rig.engine.ledger(), &*rig.store, rig.now).unwrap();
    let mut next = Some(0);
    while let Some(first) = next {
        let Ok(Outcome::NodesRestated(more)) = rig.apply(Command::RestateNodes(first)) else { panic!() };
        next = more;
    }
    while !backup.is_ended() {
        let mut slice = backup.take(rig.engine.ledger(), &*rig.store, rig.now).unwrap();
        // What was taken is written later than what is done next.
        if !backup.is_ended() {
            between(rig);
        }
        let reader = rig.store.reader();
        while backup.write(&mut slice, &*reader, &mut out).unwrap() {}
    }
    out
}

/// A file with these bytes, in a directory that a store can be made beside it.
fn file(dir: &Path, bytes: &[u8]) -> std::path::PathBuf {
    let path = dir.join("backup");
    fs::write(&path, bytes).unwrap();
    path
}

#[test]
fn backup_taken_while_the_queue_goes_on_is_the_queue_when_it_ends() {
    for seed in [71, 72] {
        let subject = Subject::durable();
        let mut rig = subject.start(Rig::dawn()).unwrap();
        let mut work = Workload::new(seed);
        for _ in 0..6 {
            work.run(&mut rig, 100);
            rig.settle_quickly();
        }
        rig.settle();
        let mut rounds = 0;
        let bytes = taken(&mut rig, |rig| {
            rounds += 1;
            work.run(rig, 60);
            // Segments move home and go, those that began before the backup and those that came since.
            rig.settle_quickly();
        });
        assert!(rounds >= 5, "it went on meanwhile");
        let picture = Picture::take(&rig, &work.sets);
        let dir = tempfile::tempdir().unwrap();
        let store = dir.path().join("store");
        let restored = restore(&file(dir.path(), &bytes), &store).unwrap();
        assert!(restored.rows > 100 && restored.groups > 100, "{restored:?}");

        let checked = check(&store).unwrap();
        assert_eq!(checked.findings, Vec::<String>::new(), "seed {seed}");
        assert_eq!(checked.jobs, picture.jobs.len() as u64);
        let mut again = Subject::at(&store, None).start(rig.now).unwrap();
        Picture::take(&again, &work.sets).assert_is(&picture, &format!("seed {seed}, restored"));
        for (enqueue, outcome) in &work.repeatable {
            assert_eq!(again.apply(Command::Enqueue(enqueue.clone())), Ok(outcome.clone()));
        }
        // It goes on as any other store does.
        let mut expected = work.clone();
        work.run(&mut rig, 200);
        expected.run(&mut again, 200);
        again.settle();
        let picture = Picture::take(&again, &expected.sets);
        let now = again.stop(false);
        let again = Subject::at(&store, None).start(now).unwrap();
        Picture::take(&again, &expected.sets).assert_is(&picture, &format!("seed {seed}, gone on"));
        again.stop(true);
        assert_eq!(check(&store).unwrap().findings, Vec::<String>::new(), "seed {seed}");
    }
}

#[test]
fn backup_of_an_idle_store_keeps_its_time_and_its_numbers() {
    let subject = Subject::durable();
    let mut rig = subject.start(Rig::dawn()).unwrap();
    let mut work = Workload::new(74);
    work.run(&mut rig, 200);
    let bytes = taken(&mut rig, |_| {});
    let picture = Picture::take(&rig, &work.sets);
    let dir = tempfile::tempdir().unwrap();
    let store = dir.path().join("store");
    assert_eq!(restore(&file(dir.path(), &bytes), &store).unwrap().groups, 1, "what limits know");
    let mut opened = Subject::at(&store, None).open().unwrap();
    let mut loader = sluice_engine::Loader::new(sluice_engine::EngineConfig::default());
    assert_eq!(opened.load(&mut loader).unwrap(), Some(rig.now), "engine time goes on");
    drop(opened);
    let again = Subject::at(&store, None).start(rig.now).unwrap();
    Picture::take(&again, &work.sets).assert_is(&picture, "restored");
    assert_eq!(again.engine.ledger().serial(), rig.engine.ledger().serial());
}

#[test]
fn backup_of_an_empty_store_is_an_empty_store() {
    let subject = Subject::durable();
    let mut rig = subject.start(Rig::dawn()).unwrap();
    let bytes = taken(&mut rig, |_| {});
    let dir = tempfile::tempdir().unwrap();
    let store = dir.path().join("store");
    restore(&file(dir.path(), &bytes), &store).unwrap();
    let again = Subject::at(&store, None).start(rig.now).unwrap();
    assert_eq!(Picture::take(&again, &[]), Picture::default());
}

#[test]
fn spoiled_backup_and_full_directory_are_refused_and_leave_nothing() {
    let subject = Subject::durable();
    let mut rig = subject.start(Rig::dawn()).unwrap();
    let mut work = Workload::new(75);
    work.run(&mut rig, 50);
    let bytes = taken(&mut rig, |rig| work.run(rig, 5));
    let dir = tempfile::tempdir().unwrap();
    let store = dir.path().join("store");
    let mut flipped = bytes.clone();
    flipped[bytes.len() / 2] ^= 1;
    for spoiled in [&bytes[..bytes.len() - 1], &bytes[..bytes.len() / 2], &flipped, b""] {
        assert!(matches!(restore(&file(dir.path(), spoiled), &store), Err(StoreError::Unusable(_))));
        assert!(!store.exists());
    }
    fs::create_dir(&store).unwrap();
    fs::write(store.join("something"), "").unwrap();
    assert!(matches!(restore(&file(dir.path(), &bytes), &store), Err(StoreError::Unusable(_))));
    fs::remove_file(store.join("something")).unwrap();
    restore(&file(dir.path(), &bytes), &store).unwrap();
}

#[test]
fn no_more_than_four_follow_at_a_time() {
    let subject = Subject::durable();
    let rig = subject.start(Rig::dawn()).unwrap();
    let begin = || Backup::begin(rig.engine.ledger(), &*rig.store, rig.now);
    let four: Vec<_> = (0..4).map(|_| begin().unwrap()).collect();
    assert!(begin().is_err());
    drop(four);
    assert!(begin().is_ok());
}
