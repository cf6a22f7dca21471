//! GetJob, BatchGetJobs, CancelJob and UpdateJob.

use std::ops::ControlFlow;
use std::time::Duration;

use prost::Message;
use sluice_engine::bound::MAX_RESPONSE_BYTES;
use sluice_engine::{Answer, Command, JobId, JobView, Outcome};
use sluice_proto::v1;
use tonic::Request;

use super::right::{CHANGE, READ};
use super::status::Failure;
use super::validate::GetCall;
use super::{Rpc, convert, validate};
use crate::auth::Access;
use crate::layer::{Deadline, InFlight, Memory};

/// What a change of a job holds in memory.
const COMMAND_BYTES: usize = 128;
/// What the answer needs besides its jobs: the names of those that are not in it.
const ENVELOPE_BYTES: usize = 256 << 10;
/// What naming a job in a message takes: its tag and its length.
const ITEM_BYTES: usize = 5;

impl Rpc {
    pub(super) async fn do_get_job(
        &self,
        request: Request<v1::GetJobRequest>,
    ) -> Result<v1::GetJobResponse, Failure> {
        let access = Access::of(request.extensions());
        let patience = Patience::of(&request);
        let memory = Memory::of(request.extensions());
        let call = validate::get_job(request.into_inner())?;
        let text = call.jobs[0].text.clone();
        let answer = self.read_jobs(&access, &memory, call, patience).await?;
        let job = answer.jobs.into_iter().next().ok_or(Failure::JobNotFound(text))?;
        Ok(v1::GetJobResponse { job: Some(job) })
    }

    pub(super) async fn do_batch_get_jobs(
        &self,
        request: Request<v1::BatchGetJobsRequest>,
    ) -> Result<v1::BatchGetJobsResponse, Failure> {
        let access = Access::of(request.extensions());
        let patience = Patience::of(&request);
        let memory = Memory::of(request.extensions());
        self.read_jobs(&access, &memory, validate::get_jobs(request.into_inner())?, patience).await
    }

    pub(super) async fn do_cancel_job(
        &self,
        access: &Access,
        memory: &Memory,
        request: v1::CancelJobRequest,
    ) -> Result<v1::CancelJobResponse, Failure> {
        let job = validate::job_ref("job_id", request.job_id)?;
        let id = job.id.ok_or_else(|| Failure::JobNotFound(job.text.clone()))?;
        self.check_job(access, CHANGE, id, &job.text).await?;
        let answer = self.handle.call(Command::Cancel(id), COMMAND_BYTES).await?;
        Ok(v1::CancelJobResponse { job: Some(self.changed(memory, answer, &job.text).await?) })
    }

    pub(super) async fn do_update_job(
        &self,
        access: &Access,
        memory: &Memory,
        request: v1::UpdateJobRequest,
    ) -> Result<v1::UpdateJobResponse, Failure> {
        let (text, update) = validate::update(request, self.handle.now().wall)?;
        let update = update.ok_or_else(|| Failure::JobNotFound(text.clone()))?;
        self.check_job(access, CHANGE, update.id, &text).await?;
        let answer = self.handle.call(Command::Update(update), COMMAND_BYTES).await?;
        Ok(v1::UpdateJobResponse { job: Some(self.changed(memory, answer, &text).await?) })
    }

    /// A job after a change.
    async fn changed(&self, memory: &Memory, answer: Answer, job: &str) -> Result<v1::Job, Failure> {
        let view = match answer {
            Ok(Outcome::Changed(view)) => *view,
            Ok(other) => return Err(Failure::unexpected(other)),
            Err(refusal) => return Err(Failure::job_refused(refusal, job)),
        };
        let id = view.id;
        let ((), mut places) = self.handle.read_and_locate(move |_, _| ((), vec![id])).await?;
        let body = self.body(memory, &view, places.pop().flatten()).await?;
        Ok(convert::job(view, body, false))
    }

    async fn read_jobs(
        &self,
        access: &Access,
        memory: &Memory,
        call: GetCall,
        patience: Patience,
    ) -> Result<v1::BatchGetJobsResponse, Failure> {
        let mut ids: Vec<JobId> = call.jobs.iter().filter_map(|job| job.id).collect();
        // Before the wait: it would be longer for a job that there is.
        let allowed = self.allowed(access, READ, ids.clone()).await?;
        ids.retain(|id| allowed.has(*id));
        let wait = patience.wait(call.wait);
        if wait > Duration::ZERO && !ids.is_empty() {
            patience.hand_back();
            let at_rest = self.handle.at_rest(ids.clone());
            tokio::select! {
                biased;
                () = self.shutdown.cancelled() => return Err(Failure::Stopping),
                // Whatever comes first: it is answered as it stands.
                at_rest = tokio::time::timeout(wait, at_rest) => at_rest.unwrap_or(Ok(()))?,
            }
        }
        let (views, places) = self
            .handle
            .read_and_locate(move |engine, now| {
                let views: Vec<JobView> = ids.iter().filter_map(|id| engine.foresee(*id, now)).collect();
                let found = views.iter().map(|view| view.id).collect();
                (views, found)
            })
            .await?;
        let mut answer = v1::BatchGetJobsResponse::default();
        let found: Vec<JobId> = views.iter().map(|view| view.id).collect();
        answer.missing_job_ids = missing(&call, &found);
        let mut room = MAX_RESPONSE_BYTES - ENVELOPE_BYTES;
        let _all = self
            .with_bodies(memory, views, places, |view: JobView, body| {
                let id = view.id;
                let job = convert::job(view, body, call.include_payload);
                let bytes = job.encoded_len() + ITEM_BYTES;
                // The first always fits.
                if answer.jobs.is_empty() || (answer.unread_job_ids.is_empty() && bytes <= room) {
                    room = room.saturating_sub(bytes);
                    answer.jobs.push(job);
                } else {
                    answer.unread_job_ids.push(id.to_string());
                }
                ControlFlow::Continue(())
            })
            .await?;
        Ok(answer)
    }
}

/// Those asked for that are not there, in the order of the request.
fn missing(call: &GetCall, found: &[JobId]) -> Vec<String> {
    let is_there = |job: &&validate::JobRef| job.id.is_some_and(|id| found.contains(&id));
    call.jobs.iter().filter(|job| !is_there(job)).map(|job| job.text.clone()).collect()
}

/// How long a call may wait, and the place it gives up meanwhile.
pub(super) struct Patience {
    deadline: Option<Deadline>,
    in_flight: Option<InFlight>,
}

impl Patience {
    pub(super) fn of<T>(request: &Request<T>) -> Patience {
        Patience {
            deadline: request.extensions().get::<Deadline>().copied(),
            in_flight: request.extensions().get::<InFlight>().cloned(),
        }
    }

    /// As long as was said, but no longer than the caller does.
    pub(super) fn wait(&self, said: Duration) -> Duration {
        self.deadline.map_or(said, |deadline| said.min(deadline.wait()))
    }

    /// From now on the call only waits.
    pub(super) fn hand_back(&self) {
        if let Some(in_flight) = &self.in_flight {
            in_flight.hand_back();
        }
    }
}
