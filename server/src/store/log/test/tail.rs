//! Following a log: every group comes once, those of retired segments too, up to what may be kept.

use super::*;
use crate::store::log::tail::MAX_KEPT_BYTES;

/// The numbers of the groups since the last time.
fn numbers(log: &Log, tail: &super::super::Tail) -> Vec<u64> {
    let mut groups = log.groups(tail).unwrap();
    std::iter::from_fn(|| groups.next().unwrap()).map(|group| group.number).collect()
}

/// Appends `count` groups, some of which fill a segment.
fn fill(log: &mut Log, count: u64) {
    for _ in 0..count {
        append(log, vec![enqueue(10 * log.next_group, &[900])]).unwrap();
    }
}

#[test]
fn who_follows_gets_every_group_once_whatever_is_retired() {
    let disk = SimDisk::new(Plan::default());
    let (mut log, ..) = open(&disk, 0).unwrap();
    let from_the_first = log.follow().unwrap();
    fill(&mut log, 3);
    let tail = log.follow().unwrap();
    assert_eq!(numbers(&log, &tail), Vec::<u64>::new());
    fill(&mut log, 30);
    for number in 1..=2 {
        log.retire(number).unwrap();
    }
    fill(&mut log, 7);
    assert_eq!(numbers(&log, &tail), (4..=40).collect::<Vec<_>>());
    assert_eq!(tail.last_group(), 40);
    fill(&mut log, 20);
    log.retire(3).unwrap();
    assert_eq!(numbers(&log, &tail), (41..=60).collect::<Vec<_>>());
    assert_eq!(numbers(&log, &from_the_first), (1..=60).collect::<Vec<_>>());
}

#[test]
fn who_follows_too_slowly_is_told() {
    let disk = SimDisk::new(Plan::default());
    let (mut log, ..) = open(&disk, 0).unwrap();
    let tail = log.follow().unwrap();
    fill(&mut log, 30);
    tail.count_as_kept(MAX_KEPT_BYTES);
    log.retire(1).unwrap();
    assert!(log.groups(&tail).is_err());
    assert_eq!(numbers(&log, &log.follow().unwrap()), Vec::<u64>::new(), "others go on");
}
