//! RequeueJobs and PurgeJobs: a pass over a queue in slices, so that the writer never stands still for it.

use std::time::Duration;

use sluice_engine::{Answer, Command, JobId, Outcome, Sweep, Swept};
use sluice_proto::v1;

use super::status::Failure;
use super::validate::SweepCall;
use super::{Rpc, validate};
use crate::writer::CallError;

/// What a slice's command holds in memory.
const COMMAND_BYTES: usize = 128;
/// Times that a slice in the middle is tried again when the writer is too busy.
const MAX_TRIES: u32 = 50;
/// The pause before each.
const PAUSE: Duration = Duration::from_millis(100);

impl Rpc {
    pub(super) async fn do_requeue_jobs(
        &self,
        request: v1::RequeueJobsRequest,
    ) -> Result<v1::RequeueJobsResponse, Failure> {
        let call = validate::requeue(request)?;
        let requeued_jobs = self.sweep(&call, Command::Requeue).await?;
        Ok(v1::RequeueJobsResponse { requeued_jobs })
    }

    pub(super) async fn do_purge_jobs(
        &self,
        request: v1::PurgeJobsRequest,
    ) -> Result<v1::PurgeJobsResponse, Failure> {
        let call = validate::purge(request)?;
        let purged_jobs = self.sweep(&call, Command::Purge).await?;
        Ok(v1::PurgeJobsResponse { purged_jobs })
    }

    /// Passes over the whole queue, or until `max_jobs` were changed. Bounded by the call's deadline.
    async fn sweep(&self, call: &SweepCall, command: fn(Sweep) -> Command) -> Result<u64, Failure> {
        let mut progress = Progress::new(call.max_jobs);
        while let Some(from) = progress.from {
            let (queue, states) = (call.queue.clone(), call.states);
            let slice = Sweep { queue, states, max_jobs: progress.left, from };
            let answer = self.slice(&progress, || command(slice.clone())).await?;
            match answer {
                Ok(Outcome::Swept(swept)) => progress.add(swept),
                Ok(other) => return Err(Failure::unexpected(other)),
                Err(refusal) => return Err(Failure::refused(refusal, &call.queue)),
            }
        }
        Ok(progress.done)
    }

    /// One slice. Whoever is refused as UNAVAILABLE may believe that nothing was applied: once
    /// something was, it is tried again, and in the end called by another name.
    async fn slice(&self, progress: &Progress, command: impl Fn() -> Command) -> Result<Answer, Failure> {
        for _ in 0..MAX_TRIES {
            match self.handle.call(command(), COMMAND_BYTES).await {
                Ok(answer) => return Ok(answer),
                Err(error) if progress.done == 0 => return Err(error.into()),
                Err(CallError::Overloaded | CallError::StorageFull) => tokio::time::sleep(PAUSE).await,
                Err(CallError::Starting | CallError::Stopping) => break,
            }
        }
        Err(Failure::Interrupted { done: progress.done })
    }
}

/// How far a pass has come.
#[derive(Debug, PartialEq)]
struct Progress {
    /// Jobs that were changed.
    done: u64,
    /// Jobs that may still be.
    left: u32,
    /// Where the next slice begins; none: there is none.
    from: Option<JobId>,
}

impl Progress {
    fn new(max_jobs: u32) -> Progress {
        Progress { done: 0, left: max_jobs, from: Some(JobId(0)) }
    }

    fn add(&mut self, swept: Swept) {
        self.done += u64::from(swept.changed);
        self.left = self.left.saturating_sub(swept.changed);
        // A slice that does not come further would be tried for ever.
        self.from = swept.next.filter(|next| self.left > 0 && Some(*next) > self.from);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(swept: &[(u32, Option<u64>)]) -> Progress {
        let mut progress = Progress::new(100);
        for (changed, next) in swept {
            progress.add(Swept { changed: *changed, next: next.map(JobId) });
        }
        progress
    }

    #[test]
    fn pass_goes_on_where_its_last_slice_ended() {
        assert_eq!(after(&[(10, Some(50))]), Progress { done: 10, left: 90, from: Some(JobId(50)) });
        assert_eq!(after(&[(10, Some(50)), (5, None)]), Progress { done: 15, left: 85, from: None });
    }

    #[test]
    fn pass_ends_when_it_has_changed_enough() {
        assert_eq!(after(&[(60, Some(50)), (40, Some(90))]), Progress { done: 100, left: 0, from: None });
    }

    #[test]
    fn pass_that_does_not_come_further_ends() {
        assert_eq!(after(&[(0, Some(50)), (0, Some(50))]).from, None);
    }
}
