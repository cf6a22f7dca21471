//! The bytes on disk. When one of these tests fails, stores in the field can no longer be read: give the
//! new layout a new kind (docs/STORAGE.md), and leave these as they are.

use std::fmt::Write;

use bytes::Bytes;
use proptest::prelude::*;
use sluice_engine::{JobId, Mutation};

use super::{Birth, DecodeError, body_of, decode, encode, next_record, sample};

/// In the order of [`sample::one_of_each`].
const EACH: [&str; 14] = [
    "016000000003000000020000000000000007736d732e6f75740500000000ca9a3b000000000000000000000040005847\
     f80d0000009a9999999999c93f00ac23fc0600000000a0b8304603000000000004000000000000420769350900005847\
     f80d000000",
    "029000000003000000e8030000000000000300000066bbcf10070000000004706c61696ecf0c7a33570000001b090b62\
     6f7434322f67726f757000ca9a3b000000001f07000000404b4c0000000000000000000000f83f001a71180200000000\
     0000000000d03f0a746578742f706c61696e010674656e616e740461636d657269636816220d470a0000000404080706\
     0504030201",
    "0310000000e903000000000000eb03000000000000",
    "042200000000ac23fc0600000008776f726b65722d3702e803000000000000e903000000000000",
    "0510000000e803000000000000005847f80d000000",
    "060d000000e80300000000000004646f6e65",
    "071f000000e90300000000000001010076be370700000003453432086e6f20726f757465",
    "082d00000003000000000102030405060708090a0b0c0d0e0fdec000000000000002ea03000000000000e90300000000\
     0000",
    "0910000000e903000000000000ec03000000000000",
    "0a0900000001e903000000000000",
    "0b0900000001e803000000000000",
    "0c10000000000102030405060708090a0b0c0d0e0f",
    "0d24000000000102030405060708090a0b0c0d0e0fdec0000000000000e80300000000000003000000",
    "0e080000001100000000000000",
];

/// Of those above, kinds that are read and not written any more.
const WRITTEN_NO_MORE: [usize; 1] = [0];

