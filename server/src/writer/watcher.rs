//! Tells watchers how their queues stand: the newest, never more often than [`WATCH_INTERVAL`], and never
//! a change left out for good.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use sluice_engine::{Engine, Now, QueueId, QueueName, QueueStatus, Span, Timestamp};
use tokio::sync::watch;

use super::many::Changes;
use super::message::Watched;
use crate::bound::{MAX_PUBLISHED_PER_STEP, WATCH_INTERVAL};

/// The watched queues.
#[derive(Default)]
pub(super) struct Watchers {
    queues: HashMap<QueueName, Channel>,
    /// Queues with something to tell, and when it may be told.
    due: BTreeSet<(Timestamp, QueueName)>,
    /// For those who watch many.
    pub(super) many: Changes,
    /// With so many queues it is time to look for those that nobody watches any more.
    sweep_at: usize,
}

struct Channel {
    sender: watch::Sender<Option<Arc<QueueStatus>>>,
    /// When it told last.
    published: Timestamp,
    /// Whether it stands in `due`.
    due: bool,
}

/// Below this many watched queues nobody looks for abandoned ones.
const MIN_SWEEP: usize = 64;

impl Watchers {
    /// Tells of `queue`, from its present status on.
    pub(super) fn watch(&mut self, queue: QueueName, engine: &Engine, now: Now) -> Watched {
        if let Some(channel) = self.queues.get_mut(&queue) {
            // Rates and ages change by themselves: what was told long ago is true no more.
            if now.engine >= channel.published + interval() {
                channel.published = now.engine;
                channel.sender.send_replace(engine.status(&queue, now).map(Arc::new));
            }
            return channel.sender.subscribe();
        }
        self.forget_abandoned();
        let (sender, receiver) = watch::channel(engine.status(&queue, now).map(Arc::new));
        self.queues.insert(queue, Channel { sender, published: now.engine, due: false });
        receiver
    }

    /// Notes that the status of these queues changed.
    pub(super) fn touch(&mut self, touched: &[QueueId], engine: &Engine, now: Now) {
        let is_many_unwatched = self.many.is_unwatched();
        if self.queues.is_empty() && is_many_unwatched {
            return;
        }
        let mut last = None;
        for id in touched {
            // A group of calls for one queue names it many times in a row.
            if last.replace(id) == Some(id) {
                continue;
            }
            let Some(name) = engine.queue_name(*id) else { continue };
            if !is_many_unwatched {
                self.many.note(name);
            }
            let Some(channel) = self.queues.get_mut(name) else { continue };
            if !channel.due {
                channel.due = true;
                self.due.insert((now.engine.max(channel.published + interval()), name.clone()));
            }
        }
    }

    /// Tells what may be told by now.
    pub(super) fn publish(&mut self, engine: &Engine, now: Now) {
        self.many.publish(now);
        self.publish_due(engine, now);
    }

    fn publish_due(&mut self, engine: &Engine, now: Now) {
        for _ in 0..MAX_PUBLISHED_PER_STEP {
            if self.due.first().is_none_or(|(due, _)| *due > now.engine) {
                return;
            }
            let Some((_, name)) = self.due.pop_first() else { return };
            let Some(channel) = self.queues.get_mut(&name) else { continue };
            if channel.sender.is_closed() {
                self.queues.remove(&name);
                continue;
            }
            channel.due = false;
            channel.published = now.engine;
            channel.sender.send_replace(engine.status(&name, now).map(Arc::new));
        }
    }

    /// When there is something to tell.
    pub(super) fn next_due(&self) -> Option<Timestamp> {
        self.due.first().map(|(time, _)| *time).into_iter().chain(self.many.next_due()).min()
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.queues.len()
    }

    /// Names are the callers' choice, so what nobody watches must not stay for ever; the work is
    /// spread over the watches that made it necessary.
    fn forget_abandoned(&mut self) {
        if self.queues.len() < self.sweep_at.max(MIN_SWEEP) {
            return;
        }
        self.queues.retain(|_, channel| !channel.sender.is_closed());
        self.due.retain(|(_, name)| self.queues.contains_key(name));
        self.sweep_at = 2 * self.queues.len();
    }
}

fn interval() -> Span {
    Span::from_millis(WATCH_INTERVAL.as_millis() as u64)
}
