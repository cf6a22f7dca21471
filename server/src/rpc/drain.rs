//! Drain: one durable step, then the set page by page, as fast as its reader takes it.

use std::ops::ControlFlow;

use futures::{StreamExt, stream};
use sluice_engine::bound::{MAX_ERROR_BYTES, MAX_ID_BYTES, MAX_RESPONSE_BYTES};
use sluice_engine::{Command, Drained, Engine, JobId, JobView, Lease, Now, Outcome};
use sluice_proto::v1;

use super::page_token::DrainToken;
use super::right::CONSUME;
use super::service::Messages;
use super::status::Failure;
use super::validate::DrainCall;
use super::{Rpc, convert, validate};
use crate::auth::Access;
use crate::layer::Memory;

/// Jobs of a page: the writer makes their views in well under a millisecond.
const MAX_PAGE_JOBS: usize = 1_000;
/// What the jobs of a page may take; the rest is for its envelope.
const MAX_PAGE_BYTES: usize = MAX_RESPONSE_BYTES - 1_024;
/// What the command holds in memory besides the queue's name.
const COMMAND_BYTES: usize = 128;

impl Rpc {
    pub(super) async fn do_drain(
        &self,
        access: &Access,
        memory: Memory,
        request: v1::DrainRequest,
    ) -> Result<Messages<v1::DrainResponse>, Failure> {
        let DrainCall { command, from } = validate::drain(request, access.principal_name())?;
        let queue = command.queue.clone();
        access.check(CONSUME, &queue)?;
        let drained = match self.handle.call(Command::Drain(command), COMMAND_BYTES).await? {
            Ok(Outcome::Drained(drained)) => drained,
            Ok(other) => return Err(Failure::unexpected(other)),
            Err(refusal) => return Err(Failure::refused(refusal, &queue)),
        };
        let reader = Reader { rpc: self.clone(), memory, queue: queue.to_string(), drained, position: from };
        // Made one page at a time, when the connection has room for it: a slow reader costs one page.
        let pages = stream::try_unfold(Some(reader), |reader| async {
            let Some(reader) = reader else { return Ok(None) };
            Ok(Some(reader.page().await?))
        });
        Ok(pages.boxed())
    }
}

/// Somebody who reads a set.
struct Reader {
    rpc: Rpc,
    memory: Memory,
    queue: String,
    drained: Drained,
    position: u64,
}

impl Reader {
    /// The next page, and the reader for the one after it; none: that was the last.
    async fn page(mut self) -> Result<(v1::DrainResponse, Option<Reader>), Failure> {
        loop {
            let shutdown = self.rpc.shutdown.clone();
            let jobs = tokio::select! {
                biased;
                () = shutdown.cancelled() => return Err(Failure::Stopping),
                jobs = self.jobs() => jobs?,
            };
            let more = self.position < self.drained.total;
            // A page of jobs that were all purged or requeued since: nothing to send but the end.
            if jobs.is_empty() && more {
                continue;
            }
            let next =
                if more { DrainToken::new(self.drained.set, self.position).write() } else { String::new() };
            let page = v1::DrainResponse { jobs, total_jobs: self.drained.total, next_page_token: next };
            return Ok((page, more.then_some(self)));
        }
    }

    /// The next jobs; moves on behind them, always by at least one place.
    async fn jobs(&mut self) -> Result<Vec<v1::Job>, Failure> {
        let Drained { set, total } = self.drained;
        let from = self.position;
        if from >= total {
            return Ok(Vec::new());
        }
        let (page, places) = self.rpc.handle.read_and_locate(move |e, now| read(e, set, from, now)).await?;
        let (views, next) = page.ok_or_else(|| Failure::DrainNotFound(self.queue.clone()))?;
        self.position = next.max(from + 1);
        let mut jobs = Vec::with_capacity(views.len());
        let _all = self
            .rpc
            .with_bodies(&self.memory, views, places, |view, body| {
                jobs.push(convert::job(view, body, true));
                ControlFlow::Continue(())
            })
            .await?;
        Ok(jobs)
    }
}

type Page = Option<(Vec<JobView>, u64)>;

/// As many jobs as fit a page, and where the next one begins.
fn read(engine: &Engine, set: u128, from: u64, now: Now) -> (Page, Vec<JobId>) {
    let mut page = engine.drain_page(set, from, MAX_PAGE_JOBS, now);
    if let Some((views, _)) = &page {
        let fit = fit(views);
        // Only the engine knows the position behind the last that fits.
        if fit < views.len() {
            page = engine.drain_page(set, from, fit, now);
        }
    }
    let ids = page.iter().flat_map(|(views, _)| views).map(|view| view.id).collect();
    (page, ids)
}

/// How many of `views` fit a page; at least the first.
fn fit(views: &[JobView]) -> usize {
    let mut room = MAX_PAGE_BYTES;
    for (index, view) in views.iter().enumerate() {
        match room.checked_sub(most_bytes(view)) {
            Some(left) => room = left,
            None => return index.max(1),
        }
    }
    views.len()
}

