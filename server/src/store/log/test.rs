//! What a log does while all is well. What it does when it is not: `crash`, `damage`. Bodies: `body`; following it: `tail`.

mod body;
mod crash;
mod damage;
mod tail;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use sluice_engine::{JobId, JobSpec, Mutation, Now, QueueId, Timestamp, WallTime};

use super::{Log, LogOptions, Replayed, read_bodies};
use crate::store::StoreError;
use crate::store::codec::sample;
use crate::store::disk::RealDisk;
use crate::store::disk::sim::{Plan, SimDisk};

const STORE: u128 = 0x0011_2233_4455_6677_8899_aabb_ccdd_eeff;
/// Small, so that a few groups fill one; and all on one thread, in one order.
const OPTIONS: LogOptions = LogOptions { segment_bytes: 8 << 10, ahead: false };

/// A group as replay visits it.
#[derive(Clone, Debug, PartialEq)]
struct Group {
    number: u64,
    now: Now,
    mutations: Vec<Mutation>,
    segment: u64,
}

fn open(disk: &SimDisk, retired_through: u64) -> Result<(Log, Replayed, Vec<Group>), StoreError> {
    let mut log = Log::open(Arc::new(disk.clone()), Path::new("/d"), STORE, OPTIONS, retired_through)?;
    let mut groups = Vec::new();
    let replayed = log.replay(&mut |number, now, mutations, segment| {
        groups.push(Group { number, now, mutations, segment });
        Ok(())
    })?;
    Ok((log, replayed, groups))
}

/// Appends a group and says how it must come back.
fn append(log: &mut Log, mutations: Vec<Mutation>) -> Result<Group, StoreError> {
    let now = now(log.next_group);
    let number = log.append(now, &mutations)?;
    Ok(Group { number, now, mutations, segment: log.segments().next_back().unwrap().number() })
}

fn now(group: u64) -> Now {
    Now { engine: Timestamp(group * 1_000), wall: WallTime(1_700_000_000_000_000_000 + group) }
}

/// Jobs from `first` on with payloads of these sizes. Contents tell jobs apart.
fn enqueue(first: u64, sizes: &[usize]) -> Mutation {
    let job = |(index, size): (usize, &usize)| {
        let pattern = (first + index as u64).to_le_bytes();
        JobSpec { payload: pattern.iter().copied().cycle().take(*size).collect(), ..JobSpec::default() }
    };
    Mutation::Enqueued {
        queue: QueueId(1),
        first: JobId(first),
        jobs: sizes.iter().enumerate().map(job).collect(),
    }
}

fn path(number: u64) -> PathBuf {
    super::segment::path_of(Path::new("/d/log"), number)
}

#[test]
fn groups_come_back_in_order() {
    let disk = SimDisk::new(Plan::default());
    let (mut log, replayed, _) = open(&disk, 0).unwrap();
    assert_eq!(replayed, Replayed { first_group: None, last_group: 0, last_now: None, clean: true });
    let mut groups = vec![append(&mut log, sample::one_of_each()).unwrap()];
    for first in 0..100 {
        groups.push(append(&mut log, vec![enqueue(2_000 + 10 * first, &[0, 300, 5])]).unwrap());
    }
    groups.push(append(&mut log, Vec::new()).unwrap());
    drop(log);

    let (_, replayed, found) = open(&disk, 0).unwrap();
    assert_eq!(found, groups);
    assert_eq!(replayed.first_group, Some(1));
    assert_eq!(replayed.last_group, 102);
    assert_eq!(replayed.last_now, Some(now(102)));
    assert!(!replayed.clean);
    assert!(groups.last().unwrap().segment > 3, "the test must cross segments");
}

#[test]
fn log_goes_on_where_it_stopped() {
    let disk = SimDisk::new(Plan::default());
    let mut groups = Vec::new();
    for first in 1..60 {
        let (mut log, replayed, found) = open(&disk, 0).unwrap();
        assert_eq!(found, groups);
        assert_eq!(replayed.last_group, first - 1);
        groups.push(append(&mut log, vec![enqueue(first, &[500])]).unwrap());
    }
}

#[test]
fn clean_stop_is_told_until_the_next_group() {
    let disk = SimDisk::new(Plan::default());
    let (mut log, ..) = open(&disk, 0).unwrap();
    append(&mut log, vec![enqueue(1, &[10])]).unwrap();
    log.append_clean(now(2)).unwrap();
    let (mut log, replayed, groups) = open(&disk, 0).unwrap();
    assert!(replayed.clean);
    assert_eq!((replayed.last_group, replayed.last_now, groups.len()), (2, Some(now(2)), 1));
    append(&mut log, Vec::new()).unwrap();
    assert!(!open(&disk, 0).unwrap().1.clean);
}

#[test]
fn segments_tell_what_they_hold() {
    let disk = SimDisk::new(Plan::default());
    let (mut log, ..) = open(&disk, 0).unwrap();
    append(&mut log, vec![enqueue(10, &[3_000, 10])]).unwrap();
    append(&mut log, vec![enqueue(20, &[3_000])]).unwrap();
    let touching = vec![
        Mutation::Leased { jobs: vec![JobId(11), JobId(3)], expire: Timestamp(1), worker: "w".into() },
        enqueue(30, &[3_000]),
        Mutation::Acked { id: JobId(30), result: None },
        Mutation::Acked { id: JobId(20), result: None },
    ];
    append(&mut log, touching).unwrap();
    let check = |log: &Log| {
        let [first, second] = log.segments().collect::<Vec<_>>()[..] else { panic!("two segments") };
        assert_eq!((first.number(), first.groups(), first.is_active()), (1, Some((1, 2)), false));
        assert_eq!((second.number(), second.groups(), second.is_active()), (2, Some((3, 3)), true));
        assert_eq!(first.born(), Some((JobId(10), JobId(20))));
        assert_eq!(second.born(), Some((JobId(30), JobId(30))));
        assert_eq!(first.touched().to_vec(), []);
        assert_eq!(second.touched().to_vec(), [JobId(3), JobId(11), JobId(20)]);
        assert_eq!(log.used_bytes(), first.used_bytes() + second.used_bytes());
        assert!((6_000..8_192).contains(&first.used_bytes()));
    };
    check(&log);
    check(&open(&disk, 0).unwrap().0);
}

