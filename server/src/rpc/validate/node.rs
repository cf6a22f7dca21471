//! What goes through a node: windows, slots, weight, order.

use sluice_engine::bound::{
    MAX_AMOUNT, MAX_CONSECUTIVE_FAILURES, MAX_COST, MAX_IN_FLIGHT, MAX_OPEN, MAX_PERIOD, MAX_WAIT,
    MAX_WEIGHT, MAX_WINDOWS, MIN_OPEN, MIN_PERIOD,
};
use sluice_engine::{Acquire, BreakerPolicy, NodeName, NodeSettings, Span, Unit, Window, WindowKind};
use sluice_proto::v1;

use super::field::Fields;
use super::path::Path;
use crate::rpc::status::Failure;

/// A node that is to go on.
pub(in crate::rpc) fn reset_node(request: v1::ResetNodeRequest) -> Result<NodeName, Failure> {
    let mut fields = Fields::default();
    let made = fields.node_name(&request.limit, &request.queue, request.key);
    fields.made(made)
}

/// Tokens that are wanted.
pub(in crate::rpc) fn acquire(request: v1::AcquireLimitRequest) -> Result<Acquire, Failure> {
    let mut fields = Fields::default();
    let node = fields.node_name(&request.limit, &request.queue, request.key);
    let cost = fields.number(Path::new("cost"), request.cost, 1..=MAX_COST, 1);
    let wait = fields.span(Path::new("wait_timeout"), request.wait_timeout, Span::ZERO..=MAX_WAIT);
    let made = (|| Some(Acquire { node: node?, cost: cost?.into(), wait: wait?.unwrap_or_default() }))();
    fields.made(made)
}

impl Fields {
    /// A shared limit, or a key of a queue.
    fn node_name(&mut self, limit: &str, queue: &str, key: String) -> Option<NodeName> {
        if limit.is_empty() {
            let queue = self.queue(Path::new("queue"), queue);
            let key = self.key(Path::new("key"), key);
            return queue.zip(key).map(|(queue, key)| NodeName::Key(queue, key));
        }
        let at = Path::new("limit");
        if !(queue.is_empty() && key.is_empty()) {
            self.wrong(at, "is not allowed beside queue and key");
            return None;
        }
        self.queue(at, limit).map(NodeName::Limit)
    }

    /// What is set on a node but its capacity.
    pub(super) fn node(&mut self, at: Path<'_>, said: &v1::NodeSettings) -> Option<NodeSettings> {
        let default = NodeSettings::default();
        let windows = self.windows(at.then("windows"), &said.windows);
        let in_flight = self.said_number(at.then("max_in_flight"), said.max_in_flight, 1..=MAX_IN_FLIGHT);
        let weight = self.number(at.then("weight"), said.weight, 1..=MAX_WEIGHT, default.weight);
        let breaker = match &said.breaker {
            Some(breaker) => self.breaker(at.then("breaker"), breaker).map(Some),
            None => Some(None),
        };
        Some(NodeSettings {
            windows: windows?,
            max_in_flight: in_flight?,
            weight: weight?,
            ordered: said.ordered,
            adaptive: said.adaptive,
            breaker: breaker?,
        })
    }

    fn breaker(&mut self, at: Path<'_>, said: &v1::CircuitBreaker) -> Option<BreakerPolicy> {
        let failures_at = at.then("consecutive_failures");
        let bounds = 1..=MAX_CONSECUTIVE_FAILURES;
        let failures = self.said_number(failures_at, Some(said.consecutive_failures), bounds);
        let open_at = at.then("open_duration");
        let open = self.span(open_at, said.open_duration, MIN_OPEN..=MAX_OPEN);
        if open == Some(None) {
            self.wrong(open_at, "must be said");
        }
        Some(BreakerPolicy { consecutive_failures: failures??, open_duration: open?? })
    }

