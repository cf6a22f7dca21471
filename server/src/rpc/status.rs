//! Everything that can go wrong with a call, and the one place that says how gRPC calls it.
//!
//! Nothing else names a gRPC code. What a failure promises is in the contract: UNAVAILABLE and
//! RESOURCE_EXHAUSTED from here mean that nothing was applied.

mod detail;
mod foreign;

use std::borrow::Cow;
use std::fmt::Write as _;
use std::time::Duration;

use sluice_engine::{Full, ItemRefusal, JobState, QueueName, Refusal};
use sluice_proto::v1;
use tonic::Code;

use crate::auth::Rights;
use crate::rpc::convert;
use crate::rpc::text::cut;
use crate::rpc::validate::WrongField;
use crate::store::StoreError;
use crate::writer::CallError;

pub(crate) use foreign::adopt;

/// What went wrong.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Fields that are wrong, all at once.
    Fields(Vec<WrongField>),
    /// A request id came before with other content.
    RequestIdReused,
    /// The request has too many bytes.
    RequestTooLarge,
    /// The request cannot be read; what the reader said.
    RequestMalformed(String),
    /// There is no such rpc.
    UnknownMethod,
    /// Nobody knows who the caller is.
    Unauthenticated,
    /// The caller has none of these rights on what it named, whether that exists or not.
    PermissionDenied(Rights),
    /// The caller's rights changed while a stream went on.
    RightsChanged,
    /// There is no such queue.
    QueueNotFound(String),
    /// There is no such job.
    JobNotFound(String),
    /// The drained set was forgotten while it was read.
    DrainNotFound(String),
    /// The lease of this job expired or was taken over.
    LeaseLost(String),
    /// The settings of this queue have another version by now.
    EtagMismatch(String),
    /// No more queues fit.
    TooManyQueues,
    /// The queue, a key of it, or the room for calls that wait is full.
    QueueFull {
        /// Which queue.
        queue: String,
        /// What of it.
        what: Full,
        /// When there may be room.
        retry_after: Duration,
    },
    /// The jobs of a request are more than the queue or a key can ever hold.
    NeverFits(Full),
    /// No more idempotency keys can be remembered.
    IdempotencyFull,
    /// No more batches can be remembered.
    TooManyBatches,
    /// There is no such batch.
    BatchNotFound(String),
    /// The job is in a state in which this cannot be done.
    WrongState {
        /// Which job.
        job: String,
        /// In which.
        state: JobState,
    },
    /// Jobs wait in the queue or are held.
    QueueNotEmpty(String),
    /// There is no such shared limit.
    LimitNotFound(String),
    /// Queues hang under the shared limit.
    LimitInUse(String),
    /// No more shared limits fit.
    TooManyLimits,
    /// The caller asks more often than it may; none: so much at once will never do.
    RequestRate {
        /// Who.
        caller: String,
        /// When there is room again.
        retry_after: Option<Duration>,
    },
    /// The caller has as many calls open as it may.
    TooManyCalls,
    /// The caller has more under way than it may: requests that are not whole, answers that it does not read.
    TooMuchHeld,
    /// The same, and what was asked may have been done.
    AnswerNotTaken,
    /// The disk is nearly full.
    StorageFull,
    /// The store is still being read.
    Starting,
    /// There is more to do than the server can hold.
    Overloaded,
    /// The server is stopping.
    Stopping,
    /// The call took longer than its caller, or the server, allows.
    DeadlineExceeded,
    /// A call of many steps ended after some of them.
    Interrupted {
        /// Jobs that were done.
        done: u64,
    },
    /// A backup was read more slowly than the log went on.
    BackupTooSlow,
    /// What must not be: the log has more.
    Internal,
}

/// How gRPC and programs call a failure, and when trying again makes sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Kind {
    code: Code,
    reason: &'static str,
    retry_after: Option<Duration>,
}

/// Time for the writer to work off a full mailbox many times over.
const OVERLOADED_RETRY: Duration = Duration::from_millis(200);
/// A store of a million jobs is read in about this time.
const STARTING_RETRY: Duration = Duration::from_secs(1);
/// Time for a server to start anew.
const STOPPING_RETRY: Duration = Duration::from_secs(1);
/// Time for a caller to send, read or end something.
const SHARE_RETRY: Duration = Duration::from_secs(1);
/// Room comes back when jobs are done, or a person makes some.
const STORAGE_RETRY: Duration = Duration::from_secs(5);
/// Queues go only when a person removes them.
const QUEUES_RETRY: Duration = Duration::from_secs(60);
/// What is remembered is forgotten in time.
const MEMORY_RETRY: Duration = Duration::from_secs(60);
/// The new rights are known already: a caller may begin anew.
const RIGHTS_RETRY: Duration = Duration::from_millis(100);
/// Bytes of a message: it travels twice, as text and in the details.
const MAX_MESSAGE_BYTES: usize = 512;

