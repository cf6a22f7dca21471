//! Queues come into being and change.

use crate::bound::MAX_QUEUES;
use crate::command::PutQueue;
use crate::engine::{Effects, Engine};
use crate::id::QueueId;
use crate::mutation::Mutation;
use crate::name::QueueName;
use crate::outcome::{Answer, Outcome, Refusal};
use crate::queue::QueueRecord;
use crate::settings::QueueSettings;
use crate::time::Now;

impl Engine {
    pub(super) fn put_queue(&mut self, put: PutQueue, now: Now, effects: &mut Effects) -> Answer {
        let known = self.ledger.find_queue(&put.name).map(|queue| &queue.record);
        if put.version.is_some() && put.version != known.map(QueueRecord::version) {
            return Err(Refusal::VersionMismatch);
        }
        let before = known.map(|record| record.settings.clone());
        let settings = put.patch.over(before.as_ref().unwrap_or(&QueueSettings::default()));
        if settings.limit.as_ref().is_some_and(|name| self.ledger.limits.find(name).is_none()) {
            return Err(Refusal::LimitNotFound);
        }
        if before.as_ref() != Some(&settings) {
            let (queue, version) = match known {
                Some(record) => (record.id, record.version + 1),
                None => (self.room_for_queue()?, 1),
            };
            let name = put.name.clone();
            self.record(
                Mutation::QueuePut { queue, name, settings: Box::new(settings), version },
                now,
                effects,
            );
            if let Some(before) = before {
                self.index.resettle(&self.ledger, queue, &before, now.engine);
                self.rearm_forget(queue);
                // It may be paused no more, or hold more.
                self.stir(queue);
                self.room.stir_all(queue);
                self.acquires.stir_all();
            } else {
                self.index.open(queue, &self.ledger, now.engine);
            }
            self.follow_want(queue, now);
            effects.touch(queue);
        }
        let view = self.queue(&put.name).expect("it was just put");
        Ok(Outcome::QueuePut(Box::new(view)))
    }

    /// The queue of this name; with default settings if there was none.
    pub(super) fn ensure_queue(
        &mut self,
        name: &QueueName,
        now: Now,
        effects: &mut Effects,
    ) -> Result<QueueId, Refusal> {
        if let Some(queue) = self.ledger.find_queue(name) {
            return Ok(queue.record.id);
        }
        let queue = self.room_for_queue()?;
        let settings = Box::<QueueSettings>::default();
        self.record(Mutation::QueuePut { queue, name: name.clone(), settings, version: 1 }, now, effects);
        self.index.open(queue, &self.ledger, now.engine);
        effects.touch(queue);
        Ok(queue)
    }

    /// The number of the next new queue.
    fn room_for_queue(&self) -> Result<QueueId, Refusal> {
        if self.ledger.queue_count() >= MAX_QUEUES {
            return Err(Refusal::TooManyQueues);
        }
        Ok(self.ledger.next_queue())
    }
}
