//! Limits as bytes: what was set on a node, and what is known of it.
//!
//! ```text
//! settings  flags u8 (1 max_in_flight, 2 ordered, 4 adaptive or not is said, 8 adaptive, 16 breaker), max_in_flight u32?,
//!           weight u32, number of windows, windows …, breaker?
//! breaker   consecutive failures u32, open duration u64
//! window    kind u8 (1 RATE, 2 QUOTA), unit u8, amount u32, period u64, burst u32 of a RATE
//! state     frozen_until u64, flags u8 (1 throttled, 2 learned, 4 broken, 128 traces), (time u64, step u8)?,
//!           number of meters, (window, meter) …, (number of traces, trace …)?, learned?, broken?
//! meter     of a RATE: time u64; of a QUOTA: latest part u64, its count and those of 15 parts before it: u64 …
//! trace     since u64, changed u64, cheapest u64, number of lows, (time u64, owed u64) …
//! learned   cut at u64, base f64, kept f64, searching u8, grown f64, used at u64, answers u8, step u8, halved u8, full u64
//! broken    phase u8 (0 closed: failures u32; 1 open: until u64; 2 probing), opened at u64, changed at u64
//! ```

use bytes::{Buf, BufMut};
use sluice_engine::bound::MAX_WINDOWS;
use sluice_engine::{
    Adaptation, Breaker, BreakerPolicy, Charge, Feedback, Key, Meter, NodeSettings, NodeState, Phase, Quota,
    Settlement, Span, Timestamp, Trace, Unit, Window, WindowKind,
};

use super::{DecodeError, at_most, get_count, get_text, put_count, put_text};

mod flag {
    pub(super) const MAX_IN_FLIGHT: u8 = 1;
    pub(super) const ORDERED: u8 = 1 << 1;
    pub(super) const ADAPTIVE_SAID: u8 = 1 << 2;
    pub(super) const ADAPTIVE: u8 = 1 << 3;
    pub(super) const BREAKER: u8 = 1 << 4;
    pub(super) const OF_SETTINGS: u8 = (1 << 5) - 1;

    pub(super) const THROTTLED: u8 = 1;
    pub(super) const LEARNED: u8 = 1 << 1;
    pub(super) const BROKEN: u8 = 1 << 2;
    pub(super) const TRACES: u8 = 1 << 7;
    pub(super) const OF_STATE: u8 = THROTTLED | LEARNED | BROKEN | TRACES;
}

mod kind {
    pub(super) const RATE: u8 = 1;
    pub(super) const QUOTA: u8 = 2;
}

mod phase {
    pub(super) const CLOSED: u8 = 0;
    pub(super) const OPEN: u8 = 1;
    pub(super) const PROBING: u8 = 2;
}

/// Bytes of the shortest charge.
const LEAST_CHARGE_BYTES: usize = 17;
/// Bytes of what a trace knows of one time.
const LOW_BYTES: usize = 16;

/// What was set on a node.
pub(super) fn put_node(out: &mut Vec<u8>, node: &NodeSettings) {
    let mut flags = if node.max_in_flight.is_some() { flag::MAX_IN_FLIGHT } else { 0 };
    flags |= if node.ordered { flag::ORDERED } else { 0 };
    flags |= if node.adaptive.is_some() { flag::ADAPTIVE_SAID } else { 0 };
    flags |= if node.adaptive == Some(true) { flag::ADAPTIVE } else { 0 };
    flags |= if node.breaker.is_some() { flag::BREAKER } else { 0 };
    out.put_u8(flags);
    node.max_in_flight.into_iter().for_each(|most| out.put_u32_le(most));
    out.put_u32_le(node.weight);
    put_count(out, node.windows.len());
    node.windows.iter().for_each(|window| put_window(out, window));
    if let Some(breaker) = node.breaker {
        out.put_u32_le(breaker.consecutive_failures);
        out.put_u64_le(breaker.open_duration.0);
    }
}

/// See [`put_node`].
pub(super) fn get_node(input: &mut &[u8]) -> Result<NodeSettings, DecodeError> {
    let flags = input.try_get_u8()?;
    if flags & !flag::OF_SETTINGS != 0 {
        return Err(DecodeError::Invalid("flags of a node's settings"));
    }
    let has = |flag: u8| flags & flag != 0;
    let max_in_flight = has(flag::MAX_IN_FLIGHT).then(|| input.try_get_u32_le()).transpose()?;
    let weight = input.try_get_u32_le()?;
    let windows = (0..get_windows(input)?).map(|_| get_window(input)).collect::<Result<_, _>>()?;
    Ok(NodeSettings {
        windows,
        max_in_flight,
        weight,
        ordered: has(flag::ORDERED),
        adaptive: has(flag::ADAPTIVE_SAID).then_some(has(flag::ADAPTIVE)),
        breaker: has(flag::BREAKER).then(|| get_breaker_policy(input)).transpose()?,
    })
}

fn get_breaker_policy(input: &mut &[u8]) -> Result<BreakerPolicy, DecodeError> {
    let (consecutive_failures, open_duration) = (input.try_get_u32_le()?, Span(input.try_get_u64_le()?));
    Ok(BreakerPolicy { consecutive_failures, open_duration })
}

