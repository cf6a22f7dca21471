//! A file of jobs: read on a thread of its own, sent through a stream, answered in order.

use std::{
    collections::VecDeque,
    fs::File,
    io::{self, BufRead, BufReader},
    path::{Path, PathBuf},
    time::Duration,
};

use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use tokio::sync::mpsc;

use super::reader::{Batch, ReadError, Reader};
use crate::{
    Receipt,
    cli::{Session, error::CliError, view::EnqueuedView},
};

/// Batches that are read ahead.
const READ_AHEAD: usize = 4;
/// Bytes read from the input at a time.
const BUFFER_BYTES: usize = 1 << 20;

pub(super) struct Bulk {
    pub(super) queue: String,
    pub(super) file: PathBuf,
    pub(super) batch: usize,
    pub(super) in_flight: usize,
    pub(super) ids: bool,
}

#[derive(Serialize)]
struct Enqueued {
    enqueued_jobs: u64,
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
        let mut batches = read(Reader::new(input, self.batch));
        let mut stream = session.client.producer(&self.queue).stream(self.in_flight);
        let mut tally = Tally { session, bar: &bar, ids: self.ids, enqueued: 0, failure: None };
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
            match stream.send(jobs).await {
                Ok(receipt) => sent.push_back(Sent { first_line, last_line, end_bytes, receipt }),
                // The receipts of what went before say why.
                Err(error) => tally.failure = sent.is_empty().then_some(CliError::Call(error)),
            }
            // Room for the next: the oldest answer is due anyway.
            while sent.len() >= self.in_flight {
                let Some(oldest) = sent.pop_front() else { break };
                tally.count(oldest).await?;
            }
        }
        for rest in sent {
            tally.count(rest).await?;
        }
        stream.close().await;
        bar.finish_and_clear();
        tally.finish()
    }
}

/// What has come of the batches so far.
struct Tally<'a> {
    session: &'a Session,
    bar: &'a ProgressBar,
    ids: bool,
    enqueued: u64,
    failure: Option<CliError>,
}

impl Tally<'_> {
    /// Awaits a batch's answer. Only the first refusal is kept; printing that fails ends it all.
    async fn count(&mut self, sent: Sent) -> Result<(), CliError> {
        match sent.receipt.await {
            Ok(job_ids) => {
                self.enqueued += job_ids.len() as u64;
                self.bar.set_position(sent.end_bytes);
                self.bar.set_message(format!("{} jobs", self.enqueued));
                if self.ids {
                    for job_id in job_ids {
                        self.session.output.line(&job_id, &EnqueuedView { job_id: job_id.clone() })?;
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
        let enqueued_jobs = self.enqueued;
        if let Some(failure) = self.failure {
            super::super::output::remark(&format!("{enqueued_jobs} jobs of other batches are enqueued"));
            return Err(failure);
        }
        if !self.ids {
            let summary = format!("{enqueued_jobs} jobs enqueued");
            self.session.output.line(&summary, &Enqueued { enqueued_jobs })?;
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
