//! `sluice enqueue`.

mod bulk;
mod line;
mod reader;
mod result;

use std::{
    fs,
    io::{self, Read},
    path::PathBuf,
    time::Duration,
};

use clap::Args;
use prost_types::Timestamp;

use self::{bulk::Bulk, line::MAX_PAYLOAD_BYTES, result::Awaited};
use super::{
    Session,
    argument::{label, span, time},
    error::CliError,
    output::remark,
    queue::Policy,
    view::EnqueuedView,
};
use crate::{
    BackPressure, Statistics,
    proto::{EnqueueRequest, JobSpec},
    span_to_proto,
};

/// Put one job, or a file of jobs, into a queue. They are on disk when this ends.
///
/// One job: the payload is --payload, --payload-file, or stdin; prints its id.
///
/// Many jobs: -f FILE with a JSON object a line (`-` reads stdin). Keys: payload (a string is text; any
/// other JSON its own bytes as they stand), payload_base64, key, priority, cost, delay ("5s"), run_time
/// (RFC 3339), ttl ("1h"), idempotency_key, batch_id, bypass_limits (true or false), labels {name: value}, content_type, retry_policy
/// {max_attempts, initial_backoff ("1s"), multiplier, max_backoff, jitter}. Prints a summary, or ids with --ids. A bad line is named, and
/// nothing of its batch goes; what went before is told.
///
/// When the queue is full it waits and tries again, for --wait-room in all, and fails then with exit code
/// 72. How often it waited is told on stderr.
///
/// With --wait the job's result is printed in place of its id. Exit code 0 when it is COMPLETED, 5 when it
/// ended otherwise, 4 when it did not end in time; of many jobs the first that is not COMPLETED decides.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  sluice enqueue --queue mail --payload hello --key ann --priority 7
  date | sluice enqueue --queue mail --delay 10m --label kind=reminder
  sluice enqueue --queue sms --payload hi --batch newsletter-7 --batch-total 1000
  sluice enqueue --queue render --payload page --wait 1m
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
    /// What it costs where limits count cost: 1 to 1,000,000,000. Default 1.
    #[arg(long, value_name = "N")]
    cost: Option<u32>,
    /// Let it pass rates and quotas, as an emergency: it is charged all the same, and the others wait until that is
    /// repaid. Then it is of priority 9. Default: no.
    #[arg(long)]
    bypass_limits: bool,
    /// Not before this much from now, such as 5s. Default: at once.
    #[arg(long, value_parser = span, value_name = "SPAN", conflicts_with = "run_time")]
    delay: Option<Duration>,
    /// Not before this time of day, such as 2030-01-31T12:00:00Z. Default: at once.
    #[arg(long, value_parser = time, value_name = "TIME")]
    run_time: Option<Timestamp>,
    /// A job that is not done this long from now is EXPIRED, such as 1h. Default: never.
    #[arg(long, value_parser = span, value_name = "SPAN")]
    ttl: Option<Duration>,
    /// A second job with the same key within the queue's window is not put in: the id of the first is printed.
    /// Default: none.
    #[arg(long, default_value = "", hide_default_value = true, value_name = "KEY")]
    idempotency_key: String,
    /// The batch that it belongs to; with -f that of every line that names none. Default: none.
    #[arg(long, default_value = "", hide_default_value = true, value_name = "BATCH")]
    batch: String,
    /// How many jobs the batch will have in all: until so many are in it is not final. Default: not said.
    #[arg(long, value_name = "N", requires = "batch")]
    batch_total: Option<u64>,
    /// Wait for the result, so long, and print it. Default: do not wait.
    #[arg(long, value_parser = span, value_name = "SPAN")]
    wait: Option<Duration>,
    /// How long to wait for room in a full queue in all; 0 fails at once.
    #[arg(long, default_value = "5s", value_parser = span, value_name = "SPAN")]
    wait_room: Duration,
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
        "payload", "payload_file", "key", "priority", "cost", "delay", "run_time", "labels", "content_type",
        "max_attempts", "initial_backoff", "multiplier", "max_backoff", "jitter", "request_id", "ttl",
        "idempotency_key", "bypass_limits",
    ])]
    file: Option<PathBuf>,
    /// With -f: jobs of one request, at most 10,000; fewer go where 3 MiB are reached.
    #[arg(long, default_value_t = 1_000, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    batch_size: u32,
    /// With -f: requests on their way at a time, at most 64.
    #[arg(long, default_value_t = 8, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=64))]
    in_flight: u32,
    /// With -f: print the id of each job, in order. Default: a summary.
    #[arg(long, conflicts_with = "wait")]
    ids: bool,
}

impl Enqueue {
    pub(super) async fn run(self, session: &Session) -> Result<(), CliError> {
        let back_pressure =
            BackPressure::within(self.wait_room).map_err(|error| CliError::usage(error.to_string()))?;
        let producer = session.client.producer(&self.queue).back_pressure(back_pressure);
        let batch_totals = self.batch_total.map(|total| (self.batch.clone(), total)).into_iter().collect();
        if let Some(file) = self.file {
            let bulk = Bulk {
                producer,
                file,
                batch_size: self.batch_size as usize,
                in_flight: self.in_flight as usize,
                ids: self.ids,
                batch_id: self.batch,
                batch_totals,
                wait: self.wait,
            };
            return bulk.run(session).await;
        }
        let (request_id, wait) = (self.request_id.clone(), self.wait);
        let jobs = vec![self.into_spec()?];
        let request = EnqueueRequest { request_id, jobs, batch_totals, ..Default::default() };
        let answer = producer.send(request).await;
        tell(&producer.statistics());
        let answer = answer?;
        if !answer.dropped_job_ids.is_empty() {
            remark(&format!("dropped to make room: {}", answer.dropped_job_ids.join(" ")));
        }
        let job_ids: Vec<_> = answer.jobs.iter().map(|job| job.job_id.clone()).collect();
        if let Some(wait) = wait {
            // Known even to those who do not wait to the end.
            remark(&format!("job {}", job_ids.join(" ")));
            return Awaited { job_ids, wait }.run(session).await;
        }
        for job in answer.jobs {
            if job.duplicate {
                remark(&format!("job {} was there already", job.job_id));
            }
            session.output.line(&job.job_id.clone(), &EnqueuedView::from(job))?;
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
            cost: self.cost,
            delay: self.delay.map(span_to_proto),
            run_time: self.run_time,
            retry_policy: self.policy.into_proto(),
            labels: self.labels.into_iter().collect(),
            content_type: self.content_type,
            ttl: self.ttl.map(span_to_proto),
            idempotency_key: self.idempotency_key,
            batch_id: self.batch,
            bypass_limits: self.bypass_limits,
        })
    }
}

/// What back-pressure cost, where there was any.
fn tell(statistics: &Statistics) {
    let Statistics { waits, succeeded_after_wait, failed_after_wait, .. } = statistics;
    if *waits > 0 || *failed_after_wait > 0 {
        remark(&format!(
            "back-pressure: {waits} waits, {succeeded_after_wait} sends succeeded after waiting, {failed_after_wait} failed"
        ));
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
