//! The calls about shared limits, each with the repetition the contract allows.

use std::time::Duration;

use super::{Client, job::extra, queue::missing};
use crate::{
    Error, Repeat,
    proto::{
        AcquireLimitRequest, AcquireLimitResponse, DeleteLimitRequest, GetLimitRequest, Limit,
        ListLimitsRequest, ListLimitsResponse, PutLimitRequest, ResetNodeRequest,
    },
};

impl Client {
    /// Brings a shared limit into being or changes its settings.
    ///
    /// # Errors
    /// `Aborted` when the etag given is not the present one.
    pub async fn put_limit(&self, request: PutLimitRequest) -> Result<Limit, Error> {
        let send = |channel, request| async move { self.admin_service(channel).put_limit(request).await };
        // Under an etag the second of two would be told that it is stale.
        let answer = self.call(Repeat::IfNotApplied, Duration::ZERO, request, send).await?;
        answer.limit.ok_or_else(|| missing("limit"))
    }

    /// Reads a shared limit: its settings, and how it stands.
    ///
    /// # Errors
    /// `NotFound` when there is none of this name.
    pub async fn get_limit(&self, name: impl Into<String>) -> Result<Limit, Error> {
        let request = GetLimitRequest { name: name.into() };
        let send = |channel, request| async move { self.admin_service(channel).get_limit(request).await };
        let answer = self.call(Repeat::Always, Duration::ZERO, request, send).await?;
        answer.limit.ok_or_else(|| missing("limit"))
    }

    /// A page of shared limits, by name.
    ///
    /// # Errors
    /// What the server refuses, and a connection that stays broken.
    pub async fn list_limits(&self, request: ListLimitsRequest) -> Result<ListLimitsResponse, Error> {
        let send = |channel, request| async move { self.admin_service(channel).list_limits(request).await };
        self.call(Repeat::Always, Duration::ZERO, request, send).await
    }

    /// Removes a shared limit.
    ///
    /// # Errors
    /// `FailedPrecondition` while queues hang under it, `NotFound` when there is none of this name.
    pub async fn delete_limit(&self, name: impl Into<String>) -> Result<(), Error> {
        let request = DeleteLimitRequest { name: name.into() };
        let send = |channel, request| async move { self.admin_service(channel).delete_limit(request).await };
        // A second call could meet another limit of the same name.
        self.call(Repeat::IfNotApplied, Duration::ZERO, request, send).await?;
        Ok(())
    }

    /// Lets a shared limit go on that is frozen because a worker said THROTTLED.
    ///
    /// # Errors
    /// `NotFound` when there is none of this name.
    pub async fn reset_limit(&self, name: impl Into<String>) -> Result<(), Error> {
        let request = ResetNodeRequest { limit: name.into(), ..ResetNodeRequest::default() };
        let send = |channel, request| async move { self.admin_service(channel).reset_node(request).await };
        self.call(Repeat::Always, Duration::ZERO, request, send).await?;
        Ok(())
    }

    /// Takes tokens without a job. Repeated only when the server said that it took none.
    ///
    /// # Errors
    /// `NotFound` when there is no such limit, what the server refuses, and a broken connection.
    pub async fn acquire_limit(&self, request: AcquireLimitRequest) -> Result<AcquireLimitResponse, Error> {
        let wait = extra(request.wait_timeout.as_ref());
        let send = |channel, request| async move { self.queue_service(channel).acquire_limit(request).await };
        self.call(Repeat::IfNotApplied, wait, request, send).await
    }
}
