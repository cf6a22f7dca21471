//! `sluice queue capacity`.

use clap::Args;
use serde::Serialize;

use super::super::{
    Session,
    error::CliError,
    output::Show,
    view::{level, percent},
};
use crate::proto::{QueueLevel, QueueStatus};

/// The exit code of a full queue.
const FULL: u8 = 1;

#[derive(Debug, Args)]
pub(in crate::cli) struct Capacity {
    /// The queue's name.
    name: String,
    /// Only this key of it, with those that begin with it and a `/`. Default: the whole queue.
    #[arg(long, default_value = "", hide_default_value = true)]
    key: String,
}

#[derive(Serialize)]
struct CapacityView {
    queue: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    key: String,
    jobs: u64,
    bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_jobs: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    utilization: Option<f64>,
    level: String,
    has_room: bool,
}

impl Capacity {
    pub(in crate::cli) async fn run(self, session: &Session) -> Result<(), CliError> {
        let status = session.client.key_status(&self.name, &self.key).await?;
        // A key's limit stands in the queue's rules, and which holds is the server's to say.
        let settings = match session.client.get_queue(&self.name).await {
            Ok(queue) if self.key.is_empty() => (queue.max_jobs, queue.max_bytes),
            _ => (None, None),
        };
        let has_room = has_room(&status);
        session.output.one(&CapacityView {
            queue: self.name,
            key: self.key,
            jobs: status.jobs,
            bytes: status.bytes,
            max_jobs: settings.0,
            max_bytes: settings.1,
            utilization: status.utilization,
            level: level(status.level),
            has_room,
        })?;
        if has_room { Ok(()) } else { Err(CliError::Answer(FULL)) }
    }
}

/// CRITICAL stays until the queue is well under its limit; room there is before.
fn has_room(status: &QueueStatus) -> bool {
    match status.utilization {
        Some(part) => part < 1.0,
        None => status.level() != QueueLevel::Critical,
    }
}

impl Show for CapacityView {
    const HEADER: &'static [&'static str] =
        &["QUEUE", "KEY", "JOBS", "MAX-JOBS", "BYTES", "MAX-BYTES", "FULL", "LEVEL", "ROOM"];

    fn row(&self) -> Vec<String> {
        let number = |number: Option<u64>| number.map(|number| number.to_string()).unwrap_or_default();
        vec![
            self.queue.clone(),
            self.key.clone(),
            self.jobs.to_string(),
            number(self.max_jobs),
            self.bytes.to_string(),
            number(self.max_bytes),
            percent(self.utilization),
            self.level.clone(),
            if self.has_room { "yes" } else { "no" }.to_owned(),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_where_less_than_all_is_taken() {
        let status = |utilization| QueueStatus { utilization, ..QueueStatus::default() };
        assert!(has_room(&status(None)) && has_room(&status(Some(0.999))));
        assert!(!has_room(&status(Some(1.0))) && !has_room(&status(Some(1.1))));
    }
}
