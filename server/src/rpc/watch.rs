//! GetQueueStatus and WatchQueue: how a queue stands, once or as long as somebody looks.

use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt, stream};
use sluice_engine::{Key, QueueName, QueueStatus};
use sluice_proto::v1;
use tokio::sync::watch;
use tokio::time::Instant;

use super::right::READ;
use super::service::Messages;
use super::status::Failure;
use super::validate::{StatusCall, WatchCall};
use super::{Rpc, convert, validate};
use crate::auth::Access;

/// The longest silence on a stream, unless less was asked for: so a watcher knows that it still watches.
const MAX_SILENCE: Duration = Duration::from_secs(5);

impl Rpc {
    pub(super) async fn do_get_queue_status(
        &self,
        access: &Access,
        request: v1::GetQueueStatusRequest,
    ) -> Result<v1::GetQueueStatusResponse, Failure> {
        let StatusCall { queue, key } = validate::status(request)?;
        access.check(READ, &queue)?;
        let status = match key.is_empty() {
            true => self.shown(&queue, self.status_now(&queue).await?.as_ref())?,
            false => self.key_status(&queue, key).await?,
        };
        Ok(v1::GetQueueStatusResponse { status: Some(status) })
    }

    pub(super) async fn do_watch_queue(
        &self,
        access: &Access,
        request: v1::WatchQueueRequest,
    ) -> Result<Messages<v1::WatchQueueResponse>, Failure> {
        let WatchCall { queue, min_interval } = validate::watch(request)?;
        access.check(READ, &queue)?;
        let changes = self.handle.watch(queue.clone()).await?;
        if self.settings.strict_queues && changes.borrow().is_none() {
            return Err(Failure::QueueNotFound(queue.to_string()));
        }
        let watcher = Watcher { rpc: self.clone(), queue, changes, min_interval, last: None };
        // Made one at a time, when the connection has room for it: a slow reader gets the newest.
        let messages = stream::try_unfold(Some(watcher), |watcher| async {
            let Some(mut watcher) = watcher else { return Ok(None) };
            match watcher.next().await {
                Ok(status) => Ok(Some((v1::WatchQueueResponse { status: Some(status) }, Some(watcher)))),
                Err(failure) => Err(failure.into()),
            }
        });
        Ok(messages.boxed())
    }

    /// How a key of a queue stands: only what keys have of it.
    async fn key_status(&self, queue: &QueueName, key: Key) -> Result<v1::QueueStatus, Failure> {
        let (name, wanted) = (queue.clone(), key.clone());
        let read = move |engine: &sluice_engine::Engine, now: sluice_engine::Now| {
            (engine.key(&name, &wanted), engine.nodes(&name, &wanted, now), now.wall)
        };
        let (status, nodes, now) = self.handle.read(read).await?;
        let status = match status {
            Some(status) => QueueStatus {
                counts: status.counts,
                bytes: status.bytes,
                utilization: status.utilization,
                level: status.level,
                nodes,
                status_time: now,
                ..QueueStatus::default()
            },
            None if self.settings.strict_queues => return Err(Failure::QueueNotFound(queue.to_string())),
            None => QueueStatus { status_time: now, ..QueueStatus::default() },
        };
        Ok(v1::QueueStatus { key: key.to_string(), ..convert::status(queue, &status, self.load.get()) })
    }

    pub(super) async fn status_now(&self, queue: &QueueName) -> Result<Option<QueueStatus>, Failure> {
        let queue = queue.clone();
        Ok(self.handle.read(move |engine, now| engine.status(&queue, now)).await?)
    }

    /// A status as clients see it. A queue that does not exist is empty, unless we are strict.
    fn shown(&self, queue: &QueueName, status: Option<&QueueStatus>) -> Result<v1::QueueStatus, Failure> {
        match status {
            Some(status) => Ok(convert::status(queue, status, self.load.get())),
            None if self.settings.strict_queues => Err(Failure::QueueNotFound(queue.to_string())),
            None => Ok(convert::absent_status(queue, self.handle.now().wall)),
        }
    }
}

