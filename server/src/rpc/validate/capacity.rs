//! What a queue and its keys hold, and what happens beyond.

use sluice_engine::bound::{MAX_CAPACITY_BYTES, MAX_CAPACITY_JOBS, MAX_KEY_RULES, MAX_LEASE_JOBS, MAX_WAIT};
use sluice_engine::{
    Capacity, FlowHintPolicy, FlowHintStep, KeyPattern, KeyRule, OverflowPolicy, Priority, Reserve, Span,
};
use sluice_proto::v1;

use super::field::Fields;
use super::path::Path;

impl Fields {
    /// A capacity; what is not said is not limited.
    pub(super) fn capacity(
        &mut self,
        at: Path<'_>,
        max_jobs: Option<u64>,
        max_bytes: Option<u64>,
    ) -> Option<Capacity> {
        let jobs = self.said_number(at.then("max_jobs"), max_jobs, 1..=MAX_CAPACITY_JOBS);
        let bytes = self.said_number(at.then("max_bytes"), max_bytes, 1..=MAX_CAPACITY_BYTES);
        Some(Capacity { jobs: jobs?, bytes: bytes? })
    }

    /// What happens beyond a capacity, if that was said.
    pub(super) fn overflow(&mut self, at: Path<'_>, number: i32) -> Option<Option<OverflowPolicy>> {
        match v1::OverflowPolicy::try_from(number) {
            Ok(v1::OverflowPolicy::Unspecified) => Some(None),
            Ok(v1::OverflowPolicy::Reject) => Some(Some(OverflowPolicy::Reject)),
            Ok(v1::OverflowPolicy::DropOldest) => Some(Some(OverflowPolicy::DropOldest)),
            Ok(v1::OverflowPolicy::Wait) => Some(Some(OverflowPolicy::Wait)),
            Err(_) => {
                self.wrong(at, format_args!("{number} is not an overflow policy"));
                None
            }
        }
    }

    /// Room for urgent jobs, if there is to be some.
    pub(super) fn reserve(
        &mut self,
        at: Path<'_>,
        said: Option<v1::CapacityReserve>,
    ) -> Option<Option<Reserve>> {
        let Some(said) = said else { return Some(None) };
        let default = Reserve::default();
        let highest = u32::from(Priority::HIGHEST.get());
        let priority = self.said_number(at.then("min_priority"), said.min_priority, 0..=highest);
        let percent = self.number(at.then("percent"), said.percent, 1..=100, default.percent.into());
        Some(Some(Reserve {
            min_priority: priority?.and_then(Priority::new).unwrap_or(default.min_priority),
            percent: u8::try_from(percent?).unwrap_or(default.percent),
        }))
    }

    /// Settings for keys.
    pub(super) fn key_rules(&mut self, at: Path<'_>, said: &[v1::KeyRule]) -> Option<Vec<KeyRule>> {
        if said.len() > MAX_KEY_RULES {
            self.wrong(at, format_args!("has more than {MAX_KEY_RULES} items"));
            return None;
        }
        let rules: Vec<_> =
            said.iter().enumerate().map(|(index, rule)| self.key_rule(at.item(index), rule)).collect();
        rules.into_iter().collect()
    }

    fn key_rule(&mut self, at: Path<'_>, rule: &v1::KeyRule) -> Option<KeyRule> {
        let pattern_at = at.then("key_pattern");
        let pattern = KeyPattern::new(&rule.key_pattern).map_err(|error| self.wrong(pattern_at, error)).ok();
        let at = at.then("settings");
        let unsaid = v1::NodeSettings::default();
        let settings = rule.settings.as_ref().unwrap_or(&unsaid);
        let capacity = self.capacity(at, settings.max_jobs, settings.max_bytes);
        let overflow = self.overflow(at.then("overflow_policy"), settings.overflow_policy);
        let node = self.node(at, settings);
        Some(KeyRule { pattern: pattern?, capacity: capacity?, overflow: overflow?, node: node? })
    }

