//! Shared limits, and tokens without a job.

use std::time::Duration;

use sluice_engine::{Command, LimitName, NodeName, Outcome, Span};
use sluice_proto::v1;
use tonic::Request;

use super::job::Patience;
use super::look::Look;
use super::right::{ACQUIRE, ADMIN, READ};
use super::status::Failure;
use super::{Rpc, convert, validate};
use crate::auth::Access;

/// What the command holds in memory besides its names.
const COMMAND_BYTES: usize = 256;

impl Rpc {
    pub(super) async fn do_put_limit(
        &self,
        access: &Access,
        request: v1::PutLimitRequest,
    ) -> Result<v1::PutLimitResponse, Failure> {
        let command = validate::put_limit(request)?;
        let name = command.name.clone();
        access.check(ADMIN, &name)?;
        match self.handle.call(Command::PutLimit(command), COMMAND_BYTES).await? {
            Ok(Outcome::LimitPut(view)) => Ok(v1::PutLimitResponse { limit: Some(convert::limit(&view)) }),
            Ok(other) => Err(Failure::unexpected(other)),
            Err(refusal) => Err(Failure::refused(refusal, &name)),
        }
    }

    pub(super) async fn do_get_limit(
        &self,
        access: &Access,
        request: v1::GetLimitRequest,
    ) -> Result<v1::GetLimitResponse, Failure> {
        let name: LimitName = validate::queue_name("name", &request.name)?;
        access.check(READ, &name)?;
        let wanted = name.clone();
        let view = self.handle.read(move |engine, now| engine.limit(&wanted, now)).await?;
        let view = view.ok_or_else(|| Failure::LimitNotFound(name.to_string()))?;
        Ok(v1::GetLimitResponse { limit: Some(convert::limit(&view)) })
    }

    pub(super) async fn do_list_limits(
        &self,
        access: &Access,
        request: v1::ListLimitsRequest,
    ) -> Result<v1::ListLimitsResponse, Failure> {
        let call = validate::queues_page(request.page_size, &request.page_token)?;
        let limit = call.limit;
        let look = Look { access, after: call.after, limit };
        let mut views =
            look.all(&self.handle, |engine, after, most, now| engine.limits(after, most, now)).await?;
        let more = views.len() > limit;
        views.truncate(limit);
        let next_page_token =
            views.last().filter(|_| more).map_or_else(String::new, |last| last.name.to_string());
        Ok(v1::ListLimitsResponse { limits: views.iter().map(convert::limit).collect(), next_page_token })
    }

    pub(super) async fn do_delete_limit(
        &self,
        access: &Access,
        request: v1::DeleteLimitRequest,
    ) -> Result<v1::DeleteLimitResponse, Failure> {
        let name: LimitName = validate::queue_name("name", &request.name)?;
        access.check(ADMIN, &name)?;
        match self.handle.call(Command::DeleteLimit(name.clone()), COMMAND_BYTES).await? {
            Ok(Outcome::LimitDeleted) => Ok(v1::DeleteLimitResponse {}),
            Ok(other) => Err(Failure::unexpected(other)),
            Err(refusal) => Err(Failure::refused(refusal, &name)),
        }
    }

    pub(super) async fn do_acquire_limit(
        &self,
        request: Request<v1::AcquireLimitRequest>,
    ) -> Result<v1::AcquireLimitResponse, Failure> {
        let access = Access::of(request.extensions());
        let patience = Patience::of(&request);
        let mut command = validate::acquire(request.into_inner())?;
        let (NodeName::Limit(name) | NodeName::Key(name, _)) = command.node.clone();
        access.check(ACQUIRE, &name)?;
        if command.wait > Span::ZERO {
            let wait = patience.wait(Duration::from_nanos(command.wait.0));
            command.wait = Span(u64::try_from(wait.as_nanos()).unwrap_or(u64::MAX));
            patience.hand_back();
        }
        match self.handle.acquire(command, &self.shutdown).await? {
            Ok(Outcome::Acquired(acquired)) => Ok(convert::acquired(acquired)),
            Ok(other) => Err(Failure::unexpected(other)),
            Err(refusal) => Err(Failure::refused(refusal, &name)),
        }
    }

    pub(super) async fn do_reset_node(
        &self,
        access: &Access,
        request: v1::ResetNodeRequest,
    ) -> Result<v1::ResetNodeResponse, Failure> {
        let node = validate::reset_node(request)?;
        let (NodeName::Limit(name) | NodeName::Key(name, _)) = node.clone();
        access.check(ADMIN, &name)?;
        match self.handle.call(Command::ResetNode(node), COMMAND_BYTES).await? {
            Ok(Outcome::NodeReset) => Ok(v1::ResetNodeResponse {}),
            Ok(other) => Err(Failure::unexpected(other)),
            Err(refusal) => Err(Failure::refused(refusal, &name)),
        }
    }
}
