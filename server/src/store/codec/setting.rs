//! Settings as bytes: of a queue, and of a job's retries.

use bytes::{Buf, BufMut};
use sluice_engine::{
    Capacity, FlowHintPolicy, FlowHintStep, KeyPattern, KeyRule, LimitName, NodeSettings, OverflowPolicy,
    Priority, QueueSettings, Reserve, RetryPatch, RetryPolicy, Span,
};

use super::node::{get_node, put_node};
use super::{DecodeError, at_most, get_count, get_text, put_count, put_text};

/// The fields that the settings have: keep the bits.
mod flag {
    pub(super) const MAX_JOBS: u8 = 1;
    pub(super) const MAX_BYTES: u8 = 1 << 1;
    pub(super) const RESERVE: u8 = 1 << 2;
    pub(super) const PAUSED: u8 = 1 << 3;
    pub(super) const FLOW_HINT: u8 = 1 << 4;
    pub(super) const NODE: u8 = 1 << 5;
    pub(super) const LIMIT: u8 = 1 << 6;
    pub(super) const ALL: u8 = (1 << 7) - 1;
}

/// A key rule's overflow policy when it says none.
const NO_OVERFLOW: u8 = 0;
/// Bytes of the shortest key rule.
const LEAST_RULE_BYTES: usize = 4;

/// A queue's settings.
pub(crate) fn put_settings(out: &mut Vec<u8>, settings: &QueueSettings) {
    put_policy(out, &settings.retry);
    out.put_u64_le(settings.lease_duration.0);
    out.put_u64_le(settings.retention.0);
    out.put_u64_le(settings.retention_bytes);
    out.put_u64_le(settings.dead_retention.0);
    out.put_u64_le(settings.priority_ageing.0);

    let mut flags = flags_of(&settings.capacity);
    flags |= if settings.reserve.is_some() { flag::RESERVE } else { 0 };
    flags |= if settings.paused { flag::PAUSED } else { 0 };
    flags |= if settings.flow_hint.is_some() { flag::FLOW_HINT } else { 0 };
    flags |= node_flag(&settings.node);
    flags |= if settings.limit.is_some() { flag::LIMIT } else { 0 };
    out.put_u8(flags);
    put_capacity(out, &settings.capacity);
    out.put_u8(settings.overflow as u8);
    if let Some(reserve) = settings.reserve {
        out.put_u8(reserve.min_priority.get());
        out.put_u8(reserve.percent);
    }
    if let Some(policy) = &settings.flow_hint {
        put_flow_hint(out, policy);
    }
    out.put_u64_le(settings.idempotency_window.0);
    put_count(out, settings.key_rules.len());
    settings.key_rules.iter().for_each(|rule| put_rule(out, rule));
    put_said_node(out, &settings.node);
    if let Some(limit) = &settings.limit {
        put_text(out, limit);
    }
}

/// See [`put_settings`].
pub(crate) fn get_settings(input: &mut &[u8]) -> Result<QueueSettings, DecodeError> {
    let first = get_first_settings(input)?;
    let flags = input.try_get_u8()?;
    if flags & !flag::ALL != 0 {
        return Err(DecodeError::Invalid("flags of settings"));
    }
    let has = |flag: u8| flags & flag != 0;
    Ok(QueueSettings {
        capacity: get_capacity(input, flags)?,
        overflow: get_overflow(input)?.ok_or(DecodeError::Invalid("overflow policy"))?,
        reserve: has(flag::RESERVE).then(|| get_reserve(input)).transpose()?,
        paused: has(flag::PAUSED),
        flow_hint: has(flag::FLOW_HINT).then(|| get_flow_hint(input)).transpose()?,
        idempotency_window: Span(input.try_get_u64_le()?),
        key_rules: get_rules(input)?,
        node: get_said_node(input, flags)?,
        limit: has(flag::LIMIT).then(|| get_limit_name(input)).transpose()?,
        ..first
    })
}

/// The name of a shared limit.
pub(super) fn get_limit_name(input: &mut &[u8]) -> Result<LimitName, DecodeError> {
    LimitName::new(get_text(input)?).map_err(|_| DecodeError::Invalid("limit name"))
}

/// The settings that were there first; the others as if nobody had said them.
pub(crate) fn get_first_settings(input: &mut &[u8]) -> Result<QueueSettings, DecodeError> {
    Ok(QueueSettings {
        retry: get_policy(input)?,
        lease_duration: Span(input.try_get_u64_le()?),
        retention: Span(input.try_get_u64_le()?),
        retention_bytes: input.try_get_u64_le()?,
        dead_retention: Span(input.try_get_u64_le()?),
        priority_ageing: Span(input.try_get_u64_le()?),
        ..QueueSettings::default()
    })
}

/// What a job says of retries: a bit for each field that it says, then those.
pub(crate) fn put_patch(out: &mut Vec<u8>, patch: &RetryPatch) {
    let said = [
        patch.max_attempts.is_some(),
        patch.initial_backoff.is_some(),
        patch.multiplier.is_some(),
        patch.max_backoff.is_some(),
        patch.jitter.is_some(),
    ];
    out.put_u8(said.iter().enumerate().fold(0, |bits, (bit, said)| bits | u8::from(*said) << bit));
    patch.max_attempts.into_iter().for_each(|n| out.put_u32_le(n));
    patch.initial_backoff.into_iter().for_each(|s| out.put_u64_le(s.0));
    patch.multiplier.into_iter().for_each(|x| out.put_f64_le(x));
    patch.max_backoff.into_iter().for_each(|s| out.put_u64_le(s.0));
    patch.jitter.into_iter().for_each(|x| out.put_f64_le(x));
}

