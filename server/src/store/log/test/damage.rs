//! A torn end is passed over; anything else that is not as it was written is refused, and named.

use super::*;

/// What a group of one job of 1,700 bytes takes.
const FRAME_BYTES: usize = 1_856;

/// Three segments, and where each group's frame begins.
fn written() -> (SimDisk, Vec<Group>, Vec<(u64, u64)>) {
    let disk = SimDisk::new(Plan::default());
    let (mut log, ..) = open(&disk, 0).unwrap();
    let (mut groups, mut places) = (Vec::new(), Vec::new());
    for first in 1..=10 {
        groups.push(append(&mut log, vec![enqueue(first, &[1_700])]).unwrap());
        let active = log.segments().next_back().unwrap();
        places.push((active.number(), active.used_bytes() - FRAME_BYTES as u64));
    }
    assert_eq!(places[9].0, 3);
    (disk, groups, places)
}

fn refusal(disk: &SimDisk, retired_through: u64) -> String {
    match open(disk, retired_through) {
        Err(StoreError::Damaged(what)) => what,
        Err(other) => panic!("refused for another reason: {other}"),
        Ok((.., groups)) => panic!("accepted with {} groups", groups.len()),
    }
}

#[test]
fn a_torn_last_frame_is_passed_over_and_written_over() {
    for at in [0, 4, 8, 64, 100, 1_700] {
        let (disk, groups, places) = written();
        let (segment, offset) = places[9];
        disk.damage(&path(segment), offset + at, |bytes| bytes[0] ^= 0xff);
        let (mut log, replayed, found) = open(&disk, 0).unwrap();
        assert_eq!((replayed.last_group, &found[..]), (9, &groups[..9]), "byte {at}");
        let tenth = append(&mut log, vec![enqueue(50, &[20])]).unwrap();
        assert_eq!(tenth.number, 10);
        let (.., found) = open(&disk.after_power_loss(1, Plan::default()), 0).unwrap();
        assert_eq!(found.last(), Some(&tenth));
    }
}

#[test]
fn what_a_torn_frame_left_is_cleared_before_the_next_group() {
    let (disk, _, places) = written();
    let (segment, offset) = places[9];
    disk.damage(&path(segment), offset, |bytes| bytes[0] ^= 0xff);
    open(&disk, 0).unwrap();
    disk.damage(&path(segment), offset, |bytes| assert!(bytes.iter().all(|byte| *byte == 0)));
}

#[test]
fn a_damaged_frame_before_the_last_is_refused_with_segment_and_offset() {
    for at in [0, 4, 8, 64, 100, 1_700] {
        for group in 0..9 {
            let (disk, _, places) = written();
            let (segment, offset) = places[group];
            disk.damage(&path(segment), offset + at, |bytes| bytes[0] ^= 0xff);
            let what = refusal(&disk, 0);
            assert!(what.contains(&format!("segment {segment}, offset {offset}:")), "byte {at}: {what}");
        }
    }
}

#[test]
fn a_frame_that_vanished_is_refused() {
    for group in 0..9 {
        let (disk, _, places) = written();
        let (segment, offset) = places[group];
        disk.damage(&path(segment), offset, |bytes| bytes[..FRAME_BYTES].fill(0));
        let what = refusal(&disk, 0);
        assert!(what.contains(&format!("segment {segment}, offset {offset}:")), "{what}");
    }
}

#[test]
fn a_frame_in_place_of_another_is_refused() {
    let (disk, _, places) = written();
    let (segment, offset) = places[0];
    disk.damage(&path(segment), offset, |bytes| bytes.copy_within(FRAME_BYTES..2 * FRAME_BYTES, 0));
    refusal(&disk, 0);
}

#[test]
fn no_changed_byte_goes_unnoticed_but_in_the_last_frame() {
    let (disk, groups, _) = written();
    for segment in 1..=3 {
        let end = 64 + FRAME_BYTES as u64 * if segment == 3 { 2 } else { 4 };
        for offset in 0..end {
            let disk = disk.after_kill(Plan::default());
            disk.damage(&path(segment), offset, |bytes| bytes[0] ^= 0x10);
            match open(&disk, 0) {
                Err(_) => {}
                // The zeros between a body and the next frame mean nothing.
                Ok((.., found)) if found.len() == 10 => assert_eq!(found, groups),
                Ok((.., found)) => {
                    assert_eq!(found, groups[..9]);
                    assert!(
                        segment == 3 && offset >= 64 + FRAME_BYTES as u64,
                        "segment {segment}, offset {offset}"
                    );
                }
            }
        }
    }
}

#[test]
fn a_missing_segment_is_refused() {
    use crate::store::disk::Disk;
    for (missing, retired_through) in [(1, 0), (2, 0), (2, 1)] {
        let (disk, ..) = written();
        disk.remove(&path(missing)).unwrap();
        assert!(refusal(&disk, retired_through).contains(&format!("segment {missing} is missing")));
    }
    // All that there ever was after the retired ones: a log never ends so.
    let (disk, ..) = written();
    assert!(refusal(&disk, 4).contains("/log: the log has nothing after segment 4"), "{}", refusal(&disk, 4));
}

#[test]
fn segments_that_were_retired_are_removed_when_they_are_still_there() {
    let (disk, groups, _) = written();
    let (log, replayed, found) = open(&disk, 1).unwrap();
    assert_eq!(found, groups[4..]);
    assert_eq!(replayed.first_group, Some(5));
    assert_eq!(log.segments().next().unwrap().number(), 2);
    assert!(!disk.names().contains(&path(1)));
}

#[test]
fn a_segment_of_another_store_is_refused() {
    let (disk, ..) = written();
    let error = Log::open(Arc::new(disk), Path::new("/d"), STORE + 1, OPTIONS, 0).err().unwrap();
    assert!(error.to_string().contains("belongs to another store"), "{error}");
}

#[test]
fn a_segment_of_a_later_format_is_refused() {
    let (disk, ..) = written();
    disk.damage(&path(3), 0, |bytes| {
        bytes[8] = 2;
        let crc = crc32c::crc32c_append(crc32c::crc32c(&bytes[..12]), &bytes[16..64]);
        bytes[12..16].copy_from_slice(&crc.to_le_bytes());
    });
    let error = open(&disk, 0).err().unwrap();
    assert!(error.to_string().contains("format 2"), "{error}");
}

#[test]
fn a_payload_that_looks_like_a_frame_does_no_harm() {
    // The bytes of a real frame of this very segment, torn off in the last group's payload.
    let (disk, groups, places) = written();
    let (segment, offset) = places[8];
    let mut copy = Vec::new();
    disk.damage(&path(segment), offset, |bytes| copy = bytes[..FRAME_BYTES].to_vec());
    let (mut log, ..) = open(&disk, 0).unwrap();
    let payload = copy.repeat(2);
    let job = JobSpec { payload: payload.into(), ..JobSpec::default() };
    append(&mut log, vec![Mutation::Enqueued { queue: QueueId(1), first: JobId(90), jobs: vec![job] }])
        .unwrap();
    let last = places[9].1 + FRAME_BYTES as u64;
    disk.damage(&path(segment), last + 40, |bytes| bytes[0] ^= 1);
    assert_eq!(open(&disk, 0).unwrap().2, groups);
}
