//! `sluice enqueue`.

mod bulk;
mod line;
mod reader;

use std::{
    fs,
    io::{self, Read},
    path::PathBuf,
    time::Duration,
};

use clap::Args;
use prost_types::Timestamp;

use self::{bulk::Bulk, line::MAX_PAYLOAD_BYTES};
use super::{
    Session,
    argument::{label, span, time},
    error::CliError,
    queue::Policy,
    view::EnqueuedView,
};
use crate::{
    proto::{EnqueueRequest, JobSpec},
    span_to_proto,
};

/// Put one job, or a file of jobs, into a queue. They are on disk when this ends.
///
/// One job: the payload is --payload, --payload-file, or stdin; prints its id.
///
/// Many jobs: -f FILE with a JSON object a line (`-` reads stdin). Keys: payload (a string is text; any
/// other JSON its own bytes as they stand), payload_base64, key, priority, delay ("5s"), run_time
/// (RFC 3339), labels {name: value}, content_type, retry_policy {max_attempts, initial_backoff ("1s"),
/// multiplier, max_backoff, jitter}. Prints a summary, or ids with --ids. A bad line is named, and
/// nothing of its batch goes; what went before is told.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  sluice enqueue --queue mail --payload hello --key ann --priority 7
  date | sluice enqueue --queue mail --delay 10m --label kind=reminder
  sluice enqueue --queue hooks -f hooks.ndjson")]
pub(super) struct Enqueue {
    /// Where to: `[A-Za-z0-9._-]`, 1 to 128 characters. A queue that does not exist comes into being.
    #[arg(short, long)]
    queue: String,
    /// The payload, as text.
    #[arg(long, value_name = "TEXT", conflicts_with = "payload_file")]
    payload: Option<String>,
    /// The payload, as a file's bytes: at most 1 MiB unless the server says otherwise.
    #[arg(long, value_name = "FILE")]
    payload_file: Option<PathBuf>,
    /// A path of up to 3 segments, such as bot42/group/chat7. Default: none.
    #[arg(long, default_value = "", hide_default_value = true)]
    key: String,
    /// 0 to 9, 9 is most urgent. Default 4.
    #[arg(long, value_name = "N")]
    priority: Option<u32>,
    /// Not before this much from now, such as 5s. Default: at once.
    #[arg(long, value_parser = span, value_name = "SPAN", conflicts_with = "run_time")]
    delay: Option<Duration>,
    /// Not before this time of day, such as 2030-01-31T12:00:00Z. Default: at once.
    #[arg(long, value_parser = time, value_name = "TIME")]
    run_time: Option<Timestamp>,
    /// A name and a value for people and tools; up to 16 times. Default: none.
    #[arg(long = "label", value_parser = label, value_name = "NAME=VALUE")]
    labels: Vec<(String, String)>,
    /// What the payload is, such as application/json. Default: none.
    #[arg(long, default_value = "", hide_default_value = true, value_name = "TYPE")]
    content_type: String,
    #[command(flatten)]
    policy: Policy,
    /// Names this request, so that repeating the command adds nothing twice: at most 36 characters.
    /// Default: a new one.
    #[arg(long, default_value = "", hide_default_value = true, value_name = "ID")]
    request_id: String,
    /// A file of jobs, one a line; `-` is stdin.
    #[arg(short, long, value_name = "FILE", conflicts_with_all = [
        "payload", "payload_file", "key", "priority", "delay", "run_time", "labels", "content_type",
        "max_attempts", "initial_backoff", "multiplier", "max_backoff", "jitter", "request_id",
    ])]
    file: Option<PathBuf>,
    /// With -f: jobs of one request, at most 10,000; fewer go where 3 MiB are reached.
    #[arg(long, default_value_t = 1_000, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    batch: u32,
    /// With -f: requests on their way at a time, at most 64.
    #[arg(long, default_value_t = 8, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=64))]
    in_flight: u32,
    /// With -f: print the id of each job, in order. Default: a summary.
    #[arg(long)]
    ids: bool,
}

impl Enqueue {
    pub(super) async fn run(self, session: &Session) -> Result<(), CliError> {
        if let Some(file) = self.file {
            let bulk = Bulk {
                queue: self.queue,
                file,
                batch: self.batch as usize,
                in_flight: self.in_flight as usize,
                ids: self.ids,
            };
            return bulk.run(session).await;
        }
        let (queue, request_id) = (self.queue.clone(), self.request_id.clone());
        let request =
            EnqueueRequest { queue, request_id, jobs: vec![self.into_spec()?], ..Default::default() };
        for job in session.client.enqueue(request).await?.jobs {
            session.output.line(&job.job_id, &EnqueuedView { job_id: job.job_id.clone() })?;
        }
        Ok(())
    }

    fn into_spec(self) -> Result<JobSpec, CliError> {
        let payload = match (self.payload, self.payload_file) {
            (Some(text), _) => text.into_bytes(),
            (None, Some(path)) => {
                let cannot = |error| CliError::usage(format!("cannot read {}: {error}", path.display()));
                bounded(fs::File::open(&path).map_err(cannot)?)?
            }
            (None, None) => bounded(io::stdin().lock())?,
        };
        Ok(JobSpec {
            payload: payload.into(),
            key: self.key,
            priority: self.priority,
            delay: self.delay.map(span_to_proto),
            run_time: self.run_time,
            retry_policy: self.policy.into_proto(),
            labels: self.labels.into_iter().collect(),
            content_type: self.content_type,
            ..Default::default()
        })
    }
}

/// Reads what a payload can be at most, and refuses more.
fn bounded(reader: impl Read) -> Result<Vec<u8>, CliError> {
    let mut payload = Vec::new();
    reader
        .take(MAX_PAYLOAD_BYTES as u64 + 1)
        .read_to_end(&mut payload)
        .map_err(|error| CliError::usage(format!("cannot read the payload: {error}")))?;
    if payload.len() > MAX_PAYLOAD_BYTES {
        return Err(CliError::usage(format!("the payload has more than {MAX_PAYLOAD_BYTES} bytes")));
    }
    Ok(payload)
}
