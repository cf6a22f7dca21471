//! Why a job that is READY does not go: the gates on its way that are closed.

use crate::engine::Engine;
use crate::engine::doors::Doors;
use crate::job::{Block, BlockKind, JobState};
use crate::ledger::flow::Spot;
use crate::ledger::jobs::Job;
use crate::name::Key;
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
        let bypasses = self.is_bypassing(job, now);
        for spot in self.ledger.way(Spot { queue: job.queue, key: job.key }) {
            self.blocks_at(spot, job, &doors, now, &mut blocks);
        }
        blocks.retain(|block| {
            !(bypasses && matches!(block.kind, BlockKind::Rate | BlockKind::Quota | BlockKind::Adapted))
        });
        if is_paused {
            blocks.push(Block { kind: BlockKind::Paused, key: Key::default(), limit: None, until: None });
        }
        blocks
    }

    /// Whether windows let a job through whatever went before: beyond what that may owe it is a job like others.
    fn is_bypassing(&self, job: &Job, now: Now) -> bool {
        let lets = |spot| {
            let gate = self.ledger.gate(spot);
            gate.is_none_or(|gate| gate.bypass_opens(now.engine) <= now.engine)
        };
        job.bypasses_limits() && self.ledger.way(Spot { queue: job.queue, key: job.key }).all(lets)
    }

    fn blocks_at(&self, spot: Spot, job: &Job, doors: &Doors<'_>, now: Now, blocks: &mut Vec<Block>) {
        let block = |kind, until| Block {
            kind,
            key: self.ledger.keys.text(spot.key).clone(),
            limit: self.ledger.limits.get(spot.queue).map(|limit| limit.record.name.clone()),
            until,
        };
        if let Some(kind) = doors.taken(spot) {
            blocks.push(block(kind, None));
        }
        let Some(gate) = self.ledger.gate(spot) else { return };
        if let Some(until) = gate.frozen(now.engine) {
            blocks.push(block(BlockKind::Frozen, Some(now.wall_at(until))));
        }
        if doors.is_probed(spot, gate) {
            blocks.push(block(BlockKind::Breaker, None));
        }
        let cost = job.cost().get().into();
        let learned = [
            (BlockKind::Breaker, gate.broken_until(now.engine)),
            (BlockKind::Adapted, gate.adapted(cost, now.engine)),
        ];
        for (kind, opens) in learned.into_iter().filter(|(_, opens)| *opens > now.engine) {
            blocks.push(block(kind, Some(now.wall_at(opens))));
        }
        for (window, meter) in &gate.meters {
            let opens = meter.opens(window, window.units(1, cost), now.engine);
            if opens > now.engine {
                blocks.push(block(window.kind.into(), Some(now.wall_at(opens))));
            }
        }
    }
}
