//! WatchQueues: how many queues stand, all at first, then those that changed.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt, stream};
use sluice_engine::{QueueName, QueueStatus, is_like};
use sluice_proto::v1;
use tokio::sync::watch;
use tokio::time::Instant;

use super::right::READ;
use super::service::Messages;
use super::status::Failure;
use super::validate::WatchManyCall;
use super::watch::due;
use super::{Rpc, convert, validate};
use crate::auth::Access;

/// Queues of one message: with all its error codes a status has 10 KiB at most, so they fit an answer.
const MAX_QUEUES_PER_MESSAGE: usize = 256;

impl Rpc {
    pub(super) async fn do_watch_queues(
        &self,
        access: &Access,
        request: v1::WatchQueuesRequest,
    ) -> Result<Messages<v1::WatchQueuesResponse>, Failure> {
        let WatchManyCall { pattern, min_interval } = validate::watch_many(request)?;
        let changes = self.handle.watch_many().await?;
        let through = *changes.borrow();
        let watcher = Watcher {
            rpc: self.clone(),
            access: access.clone(),
            pattern,
            min_interval,
            changes,
            through,
            phase: Phase::Listing { after: None },
            shown: VecDeque::new(),
            last: None,
        };
        // Made one at a time, when the connection has room for it: a slow reader gets the newest.
        let messages = stream::try_unfold(watcher, |mut watcher| async {
            match watcher.next().await {
                Ok(message) => Ok(Some((message, watcher))),
                Err(failure) => Err(failure.into()),
            }
        });
        Ok(messages.boxed())
    }
}

/// One who watches.
struct Watcher {
    rpc: Rpc,
    access: Access,
    pattern: Box<str>,
    min_interval: Duration,
    changes: watch::Receiver<u64>,
    /// The last change that was told.
    through: u64,
    phase: Phase,
    /// Queues that were told of, the latest last; told again when nothing happens for long.
    shown: VecDeque<QueueName>,
    last: Option<Instant>,
}

enum Phase {
    /// All queues by name, after this one.
    Listing { after: Option<Arc<str>> },
    /// What changes.
    Following,
}

impl Watcher {
    /// Waits until there is something to say, and says it.
    async fn next(&mut self) -> Result<v1::WatchQueuesResponse, Failure> {
        let message = match &self.phase {
            Phase::Listing { after } => {
                let after = after.clone();
                self.list(after).await?
            }
            Phase::Following => self.follow().await?,
        };
        self.last = Some(Instant::now());
        Ok(message)
    }

    /// The next of all queues.
    async fn list(&mut self, mut after: Option<Arc<str>>) -> Result<v1::WatchQueuesResponse, Failure> {
        loop {
            let from = after.clone();
            let found: Vec<(QueueName, QueueStatus)> = self
                .rpc
                .handle
                .read(move |engine, now| {
                    let queues = engine.queues(from.as_deref(), MAX_QUEUES_PER_MESSAGE).into_iter();
                    queues
                        .filter_map(|queue| Some((queue.name.clone(), engine.status(&queue.name, now)?)))
                        .collect()
                })
                .await?;
            after = found.last().map(|(name, _)| Arc::from(&**name));
            let is_last = found.len() < MAX_QUEUES_PER_MESSAGE;
            let found = found.into_iter().map(|(name, status)| (name, Some(status)));
            let message = self.message(found);
            if is_last {
                self.phase = Phase::Following;
                return Ok(message);
            }
            self.phase = Phase::Listing { after: after.clone() };
            if !message.statuses.is_empty() {
                return Ok(message);
            }
        }
    }

    /// The next that changed, or after a long silence what was told last, as it is now.
    async fn follow(&mut self) -> Result<v1::WatchQueuesResponse, Failure> {
        loop {
            let shutdown = self.rpc.shutdown.clone();
            let changed = tokio::select! {
                biased;
                () = shutdown.cancelled() => return Err(Failure::Stopping),
                changed = due(&mut self.changes, self.last, self.min_interval) => changed?,
            };
            if !changed {
                return self.repeat().await;
            }
            self.changes.borrow_and_update();
            let found = self.rpc.handle.changed(self.through, MAX_QUEUES_PER_MESSAGE).await?;
            self.through = found.through;
            if found.more {
                self.changes.mark_changed();
            }
            let message = self.message(found.queues.into_iter());
            if !message.statuses.is_empty() || !message.deleted_queues.is_empty() {
                return Ok(message);
            }
        }
    }

    async fn repeat(&mut self) -> Result<v1::WatchQueuesResponse, Failure> {
        let names: Vec<QueueName> = self.shown.iter().cloned().collect();
        let found = self
            .rpc
            .handle
            .read(move |engine, now| {
                names.into_iter().map(|name| (name.clone(), engine.status(&name, now))).collect::<Vec<_>>()
            })
            .await?;
        Ok(self.message(found.into_iter()))
    }

    fn message(
        &mut self,
        found: impl Iterator<Item = (QueueName, Option<QueueStatus>)>,
    ) -> v1::WatchQueuesResponse {
        let mut message = v1::WatchQueuesResponse::default();
        for (name, status) in found {
            if !is_like(&self.pattern, &name) || !self.access.may(READ, &name) {
                continue;
            }
            self.shown.retain(|shown| *shown != name);
            match status {
                Some(status) => {
                    message.statuses.push(convert::status(&name, &status, self.rpc.load.get()));
                    self.shown.push_back(name);
                    if self.shown.len() > MAX_QUEUES_PER_MESSAGE {
                        self.shown.pop_front();
                    }
                }
                None => message.deleted_queues.push(name.to_string()),
            }
        }
        message
    }
}
