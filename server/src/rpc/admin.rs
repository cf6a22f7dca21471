//! PutQueue, GetQueue, ListQueues, PauseQueue, ResumeQueue, DeleteQueue and ListKeys.

use sluice_engine::{Command, DeleteQueue, Outcome, PutQueue, QueueName, QueuePatch};
use sluice_proto::v1;

use super::look::Look;
use super::page_token::KeysToken;
use super::right::{ADMIN, HANG, READ};
use super::status::Failure;
use super::validate::KeysCall;
use super::{Rpc, convert, validate};
use crate::auth::Access;

/// What the command holds in memory besides the queue's name.
const COMMAND_BYTES: usize = 256;

impl Rpc {
    pub(super) async fn do_put_queue(
        &self,
        access: &Access,
        request: v1::PutQueueRequest,
    ) -> Result<v1::PutQueueResponse, Failure> {
        let command = validate::put_queue(request)?;
        let queue = command.name.clone();
        access.check(ADMIN, &queue)?;
        if let Some(Some(limit)) = &command.patch.limit {
            access.check(HANG, limit)?;
        }
        match self.handle.call(Command::PutQueue(command), COMMAND_BYTES).await? {
            Ok(Outcome::QueuePut(view)) => Ok(v1::PutQueueResponse { queue: Some(convert::queue(&view)) }),
            Ok(other) => Err(Failure::unexpected(other)),
            Err(refusal) => Err(Failure::refused(refusal, &queue)),
        }
    }

    pub(super) async fn do_get_queue(
        &self,
        access: &Access,
        request: v1::GetQueueRequest,
    ) -> Result<v1::GetQueueResponse, Failure> {
        let name = validate::queue_name("name", &request.name)?;
        access.check(READ, &name)?;
        let wanted = name.clone();
        let view = self.handle.read(move |engine, _| engine.queue(&wanted)).await?;
        let view = view.ok_or_else(|| Failure::QueueNotFound(name.to_string()))?;
        Ok(v1::GetQueueResponse { queue: Some(convert::queue(&view)) })
    }

    pub(super) async fn do_list_queues(
        &self,
        access: &Access,
        request: v1::ListQueuesRequest,
    ) -> Result<v1::ListQueuesResponse, Failure> {
        let call = validate::queues_page(request.page_size, &request.page_token)?;
        let limit = call.limit;
        let look = Look { access, after: call.after, limit };
        let mut views = look.all(&self.handle, |engine, after, most, _| engine.queues(after, most)).await?;
        let more = views.len() > limit;
        views.truncate(limit);
        let next_page_token =
            views.last().filter(|_| more).map_or_else(String::new, |last| last.name.to_string());
        Ok(v1::ListQueuesResponse { queues: views.iter().map(convert::queue).collect(), next_page_token })
    }

    pub(super) async fn do_pause_queue(
        &self,
        access: &Access,
        request: v1::PauseQueueRequest,
    ) -> Result<v1::PauseQueueResponse, Failure> {
        let name = validate::queue_name("name", &request.name)?;
        access.check(ADMIN, &name)?;
        Ok(v1::PauseQueueResponse { queue: Some(self.set_paused(name, true).await?) })
    }

    pub(super) async fn do_resume_queue(
        &self,
        access: &Access,
        request: v1::ResumeQueueRequest,
    ) -> Result<v1::ResumeQueueResponse, Failure> {
        let name = validate::queue_name("name", &request.name)?;
        access.check(ADMIN, &name)?;
        Ok(v1::ResumeQueueResponse { queue: Some(self.set_paused(name, false).await?) })
    }

    /// Changes that alone, of a queue that is there.
    async fn set_paused(&self, name: QueueName, paused: bool) -> Result<v1::Queue, Failure> {
        let wanted = name.clone();
        if self.handle.read(move |engine, _| engine.queue(&wanted).is_none()).await? {
            return Err(Failure::QueueNotFound(name.to_string()));
        }
        let patch = QueuePatch { paused: Some(paused), ..QueuePatch::default() };
        let command = PutQueue { name: name.clone(), patch, version: None };
        match self.handle.call(Command::PutQueue(command), COMMAND_BYTES).await? {
            Ok(Outcome::QueuePut(view)) => Ok(convert::queue(&view)),
            Ok(other) => Err(Failure::unexpected(other)),
            Err(refusal) => Err(Failure::refused(refusal, &name)),
        }
    }

    pub(super) async fn do_delete_queue(
        &self,
        access: &Access,
        request: v1::DeleteQueueRequest,
    ) -> Result<v1::DeleteQueueResponse, Failure> {
        let name = validate::queue_name("name", &request.name)?;
        access.check(ADMIN, &name)?;
        let command = DeleteQueue { name: name.clone(), force: request.force };
        match self.handle.call(Command::DeleteQueue(command), COMMAND_BYTES).await? {
            Ok(Outcome::QueueDeleted) => Ok(v1::DeleteQueueResponse {}),
            Ok(other) => Err(Failure::unexpected(other)),
            Err(refusal) => Err(Failure::refused(refusal, &name)),
        }
    }

    pub(super) async fn do_list_keys(
        &self,
        access: &Access,
        request: v1::ListKeysRequest,
    ) -> Result<v1::ListKeysResponse, Failure> {
        let KeysCall { queue, prefix, from, limit } = validate::keys_page(request)?;
        access.check(READ, &queue)?;
        let (name, under) = (queue.clone(), prefix.clone());
        let read = move |engine: &sluice_engine::Engine, now| {
            engine.queue(&name).map(|_| engine.keys(&name, &under, from, limit, now))
        };
        let page = self.handle.read(read).await?;
        let page = page.ok_or_else(|| Failure::QueueNotFound(queue.to_string()))?;
        let write = |next| KeysToken::write(next, &queue, &prefix);
        Ok(v1::ListKeysResponse {
            keys: page.keys.iter().map(convert::key_status).collect(),
            next_page_token: page.next.map_or_else(String::new, write),
        })
    }
}
