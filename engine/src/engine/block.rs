//! Why a job that is READY does not go: the gates on its way that are closed.

use crate::engine::Engine;
use crate::engine::doors::Doors;
use crate::job::{Block, BlockKind, JobState};
use crate::ledger::flow::Spot;
use crate::ledger::jobs::Job;
use crate::ledger::keys::KeyId;
use crate::limit::WindowKind;
use crate::time::Now;

impl Engine {
    /// Every closed gate on the way of a READY job, the deepest first. None: it waits for its turn, or for a worker.
    pub(super) fn blocks(&self, job: &Job, now: Now) -> Vec<Block> {
        if job.state != JobState::Ready {
            return Vec::new();
        }
        let queue = self.ledger.queue(job.queue);
        let is_paused = queue.record.settings.paused;
        if !is_paused && !queue.is_limited() {
            return Vec::new();
        }
        let doors = Doors::of(&self.ledger, job.queue, now.engine);
        let mut blocks = Vec::new();
        for key in self.ledger.keys.chain(job.key).chain([KeyId::NONE]) {
            self.blocks_at(Spot { queue: job.queue, key }, job, &doors, now, &mut blocks);
        }
        if is_paused {
            blocks.push(Block { kind: BlockKind::Paused, key: Default::default(), until: None });
        }
        blocks
    }

    fn blocks_at(&self, spot: Spot, job: &Job, doors: &Doors<'_>, now: Now, blocks: &mut Vec<Block>) {
        let key = || self.ledger.keys.text(spot.key).clone();
        if let Some(kind) = doors.taken(spot) {
            blocks.push(Block { kind, key: key(), until: None });
        }
        let Some(gate) = self.ledger.gate(spot) else { return };
        if gate.frozen_until > now.engine {
            let until = Some(now.wall_at(gate.frozen_until));
            blocks.push(Block { kind: BlockKind::Frozen, key: key(), until });
        }
        if gate.is_probing() {
            blocks.push(Block { kind: BlockKind::Breaker, key: key(), until: None });
        }
        let cost = job.cost().get().into();
        let learned = [
            (BlockKind::Breaker, gate.broken_until(now.engine)),
            (BlockKind::Adapted, gate.adapted(cost, now.engine)),
        ];
        for (kind, opens) in learned.into_iter().filter(|(_, opens)| *opens > now.engine) {
            blocks.push(Block { kind, key: key(), until: Some(now.wall_at(opens)) });
        }
        for (window, meter) in &gate.meters {
            let opens = meter.opens(window, window.units(1, cost), now.engine);
            if opens > now.engine {
                let kind = match window.kind {
                    WindowKind::Rate { .. } => BlockKind::Rate,
                    WindowKind::Quota => BlockKind::Quota,
                };
                blocks.push(Block { kind, key: key(), until: Some(now.wall_at(opens)) });
            }
        }
    }
}