    /// What is set on a queue's own node, whose capacity is said elsewhere.
    pub(super) fn queue_node(
        &mut self,
        at: Path<'_>,
        said: Option<&v1::NodeSettings>,
    ) -> Option<NodeSettings> {
        let Some(said) = said else { return Some(NodeSettings::default()) };
        let elsewhere = [
            ("max_jobs", said.max_jobs.is_some()),
            ("max_bytes", said.max_bytes.is_some()),
            ("overflow_policy", said.overflow_policy != 0),
        ];
        let mut good = true;
        for (field, _) in elsewhere.into_iter().filter(|(_, is_said)| *is_said) {
            self.wrong(at.then(field), "of a queue is said in the queue itself");
            good = false;
        }
        let node = self.node(at, said).filter(|_| good)?;
        // A queue adapts unless it says that it does not.
        Some(NodeSettings { adaptive: node.adaptive.filter(|adaptive| !adaptive), ..node })
    }

    fn windows(&mut self, at: Path<'_>, said: &[v1::Window]) -> Option<Vec<Window>> {
        if said.len() > MAX_WINDOWS {
            self.wrong(at, format_args!("has more than {MAX_WINDOWS} items"));
            return None;
        }
        let windows: Vec<_> =
            said.iter().enumerate().map(|(index, window)| self.window(at.item(index), window)).collect();
        windows.into_iter().collect()
    }

    fn window(&mut self, at: Path<'_>, said: &v1::Window) -> Option<Window> {
        let amount = self.said_number(at.then("amount"), Some(said.amount), 1..=MAX_AMOUNT);
        let period_at = at.then("period");
        let period = self.span(period_at, said.period, MIN_PERIOD..=MAX_PERIOD);
        if period == Some(None) {
            self.wrong(period_at, "must be said");
        }
        let burst_at = at.then("burst");
        let burst = self.said_number(burst_at, said.burst, 1..=MAX_AMOUNT);
        let unit = self.unit(at.then("unit"), said.unit);
        let (amount, period, burst) = (amount??, period??, burst?);
        let kind = match v1::WindowKind::try_from(said.kind) {
            Ok(v1::WindowKind::Unspecified | v1::WindowKind::Rate) => {
                WindowKind::Rate { burst: burst.unwrap_or_else(|| Window::default_burst(amount, period)) }
            }
            Ok(v1::WindowKind::Quota) if burst.is_some() => {
                self.wrong(burst_at, "is not allowed with QUOTA");
                return None;
            }
            Ok(v1::WindowKind::Quota) => WindowKind::Quota,
            Err(_) => {
                self.wrong(at.then("kind"), format_args!("{} is not a kind of window", said.kind));
                return None;
            }
        };
        Some(Window { kind, amount, period, unit: unit? })
    }