#[test]
fn a_frame_larger_than_a_segment_gets_one_as_large() {
    let disk = SimDisk::new(Plan::default());
    let (mut log, ..) = open(&disk, 0).unwrap();
    let mut groups = Vec::new();
    for (first, bytes) in [(1, 10), (2, 100_000), (3, 10), (4, 8_100), (5, 10)] {
        groups.push(append(&mut log, vec![enqueue(first, &[bytes])]).unwrap());
    }
    assert_eq!(groups.iter().map(|group| group.segment).collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
    assert_eq!(open(&disk, 0).unwrap().2, groups);
}

#[test]
fn old_frames_in_a_file_used_again_never_come_back() {
    let disk = SimDisk::new(Plan::default());
    let (mut log, ..) = open(&disk, 0).unwrap();
    let mut kept = Vec::new();
    let mut retired = 0;
    // Groups of one size: each begins where one of the file's last life began.
    for first in 1..200 {
        kept.push(append(&mut log, vec![enqueue(first, &[700])]).unwrap());
        let oldest = log.segments().next().unwrap().number();
        if log.segments().len() > 2 {
            log.retire(oldest).unwrap();
            retired = oldest;
            kept.retain(|group| group.segment > retired);
        }
        // Recovery with power lost, then without: old frames lie behind the end, or do not.
        assert_eq!(open(&disk.after_power_loss(first, Plan::default()), retired).unwrap().2, kept);
        let (_, replayed, found) = open(&disk.after_kill(Plan::default()), retired).unwrap();
        assert_eq!(found, kept);
        assert_eq!(replayed.last_group, first);
    }
    assert!(disk.names().len() <= 6, "files are used again or removed: {:?}", disk.names());
}

#[test]
fn only_the_oldest_segment_can_be_retired_and_never_the_active_one() {
    let disk = SimDisk::new(Plan::default());
    let (mut log, ..) = open(&disk, 0).unwrap();
    for first in 1..4 {
        append(&mut log, vec![enqueue(first, &[6_000])]).unwrap();
    }
    assert!(log.retire(2).is_err());
    log.retire(1).unwrap();
    log.retire(2).unwrap();
    assert!(log.retire(3).is_err());
    assert_eq!(log.segments().map(super::Segment::number).collect::<Vec<_>>(), [3]);
}

#[test]
fn nothing_is_appended_before_replay_or_after_a_failure() {
    let disk = SimDisk::new(Plan::default());
    let mut log = Log::open(Arc::new(disk), Path::new("/d"), STORE, OPTIONS, 0).unwrap();
    assert!(matches!(log.append(now(1), &[]), Err(StoreError::Unusable(_))));

    // A sync of the directory, and four operations to make each of two segments; then the group's write
    // and its sync.
    for fail_at in [9, 10] {
        let disk = SimDisk::new(Plan { fail_at: Some(fail_at), ..Plan::default() });
        let (mut log, ..) = open(&disk, 0).unwrap();
        let mut results = (0..8).map(|_| log.append(now(1), &[]));
        let failed = results.find(Result::is_err);
        assert!(matches!(failed, Some(Err(StoreError::Io { .. }))));
        assert!(results.next().unwrap().is_err_and(|error| matches!(error, StoreError::Unusable(_))));
    }
}

#[test]
fn ids_that_do_not_grow_are_refused() {
    let disk = SimDisk::new(Plan::default());
    let (mut log, ..) = open(&disk, 0).unwrap();
    append(&mut log, vec![enqueue(7, &[1])]).unwrap();
    assert!(append(&mut log, vec![enqueue(7, &[1])]).is_err());
}

#[test]
fn segments_are_made_ahead_on_a_real_disk() {
    let dir = tempfile::tempdir().unwrap();
    let options = LogOptions { segment_bytes: 64 << 10, ahead: true };
    let start = |retired_through| {
        let mut log = Log::open(Arc::new(RealDisk), dir.path(), STORE, options, retired_through).unwrap();
        let mut groups = Vec::new();
        log.replay(&mut |number, now, mutations, segment| {
            groups.push(Group { number, now, mutations, segment });
            Ok(())
        })
        .unwrap();
        (log, groups)
    };
    let (mut log, _) = start(0);
    let mut kept = Vec::new();
    let mut retired = 0;
    for first in 1..=400 {
        kept.push(append(&mut log, vec![enqueue(first, &[3_000])]).unwrap());
        if log.segments().len() > 4 {
            retired = log.segments().next().unwrap().number();
            log.retire(retired).unwrap();
            kept.retain(|group| group.segment > retired);
        }
        assert!(log.room_bytes() <= 128 << 10);
    }
    log.append_clean(now(401)).unwrap();
    let place = (JobId(400), log.locate(JobId(400)).unwrap());
    drop(log);
    let (_log, found) = start(retired);
    assert_eq!(found, kept);
    let body = read_bodies(&[place]).unwrap().remove(0).unwrap();
    assert_eq!(body.payload.map(|payload: Bytes| payload.len()), Some(3_000));
}
