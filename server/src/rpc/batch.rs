//! GetBatch.

use std::time::Duration;

use sluice_engine::{BatchState, BatchView};
use sluice_proto::v1;
use tokio::time::Instant;
use tonic::Request;

use super::job::Patience;
use super::status::Failure;
use super::validate::BatchCall;
use super::{Rpc, convert, validate};

impl Rpc {
    pub(super) async fn do_get_batch(
        &self,
        request: Request<v1::GetBatchRequest>,
    ) -> Result<v1::GetBatchResponse, Failure> {
        let patience = Patience::of(&request);
        let call = validate::batch(request.into_inner())?;
        let wait = patience.wait(call.wait);
        let view = match self.batch(&call).await? {
            view if wait > Duration::ZERO && !is_final(&view) => {
                patience.hand_back();
                self.final_batch(&call, view, wait).await?
            }
            view => view,
        };
        Ok(convert::batch(&view))
    }

    async fn batch(&self, call: &BatchCall) -> Result<BatchView, Failure> {
        let (queue, batch) = (call.queue.clone(), call.batch.clone());
        let view = self.handle.read(move |engine, _| engine.batch(&queue, &batch)).await?;
        view.ok_or_else(|| Failure::BatchNotFound(call.batch.to_string()))
    }

    /// Looks again whenever something happened in the queue, until the batch is final or the time is up.
    async fn final_batch(
        &self,
        call: &BatchCall,
        mut view: BatchView,
        wait: Duration,
    ) -> Result<BatchView, Failure> {
        let end = Instant::now() + wait;
        let mut changes = self.handle.watch(call.queue.clone()).await?;
        while !is_final(&view) {
            tokio::select! {
                biased;
                () = self.shutdown.cancelled() => return Err(Failure::Stopping),
                changed = changes.changed() => changed.map_err(|_| Failure::Stopping)?,
                () = tokio::time::sleep_until(end) => break,
            }
            view = self.batch(call).await?;
        }
        Ok(view)
    }
}

fn is_final(view: &BatchView) -> bool {
    matches!(view.state, BatchState::Completed | BatchState::Partial | BatchState::Failed)
}
