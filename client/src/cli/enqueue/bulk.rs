//! A file of jobs: read on a thread of its own, sent through a stream, answered in order.

use std::{
    collections::{HashMap, VecDeque},
    fs::File,
    io::{self, BufRead, BufReader},
    path::{Path, PathBuf},
    time::Duration,
};

use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use tokio::sync::mpsc;

use super::{
    reader::{Batch, ReadError, Reader},
    result::Awaited,
    tell,
};
use crate::{
    EnqueueStream, Error, Producer, Receipt,
    cli::{
        Session,
        error::CliError,
        output::{Output, remark},
        view::EnqueuedView,
    },
    proto::{EnqueueRequest, JobSpec},
};

/// Batches that are read ahead.
const READ_AHEAD: usize = 4;
/// Bytes read from the input at a time.
const BUFFER_BYTES: usize = 1 << 20;

pub(super) struct Bulk {
    pub(super) producer: Producer,
    pub(super) file: PathBuf,
    pub(super) batch_size: usize,
    pub(super) in_flight: usize,
    pub(super) ids: bool,
    /// The batch of lines that name none.
    pub(super) batch_id: String,
    pub(super) batch_totals: HashMap<String, u64>,
    /// How long to wait for results.
    pub(super) wait: Option<Duration>,
}

#[derive(Serialize)]
struct Enqueued {
    enqueued_jobs: u64,
    duplicate_jobs: u64,
    dropped_jobs: u64,
}

/// A batch on its way.
struct Sent {
    first_line: u64,
    last_line: u64,
    end_bytes: u64,
    receipt: Receipt,
}

impl Bulk {
    pub(super) async fn run(self, session: &Session) -> Result<(), CliError> {
        let (input, length) = open(&self.file)?;
        let bar = progress_bar(length);
        let mut batches = read(Reader::new(input, self.batch_size));
        let mut stream = self.producer.stream(self.in_flight);
        let mut tally = Tally {
            output: session.output,
            bar: &bar,
            ids: self.ids,
            kept: self.wait.map(|_| Vec::new()),
            enqueued: Enqueued { enqueued_jobs: 0, duplicate_jobs: 0, dropped_jobs: 0 },
            failure: None,
        };
        let mut sent: VecDeque<Sent> = VecDeque::new();

        while tally.failure.is_none() {
            let batch = match batches.recv().await {
                Some(Ok(batch)) => batch,
                Some(Err(error)) => {
                    tally.failure = Some(CliError::usage(error.to_string()));
                    break;
                }
                None => break,
            };
            let Batch { jobs, first_line, last_line, end_bytes } = batch;
            let mut jobs = jobs.into_iter();
            // As many requests of a batch as a flow hint asks for.
            while jobs.len() > 0 && tally.failure.is_none() {
                let part: Vec<_> = jobs.by_ref().take(self.producer.batch_size(self.batch_size)).collect();
                match self.send(&mut stream, part).await {
                    Ok(receipt) => sent.push_back(Sent { first_line, last_line, end_bytes, receipt }),
                    // The receipts of what went before say why.
                    Err(error) => {
                        tally.failure = sent.is_empty().then_some(CliError::Call(error));
                        break;
                    }
                }
                // Room for the next: the oldest answer is due anyway.
                while sent.len() >= self.in_flight {
                    let Some(oldest) = sent.pop_front() else { break };
                    tally.count(oldest).await?;
                }
            }
        }
        for rest in sent {
            tally.count(rest).await?;
        }
        stream.close().await;
        bar.finish_and_clear();
        tell(&self.producer.statistics());
        let Some(wait) = self.wait else { return tally.finish() };
        let job_ids = tally.kept.take().unwrap_or_default();
        match tally.failure {
            Some(_) => tally.finish(),
            None => Awaited { job_ids, wait }.run(session).await,
        }
    }

    async fn send(&self, stream: &mut EnqueueStream, mut jobs: Vec<JobSpec>) -> Result<Receipt, Error> {
        for job in jobs.iter_mut().filter(|job| job.batch_id.is_empty()) {
            job.batch_id.clone_from(&self.batch_id);
        }
        let batch_totals = self.batch_totals.clone();
        stream.send_request(EnqueueRequest { jobs, batch_totals, ..Default::default() }).await
    }
}

