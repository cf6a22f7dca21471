//! The bytes on disk. When one of these tests fails, logs in the field can no longer be read: see
//! docs/STORAGE.md for how the format changes.

use sluice_engine::{Now, Timestamp, WallTime};

use super::frame::{FrameHeader, MAX_BODY_BYTES, body_crc, frame_bytes};
use super::segment::{HeaderFault, SegmentHeader, first_chain, frame_seed};

const STORE: u128 = 0x0f0e_0d0c_0b0a_0908_0706_0504_0302_0100;

fn segment_header() -> SegmentHeader {
    SegmentHeader { store_id: STORE, number: 7, first_group: 0x0102, chain: 0xA1B2_C3D4 }
}

fn frame_header() -> FrameHeader {
    FrameHeader {
        group: 0x0102_0304_0506_0708,
        now: Now { engine: Timestamp(0x1112), wall: WallTime(0x2122) },
        synced: Timestamp(0x3132),
        body_bytes: 5,
        body_crc: body_crc(0xA1B2_C3D4, b"hello"),
        chain: 0xA1B2_C3D4,
        clean: true,
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn segment_header_keeps_its_bytes() {
    let bytes = segment_header().encode();
    assert_eq!(hex(&bytes[..32]), "534c554943454c4701000000d457cbf5000102030405060708090a0b0c0d0e0f");
    assert_eq!(hex(&bytes[32..]), "07000000000000000201000000000000d4c3b2a1000000000000000000000000");
    assert_eq!(SegmentHeader::decode(&bytes), Ok(segment_header()));
}

#[test]
fn frame_header_keeps_its_bytes() {
    let seed = frame_seed(STORE, 7);
    let (bytes, crc) = frame_header().encode(seed);
    assert_eq!(hex(&bytes[..32]), "534c46529b5b474b080706050403020112110000000000002221000000000000");
    assert_eq!(hex(&bytes[32..]), "32310000000000000500000060e685f5d4c3b2a1010000000000000000000000");
    assert_eq!(FrameHeader::decode(&bytes, seed), Some((frame_header(), crc)));
}

#[test]
fn seeds_stay_as_they_are() {
    assert_eq!((frame_seed(STORE, 7), first_chain(STORE)), (0x34BFD486, 0xD9C908EB));
}

#[test]
fn a_changed_bit_of_a_header_is_noticed() {
    let seed = frame_seed(STORE, 7);
    for bit in 0..64 * 8 {
        let mut segment = segment_header().encode();
        segment[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(SegmentHeader::decode(&segment), Err(HeaderFault::None), "bit {bit}");
        let (mut frame, _) = frame_header().encode(seed);
        frame[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(FrameHeader::decode(&frame, seed), None, "bit {bit}");
    }
}

#[test]
fn a_frame_of_another_segment_or_store_never_passes() {
    let (bytes, _) = frame_header().encode(frame_seed(STORE, 7));
    for number in (0..7).chain(8..100_000) {
        assert_eq!(FrameHeader::decode(&bytes, frame_seed(STORE, number)), None, "segment {number}");
    }
    for bit in 0..128 {
        assert_eq!(FrameHeader::decode(&bytes, frame_seed(STORE ^ 1 << bit, 7)), None);
    }
}

#[test]
fn a_length_that_cannot_be_is_not_believed() {
    let seed = frame_seed(STORE, 7);
    let header = FrameHeader { body_bytes: MAX_BODY_BYTES as u32 + 1, ..frame_header() };
    assert_eq!(FrameHeader::decode(&header.encode(seed).0, seed), None);
}

#[test]
fn frames_fill_multiples_of_64_bytes() {
    assert_eq!([0, 1, 64, 65].map(frame_bytes), [64, 128, 128, 192]);
}
