//! What comes, what limits it, and who takes it.

use sluice_engine::*;

use crate::chance::Chance;

#[derive(Clone)]
pub(crate) struct Load {
    pub(crate) name: &'static str,
    pub(crate) node: NodeSettings,
    pub(crate) rules: Vec<KeyRule>,
    pub(crate) keys: usize,
    /// Whether some keys have far more jobs than others.
    pub(crate) skewed: bool,
    /// Segments of a key: 1 or 3.
    pub(crate) depth: usize,
    pub(crate) priorities: &'static [u32],
    /// What the dearest job costs; the cheapest costs 1.
    pub(crate) dearest: usize,
    /// Jobs that are there at the beginning.
    pub(crate) backlog: usize,
    /// Jobs a second that come by chance.
    pub(crate) arrivals: f64,
    pub(crate) seconds: u64,
    pub(crate) workers: Workers,
    /// The part of the ranges that may have no end.
    pub(crate) unbounded: f64,
}

/// Who takes jobs, and for how many seconds.
#[derive(Clone, Copy)]
pub(crate) struct Workers {
    pub(crate) count: usize,
    pub(crate) least: f64,
    pub(crate) most: f64,
}

impl Default for Load {
    fn default() -> Load {
        Load {
            name: "",
            node: NodeSettings::default(),
            rules: Vec::new(),
            keys: 100,
            skewed: false,
            depth: 1,
            priorities: &[4],
            dearest: 1,
            backlog: 4_000,
            arrivals: 0.0,
            seconds: 20_000,
            workers: Workers { count: 1, least: 0.0, most: 0.0 },
            unbounded: 0.1,
        }
    }
}

impl Load {
    /// The next job.
    pub(crate) fn job(&self, chance: &mut Chance) -> JobSpec {
        let key = if self.skewed {
            (self.keys as f64).powf(chance.part()) as usize - 1
        } else {
            chance.below(self.keys)
        };
        let text = match self.depth {
            1 => format!("k{key}"),
            _ => format!("t{}/g{}/u{key}", key % 10, key % 20),
        };
        let priority = self.priorities[chance.below(self.priorities.len())];
        JobSpec {
            key: Key::new(text).unwrap(),
            priority: Priority::new(priority).unwrap(),
            cost: Cost::new(1 + chance.below(self.dearest) as u32).unwrap(),
            ..JobSpec::default()
        }
    }
}

impl Workers {
    /// How long one job takes.
    pub(crate) fn takes(&self, chance: &mut Chance) -> Span {
        Span(((self.least + (self.most - self.least) * chance.part()) * 1e9) as u64)
    }
}

/// So many in so many seconds, and `burst` at once.
pub(crate) fn rate(amount: u32, seconds: u64, burst: u32) -> NodeSettings {
    windowed(WindowKind::Rate { burst }, amount, seconds)
}

/// So much cost a second, and `burst` at once.
pub(crate) fn cost_rate(amount: u32, burst: u32) -> NodeSettings {
    let mut node = rate(amount, 1, burst);
    node.windows[0].unit = Unit::Cost;
    node
}

/// So many in any span of so many seconds.
pub(crate) fn quota(amount: u32, seconds: u64) -> NodeSettings {
    windowed(WindowKind::Quota, amount, seconds)
}

pub(crate) fn slots(max_in_flight: u32) -> NodeSettings {
    NodeSettings { max_in_flight: Some(max_in_flight), ..NodeSettings::default() }
}

fn windowed(kind: WindowKind, amount: u32, seconds: u64) -> NodeSettings {
    let window = Window { kind, amount, period: Span::from_secs(seconds), unit: Unit::Jobs };
    NodeSettings { windows: vec![window], ..NodeSettings::default() }
}

/// What holds for the keys that match.
pub(crate) fn rule(pattern: &str, node: NodeSettings) -> KeyRule {
    let pattern = KeyPattern::new(pattern).unwrap();
    KeyRule { pattern, capacity: Capacity::default(), overflow: None, node }
}