impl Failure {
    fn kind(&self) -> Kind {
        use Code::*;
        let (code, reason, retry_after) = match self {
            Failure::Fields(_) => (InvalidArgument, "INVALID_FIELDS", None),
            Failure::RequestIdReused => (InvalidArgument, "REQUEST_ID_REUSED", None),
            Failure::RequestTooLarge => (InvalidArgument, "REQUEST_TOO_LARGE", None),
            Failure::RequestMalformed(_) => (InvalidArgument, "REQUEST_MALFORMED", None),
            Failure::UnknownMethod => (Unimplemented, "UNKNOWN_METHOD", None),
            Failure::Unauthenticated => (Unauthenticated, "UNAUTHENTICATED", None),
            Failure::PermissionDenied(_) => (PermissionDenied, "PERMISSION_DENIED", None),
            Failure::RightsChanged => (Unavailable, "RIGHTS_CHANGED", Some(RIGHTS_RETRY)),
            Failure::QueueNotFound(_) => (NotFound, "QUEUE_NOT_FOUND", None),
            Failure::JobNotFound(_) => (NotFound, "JOB_NOT_FOUND", None),
            Failure::DrainNotFound(_) => (NotFound, "DRAIN_NOT_FOUND", None),
            Failure::LeaseLost(_) => (FailedPrecondition, "LEASE_LOST", None),
            Failure::EtagMismatch(_) => (Aborted, "ETAG_MISMATCH", None),
            Failure::TooManyQueues => (ResourceExhausted, "TOO_MANY_QUEUES", Some(QUEUES_RETRY)),
            Failure::QueueFull { retry_after, .. } => (ResourceExhausted, "QUEUE_FULL", Some(*retry_after)),
            Failure::NeverFits(_) => (InvalidArgument, "NEVER_FITS", None),
            Failure::IdempotencyFull => (ResourceExhausted, "IDEMPOTENCY_FULL", Some(MEMORY_RETRY)),
            Failure::TooManyBatches => (ResourceExhausted, "TOO_MANY_BATCHES", Some(MEMORY_RETRY)),
            Failure::BatchNotFound(_) => (NotFound, "BATCH_NOT_FOUND", None),
            Failure::WrongState { .. } => (FailedPrecondition, "WRONG_STATE", None),
            Failure::QueueNotEmpty(_) => (FailedPrecondition, "QUEUE_NOT_EMPTY", None),
            Failure::LimitNotFound(_) => (NotFound, "LIMIT_NOT_FOUND", None),
            Failure::LimitInUse(_) => (FailedPrecondition, "LIMIT_IN_USE", None),
            Failure::TooManyLimits => (ResourceExhausted, "TOO_MANY_LIMITS", Some(QUEUES_RETRY)),
            Failure::RequestRate { retry_after, .. } => (ResourceExhausted, "REQUEST_RATE", *retry_after),
            Failure::TooManyCalls => (ResourceExhausted, "TOO_MANY_CALLS", Some(SHARE_RETRY)),
            Failure::TooMuchHeld => (ResourceExhausted, "TOO_MUCH_HELD", Some(SHARE_RETRY)),
            Failure::AnswerNotTaken => (Aborted, "ANSWER_NOT_TAKEN", None),
            Failure::StorageFull => (ResourceExhausted, "STORAGE_FULL", Some(STORAGE_RETRY)),
            Failure::Starting => (Unavailable, "STARTING", Some(STARTING_RETRY)),
            Failure::Overloaded => (Unavailable, "OVERLOADED", Some(OVERLOADED_RETRY)),
            Failure::Stopping => (Unavailable, "STOPPING", Some(STOPPING_RETRY)),
            Failure::DeadlineExceeded => (DeadlineExceeded, "DEADLINE_EXCEEDED", None),
            Failure::Interrupted { .. } => (Aborted, "INTERRUPTED", None),
            Failure::BackupTooSlow => (Aborted, "BACKUP_TOO_SLOW", None),
            Failure::Internal => (Internal, "INTERNAL", None),
        };
        Kind { code, reason, retry_after }
    }

