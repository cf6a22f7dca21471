//! What the server tells of one queue or of many, in one form, over streams that break and are opened again.
//! Knows nothing of how it is shown.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff};
use futures::{Stream, stream};
use tokio::time::sleep;
use tonic::Streaming;

use crate::{
    Client, Error, Repeat,
    proto::{QueueStatus, WatchQueueRequest, WatchQueueResponse, WatchQueuesRequest, WatchQueuesResponse},
    retry::lengthened,
    span_to_proto,
};

/// Which queues.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    One(String),
    /// All whose name matches the pattern.
    Many(String),
}

impl Scope {
    /// A name holds no `*`: what does is a pattern.
    pub(super) fn new(queue: Option<String>) -> Scope {
        match queue {
            Some(pattern) if pattern.contains('*') => Scope::Many(pattern),
            Some(queue) => Scope::One(queue),
            None => Scope::Many("*".to_owned()),
        }
    }
}

/// How long a server that is away is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Patience {
    /// As often as the client repeats a call.
    Bounded,
    /// Until somebody says stop.
    Endless,
}

/// How some queues stand. Of those that are not named nothing has changed.
#[derive(Clone, Debug, Default)]
pub(super) struct Update {
    pub(super) statuses: Vec<QueueStatus>,
    pub(super) deleted_queues: Vec<String>,
}

#[derive(Debug)]
pub(super) enum News {
    Update(Update),
    /// The stream broke; another is opened after the wait.
    Lost {
        error: Error,
        wait: Duration,
    },
}

pub(super) struct Feed {
    client: Client,
    scope: Scope,
    interval: Duration,
    patience: Patience,
    waits: ExponentialBackoff,
    /// What is yet to be waited before the next stream is opened.
    wait: Duration,
    open: Option<Open>,
}

/// A stream of either kind.
enum Open {
    One(Streaming<WatchQueueResponse>),
    Many(Streaming<WatchQueuesResponse>),
}

impl Feed {
    pub(super) fn new(client: &Client, scope: Scope, interval: Duration, patience: Patience) -> Feed {
        let waits = waits(client, patience);
        Feed { client: client.clone(), scope, interval, patience, waits, wait: Duration::ZERO, open: None }
    }

    /// All the news, until there is no sense in trying on. A reader may stop waiting for the next one at any
    /// time, and loses nothing.
    pub(super) fn news(self) -> impl Stream<Item = Result<News, Error>> {
        stream::try_unfold(self, |mut feed| async move { Ok(Some((feed.next().await?, feed))) })
    }

    async fn next(&mut self) -> Result<News, Error> {
        match self.update().await {
            Ok(update) => {
                self.waits = waits(&self.client, self.patience);
                Ok(News::Update(update))
            }
            Err(error) => {
                self.open = None;
                let wait =
                    self.waits.next().filter(|_| Repeat::Always.allows(&error)).ok_or(error.clone())?;
                self.wait = lengthened(wait, error.retry_after());
                Ok(News::Lost { error, wait: self.wait })
            }
        }
    }

    async fn update(&mut self) -> Result<Update, Error> {
        let open = match &mut self.open {
            Some(open) => open,
            None => {
                sleep(std::mem::take(&mut self.wait)).await;
                self.open.insert(Open::new(&self.client, &self.scope, self.interval).await?)
            }
        };
        open.update().await?.ok_or_else(|| Error::broken("the server ended the watch"))
    }
}

fn waits(client: &Client, patience: Patience) -> ExponentialBackoff {
    let policy = client.retry_policy();
    match patience {
        Patience::Bounded => policy.backoff().with_max_times(policy.max_attempts).build(),
        Patience::Endless => policy.backoff().build(),
    }
}

impl Open {
    async fn new(client: &Client, scope: &Scope, interval: Duration) -> Result<Open, Error> {
        let min_interval = Some(span_to_proto(interval));
        match scope.clone() {
            Scope::One(queue) => {
                Ok(Open::One(client.watch_queue(WatchQueueRequest { queue, min_interval }).await?))
            }
            Scope::Many(queue_pattern) => {
                let request = WatchQueuesRequest { queue_pattern, min_interval };
                Ok(Open::Many(client.watch_queues(request).await?))
            }
        }
    }

    async fn update(&mut self) -> Result<Option<Update>, Error> {
        match self {
            Open::One(stream) => {
                let message = stream.message().await?;
                let statuses = |message: WatchQueueResponse| vec![message.status.unwrap_or_default()];
                Ok(message.map(|message| Update { statuses: statuses(message), ..Update::default() }))
            }
            Open::Many(stream) => {
                let message = stream.message().await?;
                Ok(message.map(|WatchQueuesResponse { statuses, deleted_queues }| Update {
                    statuses,
                    deleted_queues,
                }))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn star_makes_a_pattern() {
        assert_eq!(Scope::new(Some("mail".to_owned())), Scope::One("mail".to_owned()));
        assert_eq!(Scope::new(Some("sms.*".to_owned())), Scope::Many("sms.*".to_owned()));
        assert_eq!(Scope::new(None), Scope::Many("*".to_owned()));
    }
}
