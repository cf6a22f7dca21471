//! The real input: GitHub webhook deliveries, and how they become jobs.

use std::collections::HashMap;
use std::fmt::Write;
use std::fs;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::binary;

/// Events that go first.
pub const URGENT: [&str; 2] = ["security_advisory", "dependabot_alert"];

/// One delivery.
#[derive(Deserialize)]
pub struct Webhook {
    /// Its kind.
    pub event: String,
    /// The repository it is about.
    pub key: String,
    /// Its body, as it stands in the file.
    pub payload: Box<RawValue>,
}

/// All of them, as the file has them (`tests/data/README.md`).
#[must_use]
pub fn all() -> Vec<Webhook> {
    let text = fs::read_to_string(binary::workspace().join("tests/data/webhooks.ndjson")).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The same as input of `sluice enqueue`: a JobSpec a line, the payload as its raw bytes.
#[must_use]
pub fn job_specs(webhooks: &[Webhook]) -> String {
    let mut lines = String::new();
    for webhook in webhooks {
        let labels = HashMap::from([("event", &webhook.event)]);
        writeln!(
            lines,
            r#"{{"key":{},"priority":{},"labels":{},"content_type":"application/json","payload":{}}}"#,
            serde_json::to_string(&webhook.key).unwrap(),
            if webhook.is_urgent() { 9 } else { 4 },
            serde_json::to_string(&labels).unwrap(),
            webhook.payload.get(),
        )
        .expect("a String takes all that is written");
    }
    lines
}

impl Webhook {
    /// Whether it goes first.
    #[must_use]
    pub fn is_urgent(&self) -> bool {
        URGENT.contains(&self.event.as_str())
    }
}
