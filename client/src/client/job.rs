//! The calls of `QueueService` about single jobs and batches, each with the repetition the contract allows.

use std::time::Duration;

use tokio::time::Instant;

use super::{Client, queue::missing};
use crate::{
    Error, Repeat,
    job::is_at_rest,
    proto::{
        BatchGetJobsRequest, BatchGetJobsResponse, CancelJobRequest, GetBatchRequest, GetBatchResponse,
        GetJobRequest, Job, UpdateJobRequest,
    },
    span::{span_from_proto, span_to_proto},
};

/// The longest wait of one call; longer ones are several calls.
pub(crate) const MAX_CALL_WAIT: Duration = Duration::from_secs(60);

impl Client {
    /// Reads one job as it stands.
    ///
    /// # Errors
    /// `NotFound` when there is none of this id.
    pub async fn get_job(&self, job_id: impl Into<String>, include_payload: bool) -> Result<Job, Error> {
        self.read_job(GetJobRequest { job_id: job_id.into(), include_payload, wait_timeout: None }).await
    }

    /// Reads one job when it is at rest, or as it stands when `wait` is over: enqueue, then await the result.
    /// As many calls as that takes.
    ///
    /// # Errors
    /// `NotFound` when there is none of this id.
    pub async fn wait_job(
        &self,
        job_id: impl Into<String>,
        include_payload: bool,
        wait: Duration,
    ) -> Result<Job, Error> {
        let job_id = job_id.into();
        let mut waits = Waits::new(wait);
        loop {
            let wait_timeout = Some(span_to_proto(waits.next()));
            let request = GetJobRequest { job_id: job_id.clone(), include_payload, wait_timeout };
            let job = self.read_job(request).await?;
            if is_at_rest(job.state()) || waits.are_over() {
                return Ok(job);
            }
        }
    }

    /// Reads one job in one call, which may wait up to 60 s for it to be at rest.
    ///
    /// # Errors
    /// `NotFound` when there is none of this id.
    pub async fn read_job(&self, request: GetJobRequest) -> Result<Job, Error> {
        let wait = extra(request.wait_timeout.as_ref());
        let send = |channel, request| async move { self.queue_service(channel).get_job(request).await };
        let answer = self.call(Repeat::Always, wait, request, send).await?;
        answer.job.ok_or_else(|| missing("job"))
    }

    /// Reads up to 1,000 jobs in one call, which may wait up to 60 s for all of them to be at rest. What found
    /// no room in the answer is named in it, and so is what is not there.
    ///
    /// # Errors
    /// What the server refuses, and a connection that stays broken.
    pub async fn batch_get_jobs(&self, request: BatchGetJobsRequest) -> Result<BatchGetJobsResponse, Error> {
        let wait = extra(request.wait_timeout.as_ref());
        let send =
            |channel, request| async move { self.queue_service(channel).batch_get_jobs(request).await };
        self.call(Repeat::Always, wait, request, send).await
    }

    /// Gives a job up; answers it as it stands. A leased one is not CANCELLED yet: its worker is asked.
    ///
    /// # Errors
    /// `FailedPrecondition` when it is at rest already, `NotFound` when there is none of this id.
    pub async fn cancel_job(&self, job_id: impl Into<String>) -> Result<Job, Error> {
        let request = CancelJobRequest { job_id: job_id.into() };
        let send = |channel, request| async move { self.queue_service(channel).cancel_job(request).await };
        let answer = self.call(Repeat::IfNotApplied, Duration::ZERO, request, send).await?;
        answer.job.ok_or_else(|| missing("job"))
    }

    /// Changes the priority or the run time of a waiting job; answers it as it stands.
    ///
    /// # Errors
    /// `FailedPrecondition` when it does not wait, `NotFound` when there is none of this id.
    pub async fn update_job(&self, request: UpdateJobRequest) -> Result<Job, Error> {
        let send = |channel, request| async move { self.queue_service(channel).update_job(request).await };
        let answer = self.call(Repeat::IfNotApplied, Duration::ZERO, request, send).await?;
        answer.job.ok_or_else(|| missing("job"))
    }

    /// Reads how a batch stands in one call, which may wait up to 60 s for a final state.
    ///
    /// # Errors
    /// `NotFound` when no job named it, or all of it is gone.
    pub async fn get_batch(&self, request: GetBatchRequest) -> Result<GetBatchResponse, Error> {
        let wait = extra(request.wait_timeout.as_ref());
        let send = |channel, request| async move { self.queue_service(channel).get_batch(request).await };
        self.call(Repeat::Always, wait, request, send).await
    }
}

/// What a call asks to wait comes on top of its own time.
pub(super) fn extra(wait_timeout: Option<&prost_types::Duration>) -> Duration {
    wait_timeout.map_or(Duration::ZERO, span_from_proto)
}

/// A long wait as the waits of single calls.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Waits {
    begin: Instant,
    whole: Duration,
}

impl Waits {
    pub(crate) fn new(whole: Duration) -> Waits {
        Waits { begin: Instant::now(), whole }
    }

    /// How long the next call is to wait.
    pub(crate) fn next(&mut self) -> Duration {
        self.rest().min(MAX_CALL_WAIT)
    }

    /// Whether there is nothing left of it.
    pub(crate) fn are_over(&self) -> bool {
        self.rest().is_zero()
    }

    fn rest(&self) -> Duration {
        self.whole.saturating_sub(self.begin.elapsed())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn long_wait_is_cut_into_waits_a_call_may_ask_for() {
        let mut waits = Waits::new(Duration::from_secs(90));
        assert_eq!(waits.next(), MAX_CALL_WAIT);
        tokio::time::advance(MAX_CALL_WAIT).await;
        assert_eq!(waits.next(), Duration::from_secs(30));
        tokio::time::advance(MAX_CALL_WAIT).await;
        assert!(waits.are_over() && waits.next().is_zero());
    }
}