/// What has come of the batches so far.
struct Tally<'a> {
    output: Output,
    bar: &'a ProgressBar,
    ids: bool,
    /// Ids, when they are wanted later.
    kept: Option<Vec<String>>,
    enqueued: Enqueued,
    failure: Option<CliError>,
}

impl Tally<'_> {
    /// Awaits a batch's answer. Only the first refusal is kept; printing that fails ends it all.
    async fn count(&mut self, sent: Sent) -> Result<(), CliError> {
        match sent.receipt.response().await {
            Ok(answer) => {
                let duplicates = answer.jobs.iter().filter(|job| job.duplicate).count() as u64;
                self.enqueued.enqueued_jobs += answer.jobs.len() as u64 - duplicates;
                self.enqueued.duplicate_jobs += duplicates;
                self.enqueued.dropped_jobs += answer.dropped_job_ids.len() as u64;
                self.bar.set_position(sent.end_bytes);
                self.bar.set_message(format!("{} jobs", self.enqueued.enqueued_jobs));
                if let Some(kept) = &mut self.kept {
                    kept.extend(answer.jobs.iter().map(|job| job.job_id.clone()));
                }
                if self.ids {
                    for job in answer.jobs {
                        self.output.line(&job.job_id.clone(), &EnqueuedView::from(job))?;
                    }
                }
            }
            Err(error) if self.failure.is_none() => {
                let lines = format!("lines {} to {}", sent.first_line, sent.last_line);
                self.failure = Some(CliError::About(lines, error));
            }
            Err(_) => {}
        }
        Ok(())
    }

    fn finish(self) -> Result<(), CliError> {
        let Enqueued { enqueued_jobs, duplicate_jobs, dropped_jobs } = self.enqueued;
        if let Some(failure) = self.failure {
            remark(&format!("{enqueued_jobs} jobs of other batches are enqueued"));
            return Err(failure);
        }
        if !self.ids {
            let mut summary = format!("{enqueued_jobs} jobs enqueued");
            for (count, what) in
                [(duplicate_jobs, "were there already"), (dropped_jobs, "dropped to make room")]
            {
                if count > 0 {
                    summary += &format!(", {count} {what}");
                }
            }
            self.output.line(&summary, &self.enqueued)?;
        }
        Ok(())
    }
}

/// The input and, when it is known, its length.
fn open(path: &Path) -> Result<(Box<dyn BufRead + Send>, Option<u64>), CliError> {
    if path == Path::new("-") {
        return Ok((Box::new(BufReader::with_capacity(BUFFER_BYTES, io::stdin())), None));
    }
    let cannot = |error| CliError::usage(format!("cannot read {}: {error}", path.display()));
    let file = File::open(path).map_err(cannot)?;
    let length = file.metadata().ok().filter(|metadata| metadata.is_file()).map(|metadata| metadata.len());
    Ok((Box::new(BufReader::with_capacity(BUFFER_BYTES, file)), length))
}

/// Reads on a thread of its own: parsing must not hold up the network, nor a slow pipe anything.
fn read(mut reader: Reader<Box<dyn BufRead + Send>>) -> mpsc::Receiver<Result<Batch, ReadError>> {
    let (batches, receiver) = mpsc::channel(READ_AHEAD);
    tokio::task::spawn_blocking(move || {
        while let Some(batch) = reader.next_batch().transpose() {
            let is_last = batch.is_err();
            if batches.blocking_send(batch).is_err() || is_last {
                break;
            }
        }
    });
    receiver
}

/// On stderr, and only when that is a terminal.
fn progress_bar(length: Option<u64>) -> ProgressBar {
    let (bar, template) = match length {
        Some(length) => {
            (ProgressBar::new(length), "{msg} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {eta}")
        }
        None => (ProgressBar::no_length(), "{spinner} {msg} {bytes} {bytes_per_sec}"),
    };
    bar.set_style(ProgressStyle::with_template(template).expect("the template is well formed"));
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}
