//! What came of each item of an ack, nack or extension, as it is printed.

use serde::Serialize;

use super::{state, time};
use crate::{
    cli::output::Show,
    proto::{AckResult, ExtendLeaseResult, ItemError, NackResult},
};

#[derive(Debug, Serialize)]
pub(in crate::cli) struct SettledView {
    job_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<ItemErrorView>,
    #[serde(skip_serializing_if = "Option::is_none")]
    state: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    run_time: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lease_expire_time: Option<String>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    cancel_requested: bool,
}

#[derive(Debug, Serialize)]
struct ItemErrorView {
    code: i32,
    reason: String,
    message: String,
}

impl From<ItemError> for ItemErrorView {
    fn from(error: ItemError) -> ItemErrorView {
        ItemErrorView { code: error.code, reason: error.reason, message: error.message }
    }
}

impl From<AckResult> for SettledView {
    fn from(result: AckResult) -> SettledView {
        SettledView {
            job_id: result.job_id,
            state: result.error.is_none().then(|| "COMPLETED".to_owned()),
            error: result.error.map(Into::into),
            run_time: None,
            lease_expire_time: None,
            cancel_requested: false,
        }
    }
}

impl From<NackResult> for SettledView {
    fn from(result: NackResult) -> SettledView {
        SettledView {
            job_id: result.job_id,
            state: result.error.is_none().then(|| state(result.state)),
            error: result.error.map(Into::into),
            run_time: result.run_time.as_ref().map(time),
            lease_expire_time: None,
            cancel_requested: false,
        }
    }
}

impl From<ExtendLeaseResult> for SettledView {
    fn from(result: ExtendLeaseResult) -> SettledView {
        SettledView {
            job_id: result.job_id,
            state: result.error.is_none().then(|| "LEASED".to_owned()),
            error: result.error.map(Into::into),
            run_time: None,
            lease_expire_time: result.lease_expire_time.as_ref().map(time),
            cancel_requested: result.cancel_requested,
        }
    }
}

impl Show for SettledView {
    const HEADER: &'static [&'static str] = &["JOB", "STATE", "WHEN", "ERROR"];

    fn row(&self) -> Vec<String> {
        vec![
            self.job_id.clone(),
            self.state.clone().unwrap_or_default(),
            self.run_time.clone().or_else(|| self.lease_expire_time.clone()).unwrap_or_default(),
            self.error
                .as_ref()
                .map(|error| format!("{} {}", error.reason, error.message))
                .unwrap_or_default(),
        ]
    }
}
