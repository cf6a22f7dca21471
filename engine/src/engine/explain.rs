//! Why a job does not run: everything that stands in its way, and the one thing that matters.

use crate::engine::Engine;
use crate::explanation::{Ahead, Explanation, GateView, Reason};
use crate::id::JobId;
use crate::job::{Block, BlockKind, JobState, JobView};
use crate::ledger::flow::Spot;
use crate::ledger::jobs::Job;
use crate::time::Now;

impl Engine {
    /// All that is known of why a job stands where it does.
    #[must_use]
    pub fn explain(&self, id: JobId, now: Now) -> Option<Explanation> {
        let mut view = self.job(id, now)?;
        let slot = self.ledger.jobs.slot(id)?;
        let job = self.ledger.jobs.at(slot);
        let queue = self.ledger.queue(job.queue);
        let waiting_leases = self.waiting.len_of(&queue.record.name) as u64;
        let foreseen = self.foreseen(slot, now);
        view.eta = foreseen.as_ref().map(|foreseen| foreseen.eta);
        let ahead = foreseen.map(|foreseen| foreseen.ahead).unwrap_or_default();
        let reason = self.reason(job, &view, &ahead, waiting_leases, now);
        let gates = if job.state == JobState::Ready { self.all_gates(job, &view.blocks) } else { Vec::new() };
        Some(Explanation { job: view, reason, gates, ahead, waiting_leases })
    }

    fn reason(&self, job: &Job, view: &JobView, ahead: &[Ahead], waiting_leases: u64, now: Now) -> Reason {
        match job.state {
            JobState::Scheduled => Reason::Scheduled,
            JobState::Retrying => Reason::Retrying,
            JobState::Leased => {
                let detail = job.detail.as_ref();
                Reason::Leased {
                    worker: detail.and_then(|detail| detail.worker.clone()).unwrap_or_default(),
                    since: detail.and_then(|detail| detail.start_time),
                    cancel_requested: job.cancel_requested,
                }
            }
            JobState::Ready => self.reason_ready(job, view, ahead, waiting_leases, now),
            state => Reason::AtRest(state),
        }
    }

    fn reason_ready(
        &self,
        job: &Job,
        view: &JobView,
        ahead: &[Ahead],
        waiting_leases: u64,
        now: Now,
    ) -> Reason {
        if view.blocks.iter().any(|block| block.kind == BlockKind::Paused) {
            return Reason::Paused;
        }
        let before = ahead.last().map_or(0, |ahead| ahead.before);
        let higher = ahead.last().is_some_and(|ahead| ahead.higher > 0);
        if let Some(gate) = view.blocks.first() {
            let before = ahead.iter().find(|ahead| ahead.key == gate.key).map_or(0, |ahead| ahead.before);
            return Reason::Closed { gate: gate.clone(), before };
        }
        let desk = self.index.desks.get(&job.queue);
        let pace = desk.and_then(|desk| desk.traffic()).and_then(|traffic| traffic.pace(now.engine));
        let leased = self.ledger.queue(job.queue).counts.get(JobState::Leased);
        match () {
            () if waiting_leases == 0 && leased == 0 && pace.is_none() => Reason::NoWorker,
            () if before > 0 => Reason::Turn { before, higher },
            () => Reason::Next,
        }
    }

    /// Every gate on the way of a READY job: those of `blocks` are closed.
    fn all_gates(&self, job: &Job, blocks: &[Block]) -> Vec<GateView> {
        let mut gates = Vec::new();
        for spot in self.ledger.way(Spot { queue: job.queue, key: job.key }) {
            let node = self.ledger.keys.text(spot.key);
            let limit = self.ledger.limits.get(spot.queue).map(|limit| limit.record.name.clone());
            let is_its = |block: &&Block| block.key == *node && block.limit == limit;
            let closed: Vec<&Block> = blocks.iter().filter(is_its).collect();
            let mut open = self.kinds_at(spot);
            for block in &closed {
                if let Some(at) = open.iter().position(|kind| *kind == block.kind) {
                    open.remove(at);
                }
            }
            gates.extend(closed.into_iter().map(|block| GateView { gate: block.clone(), closed: true }));
            let block = |kind| Block { kind, key: node.clone(), limit: limit.clone(), until: None };
            gates.extend(open.into_iter().map(|kind| GateView { gate: block(kind), closed: false }));
        }
        gates
    }

    /// What can close a node, as its settings say.
    fn kinds_at(&self, spot: Spot) -> Vec<BlockKind> {
        let Some(settings) = self.ledger.node_settings(spot) else { return Vec::new() };
        let slots = match (settings.ordered, settings.max_in_flight) {
            (true, _) => Some(BlockKind::Ordered),
            (false, Some(_)) => Some(BlockKind::InFlight),
            (false, None) => None,
        };
        let windows = settings.windows.iter().map(|window| window.kind.into());
        slots.into_iter().chain(windows).collect()
    }
}
