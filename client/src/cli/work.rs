//! `sluice work`.

mod exec;
mod http;

use std::{sync::Arc, time::Duration};

use clap::Args;
use serde::Serialize;

use self::{
    exec::Exec,
    http::{Http, HttpOptions},
};
use super::{Session, argument::span, error::CliError, signal::stop_token};
use crate::{Delivery, Outcome, Summary, Worker};

/// Work on a queue with a command or an HTTP service, until SIGTERM or SIGINT; what runs then is finished
/// first. Goes on through restarts of the server. A job is leased only when it can begin at once.
///
/// With --exec the command runs in `sh -c`, once a job: the payload on stdin; SLUICE_JOB_ID, SLUICE_QUEUE,
/// SLUICE_KEY, SLUICE_ATTEMPT (1 for the first) and SLUICE_LABEL_NAME for each label in the
/// environment (names in capitals, what is not a letter or digit as _). Its stdout is the job's result
/// (the first 64 KiB), the last line of its stderr the error. Exit code 0 acks, 75 is THROTTLED, 65
/// REJECTED, any other FAILED.
///
/// With --http each job is a POST to the URL, over connections that are kept: the payload is the body, of the
/// job's content type (default application/octet-stream); the headers idempotency-key (the job id),
/// x-sluice-queue, x-sluice-key, x-sluice-attempt (1 for the first) and x-sluice-label-NAME for each
/// label. In the last three, what no header can hold is percent-encoded, and so is %. Status 2xx acks, and the body is the
/// job's result (the first 64 KiB). 429 and 503 are THROTTLED, for as long as retry-after says (seconds or
/// a date; at most a day; default 1 s), at the level that a header of your choice names. Other 4xx are REJECTED, but 408, 409 and 425. These, any other status, and
/// no answer are FAILED. The error is the first line of the body, its code HTTP_404 and the like, TIMEOUT, CONNECT,
/// NETWORK or ABORTED. With --cost-header the service says in that header of any answer what the request cost.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  sluice work --queue hooks --exec 'curl -fsS --data-binary @- https://example.com/hook' --concurrency 4
  sluice work --queue hooks --http http://127.0.0.1:8080/hook --concurrency 64 --throttled-status 413")]
pub(super) struct Work {
    /// The queue to work on.
    #[arg(short, long)]
    queue: String,
    #[command(flatten)]
    means: Means,
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
    /// How long commands and requests may go on after the worker was told to stop; then they are ended.
    #[arg(long, default_value = "10m", value_parser = span, value_name = "SPAN")]
    stop_timeout: Duration,
    /// Stop when the queue holds nothing that waits or is leased. Default: no.
    #[arg(long)]
    until_empty: bool,
    /// Ask for jobs with Lease calls, and not over one stream: for a proxy between that cuts streams.
    #[arg(long)]
    no_stream: bool,
    #[command(flatten)]
    http_options: HttpOptions,
}

/// What does the work: one of them.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct Means {
    /// The command to run.
    #[arg(long, value_name = "CMD")]
    exec: Option<String>,
    /// The http:// URL to post to. Redirects are not followed, proxies not asked.
    #[arg(long, value_name = "URL")]
    http: Option<String>,
}

/// What is given each delivery.
enum Handler {
    Exec(Exec),
    Http(Box<Http>),
}

impl Handler {
    async fn run(&self, delivery: Delivery) -> Outcome {
        match self {
            Handler::Exec(exec) => exec.run(delivery).await,
            Handler::Http(http) => http.run(delivery).await,
        }
    }
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
        let handler = Arc::new(self.handler()?);
        let stop = stop_token()?;
        let mut worker = Worker::new(session.client.clone(), self.queue)
            .concurrency(self.concurrency as usize)
            .worker_id(self.worker_id.unwrap_or_else(own_name))
            .stop_timeout(self.stop_timeout)
            .until_empty(self.until_empty)
            .streaming(!self.no_stream);
        if let Some(duration) = self.lease_duration {
            worker = worker.lease_duration(duration);
        }
        let handler = move |delivery| {
            let handler = Arc::clone(&handler);
            async move { handler.run(delivery).await }
        };
        let Summary { done, failed, throttled, rejected, released, lost } = worker.run(handler, stop).await?;
        let text = format!(
            "{done} done, {failed} failed, {throttled} throttled, {rejected} rejected, {released} released, {lost} lost"
        );
        let view = SummaryView { done, failed, throttled, rejected, released, lost };
        Ok(session.output.line(&text, &view)?)
    }

    fn handler(&self) -> Result<Handler, CliError> {
        match (&self.means.exec, &self.means.http) {
            (Some(command), _) => Ok(Handler::Exec(Exec::new(command.clone()))),
            (None, Some(url)) => {
                let http = Http::new(url, &self.http_options, self.concurrency as usize);
                http.map(|http| Handler::Http(Box::new(http))).map_err(CliError::usage)
            }
            (None, None) => Err(CliError::usage("one of --exec and --http is required")),
        }
    }
}

fn own_name() -> String {
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    // The server takes 128 bytes.
    let host: String = host.chars().filter(char::is_ascii_graphic).take(100).collect();
    format!("{host}:{}", std::process::id())
}
