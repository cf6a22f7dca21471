//! When something is expected, as it is printed.

use serde::Serialize;

use super::time;
use crate::proto::Eta;

#[derive(Clone, Debug, Serialize)]
pub(super) struct EtaView {
    #[serde(skip_serializing_if = "Option::is_none")]
    earliest_time: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    latest_time: Option<String>,
}

impl From<Eta> for EtaView {
    fn from(eta: Eta) -> EtaView {
        EtaView {
            earliest_time: eta.earliest_time.as_ref().map(to_seconds),
            latest_time: eta.latest_time.as_ref().map(to_seconds),
        }
    }
}

impl EtaView {
    pub(super) fn cell(&self) -> String {
        let earliest = self.earliest_time.as_deref().unwrap_or_default();
        match &self.latest_time {
            Some(latest) => format!("{earliest} to {latest}"),
            None => format!("not before {earliest}"),
        }
    }
}

/// An estimate is not as exact as a time.
fn to_seconds(exact: &prost_types::Timestamp) -> String {
    time(&prost_types::Timestamp { seconds: exact.seconds, nanos: 0 })
}