/// What went through limits.
pub(super) fn put_charges(out: &mut Vec<u8>, charges: &[Charge]) {
    put_count(out, charges.len());
    for charge in charges {
        put_text(out, &charge.key);
        out.put_u64_le(charge.jobs);
        out.put_u64_le(charge.cost);
    }
}

/// See [`put_charges`].
pub(super) fn get_charges(input: &mut &[u8]) -> Result<Vec<Charge>, DecodeError> {
    let count = get_count(input)?;
    let mut charges = Vec::with_capacity(at_most(count, input, LEAST_CHARGE_BYTES));
    for _ in 0..count {
        charges.push(Charge {
            key: get_key(input)?,
            jobs: input.try_get_u64_le()?,
            cost: input.try_get_u64_le()?,
        });
    }
    Ok(charges)
}

/// What a job cost.
pub(super) fn put_settlement(out: &mut Vec<u8>, settlement: &Settlement) {
    let Settlement { key, charged, reserved, actual } = settlement;
    put_text(out, key);
    out.put_u64_le(charged.0);
    out.put_u32_le(*reserved);
    out.put_u32_le(*actual);
}

/// See [`put_settlement`].
pub(super) fn get_settlement(input: &mut &[u8]) -> Result<Settlement, DecodeError> {
    let key = get_key(input)?;
    let charged = Timestamp(input.try_get_u64_le()?);
    Ok(Settlement { key, charged, reserved: input.try_get_u32_le()?, actual: input.try_get_u32_le()? })
}

/// What is known of a node.
pub(super) fn put_state(out: &mut Vec<u8>, state: &NodeState) {
    out.put_u64_le(state.frozen_until.0);
    let Feedback { adaptation, breaker } = state.feedback.as_deref().cloned().unwrap_or_default();
    let mut flags = if state.throttled.is_some() { flag::THROTTLED } else { 0 };
    flags |= if adaptation.is_some() { flag::LEARNED } else { 0 };
    flags |= if breaker.is_some() { flag::BROKEN } else { 0 };
    flags |= if state.traces.is_empty() { 0 } else { flag::TRACES };
    out.put_u8(flags);
    if let Some((time, step)) = state.throttled {
        out.put_u64_le(time.0);
        out.put_u8(step);
    }
    put_count(out, state.meters.len());
    for (window, meter) in &state.meters {
        put_window(out, window);
        match meter {
            Meter::Rate(time) => out.put_u64_le(time.0),
            Meter::Quota(quota) => {
                out.put_u64_le(quota.part);
                quota.counts.iter().for_each(|count| out.put_u64_le(*count));
            }
        }
    }
    if !state.traces.is_empty() {
        put_count(out, state.traces.len());
        state.traces.iter().for_each(|trace| put_trace(out, trace));
    }
    adaptation.iter().for_each(|adaptation| put_adaptation(out, adaptation));
    breaker.iter().for_each(|breaker| put_breaker(out, breaker));
}

fn put_trace(out: &mut Vec<u8>, trace: &Trace) {
    [trace.since.0, trace.changed.0, trace.cheapest].into_iter().for_each(|number| out.put_u64_le(number));
    put_count(out, trace.lows.len());
    for (time, owed) in &trace.lows {
        out.put_u64_le(time.0);
        out.put_u64_le(*owed);
    }
}

fn get_trace(input: &mut &[u8]) -> Result<Trace, DecodeError> {
    let (since, changed) = (Timestamp(input.try_get_u64_le()?), Timestamp(input.try_get_u64_le()?));
    let cheapest = input.try_get_u64_le()?;
    let count = get_count(input)?;
    let mut lows = Vec::with_capacity(at_most(count, input, LOW_BYTES));
    for _ in 0..count {
        lows.push((Timestamp(input.try_get_u64_le()?), input.try_get_u64_le()?));
    }
    Ok(Trace { since, changed, cheapest, lows })
}

/// See [`put_state`].
pub(super) fn get_state(input: &mut &[u8]) -> Result<NodeState, DecodeError> {
    let frozen_until = Timestamp(input.try_get_u64_le()?);
    let flags = input.try_get_u8()?;
    if flags & !flag::OF_STATE != 0 {
        return Err(DecodeError::Invalid("flags of a node's state"));
    }
    let has = |flag: u8| flags & flag != 0;
    let mut throttled = None;
    if has(flag::THROTTLED) {
        throttled = Some((Timestamp(input.try_get_u64_le()?), input.try_get_u8()?));
    }
    let mut meters = Vec::new();
    for _ in 0..get_windows(input)? {
        let window = get_window(input)?;
        let meter = match window.kind {
            WindowKind::Rate { .. } => Meter::Rate(Timestamp(input.try_get_u64_le()?)),
            WindowKind::Quota => {
                let mut quota = Quota { part: input.try_get_u64_le()?, ..Quota::default() };
                for count in &mut quota.counts {
                    *count = input.try_get_u64_le()?;
                }
                Meter::Quota(Box::new(quota))
            }
        };
        meters.push((window, meter));
    }
    let count = if has(flag::TRACES) { get_windows(input)? } else { 0 };
    let traces = (0..count).map(|_| get_trace(input)).collect::<Result<_, _>>()?;
    let adaptation = has(flag::LEARNED).then(|| get_adaptation(input)).transpose()?;
    let breaker = has(flag::BROKEN).then(|| get_breaker(input)).transpose()?;
    let feedback = Feedback { adaptation, breaker };
    let feedback = (feedback != Feedback::default()).then(|| Box::new(feedback));
    Ok(NodeState { meters, frozen_until, throttled, traces, feedback })
}