/// In the order of [`sample::one_of_each_later`].
const EACH_LATER: [&str; 31] = [
    "0fce00000003000000020000000000000007736d732e6f75740500000000ca9a3b000000000000000000000040005847\
     f80d0000009a9999999999c93f00ac23fc0600000000a0b8304603000000000004000000000000420769350900005847\
     f80d0000001fe8030000000000000000004000000000020814000000000000e03f9a9999999999e93f1400000080f0fa\
     02000000000a00000000e1f505000000000500000000c2eb0b00000000005847f80d000000010a626f742a2f67726f75\
     70030a00000000000000000010000000000003",
    "023600000003000000e80300000000000001000000f7ab17821e000000e004005847f80d00000006696d706f7274086f\
     726465722d31376f6e6365",
    "1042000000000102030405060708090a0b0c0d0e0fdec0000000000000e8030000000000000300000001010000008403\
     0000000000000220030000000000002103000000000000",
    "111a000000e803000000000000090208070605040302010700000000000000",
    "1208000000e803000000000000",
    "1308000000e803000000000000",
    "140900000001e803000000000000",
    "150900000001e803000000000000",
    "1610000000e8030000000000000076be3707000000",
    "17130000000300000006696d706f7274f401000000000000",
    "180e000000030000000206696d706f72740162",
    "190400000003000000",
    "1a0400000003000000",
    "070a000000e9030000000000000403",
    "070a000000e9030000000000000504",
    "0fb400000003000000030000000000000007736d732e6f75740500000000ca9a3b000000000000000000000040005847f80d0000009a9999999999c93f00ac23fc0600000000a0b8304603000000000004000000000000420769350900005847f80d000000200100004f91944e00000104626f742a20000309000000030000000201011e000000005847f80d000000050000000202e8030000005847f80d00000000010000000101011e000000005847f80d00000005000000",
    "021f00000003000000e90300000000000001000000f44b425d0700000000840119000000",
    "1b1b000000030000000105626f74343202000000000000001a00000000000000",
    "1c0e00000003000000000076be370700000004",
    "1dcd0000000300000005626f7434320040597307000000010076be3707000000020201011e000000005847f80d0000000500000063000000000000000202e8030000005847f80d00000007000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000030000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000",
    "1e0a0000000300000005626f743432",
    "0f7200000003000000040000000000000007736d732e6f75740500000000ca9a3b000000000000000000000040005847f80d0000009a9999999999c93f00ac23fc0600000000a0b8304603000000000004000000000000420769350900005847f80d000000400100004f91944e0000000676656e646f72",
    "1f450000000400000002000000000000000676656e646f7200ac23fc060000000109000000010000000201011e000000005847f80d000000050000000202e8030000005847f80d000000",
    "200400000004000000",
    "211a0000000300000005626f7434320076be37070000001900000007000000",
    "1d1201000003000000000040597307000000800201011e000000005847f80d0000000500000063000000000000000202e8030000005847f80d000000070000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000300000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000203000000000000000400000000000000009435770000000002070000000000000000000000000000000900000000000000f40100000000000003000000000000000400000000000000009435770000000000",
    "021b00000003000000ea0300000000000001000000afb4d7ca03000000008402",
    "0f9a00000003000000040000000000000007736d732e6f75740500000000ca9a3b000000000000000000000040005847\
     f80d0000009a9999999999c93f00ac23fc0600000000a0b8304603000000000004000000000000420769350900005847\
     f80d000000000100004f91944e00000204626f742a20001c01000000000500000000ac23fc06000000012a2000140100\
     0000000500000000ac23fc06000000",
    "1d5d0000000300000005626f743432000000000000000006000076be37070000000000000000003e40333333333333eb\
     3f00000000000000d03f000af4ae07000000030101070af4ae07000000000400000000ac23fc060000000011f1190700\
     0000",
    "1d610000000300000005626f743432000000000000000006000076be37070000000000000000003e40333333333333eb\
     3f00000000000000d03f000af4ae07000000030101070af4ae0700000001005847f80d00000000ac23fc060000000011\
     f11907000000",
    "1d590000000300000005626f743432000000000000000006000076be37070000000000000000003e40333333333333eb\
     3f00000000000000d03f000af4ae07000000030101070af4ae070000000200ac23fc060000000011f11907000000",
];

#[test]
fn every_kind_keeps_its_bytes() {
    for (index, (mutation, golden)) in sample::one_of_each().iter().zip(EACH).enumerate() {
        if !WRITTEN_NO_MORE.contains(&index) {
            assert_eq!(hex(&encoded(std::slice::from_ref(mutation))), golden, "{mutation:?}");
        }
    }
    assert_eq!(sample::one_of_each_later().len(), EACH_LATER.len());
    for (mutation, golden) in sample::one_of_each_later().iter().zip(EACH_LATER) {
        assert_eq!(hex(&encoded(std::slice::from_ref(mutation))), golden, "{mutation:?}");
    }
}

#[test]
fn every_kind_is_read_for_ever() {
    for (mutation, golden) in all_samples().iter().zip(EACH.into_iter().chain(EACH_LATER)) {
        assert_eq!(decode(&bytes_of(golden), |_| {}).as_deref(), Ok(std::slice::from_ref(mutation)));
    }
}

#[test]
fn every_kind_comes_back_as_it_went_in() {
    let all = all_samples();
    assert_eq!(decode(&encoded(&all), |_| {}), Ok(all));
}