    /// A sentence for people.
    fn message(&self) -> Cow<'static, str> {
        Cow::Borrowed(match self {
            Failure::Fields(wrong) => return Cow::Owned(sentence(wrong)),
            Failure::RequestMalformed(what) => return Cow::Owned(cut(what, MAX_MESSAGE_BYTES).to_owned()),
            Failure::Interrupted { done } => {
                return Cow::Owned(format!(
                    "the server stopped after {done} jobs; repeat the call for the rest"
                ));
            }
            Failure::RequestRate { retry_after: None, .. } => {
                "more at once than the request rate ever allows"
            }
            Failure::RequestRate { .. } => "over the request rate",
            Failure::TooManyCalls => "as many calls are open as one caller may have",
            Failure::TooMuchHeld => "more of your requests and answers is under way than one caller may have",
            Failure::AnswerNotTaken => {
                "answers before this one were not read; what was asked may have been done"
            }
            Failure::RequestIdReused => "request_id came before with other content",
            Failure::RequestTooLarge => "the request has more than 4 MiB",
            Failure::UnknownMethod => "there is no such rpc, or not this encoding of it",
            Failure::Unauthenticated => {
                "send `authorization: Bearer TOKEN` with a token that is known, or a certificate"
            }
            Failure::PermissionDenied(any_of) => {
                return Cow::Owned(format!("needs the right {any_of} on what is named"));
            }
            Failure::RightsChanged => "your rights were changed: begin anew",
            Failure::QueueNotFound(_) => "there is no such queue",
            Failure::JobNotFound(_) => "there is no such job",
            Failure::DrainNotFound(_) => "the drained set is gone",
            Failure::LeaseLost(_) => "the lease expired or was taken over",
            Failure::EtagMismatch(_) => "the settings were changed meanwhile: read them again",
            Failure::LimitNotFound(_) => "there is no such limit, or the queue does not hang under it",
            Failure::LimitInUse(_) => "queues hang under the limit: put them elsewhere first",
            Failure::TooManyLimits => "the server has as many limits as it can hold",
            Failure::TooManyQueues => "the server has as many queues as it can hold",
            Failure::QueueFull { what: Full::Queue, .. } => "the queue is full",
            Failure::QueueFull { what: Full::Key, .. } => "a key of the queue is full",
            Failure::QueueFull { what: Full::Waiting, .. } => {
                "the queue is full, and so is the room to wait for it"
            }
            Failure::NeverFits(Full::Key) => "jobs has more than a key of the queue can ever hold",
            Failure::NeverFits(_) => "jobs has more than the queue can ever hold",
            Failure::IdempotencyFull => "the server remembers as many idempotency keys as it can hold",
            Failure::TooManyBatches => "the server remembers as many batches as it can hold",
            Failure::BatchNotFound(_) => "there is no such batch",
            Failure::WrongState { state, .. } => {
                return Cow::Owned(format!("the job is {}", convert::state(*state).as_str_name()));
            }
            Failure::QueueNotEmpty(_) => {
                "jobs wait in the queue or are held; say force to remove it all the same"
            }
            Failure::StorageFull => "the disk is nearly full",
            Failure::Starting => "the server is starting",
            Failure::Overloaded => "the server has more to do than it can hold",
            Failure::Stopping => "the server is stopping",
            Failure::DeadlineExceeded => "the deadline passed",
            Failure::BackupTooSlow => "the backup was read more slowly than the queue went on: begin anew",
            Failure::Internal => "something that must not happen happened: see the server's log",
        })
    }

    /// Why the engine refused a command on `queue`, or on the shared limit of this name.
    pub(crate) fn refused(refusal: Refusal, queue: &QueueName) -> Failure {
        match refusal {
            Refusal::QueueNotFound => Failure::QueueNotFound(queue.to_string()),
            Refusal::VersionMismatch => Failure::EtagMismatch(queue.to_string()),
            Refusal::RequestIdReused => Failure::RequestIdReused,
            Refusal::TooManyQueues => Failure::TooManyQueues,
            Refusal::TooManyWaiting => Failure::Overloaded,
            Refusal::Full { what, retry_after } => Failure::QueueFull {
                queue: queue.to_string(),
                what,
                retry_after: Duration::from_nanos(retry_after.0),
            },
            Refusal::NeverFits(what) => Failure::NeverFits(what),
            Refusal::IdempotencyFull => Failure::IdempotencyFull,
            Refusal::TooManyBatches => Failure::TooManyBatches,
            Refusal::QueueNotEmpty => Failure::QueueNotEmpty(queue.to_string()),
            Refusal::LimitNotFound => Failure::LimitNotFound(queue.to_string()),
            Refusal::LimitInUse => Failure::LimitInUse(queue.to_string()),
            Refusal::TooManyLimits => Failure::TooManyLimits,
            Refusal::TooManyAcquires => Failure::Overloaded,
            Refusal::JobNotFound | Refusal::WrongState(_) => Failure::unexpected(refusal),
        }
    }

    /// Why the engine refused to change `job`.
    pub(crate) fn job_refused(refusal: Refusal, job: &str) -> Failure {
        match refusal {
            Refusal::JobNotFound => Failure::JobNotFound(job.to_owned()),
            Refusal::WrongState(state) => Failure::WrongState { job: job.to_owned(), state },
            other => Failure::unexpected(other),
        }
    }

    /// Why the engine refused an item about `job`.
    pub(crate) fn item_refused(refusal: ItemRefusal, job: &str) -> Failure {
        match refusal {
            ItemRefusal::JobNotFound => Failure::JobNotFound(job.to_owned()),
            ItemRefusal::LeaseLost => Failure::LeaseLost(job.to_owned()),
            ItemRefusal::LimitNotFound => Failure::LimitNotFound(String::new()),
        }
    }

    /// The engine or the writer gave an outcome of another call.
    pub(crate) fn unexpected(outcome: impl std::fmt::Debug) -> Failure {
        // Of which kind alone: there may be payloads and keys in it.
        let mut kind = KindName::default();
        let _ = write!(kind, "{outcome:?}");
        tracing::error!(outcome = kind.0, "an outcome that does not fit its command");
        Failure::Internal
    }

    /// As an item of an answer.
    pub(crate) fn item(&self) -> v1::ItemError {
        let kind = self.kind();
        v1::ItemError {
            code: kind.code as i32,
            reason: kind.reason.to_owned(),
            message: self.message().into_owned(),
        }
    }

    /// As a message of EnqueueStream.
    pub(crate) fn enqueue_error(&self) -> v1::EnqueueError {
        let kind = self.kind();
        v1::EnqueueError {
            code: kind.code as i32,
            reason: kind.reason.to_owned(),
            message: self.message().into_owned(),
            retry_after: kind.retry_after.map(convert::std_duration),
        }
    }
}