fn put_adaptation(out: &mut Vec<u8>, adaptation: &Adaptation) {
    out.put_u64_le(adaptation.cut_at.0);
    out.put_f64_le(adaptation.base);
    out.put_f64_le(adaptation.kept);
    out.put_u8(u8::from(adaptation.is_searching));
    out.put_f64_le(adaptation.grown);
    out.put_u64_le(adaptation.used_at.0);
    out.put_u8(adaptation.answers);
    out.put_u8(adaptation.step);
    out.put_u8(adaptation.halved);
    out.put_u64_le(adaptation.full.0);
}

fn get_adaptation(input: &mut &[u8]) -> Result<Adaptation, DecodeError> {
    let adaptation = Adaptation {
        cut_at: Timestamp(input.try_get_u64_le()?),
        base: input.try_get_f64_le()?,
        kept: input.try_get_f64_le()?,
        is_searching: input.try_get_u8()? != 0,
        grown: input.try_get_f64_le()?,
        used_at: Timestamp(input.try_get_u64_le()?),
        answers: input.try_get_u8()?,
        step: input.try_get_u8()?,
        halved: input.try_get_u8()?,
        full: Timestamp(input.try_get_u64_le()?),
    };
    // By these everything is multiplied and divided.
    let is_some = |factor: f64| factor.is_finite() && factor > 0.0;
    if !is_some(adaptation.base) || !is_some(adaptation.kept) || !adaptation.grown.is_finite() {
        return Err(DecodeError::Invalid("what a node learned"));
    }
    Ok(adaptation)
}

fn put_breaker(out: &mut Vec<u8>, breaker: &Breaker) {
    match breaker.phase {
        Phase::Closed { failures } => {
            out.put_u8(phase::CLOSED);
            out.put_u32_le(failures);
        }
        Phase::Open { until } => {
            out.put_u8(phase::OPEN);
            out.put_u64_le(until.0);
        }
        Phase::Probing => out.put_u8(phase::PROBING),
    }
    out.put_u64_le(breaker.opened_at.0);
    out.put_u64_le(breaker.changed_at.0);
}

fn get_breaker(input: &mut &[u8]) -> Result<Breaker, DecodeError> {
    let phase = match input.try_get_u8()? {
        phase::CLOSED => Phase::Closed { failures: input.try_get_u32_le()? },
        phase::OPEN => Phase::Open { until: Timestamp(input.try_get_u64_le()?) },
        phase::PROBING => Phase::Probing,
        _ => return Err(DecodeError::Invalid("phase of a breaker")),
    };
    let (opened_at, changed_at) = (Timestamp(input.try_get_u64_le()?), Timestamp(input.try_get_u64_le()?));
    Ok(Breaker { phase, opened_at, changed_at })
}

/// A key, or what keys begin with.
pub(super) fn get_key(input: &mut &[u8]) -> Result<Key, DecodeError> {
    Key::new(get_text(input)?.to_owned()).map_err(|_| DecodeError::Invalid("key"))
}

fn put_window(out: &mut Vec<u8>, window: &Window) {
    let (kind, burst) = match window.kind {
        WindowKind::Rate { burst } => (kind::RATE, Some(burst)),
        WindowKind::Quota => (kind::QUOTA, None),
    };
    out.put_u8(kind);
    out.put_u8(window.unit as u8);
    out.put_u32_le(window.amount);
    out.put_u64_le(window.period.0);
    burst.into_iter().for_each(|burst| out.put_u32_le(burst));
}

fn get_window(input: &mut &[u8]) -> Result<Window, DecodeError> {
    let kind = input.try_get_u8()?;
    let unit = Unit::from_number(input.try_get_u8()?).ok_or(DecodeError::Invalid("unit of a window"))?;
    let (amount, period) = (input.try_get_u32_le()?, Span(input.try_get_u64_le()?));
    let kind = match kind {
        kind::RATE => WindowKind::Rate { burst: input.try_get_u32_le()? },
        kind::QUOTA => WindowKind::Quota,
        _ => return Err(DecodeError::Invalid("kind of a window")),
    };
    // By these everything is divided.
    if amount == 0 || period == Span::ZERO {
        return Err(DecodeError::Invalid("window"));
    }
    Ok(Window { kind, amount, period, unit })
}

fn get_windows(input: &mut &[u8]) -> Result<usize, DecodeError> {
    match get_count(input)? {
        count if count <= MAX_WINDOWS => Ok(count),
        _ => Err(DecodeError::Invalid("number of windows")),
    }
}
