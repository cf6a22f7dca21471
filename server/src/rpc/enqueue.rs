//! Enqueue: jobs in, all or none.

use sluice_engine::{Command, Enqueue, Enqueued, Outcome};
use sluice_proto::v1;
use tonic::Request;

use super::status::Failure;
use super::{Rpc, validate};
use crate::layer::Charge;

/// What a job takes in memory besides its payload and attributes: spec, key, a place in two lists.
const JOB_BYTES: usize = 256;

impl Rpc {
    pub(super) async fn do_enqueue(
        &self,
        request: Request<v1::EnqueueRequest>,
    ) -> Result<v1::EnqueueResponse, Failure> {
        let charge = request.extensions().get::<Charge>().cloned();
        let command = self.checked_enqueue(request.into_inner())?;
        if let Some(charge) = charge {
            charge.jobs_of_call(command.jobs.len())?;
        }
        self.put_in(command).await
    }

    pub(super) fn checked_enqueue(&self, request: v1::EnqueueRequest) -> Result<Enqueue, Failure> {
        validate::enqueue(request, self.settings.max_payload_bytes(), self.handle.now().wall)
    }

    async fn put_in(&self, command: Enqueue) -> Result<v1::EnqueueResponse, Failure> {
        self.begin_put_in(command).await?.await
    }

    /// Hands jobs to the writer; returns when that has them.
    pub(super) async fn begin_put_in(
        &self,
        command: Enqueue,
    ) -> Result<impl Future<Output = Result<v1::EnqueueResponse, Failure>> + Send + use<>, Failure> {
        let queue = command.queue.clone();
        let bytes = command.jobs.iter().map(|job| JOB_BYTES + job.bytes() as usize).sum();
        let answer = self.handle.begin(Command::Enqueue(command), bytes).await?;
        Ok(async move {
            match answer.await? {
                Ok(Outcome::Enqueued(enqueued)) => Ok(response(enqueued)),
                Ok(other) => Err(Failure::unexpected(other)),
                Err(refusal) => Err(Failure::refused(refusal, &queue)),
            }
        })
    }
}

fn response(enqueued: Enqueued) -> v1::EnqueueResponse {
    let ids = (0..u64::from(enqueued.count)).map(|n| enqueued.first.0 + n);
    v1::EnqueueResponse { jobs: ids.map(|id| v1::EnqueuedJob { job_id: id.to_string() }).collect() }
}

#[cfg(test)]
mod tests {
    use sluice_engine::JobId;

    use super::*;

    #[test]
    fn jobs_are_named_in_the_order_of_the_request() {
        let ids = |first, count| -> Vec<String> {
            response(Enqueued { first: JobId(first), count }).jobs.into_iter().map(|j| j.job_id).collect()
        };
        assert_eq!(ids(7, 3), ["7", "8", "9"]);
        assert!(ids(7, 0).is_empty());
    }
}