/// What a job takes in an answer, at most.
fn most_bytes(view: &JobView) -> usize {
    let error = match &view.detail {
        Some(detail) => detail.error.as_ref().map_or(0, |e| e.message.len() + e.code.len()),
        None if view.detail_at_rest => MAX_ERROR_BYTES + MAX_ID_BYTES,
        None => 0,
    };
    view.bytes as usize + Lease::JOB_OVERHEAD + view.key.len() + view.queue.len() + error
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use prost::Message;
    use sluice_engine::Cost;
    use sluice_engine::bound::{MAX_LABEL_BYTES, MAX_LABELS, MAX_LEASE, MAX_PAYLOAD_BYTES};
    use sluice_engine::{
        Attributes, Detail, JobError, JobState, Key, LeaseToken, LeasedJob, Priority, QueueName, RetryPolicy,
        Span, WallTime,
    };

    use super::*;
    use crate::rpc::convert::job::tests::view;
    use crate::store::Body;

    /// A job that takes as much room as a job can.
    fn largest(payload: usize) -> (JobView, Body) {
        let time = WallTime(u64::MAX);
        let text = |n: usize| "x".repeat(n);
        let labels: BTreeMap<String, String> = (0..MAX_LABELS)
            .map(|n| (format!("{n:0>width$}", width = MAX_LABEL_BYTES), text(MAX_LABEL_BYTES)))
            .collect();
        let attributes = Attributes {
            labels: labels.into_iter().map(|(n, v)| (n.into(), v.into())).collect(),
            content_type: text(MAX_ID_BYTES).into(),
            ..Default::default()
        };
        let error = JobError { code: text(MAX_ID_BYTES).into(), message: text(MAX_ERROR_BYTES).into() };
        let detail = Detail {
            retry: None,
            worker: Some(text(MAX_ID_BYTES).into()),
            start_time: Some(time),
            end_time: Some(time),
            error: Some(Box::new(error)),
            result: None,
            ..Default::default()
        };
        let policy = RetryPolicy {
            max_attempts: u32::MAX,
            initial_backoff: Span(u64::MAX),
            max_backoff: Span(u64::MAX),
            ..RetryPolicy::default()
        };
        let view = JobView {
            id: JobId(u64::MAX),
            queue: QueueName::new(&text(128)).unwrap(),
            key: Key::new(text(256)).unwrap(),
            priority: Priority::new(9).unwrap(),
            state: JobState::Drained,
            bypass_limits: true,
            create_time: time,
            run_time: Some(time),
            lease_expire_time: Some(time),
            bytes: (payload + attributes.bytes()) as u32,
            deliveries: u32::MAX,
            attempts: u32::MAX,
            requeues: u32::MAX,
            cost: Cost::new(sluice_engine::bound::MAX_COST).unwrap(),
            blocks: Vec::new(),
            eta: None,
            position: Some(u64::MAX),
            policy,
            detail: Some(Box::new(detail)),
            detail_at_rest: false,
            expire_time: None,
            cancel_requested: false,
            batch: None,
        };
        (view, Body { payload: Some(vec![0; payload].into()), attributes, detail: None })
    }

    #[test]
    fn no_job_takes_more_than_is_reckoned() {
        for payload in [0, 1_000, MAX_PAYLOAD_BYTES] {
            let (view, body) = largest(payload);
            let reckoned = most_bytes(&view);
            // In a page, each job has its tag and its length too.
            let encoded = convert::job(view.clone(), Some(body.clone()), true).encoded_len() + 5;
            assert!(encoded <= reckoned, "{encoded} > {reckoned}");
            // The engine reckons in the same way when it fills a Lease, where each job has its proof.
            let job = JobView { state: JobState::Leased, run_time: None, position: None, ..view };
            let leased = LeasedJob { job, token: LeaseToken(u32::MAX.into()), lease_duration: MAX_LEASE };
            let encoded = convert::leased_job(leased, Some(body)).encoded_len() + 5;
            assert!(encoded <= reckoned, "{encoded} > {reckoned}");
            assert!(reckoned <= MAX_PAGE_BYTES, "a job must fit a page");
        }
    }

    #[test]
    fn detail_at_rest_is_reckoned_at_its_most() {
        let (view, _) = largest(0);
        let resting = JobView { detail: None, detail_at_rest: true, ..view.clone() };
        assert_eq!(most_bytes(&resting), most_bytes(&view));
    }

    #[test]
    fn page_takes_as_many_jobs_as_fit_and_at_least_one() {
        let small = view(7, JobState::Drained);
        assert_eq!(fit(&vec![small.clone(); 1_000]), 1_000);
        let megabyte = JobView { bytes: 1 << 20, ..small.clone() };
        assert_eq!(fit(&vec![megabyte; 10]), 3);
        let huge = JobView { bytes: u32::MAX, ..small };
        assert_eq!(fit(&[huge]), 1);
        assert_eq!(fit(&[]), 0);
    }
}
