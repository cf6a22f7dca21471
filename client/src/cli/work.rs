//! `sluice work`.

mod exec;

use std::{sync::Arc, time::Duration};

use clap::Args;
use serde::Serialize;

use self::exec::Exec;
use super::{Session, argument::span, error::CliError, signal::stop_token};
use crate::{Summary, Worker};

/// Work on a queue with a command, until SIGTERM or SIGINT; what runs then is finished first. Goes on
/// through restarts of the server.
///
/// The command runs in `sh -c`, once a job: the payload on stdin; SLUICE_JOB_ID, SLUICE_QUEUE,
/// SLUICE_KEY, SLUICE_ATTEMPT (1 for the first) and SLUICE_LABEL_NAME for each label in the
/// environment (names in capitals, what is not a letter or digit as _). Its stdout is the job's result
/// (the first 64 KiB), the last line of its stderr the error. Exit code 0 acks, 75 is THROTTLED, 65
/// REJECTED, any other FAILED.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  sluice work --queue hooks --exec 'curl -fsS --data-binary @- https://example.com/hook' --concurrency 4")]
pub(super) struct Work {
    /// The queue to work on.
    #[arg(short, long)]
    queue: String,
    /// The command.
    #[arg(long, value_name = "CMD")]
    exec: String,
    /// Jobs that run at a time: 1 to 10,000.
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    concurrency: u32,
    /// How long a lease lasts before it is extended, 1s to 12h: how soon a job goes to another worker
    /// when this one dies. Default: the queue's.
    #[arg(long, value_parser = span, value_name = "SPAN")]
    lease_duration: Option<Duration>,
    /// What the worker calls itself, for people. Default: the host and the process id.
    #[arg(long, value_name = "NAME")]
    worker_id: Option<String>,
    /// How long commands may go on after the worker was told to stop; then they are ended.
    #[arg(long, default_value = "10m", value_parser = span, value_name = "SPAN")]
    stop_timeout: Duration,
    /// Stop when the queue holds nothing that waits or is leased. Default: no.
    #[arg(long)]
    until_empty: bool,
}

#[derive(Serialize)]
struct SummaryView {
    done: u64,
    failed: u64,
    throttled: u64,
    rejected: u64,
    released: u64,
    lost: u64,
}

impl Work {
    pub(super) async fn run(self, session: &Session) -> Result<(), CliError> {
        let stop = stop_token()?;
        let mut worker = Worker::new(session.client.clone(), self.queue)
            .concurrency(self.concurrency as usize)
            .worker_id(self.worker_id.unwrap_or_else(own_name))
            .stop_timeout(self.stop_timeout)
            .until_empty(self.until_empty);
        if let Some(duration) = self.lease_duration {
            worker = worker.lease_duration(duration);
        }
        let exec = Arc::new(Exec::new(self.exec));
        let handler = move |delivery| {
            let exec = Arc::clone(&exec);
            async move { exec.run(delivery).await }
        };
        let Summary { done, failed, throttled, rejected, released, lost } = worker.run(handler, stop).await?;
        let text = format!(
            "{done} done, {failed} failed, {throttled} throttled, {rejected} rejected, {released} released, {lost} lost"
        );
        let view = SummaryView { done, failed, throttled, rejected, released, lost };
        Ok(session.output.line(&text, &view)?)
    }
}

fn own_name() -> String {
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    // The server takes 128 bytes.
    let host: String = host.chars().filter(char::is_ascii_graphic).take(100).collect();
    format!("{host}:{}", std::process::id())
}
