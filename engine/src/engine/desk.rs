//! What is derived for one queue: its node, its lines, its history by time, its rates.

use std::collections::VecDeque;

use crate::arrival::Arrivals;
use crate::engine::rate::Rates;
use crate::id::JobId;
use crate::job::Priority;
use crate::settings::QueueSettings;
use crate::time::Timestamp;
use crate::tree::NodeId;

/// One queue's.
pub(crate) struct Desk {
    pub(crate) node: NodeId,
    /// READY jobs of each priority, in order of arrival.
    lines: [Option<Box<Arrivals>>; Priority::COUNT],
    /// Completed jobs by the time they ended. Those that were purged are passed over when they come up.
    finished: VecDeque<(Timestamp, JobId)>,
    finished_bytes: u64,
    /// Dead and drained jobs, and drained sets, by the time they ended. Those requeued or purged are
    /// passed over when they come up.
    buried: VecDeque<(Timestamp, Buried)>,
    rates: Option<Box<Rates>>,
    /// Under which time this desk stands in the engine's order of forgetting.
    pub(crate) forget_at: Option<Timestamp>,
}

/// What stays for the dead retention.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Buried {
    Job(JobId),
    Drain(u128),
}

/// What is at the front of a history and may go.
pub(crate) enum Forgettable {
    Finished(Timestamp, JobId),
    Buried(Timestamp, Buried),
}

impl Desk {
    pub(crate) fn new(node: NodeId) -> Desk {
        Desk {
            node,
            lines: Default::default(),
            finished: VecDeque::new(),
            finished_bytes: 0,
            buried: VecDeque::new(),
            rates: None,
            forget_at: None,
        }
    }

    pub(crate) fn arrivals(&mut self, priority: Priority) -> &mut Arrivals {
        self.lines[priority.index()].get_or_insert_default()
    }

    pub(crate) fn lines(&self) -> impl Iterator<Item = &Arrivals> {
        self.lines.iter().filter_map(Option::as_deref)
    }

    /// READY jobs of each priority.
    pub(crate) fn ready_by_priority(&self) -> [u64; Priority::COUNT] {
        std::array::from_fn(|p| self.lines[p].as_ref().map_or(0, |line| line.len()))
    }

    /// 1 = next by priority, then by arrival.
    pub(crate) fn position(&self, priority: Priority, sequence: u64) -> u64 {
        let above: u64 = self.lines[priority.index() + 1..].iter().flatten().map(|line| line.len()).sum();
        let line = self.lines[priority.index()].as_ref();
        1 + above + line.map_or(0, |line| line.rank(sequence))
    }

    pub(crate) fn finish(&mut self, time: Timestamp, id: JobId, bytes: u64) {
        self.finished.push_back((time, id));
        self.finished_bytes += bytes;
    }

    pub(crate) fn unfinish(&mut self, bytes: u64) {
        self.finished_bytes -= bytes;
    }

    pub(crate) fn bury(&mut self, time: Timestamp, what: Buried) {
        self.buried.push_back((time, what));
    }

    pub(crate) fn sort_buried(&mut self) {
        self.buried.make_contiguous().sort_unstable();
    }

    /// When the front of a history may go; in the past when there are too many bytes.
    pub(crate) fn next_forget(&self, settings: &QueueSettings) -> Option<Timestamp> {
        let finished = self.finished.front().map(|(end, _)| {
            if self.finished_bytes > settings.retention_bytes { *end } else { *end + settings.retention }
        });
        let buried = self.buried.front().map(|(end, _)| *end + settings.dead_retention);
        finished.into_iter().chain(buried).min()
    }

    /// Takes the front of a history if it may go by now.
    pub(crate) fn pop_forgettable(
        &mut self,
        settings: &QueueSettings,
        now: Timestamp,
    ) -> Option<Forgettable> {
        if let Some(&(end, id)) = self.finished.front()
            && (self.finished_bytes > settings.retention_bytes || end + settings.retention <= now)
        {
            self.finished.pop_front();
            return Some(Forgettable::Finished(end, id));
        }
        if let Some(&(end, what)) = self.buried.front()
            && end + settings.dead_retention <= now
        {
            self.buried.pop_front();
            return Some(Forgettable::Buried(end, what));
        }
        None
    }

    pub(crate) fn rates(&self) -> Option<&Rates> {
        self.rates.as_deref()
    }

    pub(crate) fn rates_mut(&mut self) -> &mut Rates {
        self.rates.get_or_insert_default()
    }
}