/// See [`put_patch`].
pub(crate) fn get_patch(input: &mut &[u8]) -> Result<RetryPatch, DecodeError> {
    let said = input.try_get_u8()?;
    if said >= 1 << 5 {
        return Err(DecodeError::Invalid("retry patch"));
    }
    let is = |bit: u8| said & 1 << bit != 0;
    Ok(RetryPatch {
        max_attempts: is(0).then(|| input.try_get_u32_le()).transpose()?,
        initial_backoff: is(1).then(|| input.try_get_u64_le()).transpose()?.map(Span),
        multiplier: is(2).then(|| input.try_get_f64_le()).transpose()?,
        max_backoff: is(3).then(|| input.try_get_u64_le()).transpose()?.map(Span),
        jitter: is(4).then(|| input.try_get_f64_le()).transpose()?,
    })
}

fn put_policy(out: &mut Vec<u8>, policy: &RetryPolicy) {
    out.put_u32_le(policy.max_attempts);
    out.put_u64_le(policy.initial_backoff.0);
    out.put_f64_le(policy.multiplier);
    out.put_u64_le(policy.max_backoff.0);
    out.put_f64_le(policy.jitter);
}

fn get_policy(input: &mut &[u8]) -> Result<RetryPolicy, DecodeError> {
    Ok(RetryPolicy {
        max_attempts: input.try_get_u32_le()?,
        initial_backoff: Span(input.try_get_u64_le()?),
        multiplier: input.try_get_f64_le()?,
        max_backoff: Span(input.try_get_u64_le()?),
        jitter: input.try_get_f64_le()?,
    })
}

fn flags_of(capacity: &Capacity) -> u8 {
    let jobs = if capacity.jobs.is_some() { flag::MAX_JOBS } else { 0 };
    let bytes = if capacity.bytes.is_some() { flag::MAX_BYTES } else { 0 };
    jobs | bytes
}

fn put_capacity(out: &mut Vec<u8>, capacity: &Capacity) {
    capacity.jobs.into_iter().chain(capacity.bytes).for_each(|most| out.put_u64_le(most));
}

fn get_capacity(input: &mut &[u8], flags: u8) -> Result<Capacity, DecodeError> {
    let has = |flag: u8| flags & flag != 0;
    Ok(Capacity {
        jobs: has(flag::MAX_JOBS).then(|| input.try_get_u64_le()).transpose()?,
        bytes: has(flag::MAX_BYTES).then(|| input.try_get_u64_le()).transpose()?,
    })
}

fn get_overflow(input: &mut &[u8]) -> Result<Option<OverflowPolicy>, DecodeError> {
    match input.try_get_u8()? {
        NO_OVERFLOW => Ok(None),
        number => {
            OverflowPolicy::from_number(number).map(Some).ok_or(DecodeError::Invalid("overflow policy"))
        }
    }
}

fn get_reserve(input: &mut &[u8]) -> Result<Reserve, DecodeError> {
    let min_priority = Priority::new(input.try_get_u8()?.into()).ok_or(DecodeError::Invalid("priority"))?;
    Ok(Reserve { min_priority, percent: input.try_get_u8()? })
}

fn put_flow_hint(out: &mut Vec<u8>, policy: &FlowHintPolicy) {
    out.put_f64_le(policy.medium_load);
    out.put_f64_le(policy.high_load);
    for step in [policy.low, policy.medium, policy.high] {
        out.put_u32_le(step.batch_size);
        out.put_u64_le(step.wait.0);
    }
}

fn get_flow_hint(input: &mut &[u8]) -> Result<FlowHintPolicy, DecodeError> {
    let (medium_load, high_load) = (input.try_get_f64_le()?, input.try_get_f64_le()?);
    let mut step = || -> Result<FlowHintStep, DecodeError> {
        Ok(FlowHintStep { batch_size: input.try_get_u32_le()?, wait: Span(input.try_get_u64_le()?) })
    };
    Ok(FlowHintPolicy { medium_load, high_load, low: step()?, medium: step()?, high: step()? })
}

fn put_rule(out: &mut Vec<u8>, rule: &KeyRule) {
    put_text(out, rule.pattern.as_str());
    out.put_u8(flags_of(&rule.capacity) | node_flag(&rule.node));
    put_capacity(out, &rule.capacity);
    out.put_u8(rule.overflow.map_or(NO_OVERFLOW, |policy| policy as u8));
    put_said_node(out, &rule.node);
}

fn node_flag(node: &NodeSettings) -> u8 {
    if *node == NodeSettings::default() { 0 } else { flag::NODE }
}

/// What is set on a node, if anything is.
fn put_said_node(out: &mut Vec<u8>, node: &NodeSettings) {
    if node_flag(node) != 0 {
        put_node(out, node);
    }
}

fn get_said_node(input: &mut &[u8], flags: u8) -> Result<NodeSettings, DecodeError> {
    if flags & flag::NODE == 0 { Ok(NodeSettings::default()) } else { get_node(input) }
}

fn get_rules(input: &mut &[u8]) -> Result<Vec<KeyRule>, DecodeError> {
    let count = get_count(input)?;
    let mut rules = Vec::with_capacity(at_most(count, input, LEAST_RULE_BYTES));
    for _ in 0..count {
        let pattern = KeyPattern::new(get_text(input)?).map_err(|_| DecodeError::Invalid("key pattern"))?;
        let flags = input.try_get_u8()?;
        if flags & !(flag::MAX_JOBS | flag::MAX_BYTES | flag::NODE) != 0 {
            return Err(DecodeError::Invalid("flags of a key rule"));
        }
        rules.push(KeyRule {
            pattern,
            capacity: get_capacity(input, flags)?,
            overflow: get_overflow(input)?,
            node: get_said_node(input, flags)?,
        });
    }
    Ok(rules)
}
