//! Working on a queue: takes what it can start, keeps the leases while handlers run, and settles
//! what they say. Knows nothing of how a handler does its work.

mod carrier;
mod crew;
mod delivery;
mod holding;
mod lease;
mod settlement;
mod stream;

use std::{sync::Arc, time::Duration};

use tokio::time::sleep;
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

pub use self::delivery::{Delivery, Failure, Outcome};
pub(crate) use self::settlement::MAX_RESULT_BYTES;
use self::{
    carrier::Carrier,
    crew::Crew,
    holding::Holding,
    lease::Leasing,
    settlement::Settler,
    stream::{End, MAX_CREDIT, Stream},
};
use crate::{Client, Error};

/// Jobs that run at a time unless set otherwise.
const DEFAULT_CONCURRENCY: usize = 8;
/// Jobs that may run at a time: one Lease brings up to 1,000, and tasks are cheap.
const MAX_CONCURRENCY: usize = 10_000;
/// How long one Lease call waits for a job.
const DEFAULT_POLL: Duration = Duration::from_secs(20);
/// How long handlers may go on after the worker was told to stop.
const DEFAULT_STOP_TIMEOUT: Duration = Duration::from_secs(600);

/// Works on the jobs of one queue.
///
/// It takes only what it can start, extends leases at a third of their time, and gives handlers'
/// outcomes to the server in batches. It goes on through restarts of the server. Told to stop, it takes
/// no more, gives back what has not begun, and lets what runs finish.
///
/// Jobs come over one stream, as fast as handlers end. Where there is none (an older server, a proxy that
/// cannot), with more than 1,000 handlers at a time, or when [`Worker::streaming`] says so, it asks for them
/// with Lease calls.
///
/// A handler is told by [`Delivery::cancelled`] when its job is cancelled or its lease is lost, and may stop.
///
/// What a delivery cost, where limits count cost, a handler says with [`Outcome::costing`].
///
/// When the queue gives a flow hint, Lease calls ask for no more jobs than it says, and keep its pause; over the
/// stream so do the messages with outcomes, and new jobs come no faster than those.
///
/// ```no_run
/// # async fn example(client: sluice_client::Client) -> Result<(), sluice_client::Error> {
/// use std::time::Duration;
/// use sluice_client::{Failure, Outcome, Worker};
/// use tokio_util::sync::CancellationToken;
///
/// let stop = CancellationToken::new();
/// let summary = Worker::new(client, "mail")
///     .concurrency(16)
///     .run(|delivery| async move {
///         match std::str::from_utf8(delivery.payload()) {
///             Ok("slow down") => Outcome::Throttled {
///                 retry_after: Some(Duration::from_secs(5)),
///                 failure: Failure::new("the gateway is busy").code("http_429"),
///             },
///             Ok(text) => Outcome::Done(Some(text.len().to_string().into())),
///             Err(error) => Outcome::Rejected(Failure::new(error.to_string())),
///         }
///     }, stop)
///     .await?;
/// println!("{} done", summary.done);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Worker {
    client: Client,
    queue: String,
    settings: Settings,
}

#[derive(Clone, Debug)]
struct Settings {
    concurrency: usize,
    lease_duration: Option<Duration>,
    worker_id: String,
    poll: Duration,
    stop_timeout: Duration,
    until_empty: bool,
    streaming: bool,
}

/// What a worker did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Jobs acknowledged.
    pub done: u64,
    /// Deliveries that failed, panicked ones among them.
    pub failed: u64,
    /// Deliveries given back because the downstream said slow down.
    pub throttled: u64,
    /// Jobs that will never succeed.
    pub rejected: u64,
    /// Jobs given back untouched.
    pub released: u64,
    /// Deliveries whose lease was lost: their outcome did not count.
    pub lost: u64,
}

impl Worker {
    /// A worker on `queue`.
    #[must_use]
    pub fn new(client: Client, queue: impl Into<String>) -> Worker {
        Worker {
            client,
            queue: queue.into(),
            settings: Settings {
                concurrency: DEFAULT_CONCURRENCY,
                lease_duration: None,
                worker_id: String::new(),
                poll: DEFAULT_POLL,
                stop_timeout: DEFAULT_STOP_TIMEOUT,
                until_empty: false,
                streaming: true,
            },
        }
    }

