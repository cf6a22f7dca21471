//! What an error said, beyond its code.

use std::fmt::Debug;

use tonic::{Code, Status};
use tonic_types::StatusExt;

/// The error of a call that had to fail with `code` and `reason`.
///
/// # Panics
/// When it did not fail, or in another way.
pub fn refused<T: Debug>(result: Result<T, Status>, code: Code, reason: &str) -> Status {
    let status = result.expect_err("the call is refused");
    assert_eq!(status.code(), code, "{status:?}");
    assert_eq!(self::reason(&status), reason, "{status:?}");
    status
}

/// The reason in its ErrorInfo, which every error of ours has.
#[must_use]
pub fn reason(status: &Status) -> String {
    let info = status.get_details_error_info().unwrap_or_else(|| panic!("no ErrorInfo in {status:?}"));
    assert_eq!(info.domain, "sluice.v1");
    info.reason
}

/// The fields its BadRequest names.
#[must_use]
pub fn fields(status: &Status) -> Vec<String> {
    let bad = status.get_details_bad_request();
    bad.map(|bad| bad.field_violations.into_iter().map(|v| v.field).collect()).unwrap_or_default()
}
