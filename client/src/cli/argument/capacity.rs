//! How limits, key rules and flow hints are written on the command line.

use clap::ValueEnum;

use super::{node::node, settings, span};
use crate::{
    proto::{FlowHintPolicy, FlowHintStep, KeyRule, OverflowPolicy},
    span_to_proto,
};

/// A limit, or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cli) struct Limit(pub(in crate::cli) Option<u64>);

/// A flow hint, or none.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::cli) struct Hint(pub(in crate::cli) Option<FlowHintPolicy>);

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum Overflow {
    /// Refuses them.
    Reject,
    /// Lets the oldest waiting job of the lowest priority go.
    DropOldest,
    /// Lets the call wait for room.
    Wait,
}

impl Overflow {
    pub(in crate::cli) fn into_proto(self) -> OverflowPolicy {
        match self {
            Overflow::Reject => OverflowPolicy::Reject,
            Overflow::DropOldest => OverflowPolicy::DropOldest,
            Overflow::Wait => OverflowPolicy::Wait,
        }
    }
}

/// `1000` or `none`.
pub(in crate::cli) fn limit(text: &str) -> Result<Limit, String> {
    if text == "none" {
        return Ok(Limit(None));
    }
    text.parse().map(|limit| Limit(Some(limit))).map_err(|_| "a whole number, or none".to_owned())
}

/// `bot*/group/*:rate=20/1m,max_jobs=100,overflow=drop-oldest`; an empty text is no rule.
pub(in crate::cli) fn key_rule(text: &str) -> Result<Option<KeyRule>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    // A key may hold a colon, a setting cannot.
    let (pattern, said) = text.rsplit_once(':').ok_or("write it as PATTERN:rate=20/1m,max_jobs=100")?;
    Ok(Some(KeyRule { key_pattern: pattern.to_owned(), settings: Some(node(said)?) }))
}

/// `default`, `off`, or `medium-load=0.5,low=20/50ms`.
pub(in crate::cli) fn flow_hint(text: &str) -> Result<Hint, String> {
    let mut policy = FlowHintPolicy::default();
    match text {
        "off" => return Ok(Hint(None)),
        "default" => return Ok(Hint(Some(policy))),
        _ => {}
    }
    for setting in settings(text) {
        let (name, value) = setting?;
        let load = || value.parse().map(Some).map_err(|_| format!("{name}: a number from 0 to 1"));
        match name {
            "medium-load" => policy.medium_load = load()?,
            "high-load" => policy.high_load = load()?,
            "low" => policy.low = Some(step(value)?),
            "medium" => policy.medium = Some(step(value)?),
            "high" => policy.high = Some(step(value)?),
            _ => return Err(format!("`{name}` is none of medium-load, high-load, low, medium, high")),
        }
    }
    Ok(Hint(Some(policy)))
}

fn step(text: &str) -> Result<FlowHintStep, String> {
    let wrong = || format!("write `{text}` as JOBS/SPAN, such as 20/50ms");
    let (jobs, wait) = text.split_once('/').ok_or_else(wrong)?;
    let batch_size = jobs.parse().map_err(|_| wrong())?;
    Ok(FlowHintStep { batch_size: Some(batch_size), wait: Some(span_to_proto(span(wait)?)) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_and_rules_are_read() {
        assert_eq!((limit("7"), limit("none")), (Ok(Limit(Some(7))), Ok(Limit(None))));
        assert!(limit("-1").is_err() && limit("many").is_err());
        let rule = key_rule("a:b*/*:max_jobs=3,max_bytes=9,overflow=wait").unwrap().unwrap();
        let settings = rule.settings.unwrap();
        assert_eq!(
            (rule.key_pattern.as_str(), settings.max_jobs, settings.max_bytes),
            ("a:b*/*", Some(3), Some(9))
        );
        assert_eq!(settings.overflow_policy(), OverflowPolicy::Wait);
        assert_eq!(key_rule(""), Ok(None));
        for wrong in
            ["bot*", "bot*:", "bot*:max_jobs", "bot*:max_jobs=x", "bot*:overflow=burst", "bot*:rate=1"]
        {
            assert!(key_rule(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn flow_hints_are_read() {
        assert_eq!(
            (flow_hint("off"), flow_hint("default")),
            (Ok(Hint(None)), Ok(Hint(Some(FlowHintPolicy::default()))))
        );
        let Hint(Some(policy)) = flow_hint("high-load=0.9,low=40/10ms").unwrap() else { panic!() };
        assert_eq!((policy.high_load, policy.low.unwrap().batch_size), (Some(0.9), Some(40)));
        for wrong in ["on", "low=20", "low=x/1s", "low=1/soon", "high-load=much", "top=1/1s"] {
            assert!(flow_hint(wrong).is_err(), "{wrong}");
        }
    }
}
