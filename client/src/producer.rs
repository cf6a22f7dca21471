//! Putting jobs into a queue: one, a batch, or a stream of batches.

mod stream;

pub use self::stream::{EnqueueStream, Receipt};

use crate::{
    Client, Error,
    proto::{EnqueueRequest, EnqueuedJob, JobSpec},
};

/// Puts jobs into one queue. When a call answers, its jobs are on disk; each call carries a request id,
/// so that its repetition after a broken connection adds nothing twice.
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
}

impl Producer {
    pub(crate) fn new(client: Client, queue: String) -> Producer {
        Producer { client, queue }
    }

    /// The queue jobs go to.
    #[must_use]
    pub fn queue(&self) -> &str {
        &self.queue
    }

    /// Puts one job in; answers its id.
    ///
    /// # Errors
    /// What the server refuses, and a connection that stays broken.
    pub async fn enqueue(&self, job: impl Into<JobSpec>) -> Result<String, Error> {
        let job_ids = self.enqueue_batch([job]).await?;
        job_ids.into_iter().next().ok_or_else(|| Error::broken("the server answered without a job id"))
    }

    /// Puts jobs in, all or none; answers their ids in order.
    ///
    /// # Errors
    /// What the server refuses, and a connection that stays broken.
    pub async fn enqueue_batch<J>(&self, jobs: impl IntoIterator<Item = J>) -> Result<Vec<String>, Error>
    where
        J: Into<JobSpec>,
    {
        let answer = self.client.enqueue(self.request(jobs)).await?;
        Ok(job_ids(answer.jobs))
    }

    /// A stream of batches, of which `in_flight` (at least 1) may await their answers at a time.
    /// To be called inside a Tokio runtime.
    #[must_use]
    pub fn stream(&self, in_flight: usize) -> EnqueueStream {
        EnqueueStream::open(self.clone(), in_flight)
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
