//! Reading what a Drain took out: page by page, going on where it was when the connection breaks.

use std::collections::VecDeque;

use tokio::time::sleep;
use tonic::Streaming;

use crate::{
    Client, Error, Repeat,
    client::new_request_id,
    proto::{DrainRequest, DrainResponse, Job},
    retry::lengthened,
};

/// Reads the set of one Drain. Its `request_id` names the set: with the same one, another reader (or
/// this one after the server came back) reads the same set again.
#[derive(Debug)]
pub struct DrainReader {
    client: Client,
    request: DrainRequest,
    pages: Option<Streaming<DrainResponse>>,
    jobs: VecDeque<Job>,
    total_jobs: u64,
    at_end: bool,
}

impl DrainReader {
    pub(crate) fn new(client: Client, mut request: DrainRequest) -> DrainReader {
        if request.request_id.is_empty() {
            request.request_id = new_request_id();
        }
        DrainReader { client, request, pages: None, jobs: VecDeque::new(), total_jobs: 0, at_end: false }
    }

    /// The name of this drain.
    #[must_use]
    pub fn request_id(&self) -> &str {
        &self.request.request_id
    }

    /// How many jobs the set holds in all; known with the first page.
    #[must_use]
    pub fn total_jobs(&self) -> u64 {
        self.total_jobs
    }

    /// Where the next page begins; empty before the first.
    #[must_use]
    pub fn page_token(&self) -> &str {
        &self.request.page_token
    }

    /// The next job, or none at the end.
    ///
    /// # Errors
    /// What the server refuses, and a connection that stays broken.
    pub async fn next_job(&mut self) -> Result<Option<Job>, Error> {
        loop {
            if let Some(job) = self.jobs.pop_front() {
                return Ok(Some(job));
            }
            match self.next_page().await? {
                Some(jobs) => self.jobs = jobs.into(),
                None => return Ok(None),
            }
        }
    }

    /// The next page, or none at the end. A page comes whole or not at all.
    ///
    /// # Errors
    /// What the server refuses, and a connection that stays broken.
    pub async fn next_page(&mut self) -> Result<Option<Vec<Job>>, Error> {
        let policy = self.client.retry_policy();
        let mut waits = backon::BackoffBuilder::build(policy.backoff().with_max_times(policy.max_attempts));
        while !self.at_end {
            let error = match self.read_page().await {
                Ok(page) => {
                    self.total_jobs = page.total_jobs;
                    self.at_end = page.next_page_token.is_empty();
                    self.request.page_token = page.next_page_token;
                    return Ok(Some(page.jobs));
                }
                Err(error) => error,
            };
            self.pages = None;
            match waits.next() {
                Some(wait) if Repeat::Always.allows(&error) => {
                    let wait = lengthened(wait, error.retry_after());
                    tracing::warn!(%error, ?wait, "drain broke off, going on from the last page");
                    sleep(wait).await;
                }
                _ => return Err(error),
            }
        }
        Ok(None)
    }

    async fn read_page(&mut self) -> Result<DrainResponse, Error> {
        let pages = match &mut self.pages {
            Some(pages) => pages,
            none => none.insert(self.client.drain_stream(self.request.clone()).await?),
        };
        // A stream that ends before its last page is one that broke.
        pages.message().await?.ok_or_else(|| Error::broken("the drain ended before its last page"))
    }
}
