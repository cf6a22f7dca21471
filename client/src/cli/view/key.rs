//! What waits and is held under a key, as it is printed.

use serde::Serialize;

use super::{level, node::NodeView, percent};
use crate::{cli::output::Show, proto::KeyStatus};

#[derive(Debug, Serialize)]
pub(in crate::cli) struct KeyView {
    key: String,
    scheduled: u64,
    ready: u64,
    leased: u64,
    retrying: u64,
    bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    utilization: Option<f64>,
    level: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    node: Option<NodeView>,
}

impl From<KeyStatus> for KeyView {
    fn from(key: KeyStatus) -> KeyView {
        KeyView {
            level: level(key.level),
            key: key.key,
            scheduled: key.scheduled,
            ready: key.ready,
            leased: key.leased,
            retrying: key.retrying,
            bytes: key.bytes,
            utilization: key.utilization,
            node: key.node.map(NodeView::from),
        }
    }
}

impl Show for KeyView {
    const HEADER: &'static [&'static str] =
        &["KEY", "READY", "SCHEDULED", "RETRYING", "LEASED", "BYTES", "FULL", "LEVEL", "LIMITS"];

    fn row(&self) -> Vec<String> {
        let mut row = vec![self.key.clone()];
        let counts = [self.ready, self.scheduled, self.retrying, self.leased, self.bytes];
        row.extend(counts.map(|count| count.to_string()));
        row.extend([percent(self.utilization), self.level.clone()]);
        row.push(self.node.as_ref().map(NodeView::cell).unwrap_or_default());
        row
    }
}
