//! What is derived for one queue: its node, its lines, its history by time, its rates.

use std::collections::VecDeque;

use crate::engine::line::Line;
use crate::engine::rate::Rates;
use crate::engine::traffic::Traffic;
use crate::id::JobId;
use crate::ledger::batches::BatchId;
use crate::queue::{Level, QueueRates};
use crate::settings::QueueSettings;
use crate::time::Timestamp;
use crate::tree::NodeId;

/// One queue's.
pub(crate) struct Desk {
    pub(crate) node: NodeId,
    /// READY jobs.
    pub(crate) ready: Line,
    /// SCHEDULED and RETRYING jobs.
    pub(crate) later: Line,
    /// How full it was when it was looked at last.
    pub(crate) level: Level,
    /// Whether lines of its keys are kept: some rule lets the oldest go.
    pub(crate) has_key_lines: bool,
    /// Whether some of its nodes may have to wait until something is done.
    pub(crate) has_slots: bool,
    /// Finished jobs by the time they ended. Those that were purged or requeued are passed over when they come up.
    finished: VecDeque<(Timestamp, JobId)>,
    finished_bytes: u64,
    /// Dead and drained jobs, and drained sets, by the time they ended. Those requeued or purged are
    /// passed over when they come up.
    buried: VecDeque<(Timestamp, Buried)>,
    /// Batches whose last job went, by when. Those that have jobs again are passed over when they come up.
    emptied: VecDeque<(Timestamp, BatchId)>,
    rates: Option<Box<Rates>>,
    /// None: nothing came or went yet.
    traffic: Option<Box<Traffic>>,
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
    Batch(Timestamp, BatchId),
}

impl Desk {
    pub(crate) fn new(node: NodeId) -> Desk {
        Desk {
            node,
            ready: Line::default(),
            later: Line::default(),
            level: Level::default(),
            has_key_lines: false,
            has_slots: false,
            finished: VecDeque::new(),
            finished_bytes: 0,
            buried: VecDeque::new(),
            emptied: VecDeque::new(),
            rates: None,
            traffic: None,
            forget_at: None,
        }
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

    pub(crate) fn empty_batch(&mut self, time: Timestamp, batch: BatchId) {
        self.emptied.push_back((time, batch));
    }

    pub(crate) fn sort(&mut self) {
        self.buried.make_contiguous().sort_unstable();
        self.emptied.make_contiguous().sort_unstable();
    }

    /// When the front of a history may go; in the past when there are too many bytes.
    pub(crate) fn next_forget(&self, settings: &QueueSettings) -> Option<Timestamp> {
        let finished = self.finished.front().map(|(end, _)| {
            if self.finished_bytes > settings.retention_bytes { *end } else { *end + settings.retention }
        });
        let buried = self.buried.front().map(|(end, _)| *end + settings.dead_retention);
        let emptied = self.emptied.front().map(|(end, _)| *end + settings.retention);
        [finished, buried, emptied].into_iter().flatten().min()
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
        if let Some(&(end, batch)) = self.emptied.front()
            && end + settings.retention <= now
        {
            self.emptied.pop_front();
            return Some(Forgettable::Batch(end, batch));
        }
        None
    }

    /// Its rates of late, per second.
    pub(crate) fn rates_at(&self, now: Timestamp) -> QueueRates {
        self.rates.as_ref().map_or_else(QueueRates::default, |rates| rates.per_second(now))
    }

    /// What came and went of late.
    pub(crate) fn traffic(&self) -> Option<&Traffic> {
        self.traffic.as_deref()
    }

    pub(crate) fn traffic_mut(&mut self, now: Timestamp) -> &mut Traffic {
        self.traffic.get_or_insert_with(|| Box::new(Traffic::since(now)))
    }

    /// What a start put in did not come of late.
    pub(crate) fn forget_traffic(&mut self) {
        self.traffic = None;
    }

    pub(crate) fn rates_mut(&mut self) -> &mut Rates {
        self.rates.get_or_insert_default()
    }
}
