//! Enqueue: jobs in, all or none.

use std::time::Duration;

use sluice_engine::{Enqueue, Enqueued, JobId, Outcome, QueueName, Span};
use sluice_proto::v1;
use tonic::Request;

use super::job::Patience;
use super::right::{BYPASS, ENQUEUE};
use super::status::Failure;
use super::{Rpc, convert, validate};
use crate::auth::Access;
use crate::layer::Charge;

/// What a job takes in memory besides its payload and attributes: spec, key, a place in two lists.
const JOB_BYTES: usize = 256;

impl Rpc {
    pub(super) async fn do_enqueue(
        &self,
        request: Request<v1::EnqueueRequest>,
    ) -> Result<v1::EnqueueResponse, Failure> {
        let access = Access::of(request.extensions());
        let charge = request.extensions().get::<Charge>().cloned();
        let patience = Patience::of(&request);
        let mut command = self.checked_enqueue(&access, request.into_inner())?;
        if let Some(charge) = charge {
            charge.jobs_of_call(command.jobs.len())?;
        }
        if command.wait > Span::ZERO {
            let wait = patience.wait(Duration::from_nanos(command.wait.0));
            command.wait = Span(u64::try_from(wait.as_nanos()).unwrap_or(u64::MAX));
            patience.hand_back();
        }
        self.begin_put_in(command).await?.await
    }

    /// What callers of a queue are asked to do now, if anything.
    pub(super) fn flow_hint(&self, queue: &QueueName) -> Option<v1::FlowHint> {
        let policy = self.handle.flow_hint_policy(queue)?;
        Some(convert::flow_hint(&policy, self.load.get()))
    }

    /// A request that is right, and that its caller may make.
    pub(super) fn checked_enqueue(
        &self,
        access: &Access,
        request: v1::EnqueueRequest,
    ) -> Result<Enqueue, Failure> {
        let (most, now) = (self.settings.max_payload_bytes(), self.handle.now().wall);
        let command = validate::enqueue(request, access.principal_name(), most, now)?;
        access.check(ENQUEUE, &command.queue)?;
        if command.jobs.iter().any(|job| job.bypass_limits) {
            access.check(BYPASS, &command.queue)?;
        }
        Ok(command)
    }

    /// Hands jobs to the writer; returns when that has them.
    pub(super) async fn begin_put_in(
        &self,
        command: Enqueue,
    ) -> Result<impl Future<Output = Result<v1::EnqueueResponse, Failure>> + Send + use<>, Failure> {
        let (queue, jobs) = (command.queue.clone(), command.jobs.len());
        let bytes = command.jobs.iter().map(|job| JOB_BYTES + job.bytes() as usize).sum();
        let hint = self.flow_hint(&queue);
        let answer = self.handle.begin_enqueue(command, bytes, &self.shutdown).await?;
        Ok(async move {
            match answer.await? {
                Ok(Outcome::Enqueued(enqueued)) => Ok(response(&enqueued, jobs, hint)),
                Ok(other) => Err(Failure::unexpected(other)),
                Err(refusal) => Err(Failure::refused(refusal, &queue)),
            }
        })
    }
}

/// The answer to a request of so many jobs: those that are duplicates stand where they stood.
fn response(enqueued: &Enqueued, jobs: usize, flow_hint: Option<v1::FlowHint>) -> v1::EnqueueResponse {
    let besides = enqueued.besides.as_deref();
    let mut duplicates = besides.map_or(&[][..], |besides| &besides.duplicates).iter().peekable();
    let mut next = enqueued.first.0;
    let job = |at: usize| match duplicates.next_if(|(place, _)| *place as usize == at) {
        Some((_, id)) => v1::EnqueuedJob { job_id: id.to_string(), duplicate: true },
        None => {
            next += 1;
            v1::EnqueuedJob { job_id: (next - 1).to_string(), duplicate: false }
        }
    };
    let dropped = besides.map_or(&[][..], |besides| &besides.dropped);
    v1::EnqueueResponse {
        jobs: (0..jobs).map(job).collect(),
        dropped_job_ids: dropped.iter().map(JobId::to_string).collect(),
        flow_hint,
    }
}

#[cfg(test)]
mod tests {
    use sluice_engine::Besides;

    use super::*;

    #[test]
    fn jobs_are_named_in_the_order_of_the_request() {
        let enqueued = Enqueued { first: JobId(7), count: 3, besides: None };
        let ids: Vec<String> = response(&enqueued, 3, None).jobs.into_iter().map(|job| job.job_id).collect();
        assert_eq!(ids, ["7", "8", "9"]);
    }

    #[test]
    fn duplicates_stand_where_they_stood_in_the_request() {
        let duplicates = vec![(0, JobId(3)), (2, JobId(7))];
        let besides = Besides { duplicates, dropped: vec![JobId(1)] };
        let enqueued = Enqueued { first: JobId(7), count: 2, besides: Some(besides.into()) };
        let answer = response(&enqueued, 4, None);
        let jobs: Vec<_> = answer.jobs.iter().map(|job| (&*job.job_id, job.duplicate)).collect();
        assert_eq!(jobs, [("3", true), ("7", false), ("7", true), ("8", false)]);
        assert_eq!(answer.dropped_job_ids, ["1"]);
    }
}
