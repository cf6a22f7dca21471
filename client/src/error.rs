//! What came of a call that failed: the server's words decoded, and what they mean for a repetition.

use std::{fmt, time::Duration};

use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::{proto, span::span_from_proto};

/// The domain of every error that Sluice itself decided.
const DOMAIN: &str = "sluice.v1";
/// The trailer by which a server names a wait in milliseconds; negative forbids a repetition.
const PUSHBACK: &str = "grpc-retry-pushback-ms";
/// The reason of a refusal for want of room in a queue or a key.
const QUEUE_FULL: &str = "QUEUE_FULL";

/// Why a call failed.
#[derive(Clone, PartialEq, Eq)]
pub struct Error(Box<Inner>);

/// A field of the request that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldViolation {
    /// Its path, such as `jobs[3].priority`.
    pub field: String,
    /// What is wrong with it.
    pub description: String,
}

#[derive(Clone, PartialEq, Eq)]
struct Inner {
    code: Code,
    reason: String,
    message: String,
    violations: Vec<FieldViolation>,
    wait: Wait,
    origin: Origin,
}

/// What the server said about a repetition.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wait {
    NotSaid,
    AtLeast(Duration),
    Forbidden,
}

/// Who found the failure: it decides what may have been applied.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Origin {
    /// Sluice, with its ErrorInfo.
    Sluice,
    /// Something that speaks gRPC but is not Sluice, such as a proxy.
    Foreign,
    /// The connection: broken, or never made.
    Transport,
    /// This process: a deadline passed, an answer made no sense.
    Local,
}

impl Error {
    /// An error of this process.
    pub(crate) fn local(code: Code, message: impl Into<String>) -> Error {
        Error::bare(code, message.into(), Origin::Local)
    }

    /// An end that should not have come yet: as good as a broken connection.
    pub(crate) fn broken(message: &str) -> Error {
        Error::bare(Code::Unavailable, message.to_owned(), Origin::Transport)
    }

    fn bare(code: Code, message: String, origin: Origin) -> Error {
        let reason = String::new();
        Error(Box::new(Inner { code, reason, message, violations: Vec::new(), wait: Wait::NotSaid, origin }))
    }

    /// The gRPC status code.
    #[must_use]
    pub fn code(&self) -> Code {
        self.0.code
    }

    /// A word for programs such as `QUEUE_FULL`; empty when the server gave none.
    #[must_use]
    pub fn reason(&self) -> &str {
        &self.0.reason
    }

    /// A sentence for people.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// The fields that are wrong, when it is about fields.
    #[must_use]
    pub fn violations(&self) -> &[FieldViolation] {
        &self.0.violations
    }

    /// How long the server asks to wait before trying again.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self.0.wait {
            Wait::AtLeast(wait) => Some(wait),
            Wait::NotSaid | Wait::Forbidden => None,
        }
    }

    /// Whether it is certain that nothing was applied. When not, it may or may not have been.
    #[must_use]
    pub fn is_not_applied(&self) -> bool {
        match self.0.origin {
            Origin::Sluice => !matches!(self.0.code, Code::Unknown | Code::Internal | Code::DeadlineExceeded),
            Origin::Foreign | Origin::Transport | Origin::Local => false,
        }
    }

    /// Whether the same call may well succeed later.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match (self.0.wait, self.0.origin) {
            (Wait::Forbidden, _) | (_, Origin::Local) => false,
            (_, Origin::Transport) => true,
            (Wait::AtLeast(_), Origin::Sluice | Origin::Foreign) => true,
            (Wait::NotSaid, Origin::Sluice) => {
                matches!(self.0.code, Code::Unavailable | Code::ResourceExhausted)
            }
            (Wait::NotSaid, Origin::Foreign) => self.0.code == Code::Unavailable,
        }
    }

    /// Whether there was no room in the queue or the key: nothing was put in.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.0.origin == Origin::Sluice && self.0.reason == QUEUE_FULL
    }

    /// Whether no wait will mend it: the request itself is wrong, or its caller may not.
    #[must_use]
    pub fn is_final(&self) -> bool {
        matches!(
            self.0.code,
            Code::InvalidArgument
                | Code::NotFound
                | Code::AlreadyExists
                | Code::PermissionDenied
                | Code::FailedPrecondition
                | Code::Aborted
                | Code::OutOfRange
                | Code::Unimplemented
                | Code::Unauthenticated
        )
    }
}

impl From<Status> for Error {
    fn from(status: Status) -> Error {
        let details = status.get_error_details();
        let info = details.error_info().filter(|info| info.domain == DOMAIN);
        let (code, origin) = match source(&status) {
            Some(Source::Deadline) => (Code::DeadlineExceeded, Origin::Local),
            Some(Source::Connection) => (Code::Unavailable, Origin::Transport),
            None if info.is_some() => (status.code(), Origin::Sluice),
            None => (status.code(), Origin::Foreign),
        };
        let violations = details.bad_request().map_or_else(Vec::new, |bad| {
            let named = |v: &tonic_types::FieldViolation| FieldViolation {
                field: v.field.clone(),
                description: v.description.clone(),
            };
            bad.field_violations.iter().map(named).collect()
        });
        Error(Box::new(Inner {
            code,
            reason: info.map_or_else(String::new, |info| info.reason.clone()),
            message: status.message().to_owned(),
            violations,
            wait: wait(&status, details.retry_info().and_then(|retry| retry.retry_delay)),
            origin,
        }))
    }
}

