//! A job's detail within its record, and what of it lies apart because it is long.
//!
//! ```text
//! detail   flags (1 retry, 2 worker, 4 start, 8 end, 16 error, 32 result here, 64 result in `body`, 128 ttl,
//!          256 expire, 512 history here, 1024 history in `body`, 2048 cost, 4096 leased at),
//!          each in this order; retry and error as in the log;
//!          of a result elsewhere its length
//! history  number, (token, worker, start, end, cause u8, error? u8, error) …
//! ```
//! Version 1 of a record has the first seven flags, and so one byte of them.

use std::sync::Arc;

use bytes::Bytes;
use sluice_engine::bound::MAX_ATTEMPT_HISTORY;
use sluice_engine::{
    Attempt, Cost, Detail, JobError, JobRecord, LeaseToken, ReturnCause, Span, Timestamp, WallTime,
};

use super::value::{Decoder, Encoder, Malformed};
use crate::store::codec::{get_error, get_patch, put_error, put_patch};

/// A longer result goes to the tree `body`, in parts: state trees are read at every start.
const MAX_INLINE_RESULT: usize = 512;
/// A longer history goes there too: with all else that is as long as it can be it would not fit.
const MAX_INLINE_HISTORY: usize = 1_536;

/// What a detail has: keep the bits.
mod flag {
    pub(super) const RETRY: u64 = 1;
    pub(super) const WORKER: u64 = 1 << 1;
    pub(super) const START_TIME: u64 = 1 << 2;
    pub(super) const END_TIME: u64 = 1 << 3;
    pub(super) const ERROR: u64 = 1 << 4;
    pub(super) const RESULT: u64 = 1 << 5;
    pub(super) const RESULT_APART: u64 = 1 << 6;
    pub(super) const TTL: u64 = 1 << 7;
    pub(super) const EXPIRE: u64 = 1 << 8;
    pub(super) const HISTORY: u64 = 1 << 9;
    pub(super) const HISTORY_APART: u64 = 1 << 10;
    pub(super) const COST: u64 = 1 << 11;
    pub(super) const LEASED_AT: u64 = 1 << 12;
    pub(super) const ALL: u64 = (1 << 13) - 1;
}

/// What of a detail lies in the tree `body`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Apart {
    /// How long the result is, if it does.
    pub(crate) result: Option<u32>,
    /// Whether the history does.
    pub(crate) history: bool,
}

/// The result that must lie apart, if it is long.
pub(crate) fn result_apart(record: &JobRecord) -> Option<&Bytes> {
    record.detail.as_ref()?.result.as_ref().filter(|result| result.len() > MAX_INLINE_RESULT)
}

/// The history that must lie apart, if it is long.
pub(crate) fn history_apart(record: &JobRecord) -> Option<Vec<u8>> {
    let history = encode_history(&record.detail.as_ref()?.history);
    (history.len() > MAX_INLINE_HISTORY).then_some(history)
}

pub(crate) fn encode(e: &mut Encoder, detail: &Detail) {
    let history = encode_history(&detail.history);
    let mut flags = 0;
    let mut mark = |flag: u64, is: bool| flags |= if is { flag } else { 0 };
    mark(flag::RETRY, detail.retry.is_some());
    mark(flag::WORKER, detail.worker.is_some());
    mark(flag::START_TIME, detail.start_time.is_some());
    mark(flag::END_TIME, detail.end_time.is_some());
    mark(flag::ERROR, detail.error.is_some());
    let result_apart = detail.result.as_ref().is_some_and(|result| result.len() > MAX_INLINE_RESULT);
    mark(flag::RESULT, detail.result.is_some() && !result_apart);
    mark(flag::RESULT_APART, result_apart);
    mark(flag::TTL, detail.ttl.is_some());
    mark(flag::EXPIRE, detail.expire.is_some());
    let history_apart = history.len() > MAX_INLINE_HISTORY;
    mark(flag::HISTORY, !detail.history.is_empty() && !history_apart);
    mark(flag::HISTORY_APART, history_apart);
    mark(flag::COST, detail.cost != Cost::DEFAULT);
    mark(flag::LEASED_AT, detail.leased_at > Timestamp(0));

    e.u64(flags);
    if let Some(retry) = &detail.retry {
        e.shared(put_patch, retry);
    }
    if let Some(worker) = &detail.worker {
        e.bytes(worker.as_bytes());
    }
    for time in [detail.start_time, detail.end_time].into_iter().flatten() {
        e.u64(time.0);
    }
    if let Some(error) = &detail.error {
        e.shared(put_error, error);
    }
    match &detail.result {
        Some(result) if result_apart => e.u64(result.len() as u64),
        Some(result) => e.bytes(result),
        None => {}
    }
    if let Some(ttl) = detail.ttl {
        e.u64(ttl.0);
    }
    if let Some(expire) = detail.expire {
        e.u64(expire.0);
    }
    if !detail.history.is_empty() && !history_apart {
        e.raw(&history);
    }
    if detail.cost != Cost::DEFAULT {
        e.u64(detail.cost.get().into());
    }
    if detail.leased_at > Timestamp(0) {
        e.u64(detail.leased_at.0);
    }
}