/// One who watches.
struct Watcher {
    rpc: Rpc,
    queue: QueueName,
    changes: watch::Receiver<Option<Arc<QueueStatus>>>,
    min_interval: Duration,
    last: Option<Instant>,
}

impl Watcher {
    /// Waits until there is something to say, and says it.
    async fn next(&mut self) -> Result<v1::QueueStatus, Failure> {
        let shutdown = self.rpc.shutdown.clone();
        let changed = tokio::select! {
            biased;
            () = shutdown.cancelled() => return Err(Failure::Stopping),
            changed = due(&mut self.changes, self.last, self.min_interval) => changed?,
        };
        let is_first = self.last.is_none();
        let published = self.changes.borrow_and_update().clone();
        // What was published last is old by now: at first by what may not be told yet, and later because rates and
        // ages go on when nothing happens.
        let status = match changed && !is_first {
            true => published,
            false => self.rpc.status_now(&self.queue).await.map_or(published, |s| s.map(Arc::new)),
        };
        // Counted from the telling: the look before it may have waited for a busy writer.
        self.last = Some(Instant::now());
        match status {
            Some(status) => Ok(convert::status(&self.queue, &status, self.rpc.load.get())),
            None => Ok(convert::absent_status(&self.queue, self.rpc.handle.now().wall)),
        }
    }
}

/// Waits until the next message is due: the first at once, the others on change but never before
/// `min_interval`, and at the end of the longest silence. Says whether there was a change.
pub(super) async fn due<T>(
    changes: &mut watch::Receiver<T>,
    last: Option<Instant>,
    min_interval: Duration,
) -> Result<bool, Failure> {
    let Some(last) = last else { return Ok(true) };
    tokio::time::sleep_until(last + min_interval).await;
    let silence_end = last + MAX_SILENCE.max(min_interval);
    tokio::select! {
        biased;
        // The writer, who publishes, is gone.
        changed = changes.changed() => changed.map(|()| true).map_err(|_| Failure::Stopping),
        () = tokio::time::sleep_until(silence_end) => Ok(false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Drives `due` over paused time: when each message was due, in milliseconds, and whether by change.
    async fn dues(min_interval: u64, changes_at: &[u64], count: usize) -> Vec<(u64, bool)> {
        let start = Instant::now();
        let (sender, mut receiver) = watch::channel(0);
        let changes = changes_at.to_vec();
        let writer = tokio::spawn(async move {
            for at in changes {
                tokio::time::sleep_until(start + Duration::from_millis(at)).await;
                sender.send_modify(|n| *n += 1);
            }
            std::future::pending::<()>().await;
        });
        let mut dues = Vec::new();
        let mut last = None;
        for _ in 0..count {
            let changed = due(&mut receiver, last, Duration::from_millis(min_interval)).await.unwrap();
            receiver.borrow_and_update();
            last = Some(Instant::now());
            dues.push((start.elapsed().as_millis() as u64, changed));
        }
        writer.abort();
        dues
    }

    #[tokio::test(start_paused = true)]
    async fn first_message_is_due_at_once_and_silence_is_bounded() {
        let dues = dues(250, &[], 3).await;
        assert_eq!(dues, [(0, true), (5_000, false), (10_000, false)]);
    }

    #[tokio::test(start_paused = true)]
    async fn change_is_told_soon_but_never_too_often() {
        let dues = dues(250, &[10, 20, 30, 260, 1_000], 4).await;
        assert_eq!(dues, [(0, true), (250, true), (500, true), (1_000, true)]);
    }

    #[tokio::test(start_paused = true)]
    async fn who_asks_for_long_intervals_hears_no_more_often() {
        assert_eq!(dues(60_000, &[1], 2).await, [(0, true), (60_000, true)]);
        assert_eq!(dues(60_000, &[], 2).await, [(0, true), (60_000, false)]);
    }

    #[tokio::test(start_paused = true)]
    async fn watch_ends_when_nobody_publishes_any_more() {
        let (sender, mut receiver) = watch::channel(0);
        drop(sender);
        let ended = due(&mut receiver, Some(Instant::now()), Duration::from_millis(50)).await;
        assert!(matches!(ended, Err(Failure::Stopping)));
    }
}