impl From<proto::ItemError> for Error {
    fn from(item: proto::ItemError) -> Error {
        let mut error = Error::bare(Code::from_i32(item.code), item.message, Origin::Sluice);
        error.0.reason = item.reason;
        error
    }
}

impl From<proto::EnqueueError> for Error {
    fn from(refused: proto::EnqueueError) -> Error {
        let mut error = Error::bare(Code::from_i32(refused.code), refused.message, Origin::Sluice);
        error.0.reason = refused.reason;
        if let Some(after) = &refused.retry_after {
            error.0.wait = Wait::AtLeast(span_from_proto(after));
        }
        error
    }
}

enum Source {
    Deadline,
    Connection,
}

/// A status that came over the wire has no source; one made in this process has, and the source says
/// whether its deadline passed or its connection broke.
fn source(status: &Status) -> Option<Source> {
    let mut source = std::error::Error::source(status)?;
    loop {
        if source.is::<tonic::TimeoutExpired>() {
            return Some(Source::Deadline);
        }
        match source.source() {
            Some(deeper) => source = deeper,
            None => return Some(Source::Connection),
        }
    }
}

/// The trailer goes before the detail: a proxy can add it.
fn wait(status: &Status, detail: Option<Duration>) -> Wait {
    match status.metadata().get(PUSHBACK).map(|value| value.to_str().unwrap_or("").parse::<i64>()) {
        Some(Ok(millis)) => u64::try_from(millis)
            .map_or(Wait::Forbidden, |millis| Wait::AtLeast(Duration::from_millis(millis))),
        // By gRPC's rules a value that cannot be read forbids too.
        Some(Err(_)) => Wait::Forbidden,
        None => detail.map_or(Wait::NotSaid, Wait::AtLeast),
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(code_name(self.0.code))?;
        if !self.0.reason.is_empty() {
            write!(f, " {}", self.0.reason)?;
        }
        write!(f, ": {}", self.0.message)?;
        for violation in &self.0.violations {
            // The server's sentence may name the fields already.
            if !self.0.message.contains(&violation.field) {
                write!(f, "; {}: {}", violation.field, violation.description)?;
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Error({self})")
    }
}

impl std::error::Error for Error {}

/// A code as the gRPC specification writes it.
fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use tonic_types::ErrorDetails;

    use super::*;

    fn refused(code: Code, details: ErrorDetails) -> Status {
        Status::with_error_details(code, "no", details)
    }

    fn overloaded() -> ErrorDetails {
        let mut details =
            ErrorDetails::with_error_info("OVERLOADED", DOMAIN, HashMap::<String, String>::new());
        details.set_retry_info(Some(Duration::from_millis(250)));
        details
    }

    #[test]
    fn refusal_of_sluice_is_decoded_and_known_not_to_be_applied() {
        let error = Error::from(refused(Code::Unavailable, overloaded()));
        assert_eq!((error.code(), error.reason()), (Code::Unavailable, "OVERLOADED"));
        assert_eq!(error.retry_after(), Some(Duration::from_millis(250)));
        assert!(error.is_not_applied() && error.is_transient());
    }

    #[test]
    fn refusal_without_our_details_may_have_been_applied() {
        let error = Error::from(Status::unavailable("a proxy's word"));
        assert!(!error.is_not_applied());
        assert!(error.is_transient());
        assert!(!Error::from(Status::resource_exhausted("message too large")).is_transient());
    }

    #[test]
    fn broken_connection_is_transient_and_unknown() {
        let broken = std::io::Error::new(std::io::ErrorKind::ConnectionReset, "reset");
        let error = Error::from(Status::from_error(Box::new(broken)));
        assert_eq!(error.code(), Code::Unavailable);
        assert!(error.is_transient() && !error.is_not_applied());
    }

    #[test]
    fn passed_deadline_is_named_so_and_never_repeated() {
        let error = Error::from(Status::from_error(Box::new(tonic::TimeoutExpired(()))));
        assert_eq!(error.code(), Code::DeadlineExceeded);
        assert!(!error.is_transient());
    }

    #[test]
    fn pushback_trailer_goes_before_the_detail_and_may_forbid() {
        let mut status = refused(Code::Unavailable, overloaded());
        status.metadata_mut().insert(PUSHBACK, "1500".parse().unwrap());
        assert_eq!(Error::from(status).retry_after(), Some(Duration::from_millis(1500)));

        for forbidding in ["-1", "soon"] {
            let mut status = refused(Code::Unavailable, overloaded());
            status.metadata_mut().insert(PUSHBACK, forbidding.parse().unwrap());
            assert!(!Error::from(status).is_transient(), "{forbidding}");
        }
    }

    #[test]
    fn wrong_fields_are_named() {
        let mut details = ErrorDetails::with_error_info("INVALID", DOMAIN, HashMap::<String, String>::new());
        details.add_bad_request_violation("jobs[3].priority", "0 to 9");
        let error = Error::from(refused(Code::InvalidArgument, details));
        assert_eq!(error.violations()[0].field, "jobs[3].priority");
        assert_eq!(error.to_string(), "INVALID_ARGUMENT INVALID: no; jobs[3].priority: 0 to 9");
        assert!(!error.is_transient());
    }
}