    /// When callers are asked to slow down, if they are.
    pub(super) fn flow_hint(
        &mut self,
        at: Path<'_>,
        said: Option<v1::FlowHintPolicy>,
    ) -> Option<Option<FlowHintPolicy>> {
        let Some(said) = said else { return Some(None) };
        let default = FlowHintPolicy::default();
        let medium_load =
            self.number(at.then("medium_load"), said.medium_load, 0.0..=1.0, default.medium_load);
        let high_at = at.then("high_load");
        let high_load = self.number(high_at, said.high_load, 0.0..=1.0, default.high_load);
        if let (Some(medium), Some(high)) = (medium_load, high_load)
            && high < medium
        {
            self.wrong(high_at, "is below medium_load");
            return None;
        }
        let low = self.flow_hint_step(at.then("low"), said.low, default.low);
        let medium = self.flow_hint_step(at.then("medium"), said.medium, default.medium);
        let high = self.flow_hint_step(at.then("high"), said.high, default.high);
        Some(Some(FlowHintPolicy {
            medium_load: medium_load?,
            high_load: high_load?,
            low: low?,
            medium: medium?,
            high: high?,
        }))
    }

    fn flow_hint_step(
        &mut self,
        at: Path<'_>,
        said: Option<v1::FlowHintStep>,
        default: FlowHintStep,
    ) -> Option<FlowHintStep> {
        let said = said.unwrap_or_default();
        let size =
            self.number(at.then("batch_size"), said.batch_size, 1..=MAX_LEASE_JOBS, default.batch_size);
        let wait = self.span(at.then("wait"), said.wait, Span::ZERO..=MAX_WAIT);
        Some(FlowHintStep { batch_size: size?, wait: wait?.unwrap_or(default.wait) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rpc::status::Failure;

    const AT: Path<'static> = Path::new("queue");

    fn wrong<T>(check: impl FnOnce(&mut Fields) -> Option<T>) -> Vec<String> {
        let mut fields = Fields::default();
        let made = check(&mut fields);
        match fields.made(made) {
            Ok(_) => Vec::new(),
            Err(Failure::Fields(wrong)) => wrong.into_iter().map(|wrong| wrong.path).collect(),
            Err(other) => panic!("not about fields: {other:?}"),
        }
    }

    #[test]
    fn rules_of_keys_are_bounded() {
        let rule = |pattern: &str, max_jobs| v1::KeyRule {
            key_pattern: pattern.to_owned(),
            settings: Some(v1::NodeSettings { max_jobs, ..Default::default() }),
        };
        let many = vec![rule("bot*", Some(1)); 101];
        assert_eq!(wrong(|fields| fields.key_rules(AT, &many[..100])), [""; 0]);
        assert_eq!(wrong(|fields| fields.key_rules(AT, &many)), ["queue"]);
        let bad = [rule("bot*", Some(0)), rule("", None), rule("a/b/c/d", None)];
        assert_eq!(
            wrong(|fields| fields.key_rules(AT, &bad)),
            ["queue[0].settings.max_jobs", "queue[1].key_pattern", "queue[2].key_pattern"]
        );
    }

    #[test]
    fn reserve_is_bounded_and_has_defaults() {
        let reserve = |min_priority, percent| Some(v1::CapacityReserve { min_priority, percent });
        let made = Fields::default().reserve(AT, reserve(None, None));
        assert_eq!(made, Some(Some(Reserve { min_priority: Priority::HIGHEST, percent: 10 })));
        assert_eq!(
            wrong(|fields| fields.reserve(AT, reserve(Some(10), Some(101)))),
            ["queue.min_priority", "queue.percent"]
        );
        assert_eq!(Fields::default().reserve(AT, None), Some(None));
    }

    #[test]
    fn flow_hint_is_bounded_and_has_the_defaults_of_its_table() {
        let made = Fields::default().flow_hint(AT, Some(v1::FlowHintPolicy::default()));
        assert_eq!(made, Some(Some(FlowHintPolicy::default())));
        let crossed =
            v1::FlowHintPolicy { medium_load: Some(0.9), high_load: Some(0.8), ..Default::default() };
        assert_eq!(wrong(|fields| fields.flow_hint(AT, Some(crossed))), ["queue.high_load"]);
        let step = v1::FlowHintStep { batch_size: Some(0), ..Default::default() };
        let empty = v1::FlowHintPolicy { low: Some(step), medium_load: Some(f64::NAN), ..Default::default() };
        assert_eq!(
            wrong(|fields| fields.flow_hint(AT, Some(empty))),
            ["queue.medium_load", "queue.low.batch_size"]
        );
    }
}
