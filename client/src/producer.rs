//! Putting jobs into a queue: one, a batch, or a stream of batches.

mod back_pressure;
mod statistics;
mod stream;

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, sleep};

use self::statistics::Counter;
pub use self::{
    back_pressure::{BackPressure, BackPressureError},
    statistics::Statistics,
    stream::{EnqueueStream, Receipt},
};
use crate::{
    Client, Error,
    client::{MAX_CALL_WAIT, new_request_id},
    flow::Flow,
    proto::{EnqueueRequest, EnqueueResponse, EnqueuedJob, JobSpec},
    span::span_to_proto,
};

/// Jobs of one call of [`Producer::enqueue_all`].
const MAX_BATCH: usize = 1_000;

/// Puts jobs into one queue. When a call answers, its jobs are on disk; each call carries a request id,
/// so that its repetition after a broken connection adds nothing twice.
///
/// When the queue or a key is full, it waits and tries again as its [`BackPressure`] says; what that cost is in
/// its [`Statistics`], and a send that fails in the end is a warning in the log. When the queue gives a flow
/// hint, calls keep the pause that it asks for, and [`Producer::enqueue_all`] its batch size. Clones share all
/// of that.
///
/// ```no_run
/// # async fn example(client: sluice_client::Client) -> Result<(), sluice_client::Error> {
/// use sluice_client::JobBuilder;
///
/// let producer = client.producer("mail");
/// let job_id = producer.enqueue(JobBuilder::new("hello").key("ann")).await?;
/// let job_ids = producer.enqueue_batch((0..1000).map(|n| JobBuilder::new(n.to_string()))).await?;
///
/// // Many batches, without waiting for each answer: 8 may be on their way at a time.
/// let mut stream = producer.stream(8);
/// let mut receipts = Vec::new();
/// for batch in 0..100 {
///     receipts.push(stream.send([JobBuilder::new(batch.to_string())]).await?);
/// }
/// for receipt in receipts {
///     let job_ids = receipt.await?;
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Producer {
    client: Client,
    queue: String,
    back_pressure: BackPressure,
    flow: Arc<Flow>,
    counter: Arc<Counter>,
}

impl Producer {
    pub(crate) fn new(client: Client, queue: String) -> Producer {
        let (flow, counter) = (Arc::default(), Arc::default());
        Producer { client, queue, back_pressure: BackPressure::default(), flow, counter }
    }

    /// How long to wait for room in a full queue. Default: see [`BackPressure`].
    #[must_use]
    pub fn back_pressure(mut self, policy: BackPressure) -> Producer {
        self.back_pressure = policy;
        self
    }

    /// The queue jobs go to.
    #[must_use]
    pub fn queue(&self) -> &str {
        &self.queue
    }

    /// What it met so far.
    #[must_use]
    pub fn statistics(&self) -> Statistics {
        self.counter.snapshot(self.flow.hint())
    }

    /// The most jobs that one call should have: `most`, or fewer while the queue gives a flow hint.
    #[must_use]
    pub fn batch_size(&self, most: usize) -> usize {
        self.flow.batch_size(most)
    }

    /// Puts one job in; answers its id, or that of the first one with its idempotency key.
    ///
    /// # Errors
    /// What the server refuses, a queue that stays full, and a connection that stays broken.
    pub async fn enqueue(&self, job: impl Into<JobSpec>) -> Result<String, Error> {
        let job_ids = self.enqueue_batch([job]).await?;
        job_ids.into_iter().next().ok_or_else(|| Error::broken("the server answered without a job id"))
    }

    /// Puts jobs in, all or none, whatever a flow hint says of their number; answers their ids in order.
    ///
    /// # Errors
    /// What the server refuses, a queue that stays full, and a connection that stays broken.
    pub async fn enqueue_batch<J>(&self, jobs: impl IntoIterator<Item = J>) -> Result<Vec<String>, Error>
    where
        J: Into<JobSpec>,
    {
        Ok(job_ids(self.send(self.request(jobs)).await?.jobs))
    }

