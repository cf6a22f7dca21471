//! The dispatch tree without the rest of the engine: `benches/dispatch.rs` measures it.

use crate::bound::MAX_WAKES_PER_STEP;
use crate::engine::Engine;
use crate::engine::doors::Doors;
use crate::id::QueueId;
use crate::ledger::flow::Spot;
use crate::name::QueueName;
use crate::time::Timestamp;
use crate::tree::NodeId;

/// Dispatches the jobs of a queue, over and over. Neither leases nor records are made of it.
pub struct Dispatcher {
    engine: Engine,
    queue: QueueId,
    root: NodeId,
    sequence: u64,
}

impl Dispatcher {
    /// Of what is READY in a queue of this engine.
    ///
    /// # Panics
    /// When there is no such queue.
    #[must_use]
    pub fn new(mut engine: Engine, queue: &QueueName) -> Dispatcher {
        let queue = engine.ledger.find_queue(queue).expect("the queue is there").record.id;
        let root = engine.index.desk(queue).node;
        Dispatcher { engine, queue, root, sequence: u64::MAX / 2 }
    }

    /// The next job goes, if one may: it is charged, and stands last among those of its key again.
    pub fn cycle(&mut self, now: Timestamp) -> bool {
        let Engine { ledger, index, .. } = &mut self.engine;
        index.tree.wake(MAX_WAKES_PER_STEP, &Doors::of(ledger, self.queue, now));
        let Some(next) = index.tree.next(self.root, &Doors::of(ledger, self.queue, now)) else {
            return false;
        };
        let leaf = index.tree.take(next, &Doors::of(ledger, self.queue, now));
        let job = ledger.jobs.at_mut(next.slot);
        self.sequence += 1;
        job.sequence = self.sequence;
        let (key, priority) = (job.key, job.priority);
        let are_open = !ledger.queue(self.queue).is_limited()
            || ledger.charge(Spot { queue: self.queue, key }, 1, 1, now);
        let doors = Doors::of(ledger, self.queue, now);
        index.tree.served(leaf, are_open, &doors);
        index.tree.push(self.root, key, next.slot, priority, &doors);
        true
    }
}
