//! GetJob.

use sluice_proto::v1;

use super::status::Failure;
use super::{Rpc, convert, validate};

impl Rpc {
    pub(super) async fn do_get_job(&self, request: v1::GetJobRequest) -> Result<v1::GetJobResponse, Failure> {
        let job = validate::job_ref("job_id", request.job_id)?;
        let not_found = || Failure::JobNotFound(job.text.clone());
        let id = job.id.ok_or_else(not_found)?;
        let (view, mut places) =
            self.handle.read_and_locate(move |engine, now| (engine.job(id, now), vec![id])).await?;
        let view = view.ok_or_else(not_found)?;
        // Labels are the store's too, so the body is read even if the payload is not wanted.
        let body = match places.pop().flatten() {
            Some(place) => self.handle.bodies(vec![place]).await?.pop(),
            None => None,
        };
        Ok(v1::GetJobResponse { job: Some(convert::job(view, body, request.include_payload)) })
    }
}