pub(crate) fn decode(d: &mut Decoder<'_>) -> Result<(Detail, Apart), Malformed> {
    let flags = d.u64()?;
    if flags & !flag::ALL != 0 {
        return Err(Malformed::Field);
    }
    let has = |flag: u64| flags & flag != 0;
    let (mut detail, mut apart) = (Detail::default(), Apart::default());
    if has(flag::RETRY) {
        detail.retry = Some(Box::new(d.shared(get_patch)?));
    }
    if has(flag::WORKER) {
        detail.worker = Some(Arc::from(d.text()?));
    }
    if has(flag::START_TIME) {
        detail.start_time = Some(WallTime(d.u64()?));
    }
    if has(flag::END_TIME) {
        detail.end_time = Some(WallTime(d.u64()?));
    }
    if has(flag::ERROR) {
        detail.error = Some(Box::new(d.shared(get_error)?));
    }
    if has(flag::RESULT) {
        detail.result = Some(d.owned_bytes()?);
    }
    if has(flag::RESULT_APART) {
        apart.result = Some(d.u32()?);
    }
    if has(flag::TTL) {
        detail.ttl = Some(Span(d.u64()?));
    }
    if has(flag::EXPIRE) {
        detail.expire = Some(Timestamp(d.u64()?));
    }
    if has(flag::HISTORY) {
        detail.history = decode_history(d)?;
    }
    apart.history = has(flag::HISTORY_APART);
    if has(flag::COST) {
        detail.cost = Cost::new(d.u32()?).ok_or(Malformed::Field)?;
    }
    if has(flag::LEASED_AT) {
        detail.leased_at = Timestamp(d.u64()?);
    }
    Ok((detail, apart))
}

fn encode_history(history: &[Attempt]) -> Vec<u8> {
    let mut e = Encoder::fields();
    e.u64(history.len() as u64);
    for attempt in history {
        e.u64(attempt.token.0);
        e.bytes(attempt.worker.as_bytes());
        e.u64(attempt.start_time.0);
        e.u64(attempt.end_time.0);
        e.u8(attempt.cause as u8);
        e.u8(u8::from(attempt.error.is_some()));
        if let Some(error) = &attempt.error {
            e.shared(put_error, error);
        }
    }
    e.into_inner()
}

/// See [`history_apart`].
pub(crate) fn decode_history(d: &mut Decoder<'_>) -> Result<Vec<Attempt>, Malformed> {
    let count = d.u64()?;
    if count > MAX_ATTEMPT_HISTORY as u64 {
        return Err(Malformed::Field);
    }
    (0..count).map(|_| decode_attempt(d)).collect()
}