/// Takes what something calls itself, and nothing of what it holds.
#[derive(Default)]
struct KindName(String);

impl std::fmt::Write for KindName {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        let end = text.find(['(', '{', '[', '"']);
        self.0.push_str(text[..end.unwrap_or(text.len())].trim_end());
        if end.is_some() { Err(std::fmt::Error) } else { Ok(()) }
    }
}

impl From<CallError> for Failure {
    fn from(error: CallError) -> Failure {
        match error {
            CallError::Starting => Failure::Starting,
            CallError::Overloaded => Failure::Overloaded,
            CallError::StorageFull => Failure::StorageFull,
            CallError::Stopping => Failure::Stopping,
        }
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Failure {
        tracing::error!(%error, "the store could not be read");
        Failure::Internal
    }
}

/// What is wrong with each field.
fn sentence(wrong: &[WrongField]) -> String {
    let mut text = String::new();
    for (index, field) in wrong.iter().enumerate() {
        let separator = if index == 0 { "" } else { "; " };
        write!(text, "{separator}{} {}", field.path, field.what).expect("a String takes everything");
    }
    cut(&text, MAX_MESSAGE_BYTES).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_of_the_writer_promise_that_nothing_was_applied() {
        for error in [CallError::Starting, CallError::Overloaded, CallError::StorageFull, CallError::Stopping]
        {
            let kind = Failure::from(error).kind();
            assert!(matches!(kind.code, Code::Unavailable | Code::ResourceExhausted));
            assert!(kind.retry_after.is_some());
        }
    }

    #[test]
    fn message_names_the_fields() {
        let field = |path: &str| WrongField { path: path.to_owned(), what: "must not be empty".to_owned() };
        let failure = Failure::Fields(vec![field("queue"), field("jobs")]);
        assert_eq!(failure.message(), "queue must not be empty; jobs must not be empty");
        let error = failure.enqueue_error();
        assert_eq!((error.code, &*error.reason, error.retry_after), (3, "INVALID_FIELDS", None));
    }

    #[test]
    fn only_the_kind_of_what_is_unexpected_is_told() {
        let kind = |what: &dyn std::fmt::Debug| {
            let mut kind = KindName::default();
            let _ = write!(kind, "{what:?}");
            kind.0
        };
        assert_eq!(kind(&Some("payload")), "Some");
        assert_eq!(kind(&WrongField { path: "payload".to_owned(), what: String::new() }), "WrongField");
        assert_eq!(kind(&"payload"), "");
        assert_eq!(kind(&format_args!("3 results for 4 items")), "3 results for 4 items");
    }

    #[test]
    fn item_says_which_of_the_two_it_is() {
        let lost = Failure::item_refused(ItemRefusal::LeaseLost, "7").item();
        assert_eq!((lost.code, &*lost.reason), (9, "LEASE_LOST"));
        let gone = Failure::item_refused(ItemRefusal::JobNotFound, "7").item();
        assert_eq!((gone.code, &*gone.reason), (5, "JOB_NOT_FOUND"));
    }
}