    /// Puts any number of jobs in, in batches of 1,000 or as small as a flow hint asks for. Answers the jobs that
    /// are in, in order, and what stopped it if it did not come to the end: all of a batch is in or none.
    pub async fn enqueue_all<J>(
        &self,
        jobs: impl IntoIterator<Item = J>,
    ) -> (Vec<EnqueuedJob>, Result<(), Error>)
    where
        J: Into<JobSpec>,
    {
        let mut jobs = jobs.into_iter().map(Into::into);
        let mut enqueued = Vec::new();
        loop {
            let batch: Vec<JobSpec> = jobs.by_ref().take(self.batch_size(MAX_BATCH)).collect();
            if batch.is_empty() {
                return (enqueued, Ok(()));
            }
            match self.send(self.request(batch)).await {
                Ok(answer) => enqueued.extend(answer.jobs),
                Err(error) => return (enqueued, Err(error)),
            }
        }
    }

    /// Sends a request as it is, but to this producer's queue, and answers all that the server did: which jobs
    /// are duplicates, and which were dropped to make room. A `request_id` is given to it if it has none, and
    /// the time to wait for room.
    ///
    /// # Errors
    /// What the server refuses, a queue that stays full, and a connection that stays broken.
    pub async fn send(&self, mut request: EnqueueRequest) -> Result<EnqueueResponse, Error> {
        request.queue.clone_from(&self.queue);
        if request.request_id.is_empty() {
            request.request_id = new_request_id();
        }
        self.flow.pause().await;
        let answer = self.send_until_room(request, None).await?;
        self.flow.learn(answer.flow_hint);
        Ok(answer)
    }

    /// A stream of batches, of which `in_flight` (at least 1) may await their answers at a time.
    /// To be called inside a Tokio runtime.
    #[must_use]
    pub fn stream(&self, in_flight: usize) -> EnqueueStream {
        EnqueueStream::open(self.clone(), in_flight)
    }

    /// Sends until there is room, or the policy says to fail. A `refusal` that came already is waited out first.
    async fn send_until_room(
        &self,
        mut request: EnqueueRequest,
        mut refusal: Option<Error>,
    ) -> Result<EnqueueResponse, Error> {
        let (policy, counter) = (self.back_pressure, &self.counter);
        let begin = Instant::now();
        // Whoever said how long the server may keep the call is believed.
        let own_wait = request.wait_timeout.is_none();
        let mut retries = 0;
        loop {
            let elapsed = if retries == 0 { Duration::ZERO } else { begin.elapsed() };
            let refusal = match refusal.take() {
                Some(refusal) => refusal,
                None => {
                    let room_wait = policy.budget().saturating_sub(elapsed).min(MAX_CALL_WAIT);
                    if own_wait && !policy.budget().is_zero() {
                        request.wait_timeout = Some(span_to_proto(room_wait));
                    }
                    match self.client.enqueue(request.clone()).await {
                        Ok(answer) => {
                            if retries > 0 {
                                counter.succeeded();
                                tracing::info!(queue = self.queue, retries, waited = ?begin.elapsed(), "sent after waiting for room");
                            }
                            return Ok(answer);
                        }
                        Err(error) => error,
                    }
                }
            };
            let wait = if refusal.is_full() {
                policy.wait(retries, begin.elapsed(), refusal.retry_after(), fastrand::f64())
            } else {
                None
            };
            match wait {
                Some(wait) => {
                    counter.waited();
                    tracing::debug!(queue = self.queue, ?wait, "queue is full, waiting for room");
                    sleep(wait).await;
                    retries += 1;
                }
                None if refusal.is_full() || retries > 0 => {
                    counter.failed();
                    tracing::warn!(
                        queue = self.queue, jobs = request.jobs.len(), retries, waited = ?begin.elapsed(), error = %refusal,
                        "back-pressure: jobs could not be sent"
                    );
                    return Err(refusal);
                }
                None => return Err(refusal),
            }
        }
    }

    /// Without a request id: whoever sends it gives it one.
    fn request<J: Into<JobSpec>>(&self, jobs: impl IntoIterator<Item = J>) -> EnqueueRequest {
        EnqueueRequest {
            queue: self.queue.clone(),
            jobs: jobs.into_iter().map(Into::into).collect(),
            ..Default::default()
        }
    }
}

fn job_ids(jobs: Vec<EnqueuedJob>) -> Vec<String> {
    jobs.into_iter().map(|job| job.job_id).collect()
}