proptest! {
    #[test]
    fn any_mutations_come_back_as_they_went_in(all in prop::collection::vec(sample::mutation(), 0..6)) {
        prop_assert_eq!(decode(&encoded(&all), |_| {}), Ok(all));
    }

    #[test]
    fn births_say_where_records_lie(all in prop::collection::vec(sample::mutation(), 1..4)) {
        let (mut told, mut found) = (Vec::new(), Vec::new());
        let mut out = Vec::new();
        all.iter().for_each(|mutation| encode(mutation, &mut out, |birth| told.push(birth)));
        let bytes = Bytes::from(out);
        let decoded = decode(&bytes, |birth| found.push(birth)).unwrap();
        prop_assert_eq!(&told, &found);
        let mut jobs = decoded.iter().flat_map(jobs_of);
        for Birth { id, offset, end, .. } in told {
            let record = next_record(&mut &bytes[offset..end]).unwrap();
            let body = body_of(id, record, &bytes).unwrap();
            let (job_id, job) = jobs.next().unwrap();
            prop_assert_eq!(id, job_id);
            prop_assert_eq!((body.payload.unwrap(), body.attributes), (job.payload, job.attributes));
        }
        prop_assert!(jobs.next().is_none());
    }

    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = decode(&Bytes::from(bytes), |_| {});
    }

    #[test]
    fn no_changed_byte_panics(mutation in sample::mutation(), at in any::<prop::sample::Index>(), to in any::<u8>()) {
        let mut bytes = encoded(&[mutation]).to_vec();
        let at = at.index(bytes.len());
        bytes[at] = to;
        let _ = decode(&Bytes::from(bytes), |_| {});
    }
}

#[test]
fn cut_events_are_refused() {
    for mutation in all_samples() {
        let whole = encoded(&[mutation]);
        for end in 1..whole.len() {
            assert_eq!(decode(&whole.slice(..end), |_| {}), Err(DecodeError::Short));
        }
    }
}

#[test]
fn events_of_unknown_kinds_are_refused() {
    assert_eq!(decode(&Bytes::from_static(&[200, 0, 0, 0, 0]), |_| {}), Err(DecodeError::Kind(200)));
}

#[test]
fn events_with_more_than_their_fields_are_refused() {
    let longer = Bytes::from_static(&[14, 9, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 7]);
    assert_eq!(decode(&longer, |_| {}), Err(DecodeError::Excess));
}

#[test]
fn a_damaged_record_gives_no_body() {
    let Some(Mutation::Enqueued { jobs, first, .. }) = sample::one_of_each().into_iter().nth(1) else {
        panic!("the second sample is an enqueue");
    };
    let mut out = Vec::new();
    super::job::put_job(&mut out, first, &jobs[1]);
    let good = Bytes::from(out.clone());
    assert!(body_of(first, &good, &good).is_some());
    assert!(body_of(JobId(first.0 + 1), &good, &good).is_none(), "the record of another job");
    for at in 0..out.len() {
        let mut bad = out.clone();
        bad[at] ^= 1;
        let bad = Bytes::from(bad);
        assert!(body_of(first, &bad, &bad).is_none(), "bit 0 of byte {at}");
    }
}

#[test]
fn a_job_of_270_bytes_takes_less_than_300() {
    let job = sluice_engine::JobSpec {
        payload: Bytes::from(vec![b'x'; 256]),
        key: sluice_engine::Key::new("bot42/group/chat7"[..14].to_owned()).unwrap(),
        ..Default::default()
    };
    let jobs = vec![job; 1_000];
    let bytes = encoded(&[Mutation::Enqueued { queue: sluice_engine::QueueId(1), first: JobId(1), jobs }]);
    assert!(bytes.len() < 300_000, "{} bytes for 1,000 jobs", bytes.len());
}

fn all_samples() -> Vec<Mutation> {
    let mut all = sample::one_of_each();
    all.extend(sample::one_of_each_later());
    all
}

fn bytes_of(hex: &str) -> Bytes {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

fn encoded(mutations: &[Mutation]) -> Bytes {
    let mut out = Vec::new();
    mutations.iter().for_each(|mutation| encode(mutation, &mut out, |_| {}));
    out.into()
}

fn jobs_of(mutation: &Mutation) -> Vec<(JobId, sluice_engine::JobSpec)> {
    match mutation {
        Mutation::Enqueued { first, jobs, .. } => {
            jobs.iter().enumerate().map(|(i, job)| (JobId(first.0 + i as u64), job.clone())).collect()
        }
        _ => Vec::new(),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}