    fn unit(&mut self, at: Path<'_>, number: i32) -> Option<Unit> {
        match v1::WindowUnit::try_from(number) {
            Ok(v1::WindowUnit::Unspecified | v1::WindowUnit::Jobs) => Some(Unit::Jobs),
            Ok(v1::WindowUnit::Cost) => Some(Unit::Cost),
            Err(_) => {
                self.wrong(at, format_args!("{number} is not a unit"));
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use prost_types::Duration;

    use super::*;

    const AT: Path<'static> = Path::new("settings");

    fn minute(amount: u32) -> v1::Window {
        v1::Window { amount, period: Some(Duration { seconds: 60, nanos: 0 }), ..Default::default() }
    }

    fn check(said: v1::NodeSettings) -> Result<NodeSettings, Vec<String>> {
        let mut fields = Fields::default();
        let made = fields.node(AT, &said);
        fields.made(made).map_err(|failure| match failure {
            Failure::Fields(wrong) => wrong.into_iter().map(|w| w.path).collect(),
            other => panic!("not about fields: {other:?}"),
        })
    }

    fn windows(windows: Vec<v1::Window>) -> v1::NodeSettings {
        v1::NodeSettings { windows, ..Default::default() }
    }

    fn broken(consecutive_failures: u32, seconds: Option<i64>) -> v1::NodeSettings {
        let open_duration = seconds.map(|seconds| Duration { seconds, nanos: 0 });
        let breaker = Some(v1::CircuitBreaker { consecutive_failures, open_duration });
        v1::NodeSettings { breaker, ..Default::default() }
    }

    #[test]
    fn breaker_is_said_whole() {
        let breaker = check(broken(1_000, Some(86_400))).unwrap().breaker;
        let open_duration = Span::from_secs(86_400);
        assert_eq!(breaker, Some(BreakerPolicy { consecutive_failures: 1_000, open_duration }));
    }

    #[test]
    fn what_is_not_said_has_its_default() {
        assert_eq!(check(v1::NodeSettings::default()), Ok(NodeSettings::default()));
        let quota = v1::Window { kind: v1::WindowKind::Quota as i32, unit: 2, ..minute(20) };
        let made = check(windows(vec![minute(30), minute(600), quota])).unwrap();
        let rate = |amount, burst| Window {
            kind: WindowKind::Rate { burst },
            amount,
            period: Span::from_secs(60),
            unit: Unit::Jobs,
        };
        // One second's worth, at least 2.
        let quota = Window { kind: WindowKind::Quota, unit: Unit::Cost, ..rate(20, 1) };
        assert_eq!(made.windows, [rate(30, 2), rate(600, 10), quota]);
    }

    #[test]
    fn what_is_out_of_bounds_is_named() {
        let quota = v1::WindowKind::Quota as i32;
        let brief = Some(Duration { seconds: 0, nanos: 999_999 });
        for (wrong, said) in [
            ("settings.windows", windows(vec![minute(1); 5])),
            ("settings.windows[0].amount", windows(vec![minute(0)])),
            ("settings.windows[1].amount", windows(vec![minute(1), minute(1_000_000_001)])),
            ("settings.windows[0].period", windows(vec![v1::Window { period: None, ..minute(1) }])),
            ("settings.windows[0].period", windows(vec![v1::Window { period: brief, ..minute(1) }])),
            ("settings.windows[0].burst", windows(vec![v1::Window { burst: Some(0), ..minute(1) }])),
            (
                "settings.windows[0].burst",
                windows(vec![v1::Window { burst: Some(1), kind: quota, ..minute(1) }]),
            ),
            ("settings.windows[0].kind", windows(vec![v1::Window { kind: 9, ..minute(1) }])),
            ("settings.windows[0].unit", windows(vec![v1::Window { unit: 9, ..minute(1) }])),
            ("settings.max_in_flight", v1::NodeSettings { max_in_flight: Some(0), ..Default::default() }),
            ("settings.weight", v1::NodeSettings { weight: Some(1_001), ..Default::default() }),
            ("settings.breaker.consecutive_failures", broken(0, Some(1))),
            ("settings.breaker.consecutive_failures", broken(1_001, Some(1))),
            ("settings.breaker.open_duration", broken(1, None)),
            ("settings.breaker.open_duration", broken(1, Some(0))),
            ("settings.breaker.open_duration", broken(1, Some(86_401))),
        ] {
            assert_eq!(check(said), Err(vec![wrong.to_owned()]));
        }
    }

    #[test]
    fn capacity_of_a_queue_is_not_said_in_its_node() {
        let mut fields = Fields::default();
        let said = v1::NodeSettings { max_jobs: Some(1), overflow_policy: 1, ..Default::default() };
        assert_eq!(fields.queue_node(AT, Some(&said)), None);
        let Err(Failure::Fields(wrong)) = fields.made(None::<()>) else { panic!("it is wrong") };
        let paths: Vec<_> = wrong.into_iter().map(|wrong| wrong.path).collect();
        assert_eq!(paths, ["settings.max_jobs", "settings.overflow_policy"]);
    }
}
