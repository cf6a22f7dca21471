//! PutQueue, GetQueue and ListQueues.

use sluice_engine::{Command, Outcome};
use sluice_proto::v1;

use super::status::Failure;
use super::{Rpc, convert, validate};

/// What the command holds in memory besides the queue's name.
const COMMAND_BYTES: usize = 256;

impl Rpc {
    pub(super) async fn do_put_queue(
        &self,
        request: v1::PutQueueRequest,
    ) -> Result<v1::PutQueueResponse, Failure> {
        let command = validate::put_queue(request)?;
        let queue = command.name.clone();
        match self.handle.call(Command::PutQueue(command), COMMAND_BYTES).await? {
            Ok(Outcome::QueuePut(view)) => Ok(v1::PutQueueResponse { queue: Some(convert::queue(&view)) }),
            Ok(other) => Err(Failure::unexpected(other)),
            Err(refusal) => Err(Failure::refused(refusal, &queue)),
        }
    }

    pub(super) async fn do_get_queue(
        &self,
        request: v1::GetQueueRequest,
    ) -> Result<v1::GetQueueResponse, Failure> {
        let name = validate::queue_name("name", &request.name)?;
        let wanted = name.clone();
        let view = self.handle.read(move |engine, _| engine.queue(&wanted)).await?;
        let view = view.ok_or_else(|| Failure::QueueNotFound(name.to_string()))?;
        Ok(v1::GetQueueResponse { queue: Some(convert::queue(&view)) })
    }

    pub(super) async fn do_list_queues(
        &self,
        request: v1::ListQueuesRequest,
    ) -> Result<v1::ListQueuesResponse, Failure> {
        let call = validate::queues_page(request)?;
        let limit = call.limit;
        // One more than asked for tells whether there is a next page.
        let mut views =
            self.handle.read(move |engine, _| engine.queues(call.after.as_deref(), limit + 1)).await?;
        let more = views.len() > limit;
        views.truncate(limit);
        let next_page_token =
            views.last().filter(|_| more).map_or_else(String::new, |last| last.name.to_string());
        Ok(v1::ListQueuesResponse { queues: views.iter().map(convert::queue).collect(), next_page_token })
    }
}
