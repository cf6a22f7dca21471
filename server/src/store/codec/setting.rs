//! Settings as bytes: of a queue, and of a job's retries.

use bytes::{Buf, BufMut};
use sluice_engine::{QueueSettings, RetryPatch, RetryPolicy, Span};

use super::DecodeError;

/// A queue's settings.
pub(crate) fn put_settings(out: &mut Vec<u8>, settings: &QueueSettings) {
    put_policy(out, &settings.retry);
    out.put_u64_le(settings.lease_duration.0);
    out.put_u64_le(settings.retention.0);
    out.put_u64_le(settings.retention_bytes);
    out.put_u64_le(settings.dead_retention.0);
    out.put_u64_le(settings.priority_ageing.0);
}

/// See [`put_settings`].
pub(crate) fn get_settings(input: &mut &[u8]) -> Result<QueueSettings, DecodeError> {
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
