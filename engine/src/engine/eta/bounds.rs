//! What limits the nodes of one depth, as key rules say: whose rule a sibling has is not looked up.

use crate::engine::eta::gauge::Gauge;
use crate::engine::eta::level::Bounds;
use crate::engine::eta::seconds;
use crate::limit::{NodeSettings, Unit, Window, WindowKind};
use crate::settings::{KeyRule, QueueSettings};

/// How many segments a key has.
pub(super) fn depth_of(key: &str) -> usize {
    if key.is_empty() { 0 } else { 1 + key.matches('/').count() }
}

/// The limits of nodes with so many segments.
pub(super) fn bounds_at(
    settings: &QueueSettings,
    depth: usize,
    mean_cost: f64,
    flight: Option<f64>,
) -> Bounds {
    let mut bounds = Bounds::default();
    let (mut slowest, mut fastest) = (0.0, f64::INFINITY);
    let mut some_are_free = !has_rule_for_all(settings, depth);
    for rule in rules_at(settings, depth) {
        let gauges = gauges_of(&rule.node, flight);
        let paces = gauges.iter().map(|(gauge, unit)| {
            let units = if *unit == Unit::Cost { mean_cost } else { 1.0 };
            gauge.pace() * units
        });
        let pace = paces.fold(0.0, f64::max);
        if pace > slowest {
            slowest = pace;
            bounds.strict.clone_from(&gauges);
        }
        some_are_free |= gauges.is_empty();
        if pace < fastest {
            fastest = pace;
            bounds.generous = gauges;
        }
    }
    if some_are_free {
        bounds.generous.clear();
    }
    bounds
}

/// The least and the greatest weight of nodes with so many segments.
pub(super) fn weights_at(settings: &QueueSettings, depth: usize) -> (u32, u32) {
    let weights = rules_at(settings, depth).map(|rule| rule.node.weight);
    let others = (!has_rule_for_all(settings, depth)).then_some(1);
    let fold = |(least, most): (u32, u32), weight: u32| (least.min(weight), most.max(weight));
    let (least, most) = weights.chain(others).fold((u32::MAX, 0), fold);
    (least, most.max(least))
}

/// Rules for nodes with so many segments that some node may have.
fn rules_at(settings: &QueueSettings, depth: usize) -> impl Iterator<Item = &KeyRule> {
    let at_depth = settings.key_rules.iter().filter(move |rule| depth_of(rule.pattern.as_str()) == depth);
    // What stands behind a rule for all is nobody's.
    let mut is_over = false;
    at_depth.take_while(move |rule| !std::mem::replace(&mut is_over, is_for_all(rule)))
}

fn has_rule_for_all(settings: &QueueSettings, depth: usize) -> bool {
    rules_at(settings, depth).any(is_for_all)
}

fn is_for_all(rule: &KeyRule) -> bool {
    rule.pattern.as_str().split('/').all(|segment| segment == "*")
}

/// Limits that nothing was used of.
fn gauges_of(settings: &NodeSettings, flight: Option<f64>) -> Vec<(Gauge, Unit)> {
    let most = if settings.ordered { Some(1) } else { settings.max_in_flight };
    let slots = most.map(|most| (Gauge::Slots { most: f64::from(most), held: 0.0, flight }, Unit::Jobs));
    // Of workers of whom nobody knows how long they take nothing can be said.
    let slots = slots.filter(|_| flight.is_some());
    settings.windows.iter().map(|window| (unused(window), window.unit)).chain(slots).collect()
}

fn unused(window: &Window) -> Gauge {
    let (amount, period) = (f64::from(window.amount), seconds(window.period));
    match window.kind {
        WindowKind::Rate { burst } => {
            Gauge::Rate { debt: 0.0, spacing: window.spacing() as f64 / 1e9, burst: burst.into() }
        }
        WindowKind::Quota => Gauge::Quota { free: vec![(0.0, amount)], amount, period },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limit::Unit::Jobs;
    use crate::name::KeyPattern;
    use crate::settings::Capacity;
    use crate::time::Span;

    fn rule(pattern: &str, amount: u32, weight: u32) -> KeyRule {
        let kind = WindowKind::Rate { burst: 1 };
        let windows = vec![Window { kind, amount, period: Span::from_secs(1), unit: Jobs }];
        KeyRule {
            pattern: KeyPattern::new(pattern).unwrap(),
            capacity: Capacity::default(),
            overflow: None,
            node: NodeSettings { windows, weight, ..NodeSettings::default() },
        }
    }

    fn spacings(limits: &[(Gauge, Unit)]) -> Vec<f64> {
        limits.iter().map(|(gauge, _)| gauge.pace()).collect()
    }

    #[test]
    fn strictest_and_most_generous_rule_of_a_depth_are_found() {
        let rules =
            |rules: &[KeyRule]| QueueSettings { key_rules: rules.to_vec(), ..QueueSettings::default() };
        let settings = rules(&[rule("bot*", 10, 3), rule("*/a", 1, 1), rule("*", 2, 2), rule("b", 1, 9)]);
        let bounds = bounds_at(&settings, 1, 1.0, None);
        assert_eq!((spacings(&bounds.strict), spacings(&bounds.generous)), (vec![0.5], vec![0.1]));
        assert_eq!(weights_at(&settings, 1), (2, 3));
        // Others of this depth have no rule, and none of the next.
        let bounds = bounds_at(&settings, 2, 1.0, None);
        assert_eq!((spacings(&bounds.strict), spacings(&bounds.generous)), (vec![1.0], vec![]));
        assert_eq!((weights_at(&settings, 2), weights_at(&settings, 3)), ((1, 1), (1, 1)));
        assert_eq!(bounds_at(&settings, 3, 1.0, None), Bounds::default());
    }
}
