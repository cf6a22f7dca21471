//! GetBatch.

use std::time::Duration;

use sluice_engine::{BatchState, BatchView, Eta};
use sluice_proto::v1;
use tokio::time::Instant;
use tonic::Request;

use super::job::Patience;
use super::right::READ;
use super::status::Failure;
use super::validate::BatchCall;
use super::{Rpc, convert, validate};
use crate::auth::Access;

impl Rpc {
    pub(super) async fn do_get_batch(
        &self,
        request: Request<v1::GetBatchRequest>,
    ) -> Result<v1::GetBatchResponse, Failure> {
        let access = Access::of(request.extensions());
        let patience = Patience::of(&request);
        let call = validate::batch(request.into_inner())?;
        access.check(READ, &call.queue)?;
        let wait = patience.wait(call.wait);
        let mut view = self.batch(&call).await?;
        if wait > Duration::ZERO && !is_final(&view) {
            patience.hand_back();
            view = self.final_batch(&call, wait).await?;
        }
        let eta = if is_final(&view) { None } else { self.batch_eta(&call).await? };
        Ok(convert::batch(&view, eta.as_ref()))
    }

    async fn batch(&self, call: &BatchCall) -> Result<BatchView, Failure> {
        let (queue, batch) = (call.queue.clone(), call.batch.clone());
        let view = self.handle.read(move |engine, _| engine.batch(&queue, &batch)).await?;
        view.ok_or_else(|| Failure::BatchNotFound(call.batch.to_string()))
    }

    /// When it will be done. Asked once, when the answer is due: it costs more than a look.
    async fn batch_eta(&self, call: &BatchCall) -> Result<Option<Eta>, Failure> {
        let (queue, batch) = (call.queue.clone(), call.batch.clone());
        Ok(self.handle.read(move |engine, now| engine.batch_eta(&queue, &batch, now)).await?)
    }

    /// Looks again whenever something happened in the queue, until the batch is final or the time is up.
    async fn final_batch(&self, call: &BatchCall, wait: Duration) -> Result<BatchView, Failure> {
        let end = Instant::now() + wait;
        // Before the first look: no end comes between the two.
        let mut changes = self.handle.watch(call.queue.clone()).await?;
        loop {
            let is_over = Instant::now() >= end;
            let view = self.batch(call).await?;
            if is_over || is_final(&view) {
                return Ok(view);
            }
            tokio::select! {
                biased;
                () = self.shutdown.cancelled() => return Err(Failure::Stopping),
                changed = changes.changed() => changed.map_err(|_| Failure::Stopping)?,
                () = tokio::time::sleep_until(end) => {}
            }
        }
    }
}

fn is_final(view: &BatchView) -> bool {
    matches!(view.state, BatchState::Completed | BatchState::Partial | BatchState::Failed)
}
