//! ListJobs: a page by age, made of bounded looks at the engine.

use std::ops::ControlFlow;

use prost::Message;
use sluice_engine::bound::MAX_RESPONSE_BYTES;
use sluice_engine::{JobId, JobView};
use sluice_proto::v1;

use super::page_token::JobsToken;
use super::right::READ;
use super::status::Failure;
use super::validate::JobsCall;
use super::{Rpc, convert, validate};
use crate::auth::Access;
use crate::layer::Memory;

/// Looks for one page. A rare state in a large queue then takes several pages, some of them empty.
const MAX_LOOKS: usize = 32;
/// What the jobs of a page may take; the rest is for its envelope.
const MAX_PAGE_BYTES: usize = MAX_RESPONSE_BYTES - 1_024;
/// What naming a job in a page takes: its tag and its length.
const ITEM_BYTES: usize = 5;

impl Rpc {
    pub(super) async fn do_list_jobs(
        &self,
        access: &Access,
        memory: &Memory,
        request: v1::ListJobsRequest,
    ) -> Result<v1::ListJobsResponse, Failure> {
        let call = validate::jobs_page(request, self.handle.now().wall)?;
        if let Some(queue) = &call.filter.query.queue {
            access.check(READ, queue)?;
        }
        let mut page = Page { room: MAX_PAGE_BYTES, jobs: Vec::new(), next: Some(call.from) };
        for _ in 0..MAX_LOOKS {
            let Some(from) = page.next else { break };
            let wanted = call.limit - page.jobs.len();
            if wanted == 0 || self.look(access, memory, &call, from, wanted, &mut page).await?.is_break() {
                break;
            }
        }
        let next_page_token = page.next.map_or_else(String::new, |next| JobsToken::write(next, &call.filter));
        Ok(v1::ListJobsResponse { jobs: page.jobs, next_page_token })
    }

    /// Adds what one look finds; says whether the page is full.
    async fn look(
        &self,
        access: &Access,
        memory: &Memory,
        call: &JobsCall,
        from: JobId,
        wanted: usize,
        page: &mut Page,
    ) -> Result<ControlFlow<()>, Failure> {
        let query = call.filter.query.clone();
        let access = access.clone();
        let (found, places) = self
            .handle
            .read_and_locate(move |engine, now| {
                let mut found = engine.jobs(&query, from, wanted, now);
                // Of all queues, those that the caller may read.
                found.jobs.retain(|view| access.may(READ, &view.queue));
                let ids = found.jobs.iter().map(|view| view.id).collect();
                (found, ids)
            })
            .await?;
        page.next = found.next;
        let include_payload = call.include_payload;
        self.with_bodies(memory, found.jobs, places, |view: JobView, body| {
            let id = view.id;
            let error = view.detail.as_ref().and_then(|detail| detail.error.as_deref());
            if !call.filter.rest.fits(error, body.as_ref()) {
                return ControlFlow::Continue(());
            }
            page.add(id, convert::job(view, body, include_payload))
        })
        .await
    }
}

/// What is found so far.
struct Page {
    room: usize,
    jobs: Vec<v1::Job>,
    /// Where to go on.
    next: Option<JobId>,
}

impl Page {
    /// Adds a job, unless it does not fit; the first always does.
    fn add(&mut self, id: JobId, job: v1::Job) -> ControlFlow<()> {
        let bytes = job.encoded_len() + ITEM_BYTES;
        match self.room.checked_sub(bytes) {
            Some(room) => self.room = room,
            None if self.jobs.is_empty() => self.room = 0,
            None => {
                self.next = Some(id);
                return ControlFlow::Break(());
            }
        }
        self.jobs.push(job);
        ControlFlow::Continue(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(payload: usize) -> v1::Job {
        v1::Job { payload: Some(vec![0; payload].into()), ..Default::default() }
    }

    #[test]
    fn page_goes_on_with_the_job_that_did_not_fit() {
        let mut page = Page { room: 2_500, jobs: Vec::new(), next: None };
        assert!(page.add(JobId(1), job(1_000)).is_continue());
        assert!(page.add(JobId(2), job(1_000)).is_continue());
        assert!(page.add(JobId(3), job(1_000)).is_break());
        assert_eq!((page.jobs.len(), page.next), (2, Some(JobId(3))));
    }

    #[test]
    fn page_holds_at_least_one_job() {
        let mut page = Page { room: 10, jobs: Vec::new(), next: None };
        assert!(page.add(JobId(1), job(1_000)).is_continue());
        assert!(page.add(JobId(2), job(0)).is_break());
        assert_eq!(page.next, Some(JobId(2)));
    }
}
