//! Lease: jobs out, to whoever is still there to receive them.

use std::ops::ControlFlow;
use std::time::Duration;

use prost::Message;
use sluice_engine::bound::MAX_RESPONSE_BYTES;
use sluice_engine::{Command, JobId, LeaseToken, Nack, NackReason, Span};
use sluice_proto::v1;
use tonic::{Request, Response};

use super::right::CONSUME;
use super::status::Failure;
use super::{Rpc, convert, validate};
use crate::auth::Access;
use crate::layer::{Deadline, Handover, InFlight, Memory};
use crate::writer::{Delivery, LeaseGuard};

/// What the answer needs besides its jobs.
const ENVELOPE_BYTES: usize = 64;
/// What the jobs of an answer may take.
pub(super) const MAX_JOBS_BYTES: usize = MAX_RESPONSE_BYTES - ENVELOPE_BYTES;
/// What naming a job in a message takes: its tag and its length.
const ITEM_BYTES: usize = 5;

impl Rpc {
    pub(super) async fn do_lease(
        &self,
        request: Request<v1::LeaseRequest>,
    ) -> Result<Response<v1::LeaseResponse>, Failure> {
        let access = Access::of(request.extensions());
        let deadline = request.extensions().get::<Deadline>().copied();
        let in_flight = request.extensions().get::<InFlight>().cloned();
        let memory = Memory::of(request.extensions());
        let mut lease = validate::lease(request.into_inner(), MAX_JOBS_BYTES)?;
        access.check(CONSUME, &lease.queue)?;
        lease.wait = wait(lease.wait, deadline.map(Deadline::wait));
        let waits = lease.wait > Span::ZERO;
        if let Some(in_flight) = in_flight.filter(|_| waits) {
            in_flight.hand_back();
        }
        let queue = lease.queue.clone();
        let delivery = tokio::select! {
            biased;
            delivery = self.handle.lease(lease) => delivery?,
            // The jobs of a wait that is dropped go back.
            () = self.shutdown.cancelled(), if waits => return Err(Failure::Stopping),
            ended = access.ended(), if waits => return Err(ended.into()),
        };
        match delivery {
            Ok(delivery) => {
                let mut response = self.deliver(&memory, delivery).await?;
                response.get_mut().flow_hint = self.flow_hint(&queue);
                Ok(response)
            }
            Err(refusal) => Err(Failure::refused(refusal, &queue)),
        }
    }

    /// The answer. Its jobs go back if it is dropped before it is handed over.
    async fn deliver(
        &self,
        memory: &Memory,
        delivery: Delivery,
    ) -> Result<Response<v1::LeaseResponse>, Failure> {
        let (answer, guard) = self.with_payloads(memory, delivery).await?;
        let mut response = Response::new(answer);
        response.extensions_mut().insert(Handover::new(move || guard.deliver()));
        Ok(response)
    }

    /// The jobs with all that the store knows of them, as many as an answer has room for, and what gives them back.
    pub(super) async fn with_payloads(
        &self,
        memory: &Memory,
        delivery: Delivery,
    ) -> Result<(v1::LeaseResponse, LeaseGuard), Failure> {
        let Delivery { jobs, places, retry_after, guard } = delivery;
        let mut room = MAX_JOBS_BYTES;
        let mut answer = Vec::with_capacity(jobs.len());
        let mut beyond = Vec::new();
        let mut lost = None;
        let _all = self
            .with_bodies(memory, jobs, places, |job, body| {
                let (id, token) = (job.job.id, job.token);
                if body.as_ref().is_none_or(|body| body.payload.is_none()) {
                    lost = Some(id);
                    return ControlFlow::Break(());
                }
                let job = convert::leased_job(job, body);
                let bytes = job.encoded_len() + ITEM_BYTES;
                // Once one does not fit, none does: they are in order of dispatch.
                if beyond.is_empty() && bytes <= room {
                    room -= bytes;
                    answer.push(job);
                } else {
                    beyond.push((id, token));
                }
                ControlFlow::Continue(())
            })
            .await?;
        if let Some(job) = lost {
            tracing::error!(%job, "a job's payload is gone");
            return Err(Failure::Internal);
        }
        self.release(beyond).await;
        let retry_after = retry_after.map(convert::duration);
        Ok((v1::LeaseResponse { jobs: answer, retry_after, flow_hint: None }, guard))
    }

    /// Gives back what the answer has no room for.
    async fn release(&self, jobs: Vec<(JobId, LeaseToken)>) {
        if jobs.is_empty() {
            return;
        }
        tracing::warn!(jobs = jobs.len(), "leased jobs given back: the answer has no room for them");
        let nacks = jobs.into_iter().map(|(id, token)| Nack {
            id,
            token,
            reason: NackReason::Released,
            error: None,
            retry_after: None,
            scope: None,
            actual_cost: None,
        });
        if let Err(error) = self.handle.call(Command::Nack(nacks.collect()), 0).await {
            tracing::warn!(%error, "leased jobs could not be given back: their leases will expire");
        }
    }
}

/// How long to wait: as was said, but no longer than the caller does.
fn wait(said: Span, until_deadline: Option<Duration>) -> Span {
    let until_deadline = until_deadline.map(|left| u64::try_from(left.as_nanos()).unwrap_or(u64::MAX));
    Span(said.0.min(until_deadline.unwrap_or(u64::MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wait_is_cut_to_the_deadline() {
        let second = Span::from_secs(1);
        assert_eq!(wait(second, None), second);
        assert_eq!(wait(second, Some(Duration::from_millis(5))), Span::from_millis(5));
        assert_eq!(wait(second, Some(Duration::MAX)), second);
        assert_eq!(wait(second, Some(Duration::ZERO)), Span::ZERO);
    }
}
