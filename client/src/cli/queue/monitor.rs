//! `sluice queue monitor`: levels of queues as they change.

use std::{collections::BTreeMap, time::Duration};

use backon::BackoffBuilder;
use clap::Args;
use serde::Serialize;
use tokio::time::sleep;

use super::{
    super::{
        Session,
        error::CliError,
        output::{Format, write_line},
        view::{level, percent},
    },
    all,
};
use crate::{
    Error, Repeat,
    proto::{QueueLevel, QueueStatus, WatchQueuesRequest},
    retry::lengthened,
    span_to_proto,
};

/// The exit code of --once when a queue is on WARNING, and none on CRITICAL.
const WARNING: u8 = 4;
/// The exit code of --once when a queue is on CRITICAL.
const CRITICAL: u8 = 5;

#[derive(Debug, Args)]
pub(in crate::cli) struct Monitor {
    /// The queues: a name, or a pattern in which `*` stands for any characters. Default: all.
    #[arg(short, long, default_value = "*", hide_default_value = true, value_name = "PATTERN")]
    queue: String,
    /// Look once: a line for each queue, and an exit code. Default: go on until interrupted.
    #[arg(long)]
    once: bool,
    /// The least time between two looks, 50ms to 1m.
    #[arg(long, default_value = "1s", value_parser = super::super::argument::span, value_name = "SPAN")]
    interval: Duration,
}

#[derive(Serialize)]
struct LevelView<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    time: Option<String>,
    queue: &'a str,
    level: String,
    jobs: u64,
    bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    utilization: Option<f64>,
}

impl Monitor {
    pub(in crate::cli) async fn run(self, session: &Session) -> Result<(), CliError> {
        if self.once {
            return self.look(session).await;
        }
        let policy = session.client.retry_policy();
        let new_waits = || policy.backoff().with_max_times(policy.max_attempts).build();
        let mut waits = new_waits();
        let mut levels = BTreeMap::new();
        loop {
            let mut progress = false;
            let error = match self.follow(session, &mut levels, &mut progress).await {
                CliError::Call(error) => error,
                other => return Err(other),
            };
            if progress {
                waits = new_waits();
            }
            match waits.next() {
                Some(wait) if Repeat::Always.allows(&error) => {
                    let wait = lengthened(wait, error.retry_after());
                    tracing::warn!(%error, ?wait, "monitor broke off, trying again");
                    sleep(wait).await;
                }
                _ => return Err(error.into()),
            }
        }
    }

    /// Asks for each queue once: a watch does not say when it has told of all.
    async fn look(&self, session: &Session) -> Result<(), CliError> {
        let names = if self.queue.contains('*') {
            let names = all(session).await?.into_iter().map(|queue| queue.name);
            names.filter(|name| matches(&self.queue, name)).collect()
        } else {
            vec![self.queue.clone()]
        };
        let mut worst = QueueLevel::Ok;
        for name in names {
            let status = session.client.queue_status(name).await?;
            worst = worst.max(status.level());
            print(session, &status)?;
        }
        match worst {
            QueueLevel::Unspecified | QueueLevel::Ok => Ok(()),
            QueueLevel::Warning => Err(CliError::Answer(WARNING)),
            QueueLevel::Critical => Err(CliError::Answer(CRITICAL)),
        }
    }

    /// Prints changes until the stream breaks; answers why it did.
    async fn follow(
        &self,
        session: &Session,
        levels: &mut BTreeMap<String, QueueLevel>,
        progress: &mut bool,
    ) -> CliError {
        let request = WatchQueuesRequest {
            queue_pattern: self.queue.clone(),
            min_interval: Some(span_to_proto(self.interval)),
        };
        let mut stream = match session.client.watch_queues(request).await {
            Ok(stream) => stream,
            Err(error) => return error.into(),
        };
        loop {
            let message = match stream.message().await {
                Ok(Some(message)) => message,
                Ok(None) => return Error::broken("the server ended the watch").into(),
                Err(status) => return Error::from(status).into(),
            };
            *progress = true;
            for name in message.deleted_queues {
                levels.remove(&name);
            }
            for status in message.statuses {
                let before = levels.insert(status.queue.clone(), status.level()).unwrap_or(QueueLevel::Ok);
                if before != status.level()
                    && let Err(error) = print(session, &status)
                {
                    return error;
                }
            }
        }
    }
}

fn print(session: &Session, status: &QueueStatus) -> Result<(), CliError> {
    let view = LevelView {
        time: status.status_time.as_ref().map(ToString::to_string),
        queue: &status.queue,
        level: level(status.level),
        jobs: status.jobs,
        bytes: status.bytes,
        utilization: status.utilization,
    };
    match session.output.format() {
        Format::Table => {
            let time = view.time.as_deref().unwrap_or("-");
            let full = percent(view.utilization);
            let full = if full.is_empty() { String::new() } else { format!(" {full} full") };
            let text = format!("{time} {} {} {} jobs{full}", view.level, view.queue, view.jobs);
            write_line(text.as_bytes())?;
        }
        Format::Json | Format::Jsonl => {
            write_line(&serde_json::to_vec(&view).map_err(std::io::Error::from)?)?;
        }
    }
    Ok(())
}

/// Whether a name matches a pattern whose `*` stand for any characters.
fn matches(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((before, after)) => name.strip_prefix(before).is_some_and(|rest| {
            (0..=rest.len()).any(|at| rest.get(at..).is_some_and(|rest| matches(after, rest)))
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn star_stands_for_any_characters() {
        for (pattern, name) in [("*", "a"), ("a*", "a"), ("a*c", "abc"), ("*b*", "abc"), ("a", "a")] {
            assert!(matches(pattern, name), "{pattern} {name}");
        }
        for (pattern, name) in [("a", "b"), ("a*", "ba"), ("a*c", "ab"), ("*b", "bc")] {
            assert!(!matches(pattern, name), "{pattern} {name}");
        }
    }
}
