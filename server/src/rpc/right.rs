//! Which right each rpc needs.
//!
//! The layer that knows callers asks whether they have it on anything, before the call is read; the handler
//! asks whether they have it on the queue or limit that is named, before the writer hears of it. Whoever has
//! not learns nothing of what there is: a queue is forbidden whether it exists or not, and a job that is
//! forbidden is a job that does not exist.

use std::collections::HashSet;

use sluice_engine::{JobId, QueueName};

use super::Rpc;
use super::status::Failure;
use crate::auth::{Access, Right, Rights};

/// What a caller must have to make a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    /// To be known.
    Identity,
    /// One of these rights, on what the call names.
    Right(Rights),
}

/// To put jobs in.
pub(super) const ENQUEUE: Rights = Rights::only(Right::Enqueue);
/// To let jobs pass limits.
pub(super) const BYPASS: Rights = Rights::only(Right::Bypass);
/// To take jobs out.
pub(super) const CONSUME: Rights = Rights::only(Right::Consume);
/// To look.
pub(super) const READ: Rights = Rights::only(Right::Read);
/// To change what there is.
pub(super) const ADMIN: Rights = Rights::only(Right::Admin);
/// To cancel or change a job: whoever may put it in, and whoever keeps order.
pub(super) const CHANGE: Rights = Rights::only(Right::Enqueue).or(Right::Admin);
/// To use up what a limit or a queue lets through: whoever may let jobs through it in either way.
pub(super) const ACQUIRE: Rights = Rights::only(Right::Enqueue).or(Right::Consume);
/// To hang a queue under a limit: its jobs use up what that lets through.
pub(super) const HANG: Rights = ACQUIRE.or(Right::Admin);

/// What the call at this path needs; none: nobody is allowed it. Health is asked by everybody and not here.
pub(crate) fn need(path: &str) -> Option<Need> {
    if path.starts_with("/grpc.reflection.") {
        return Some(Need::Identity);
    }
    let (service, rpc) = path.strip_prefix("/sluice.v1.")?.split_once('/')?;
    let rights = match (service, rpc) {
        ("QueueService", "Enqueue" | "EnqueueStream") => ENQUEUE,
        ("QueueService", "Lease" | "Work" | "Ack" | "Nack" | "ExtendLease" | "Drain") => CONSUME,
        ("QueueService", "CancelJob" | "UpdateJob") => CHANGE,
        ("QueueService", "AcquireLimit") => ACQUIRE,
        (
            "QueueService",
            "GetJob" | "BatchGetJobs" | "GetBatch" | "GetQueueStatus" | "WatchQueue" | "WatchQueues",
        ) => READ,
        ("AdminService", "GetQueue" | "ListQueues" | "GetLimit" | "ListLimits") => READ,
        ("AdminService", "ListKeys" | "ListJobs" | "ExplainJob") => READ,
        ("AdminService", "PutQueue" | "DeleteQueue" | "PauseQueue" | "ResumeQueue" | "ResetNode") => ADMIN,
        ("AdminService", "PutLimit" | "DeleteLimit" | "RequeueJobs" | "PurgeJobs" | "Backup") => ADMIN,
        ("AdminService", "GetServerInfo") => return Some(Need::Identity),
        _ => return None,
    };
    Some(Need::Right(rights))
}

/// Whether the call at this path may last for as long as its caller likes.
pub(crate) fn is_stream(path: &str) -> bool {
    const STREAMS: [&str; 6] = ["EnqueueStream", "Work", "WatchQueue", "WatchQueues", "Drain", "Backup"];
    path.starts_with("/grpc.") || path.rsplit('/').next().is_some_and(|rpc| STREAMS.contains(&rpc))
}

impl Access {
    /// Refuses who has none of these rights on the queue or limit `name`.
    pub(super) fn check(&self, any_of: Rights, name: &QueueName) -> Result<(), Failure> {
        if self.may(any_of, name) { Ok(()) } else { Err(Failure::PermissionDenied(any_of)) }
    }

    /// Refuses who has none of these rights on all that there is.
    pub(super) fn check_everywhere(&self, any_of: Rights) -> Result<(), Failure> {
        if self.may_everywhere(any_of) { Ok(()) } else { Err(Failure::PermissionDenied(any_of)) }
    }

    /// Under which name requests are remembered; empty when nobody is asked for one.
    pub(super) fn principal_name(&self) -> &str {
        self.principal().map_or("", |name| name)
    }
}

/// Jobs that a caller may name.
pub(super) enum Allowed {
    /// All there are.
    All,
    /// These alone.
    Only(HashSet<JobId>),
}

impl Allowed {
    pub(super) fn has(&self, id: JobId) -> bool {
        match self {
            Allowed::All => true,
            Allowed::Only(ids) => ids.contains(&id),
        }
    }
}

impl Rpc {
    /// Which of these jobs are in queues on which the caller has one of these rights. A job stays in its
    /// queue, and its id is never another's: what is true now stays true.
    pub(super) async fn allowed(
        &self,
        access: &Access,
        any_of: Rights,
        ids: Vec<JobId>,
    ) -> Result<Allowed, Failure> {
        if access.may_everywhere(any_of) {
            return Ok(Allowed::All);
        }
        let access = access.clone();
        let look = move |engine: &sluice_engine::Engine, _| {
            let is_allowed = |id: &JobId| engine.queue_of(*id).is_some_and(|queue| access.may(any_of, queue));
            ids.into_iter().filter(is_allowed).collect()
        };
        Ok(Allowed::Only(self.handle.read(look).await?))
    }

    /// Refuses who has none of these rights on the queue of a job, as if there were no such job.
    pub(super) async fn check_job(
        &self,
        access: &Access,
        any_of: Rights,
        id: JobId,
        text: &str,
    ) -> Result<(), Failure> {
        match self.allowed(access, any_of, vec![id]).await?.has(id) {
            true => Ok(()),
            false => Err(Failure::JobNotFound(text.to_owned())),
        }
    }
}
