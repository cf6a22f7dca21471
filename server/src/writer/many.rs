//! What changed, over all queues: for those who watch many.

use std::collections::{BTreeMap, HashMap};

use sluice_engine::{Engine, Now, QueueName, QueueStatus, Span, Timestamp};
use tokio::sync::watch;

use crate::bound::WATCH_INTERVAL;

/// Queues in the order of their last changes; kept only while somebody watches.
pub(super) struct Changes {
    /// Tells the number of the last change.
    sender: watch::Sender<u64>,
    by_number: BTreeMap<u64, QueueName>,
    numbers: HashMap<QueueName, u64>,
    last: u64,
    /// When it told last.
    published: Timestamp,
}

/// Some of what changed.
#[derive(Debug, Default)]
pub struct ChangedQueues {
    /// In order of their changes; none for a queue that is there no more.
    pub queues: Vec<(QueueName, Option<QueueStatus>)>,
    /// The number of the last change among them.
    pub through: u64,
    /// Whether there are more.
    pub more: bool,
}

impl Default for Changes {
    fn default() -> Changes {
        Changes {
            sender: watch::Sender::new(0),
            by_number: BTreeMap::new(),
            numbers: HashMap::new(),
            last: 0,
            published: Timestamp::default(),
        }
    }
}

impl Changes {
    /// Tells the number of the last change from now on.
    pub(super) fn watch(&mut self) -> watch::Receiver<u64> {
        self.sender.send_replace(self.last);
        self.sender.subscribe()
    }

    /// Whether nobody watches. What was noted until then is forgotten.
    pub(super) fn is_unwatched(&mut self) -> bool {
        let is_unwatched = self.sender.is_closed();
        if is_unwatched && !self.numbers.is_empty() {
            self.by_number.clear();
            self.numbers.clear();
        }
        is_unwatched
    }

    /// A queue changed.
    pub(super) fn note(&mut self, queue: &QueueName) {
        self.last += 1;
        if let Some(before) = self.numbers.insert(queue.clone(), self.last) {
            self.by_number.remove(&before);
        }
        self.by_number.insert(self.last, queue.clone());
    }

    /// Tells that there is something, if it may be told by now.
    pub(super) fn publish(&mut self, now: Now) {
        if self.next_due().is_some_and(|due| due <= now.engine) {
            self.published = now.engine;
            self.sender.send_replace(self.last);
        }
    }

    /// When there is something to tell.
    pub(super) fn next_due(&self) -> Option<Timestamp> {
        let interval = Span::from_millis(WATCH_INTERVAL.as_millis() as u64);
        (*self.sender.borrow() < self.last && !self.sender.is_closed()).then(|| self.published + interval)
    }

    /// How queues stand that changed after `number`, at most `limit` of them.
    pub(super) fn after(&self, number: u64, limit: usize, engine: &Engine, now: Now) -> ChangedQueues {
        let mut found = ChangedQueues { through: number, ..ChangedQueues::default() };
        for (number, name) in self.by_number.range(number + 1..) {
            if found.queues.len() >= limit {
                found.more = true;
                break;
            }
            found.queues.push((name.clone(), engine.status(name, now)));
            found.through = *number;
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use sluice_engine::{EngineConfig, WallTime};

    use super::*;

    fn name(text: &str) -> QueueName {
        QueueName::new(text).unwrap()
    }

    #[test]
    fn queue_stands_once_and_at_its_last_change() {
        let engine = Engine::new(EngineConfig::default());
        let mut changes = Changes::default();
        let _watched = changes.watch();
        ["a", "b", "a"].into_iter().for_each(|queue| changes.note(&name(queue)));
        let found = changes.after(0, 1, &engine, Now::default());
        assert_eq!((&*found.queues[0].0, found.more, found.through), ("b", true, 2));
        let found = changes.after(2, 9, &engine, Now::default());
        assert_eq!((&*found.queues[0].0, found.queues.len(), found.more), ("a", 1, false));
    }

    #[test]
    fn changes_are_told_no_more_often_than_the_interval() {
        let mut changes = Changes::default();
        let watched = changes.watch();
        let at = |millis: u64| Now { engine: Timestamp(millis * 1_000_000), wall: WallTime(0) };
        changes.note(&name("a"));
        changes.publish(at(100));
        assert_eq!(*watched.borrow(), 1);
        changes.note(&name("a"));
        changes.publish(at(149));
        assert_eq!(*watched.borrow(), 1);
        changes.publish(at(150));
        assert_eq!((*watched.borrow(), changes.next_due()), (2, None));
        drop(watched);
        assert!(changes.is_unwatched() && changes.by_number.is_empty());
    }
}
