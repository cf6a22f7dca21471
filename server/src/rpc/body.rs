//! Reads the bodies of many jobs, a bounded part of them at a time.

use std::ops::ControlFlow;

use sluice_engine::JobView;
use sluice_engine::bound::MAX_RESPONSE_BYTES;

use super::Rpc;
use super::status::Failure;
use crate::layer::Memory;
use crate::store::{Body, Place};

impl Rpc {
    /// Shows `take` each job with its body until it has enough; says whether it had. No more than an
    /// answer's worth of bodies is in memory at a time.
    pub(super) async fn with_bodies<T: HasView>(
        &self,
        memory: &Memory,
        jobs: Vec<T>,
        places: Vec<Option<Place>>,
        mut take: impl FnMut(T, Option<Body>) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>, Failure> {
        let mut jobs = jobs.into_iter().zip(places).peekable();
        let mut made = 0;
        while jobs.peek().is_some() {
            // Most often all that is left.
            let mut part = Vec::with_capacity(jobs.len());
            let mut wanted = Vec::with_capacity(jobs.len());
            let mut bytes = 0;
            while let Some((job, place)) =
                jobs.next_if(|(job, _)| bytes == 0 || bytes + cost(job) <= MAX_RESPONSE_BYTES)
            {
                bytes += cost(&job);
                part.push((job, place.is_some()));
                wanted.extend(place);
            }
            // What was taken so far is no more than an answer either.
            made = (made + bytes).min(MAX_RESPONSE_BYTES.max(bytes));
            memory.take(made)?;
            let mut bodies = match wanted.is_empty() {
                true => Vec::new(),
                false => self.handle.bodies(wanted).await?,
            }
            .into_iter();
            for (job, has_place) in part {
                let body = if has_place { bodies.next() } else { None };
                if take(job, body).is_break() {
                    return Ok(ControlFlow::Break(()));
                }
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    /// The body of one job.
    pub(super) async fn body(
        &self,
        memory: &Memory,
        job: &JobView,
        place: Option<Place>,
    ) -> Result<Option<Body>, Failure> {
        let Some(place) = place else { return Ok(None) };
        memory.take(cost(job))?;
        Ok(self.handle.bodies(vec![place]).await?.pop())
    }
}

/// A job, or something around one.
pub(super) trait HasView {
    /// The job.
    fn view(&self) -> &JobView;
}

impl HasView for JobView {
    fn view(&self) -> &JobView {
        self
    }
}

impl HasView for sluice_engine::LeasedJob {
    fn view(&self) -> &JobView {
        &self.job
    }
}

/// Never 0, so that a job without a payload counts too.
fn cost<T: HasView>(job: &T) -> usize {
    job.view().bytes as usize + 1
}
