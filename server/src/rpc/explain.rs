//! ExplainJob.

use sluice_proto::v1;

use super::right::READ;
use super::status::Failure;
use super::{Rpc, convert, validate};
use crate::auth::Access;
use crate::layer::Memory;

impl Rpc {
    pub(super) async fn do_explain_job(
        &self,
        access: &Access,
        memory: &Memory,
        request: v1::ExplainJobRequest,
    ) -> Result<v1::ExplainJobResponse, Failure> {
        let job = validate::job_ref("job_id", request.job_id)?;
        let not_found = || Failure::JobNotFound(job.text.clone());
        let id = job.id.ok_or_else(not_found)?;
        self.check_job(access, READ, id, &job.text).await?;
        let read = move |engine: &sluice_engine::Engine, now: sluice_engine::Now| {
            ((engine.explain(id, now), now.wall), vec![id])
        };
        let ((explanation, now), mut places) = self.handle.read_and_locate(read).await?;
        let explanation = explanation.ok_or_else(not_found)?;
        let body = self.body(memory, &explanation.job, places.pop().flatten()).await?;
        Ok(convert::explanation(explanation, body, now))
    }
}
