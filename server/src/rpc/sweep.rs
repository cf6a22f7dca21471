//! RequeueJobs and PurgeJobs: first all jobs that are meant are found, in bounded looks; then they are changed,
//! those that are still what they were found as. A requeue is one durable step; a purge goes in slices, so that the
//! writer never stands still for it.

use std::ops::ControlFlow;
use std::time::Duration;

use sluice_engine::bound::MAX_SWEEP_JOBS;
use sluice_engine::{Answer, Command, JobId, Outcome, Requeue, Sweep};
use sluice_proto::v1;

use super::right::ADMIN;
use super::status::Failure;
use super::validate::SweepCall;
use super::{Rpc, validate};
use crate::auth::Access;
use crate::layer::Memory;
use crate::writer::CallError;

/// What a command holds in memory besides its jobs.
const COMMAND_BYTES: usize = 128;
/// Times that a slice in the middle is tried again when the writer is too busy.
const MAX_TRIES: u32 = 50;
/// The pause before each.
const PAUSE: Duration = Duration::from_millis(100);
/// Jobs of one look when bodies must be read for it.
const LOOK_WITH_BODIES: usize = 1_000;

impl Rpc {
    pub(super) async fn do_requeue_jobs(
        &self,
        access: &Access,
        memory: &Memory,
        request: v1::RequeueJobsRequest,
    ) -> Result<v1::RequeueJobsResponse, Failure> {
        let call = validate::requeue(request, self.handle.now().wall)?;
        access.check(ADMIN, &call.queue)?;
        let jobs = self.find(memory, &call).await?;
        if call.dry_run || jobs.is_empty() {
            return Ok(v1::RequeueJobsResponse { requeued_jobs: jobs.len() as u64 });
        }
        let bytes = COMMAND_BYTES + size_of_val(&*jobs);
        let sweep = Sweep { queue: call.queue.clone(), states: call.filter.query.states, jobs };
        let command = Command::Requeue(Requeue { sweep, interval: call.interval });
        let requeued_jobs = swept(self.handle.call(command, bytes).await?, &call)?;
        Ok(v1::RequeueJobsResponse { requeued_jobs })
    }

    pub(super) async fn do_purge_jobs(
        &self,
        access: &Access,
        memory: &Memory,
        request: v1::PurgeJobsRequest,
    ) -> Result<v1::PurgeJobsResponse, Failure> {
        let call = validate::purge(request, self.handle.now().wall)?;
        access.check(ADMIN, &call.queue)?;
        let jobs = self.find(memory, &call).await?;
        if call.dry_run {
            return Ok(v1::PurgeJobsResponse { purged_jobs: jobs.len() as u64 });
        }
        let mut purged_jobs = 0;
        for slice in jobs.chunks(MAX_SWEEP_JOBS) {
            let (queue, states) = (call.queue.clone(), call.filter.query.states);
            let command = || Command::Purge(Sweep { queue: queue.clone(), states, jobs: slice.to_vec() });
            purged_jobs += swept(self.slice(purged_jobs, slice.len(), command).await?, &call)?;
        }
        Ok(v1::PurgeJobsResponse { purged_jobs })
    }

    /// The jobs that are meant, oldest first. Bounded by the call's deadline.
    async fn find(&self, memory: &Memory, call: &SweepCall) -> Result<Vec<JobId>, Failure> {
        let name = call.queue.clone();
        if self.handle.read(move |engine, _| engine.queue(&name).is_none()).await? {
            return Err(Failure::QueueNotFound(call.queue.to_string()));
        }
        let needs_bodies = !call.filter.rest.is_any();
        let mut jobs = Vec::new();
        let mut next = Some(JobId(0));
        while let Some(from) = next {
            let left = call.max_jobs as usize - jobs.len();
            if left == 0 {
                break;
            }
            let most = if needs_bodies { LOOK_WITH_BODIES } else { MAX_SWEEP_JOBS };
            // With bodies, not all that is looked at is taken.
            let limit = if needs_bodies { most } else { most.min(left) };
            let query = call.filter.query.clone();
            let (found, places) = self
                .handle
                .read_and_locate(move |engine, now| {
                    let found = engine.jobs(&query, from, limit, now);
                    let ids = found.jobs.iter().filter(|_| needs_bodies).map(|view| view.id).collect();
                    (found, ids)
                })
                .await?;
            next = found.next;
            if !needs_bodies {
                jobs.extend(found.jobs.iter().map(|view| view.id));
                continue;
            }
            let _all = self
                .with_bodies(memory, found.jobs, places, |view, body| {
                    let error = view.detail.as_ref().and_then(|detail| detail.error.as_deref());
                    if call.filter.rest.fits(error, body.as_ref()) {
                        jobs.push(view.id);
                    }
                    if jobs.len() < call.max_jobs as usize {
                        ControlFlow::Continue(())
                    } else {
                        ControlFlow::Break(())
                    }
                })
                .await?;
        }
        Ok(jobs)
    }

    /// One slice. Whoever is refused as UNAVAILABLE may believe that nothing was applied: once
    /// something was, it is tried again, and in the end called by another name.
    async fn slice(&self, done: u64, jobs: usize, command: impl Fn() -> Command) -> Result<Answer, Failure> {
        let bytes = COMMAND_BYTES + jobs * size_of::<JobId>();
        for _ in 0..MAX_TRIES {
            match self.handle.call(command(), bytes).await {
                Ok(answer) => return Ok(answer),
                Err(error) if done == 0 => return Err(error.into()),
                Err(CallError::Overloaded | CallError::StorageFull) => tokio::time::sleep(PAUSE).await,
                Err(CallError::Starting | CallError::Stopping) => break,
            }
        }
        Err(Failure::Interrupted { done })
    }
}

fn swept(answer: Answer, call: &SweepCall) -> Result<u64, Failure> {
    match answer {
        Ok(Outcome::Swept(jobs)) => Ok(jobs.into()),
        Ok(other) => Err(Failure::unexpected(other)),
        Err(refusal) => Err(Failure::refused(refusal, &call.queue)),
    }
}