fn decode_attempt(d: &mut Decoder<'_>) -> Result<Attempt, Malformed> {
    let token = LeaseToken(d.u64()?);
    let worker = Arc::from(d.text()?);
    let (start_time, end_time) = (WallTime(d.u64()?), WallTime(d.u64()?));
    let cause = ReturnCause::from_number(d.u8()?).ok_or(Malformed::Field)?;
    let error: Option<JobError> = match d.u8()? {
        0 => None,
        1 => Some(d.shared(get_error)?),
        _ => return Err(Malformed::Field),
    };
    Ok(Attempt { token, worker, start_time, end_time, cause, error: error.map(Box::new) })
}

#[cfg(test)]
pub(crate) mod tests {
    use sluice_engine::RetryPatch;

    use super::*;

    /// Every field said that was there first.
    pub(crate) fn first_detail() -> Detail {
        Detail {
            retry: Some(Box::new(RetryPatch {
                max_attempts: Some(5),
                initial_backoff: Some(Span::from_millis(250)),
                multiplier: Some(1.5),
                max_backoff: Some(Span::from_secs(9)),
                jitter: Some(0.0),
            })),
            worker: Some("worker-1".into()),
            start_time: Some(WallTime(1)),
            end_time: Some(WallTime(2)),
            error: Some(Box::new(JobError { code: "E42".into(), message: "no route".into() })),
            result: Some(Bytes::from_static(b"ok")),
            ..Detail::default()
        }
    }

    /// Every field said.
    pub(crate) fn full_detail() -> Detail {
        Detail {
            ttl: Some(Span::from_secs(60)),
            expire: Some(Timestamp(99)),
            history: vec![attempt(5, "w", None), attempt(6, "w", Some(error("E42", "no route")))],
            ..first_detail()
        }
    }

    /// Every field as long as it can be, and so many attempts.
    pub(crate) fn largest_detail(attempts: u64) -> Detail {
        let longest =
            |_| attempt(u64::MAX, &"w".repeat(128), Some(error(&"c".repeat(128), &"m".repeat(256))));
        Detail {
            worker: Some("w".repeat(128).into()),
            start_time: Some(WallTime(u64::MAX)),
            end_time: Some(WallTime(u64::MAX)),
            error: Some(error(&"c".repeat(128), &"m".repeat(4_096))),
            result: Some(vec![0; MAX_INLINE_RESULT].into()),
            ttl: Some(Span(u64::MAX)),
            expire: Some(Timestamp(u64::MAX)),
            history: (0..attempts).map(longest).collect(),
            cost: Cost::new(sluice_engine::bound::MAX_COST).unwrap(),
            leased_at: Timestamp(u64::MAX),
            ..first_detail()
        }
    }

    fn error(code: &str, message: &str) -> Box<JobError> {
        Box::new(JobError { code: code.into(), message: message.into() })
    }

    fn attempt(token: u64, worker: &str, error: Option<Box<JobError>>) -> Attempt {
        let (start_time, end_time) = (WallTime(token), WallTime(u64::MAX));
        let cause = ReturnCause::Rejected;
        Attempt { token: LeaseToken(token), worker: worker.into(), start_time, end_time, cause, error }
    }

    fn round_trip(detail: &Detail) -> (Detail, Apart) {
        let mut e = Encoder::fields();
        encode(&mut e, detail);
        let fields = e.into_inner();
        decode(&mut Decoder::inside(&fields)).unwrap()
    }

    #[test]
    fn every_field_comes_back_as_it_was() {
        let leased =
            Detail { cost: Cost::new(7).unwrap(), leased_at: Timestamp(1 << 40), ..Detail::default() };
        for detail in [Detail::default(), first_detail(), full_detail(), leased] {
            assert_eq!(round_trip(&detail), (detail, Apart::default()));
        }
    }

    #[test]
    fn long_results_and_histories_lie_apart() {
        let result = Some(Bytes::from(vec![b'r'; MAX_INLINE_RESULT + 1]));
        let detail = Detail { result, ..largest_detail(10) };
        let history = encode_history(&detail.history);
        assert_eq!(decode_history(&mut Decoder::inside(&history)), Ok(detail.history.clone()));
        let (found, apart) = round_trip(&detail);
        assert_eq!(apart, Apart { result: Some(513), history: true });
        assert_eq!(found, Detail { result: None, history: Vec::new(), ..detail });
    }
}