    /// Jobs that run at a time: 1 to 10,000. Default 8.
    #[must_use]
    pub fn concurrency(mut self, concurrency: usize) -> Worker {
        self.settings.concurrency = concurrency.clamp(1, MAX_CONCURRENCY);
        self
    }

    /// How long a lease lasts before it must be extended, which the worker does: how soon a job goes to
    /// another when this process dies. 1 s to 12 h; default: the queue's.
    #[must_use]
    pub fn lease_duration(mut self, duration: Duration) -> Worker {
        self.settings.lease_duration = Some(duration);
        self
    }

    /// What the worker calls itself, for people. At most 128 bytes; default: nothing.
    #[must_use]
    pub fn worker_id(mut self, worker_id: impl Into<String>) -> Worker {
        self.settings.worker_id = worker_id.into();
        self
    }

    /// How long one call waits for a job. At most 60 s; default 20 s.
    #[must_use]
    pub fn poll(mut self, poll: Duration) -> Worker {
        self.settings.poll = poll;
        self
    }

    /// How long handlers may go on after the worker was told to stop; then they are told and dropped, and
    /// their deliveries count as failed. Default 10 min.
    #[must_use]
    pub fn stop_timeout(mut self, timeout: Duration) -> Worker {
        self.settings.stop_timeout = timeout;
        self
    }

    /// Whether to stop by itself when the queue holds nothing that waits or is leased. Default: no.
    #[must_use]
    pub fn until_empty(mut self, until_empty: bool) -> Worker {
        self.settings.until_empty = until_empty;
        self
    }

    /// Whether jobs come over one stream, where that is possible. Default: yes.
    #[must_use]
    pub fn streaming(mut self, streaming: bool) -> Worker {
        self.settings.streaming = streaming;
        self
    }

    /// Works until `stop` is cancelled.
    ///
    /// # Errors
    /// When the server refuses in a way that no wait will mend; what ran has finished by then.
    pub async fn run<H, F>(self, handler: H, stop: CancellationToken) -> Result<Summary, Error>
    where
        H: Fn(Delivery) -> F + Send + Sync + 'static,
        F: Future<Output = Outcome> + Send + 'static,
    {
        let concurrency = self.settings.concurrency;
        let holding = Arc::new(Holding::default());
        let carrier = Arc::new(Carrier::new(self.client.clone()));
        let (settler, settled) = Settler::spawn(Arc::clone(&carrier), Arc::clone(&holding), concurrency);
        let renewal = AbortOnDropHandle::new(tokio::spawn(Arc::clone(&holding).renew(Arc::clone(&carrier))));
        let mut crew = Crew::new(holding, settler, handler, concurrency);
        let end = self.work(&carrier, &mut crew, &stop).await;
        // With the last settler gone, the rest is settled.
        drop(crew);
        let summary = settled.await.unwrap_or_default();
        drop(renewal);
        end.map(|()| summary)
    }

    async fn work<H, F>(
        &self,
        carrier: &Carrier,
        crew: &mut Crew<H>,
        stop: &CancellationToken,
    ) -> Result<(), Error>
    where
        H: Fn(Delivery) -> F + Send + Sync + 'static,
        F: Future<Output = Outcome> + Send + 'static,
    {
        if self.settings.streaming && self.settings.concurrency <= MAX_CREDIT {
            match (Stream { worker: self, carrier, crew }).run(stop).await {
                Ok(End::NoStream(error)) => tracing::info!(%error, "no stream of jobs here: asking for them"),
                end => {
                    crew.finish(self.settings.stop_timeout).await;
                    return end.map(|_| ());
                }
            }
        }
        Leasing { worker: self, carrier, crew }.run(stop).await
    }
}

/// Whether nothing waits and nothing is leased, by us or others. Doubt counts as no.
async fn is_empty(worker: &Worker) -> bool {
    match worker.client.queue_status(&worker.queue).await {
        Ok(status) => status.jobs == 0,
        Err(_) => false,
    }
}

async fn pause(wait: Duration, stop: &CancellationToken) {
    tokio::select! {
        () = sleep(wait) => {}
        () = stop.cancelled() => {}
    }
}
