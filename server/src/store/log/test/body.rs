//! Bodies are found by id and read in few calls.

use super::*;
use crate::store::log::LogPlace;

fn places(log: &Log, ids: impl IntoIterator<Item = u64>) -> Vec<(JobId, LogPlace)> {
    ids.into_iter().map(|id| (JobId(id), log.locate(JobId(id)).unwrap())).collect()
}

fn payload(id: u64, bytes: usize) -> Bytes {
    id.to_le_bytes().iter().copied().cycle().take(bytes).collect()
}

#[test]
fn bodies_are_found_in_any_order_live_and_after_a_restart() {
    let disk = SimDisk::new(Plan::default());
    let (mut log, ..) = open(&disk, 0).unwrap();
    let mut expected = Vec::new();
    let mut id = 1;
    for round in 0..60 {
        let sizes: Vec<usize> = (0..round % 7).map(|n| (round * 131 + n * 977) % 1_500).collect();
        let ack = Mutation::Acked { id: JobId(id), result: Some(Bytes::from_static(b"result")) };
        let one = enqueue(id, &sizes);
        // Ids are also places in a queue: there are gaps.
        let other = enqueue(id + 10, &[9]);
        append(&mut log, vec![ack.clone(), one, ack, other]).unwrap();
        expected.extend(sizes.iter().enumerate().map(|(n, bytes)| (id + n as u64, *bytes)));
        expected.push((id + 10, 9));
        id += 20;
    }
    // Not in order, and some twice.
    expected.sort_by_key(|(id, _)| id % 17);
    expected.extend_from_within(..9);
    for log in [&log, &open(&disk, 0).unwrap().0] {
        let bodies = read_bodies(&places(log, expected.iter().map(|(id, _)| *id))).unwrap();
        for ((id, bytes), body) in expected.iter().zip(bodies) {
            assert_eq!(body.unwrap().payload, Some(payload(*id, *bytes)), "job {id}");
        }
        // In a gap between jobs, before the first and after the last.
        let unborn =
            [15, id - 1, 0, u64::MAX].map(|id| log.locate(JobId(id)).map(|place| (JobId(id), place)));
        for place in unborn.into_iter().flatten() {
            assert_eq!(read_bodies(&[place]).unwrap(), [None]);
        }
    }
}

#[test]
fn a_thousand_neighbours_are_read_in_one_call() {
    let disk = SimDisk::new(Plan::default());
    let options = LogOptions { segment_bytes: 1 << 20, ahead: false };
    let mut log = Log::open(Arc::new(disk.clone()), Path::new("/d"), STORE, options, 0).unwrap();
    log.replay(&mut |_, _, _, _| Ok(())).unwrap();
    // A hundred in one enqueue, and nine hundred one by one in groups of thirty.
    append(&mut log, vec![enqueue(1, &[300; 100])]).unwrap();
    for first in (101..=1_000).step_by(30) {
        append(&mut log, (0..30).map(|n| enqueue(first + n, &[300])).collect()).unwrap();
    }
    let places = places(&log, 1..=1_000);
    let before = disk.reads();
    let bodies = read_bodies(&places).unwrap();
    assert_eq!(disk.reads() - before, 1);
    for (id, body) in (1..).zip(bodies) {
        assert_eq!(body.unwrap().payload, Some(payload(id, 300)));
    }
}

#[test]
fn one_job_of_many_is_read_without_the_rest() {
    let disk = SimDisk::new(Plan::default());
    let (mut log, ..) = open(&disk, 0).unwrap();
    append(&mut log, vec![enqueue(1, &[300; 9_000])]).unwrap();
    for id in [1, 200, 4_567, 9_000] {
        let place = log.locate(JobId(id)).unwrap();
        assert!(place.extent.end - place.extent.offset < 70_000);
        assert_eq!(
            read_bodies(&[(JobId(id), place)]).unwrap()[0].as_ref().unwrap().payload,
            Some(payload(id, 300))
        );
    }
}

#[test]
fn a_damaged_body_is_told_and_no_other() {
    let disk = SimDisk::new(Plan::default());
    let (mut log, ..) = open(&disk, 0).unwrap();
    append(&mut log, vec![enqueue(1, &[300; 3])]).unwrap();
    let places = places(&log, 1..=3);
    disk.damage(&path(1), 64 + 64 + 21 + 310 + 100, |bytes| bytes[0] ^= 1);
    let read = |at: usize| read_bodies(&places[at..=at]);
    assert_eq!(read(0).unwrap()[0].as_ref().unwrap().payload, Some(payload(1, 300)));
    assert!(matches!(read(1), Err(StoreError::Damaged(what)) if what.contains("job 2")));
    assert_eq!(read(2).unwrap()[0].as_ref().unwrap().payload, Some(payload(3, 300)));
}

#[test]
fn a_segment_that_is_read_is_not_used_again() {
    let disk = SimDisk::new(Plan::default());
    let (mut log, ..) = open(&disk, 0).unwrap();
    append(&mut log, vec![enqueue(1, &[5_000])]).unwrap();
    let held = places(&log, [1]);
    for id in 2..40 {
        append(&mut log, vec![enqueue(id, &[5_000])]).unwrap();
        let oldest = log.segments().next().unwrap();
        if !oldest.is_active() {
            let number = oldest.number();
            log.retire(number).unwrap();
        }
    }
    assert!(log.locate(JobId(1)).is_none());
    assert_eq!(read_bodies(&held).unwrap()[0].as_ref().unwrap().payload, Some(payload(1, 5_000)));
}
