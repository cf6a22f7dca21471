//! What is generated: limits, on keys that collide.

use proptest::collection::vec;
use proptest::option::weighted;
use proptest::prelude::*;
use proptest::sample::select;
use sluice_engine::*;

pub(crate) const KEYS: [&str; 8] = ["", "a", "b", "a/x", "a/y", "b/x", "a/x/1", "a/x/2"];
const PATTERNS: [&str; 8] = ["a", "b", "*", "a/x", "a/*", "*/x", "a/x/*", "*/*/*"];

/// Periods that units divide, and others.
fn window() -> impl Strategy<Value = Window> {
    let kind = prop_oneof![
        3 => (1..6_u32).prop_map(|burst| WindowKind::Rate { burst }),
        2 => Just(WindowKind::Quota),
    ];
    let period = prop_oneof![
        2 => select(vec![1_000_000_000_u64, 60_000_000_000]),
        3 => 1_000_000..20_000_000_000_u64,
    ];
    (kind, 1..9_u32, period, select(vec![Unit::Jobs, Unit::Cost, Unit::Cost]))
        .prop_map(|(kind, amount, period, unit)| Window { kind, amount, period: Span(period), unit })
}

fn node() -> impl Strategy<Value = NodeSettings> {
    let windows = prop_oneof![2 => vec(window(), 0..1), 4 => vec(window(), 1..2), 2 => vec(window(), 2..4)];
    let slots = (weighted(0.3, 1..4_u32), 1..4_u32, prop::bool::weighted(0.15));
    let breaker = (1..4_u32, 1..6_u64).prop_map(|(consecutive_failures, seconds)| BreakerPolicy {
        consecutive_failures,
        open_duration: Span::from_secs(seconds),
    });
    (windows, slots, weighted(0.6, prop::bool::weighted(0.4)), weighted(0.25, breaker)).prop_map(
        |(windows, (max_in_flight, weight, ordered), adaptive, breaker)| NodeSettings {
            windows,
            max_in_flight,
            weight,
            ordered,
            adaptive,
            breaker,
        },
    )
}

fn key_rule() -> impl Strategy<Value = KeyRule> {
    (select(&PATTERNS[..]), node()).prop_map(|(pattern, node)| KeyRule {
        pattern: KeyPattern::new(pattern).unwrap(),
        capacity: Capacity::default(),
        overflow: None,
        node,
    })
}

/// A change of a queue's settings. Nothing is forgotten, so that there is always something to count.
pub(crate) fn patch() -> impl Strategy<Value = QueuePatch> {
    let times = (1..20_u64, select(vec![0, 0, 0, 0, 3_000_000_000_u64]));
    let rest = (
        weighted(0.6, node()),
        weighted(0.7, vec(key_rule(), 0..5)),
        weighted(0.2, prop::bool::weighted(0.3)),
    );
    (times, rest).prop_map(|((lease, ageing), (node, key_rules, paused))| QueuePatch {
        retry: RetryPatch { max_attempts: Some(4), ..RetryPatch::default() },
        lease_duration: Some(Span::from_secs(lease)),
        retention: Some(bound::MAX_SPAN),
        retention_bytes: Some(bound::MAX_RETENTION_BYTES),
        dead_retention: Some(bound::MAX_SPAN),
        priority_ageing: Some(Span(ageing)),
        node,
        key_rules,
        paused,
        ..QueuePatch::default()
    })
}
