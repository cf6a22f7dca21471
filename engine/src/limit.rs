//! What a node of the dispatch tree may let through, and how often: a shared limit, a queue, or a key of it.

use crate::bound::MAX_SPAN;
use crate::id::QueueId;
use crate::name::LimitName;
use crate::queue::{NodeStatus, QueueVersion};
use crate::time::Span;

/// What can be set on a node.
#[derive(Clone, Debug, PartialEq)]
pub struct NodeSettings {
    /// All of them hold at once. At most [`crate::bound::MAX_WINDOWS`].
    pub windows: Vec<Window>,
    /// Jobs that workers hold at a time; none: any number.
    pub max_in_flight: Option<u32>,
    /// How many jobs it sends in its turn, beside its siblings' one. At least 1.
    pub weight: u32,
    /// Whether its jobs go strictly one after another: one in flight, and one that is to be retried holds the rest.
    pub ordered: bool,
    /// Whether its rate follows what the downstream answers. None: a key as its queue, a queue does.
    pub adaptive: Option<bool>,
    /// When nothing goes through because everything fails; none: never.
    pub breaker: Option<BreakerPolicy>,
}

/// When a node lets nothing through because what goes through it fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BreakerPolicy {
    /// After so many failures in a row. At least 1, at most [`crate::bound::MAX_CONSECUTIVE_FAILURES`].
    pub consecutive_failures: u32,
    /// For so long; then one job is sent to see. At least [`crate::bound::MIN_OPEN`].
    pub open_duration: Span,
}

/// A limit that queues share, as the store keeps it.
#[derive(Clone, Debug, PartialEq)]
pub struct LimitRecord {
    /// Its number. Limits and queues have no number in common.
    pub id: QueueId,
    /// Its name.
    pub name: LimitName,
    /// What it lets through.
    pub settings: LimitSettings,
    /// Grows with each change of the settings.
    pub version: u64,
}

/// What can be set on a shared limit.
#[derive(Clone, Debug, PartialEq)]
pub struct LimitSettings {
    /// What goes through it. Neither weighed nor ordered.
    pub node: NodeSettings,
    /// How long a queue's job waits here to count as one priority more urgent than others'; zero: never.
    pub priority_ageing: Span,
}

/// The settings that are to change.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LimitPatch {
    /// See [`LimitSettings::node`].
    pub node: Option<NodeSettings>,
    /// See [`LimitSettings::priority_ageing`].
    pub priority_ageing: Option<Span>,
}

/// A shared limit as it is shown.
#[derive(Clone, Debug, PartialEq)]
pub struct LimitView {
    /// Its name.
    pub name: LimitName,
    /// Its settings.
    pub settings: LimitSettings,
    /// Which settings they are.
    pub version: QueueVersion,
    /// Queues that hang under it.
    pub queues: u64,
    /// Units that may go now, of the window that has the fewest; none: it has no window.
    pub tokens: Option<u64>,
    /// What may go through it now.
    pub node: NodeStatus,
}

/// So much in so much time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// How it is counted.
    pub kind: WindowKind,
    /// So many units. At least 1, at most [`crate::bound::MAX_AMOUNT`].
    pub amount: u32,
    /// In so much time. At least [`crate::bound::MIN_PERIOD`].
    pub period: Span,
    /// What is counted.
    pub unit: Unit,
}

/// How a window is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WindowKind {
    /// Evenly, and so many units at once: at most `burst` + t · amount ÷ period in any span t. At least 1.
    Rate {
        /// So many.
        burst: u32,
    },
    /// At most `amount` in any span of a period, whenever in it.
    Quota,
}

/// What a window counts. The numbers are on disk: keep them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum Unit {
    /// Each job as one.
    #[default]
    Jobs = 1,
    /// Each job as what it costs.
    Cost = 2,
}

impl Default for NodeSettings {
    fn default() -> NodeSettings {
        NodeSettings {
            windows: Vec::new(),
            max_in_flight: None,
            weight: 1,
            ordered: false,
            adaptive: None,
            breaker: None,
        }
    }
}

impl Default for LimitSettings {
    fn default() -> LimitSettings {
        LimitSettings { node: NodeSettings::default(), priority_ageing: Span::from_secs(60) }
    }
}

impl LimitPatch {
    /// `base` with what is to change.
    #[must_use]
    pub fn over(&self, base: &LimitSettings) -> LimitSettings {
        LimitSettings {
            node: self.node.clone().unwrap_or_else(|| base.node.clone()),
            priority_ageing: self.priority_ageing.unwrap_or(base.priority_ageing).min(MAX_SPAN),
        }
    }
}

impl LimitRecord {
    /// Which settings these are.
    #[must_use]
    pub fn version(&self) -> QueueVersion {
        QueueVersion { queue: self.id, number: self.version }
    }
}

impl NodeSettings {
    /// Whether they say anything.
    #[must_use]
    pub fn is_limited(&self) -> bool {
        !self.windows.is_empty() || self.has_slots() || self.weight > 1 || self.breaker.is_some()
    }

    /// Whether something may have to wait until something else is done.
    pub(crate) fn has_slots(&self) -> bool {
        self.max_in_flight.is_some() || self.ordered
    }
}

impl Window {
    /// The burst of a rate that does not say one: one second's worth, but at least 2, for with 1 no lateness is
    /// ever caught up.
    #[must_use]
    pub fn default_burst(amount: u32, period: Span) -> u32 {
        let a_second = u128::from(amount) * 1_000_000_000 / u128::from(period.0.max(1));
        u32::try_from(a_second).unwrap_or(u32::MAX).clamp(2, crate::bound::MAX_AMOUNT)
    }

    /// Nanoseconds a unit, rounded up: never faster than was said.
    pub(crate) fn spacing(&self) -> u64 {
        self.period.0.div_ceil(u64::from(self.amount))
    }

    /// Units that may go when nothing went before.
    pub(crate) fn most_at_once(&self) -> u64 {
        match self.kind {
            WindowKind::Rate { burst } => burst.into(),
            WindowKind::Quota => self.amount.into(),
        }
    }

    /// Whether what went through `other` in its place was counted in the same way: only how much may go differs.
    pub(crate) fn is_counted_as(&self, other: &Window) -> bool {
        let kinds = match (self.kind, other.kind) {
            (WindowKind::Rate { .. }, WindowKind::Rate { .. }) => true,
            (WindowKind::Quota, WindowKind::Quota) => self.period == other.period,
            _ => false,
        };
        kinds && self.unit == other.unit
    }

    /// Units a second.
    pub(crate) fn per_second(&self) -> f64 {
        f64::from(self.amount) * 1e9 / self.period.0 as f64
    }

    /// What counts of so many jobs that cost so much.
    pub(crate) fn units(&self, jobs: u64, cost: u64) -> u64 {
        match self.unit {
            Unit::Jobs => jobs,
            Unit::Cost => cost,
        }
    }
}

impl Unit {
    /// The unit a number on disk stands for.
    #[must_use]
    pub fn from_number(number: u8) -> Option<Unit> {
        [Unit::Jobs, Unit::Cost].into_iter().find(|unit| *unit as u8 == number)
    }
}
