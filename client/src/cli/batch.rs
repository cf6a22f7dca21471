//! `sluice batch get|wait`.

use std::{
    io::{self, IsTerminal},
    time::Duration,
};

use clap::{Args, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};

use super::{Session, argument::span, error::CliError, view::BatchView};
use crate::{
    client::Waits,
    proto::{BatchState, GetBatchRequest, GetBatchResponse, StateCounts},
    span_to_proto,
};

/// The exit code of what has not come to its end in time.
pub(super) const UNFINISHED: u8 = 4;
/// The exit code of what came to another end than COMPLETED.
pub(super) const NOT_COMPLETED: u8 = 5;
/// How often a progress bar moves.
const BAR_STEP: Duration = Duration::from_secs(1);
/// How long to wait when nothing else is said: the longest that makes sense to somebody at a terminal.
const DEFAULT_WAIT: &str = "1h";

#[derive(Debug, Subcommand)]
pub(super) enum Batch {
    /// Show how a batch stands: its state, and its jobs per state. Exit code 3 when nobody named it.
    #[command(after_help = "Example:\n  sluice batch get --queue mail newsletter-7 -o json")]
    Get(Name),
    /// Wait for a batch's final state and show it, with a progress bar on a terminal. Exit code 0 when it is
    /// COMPLETED, 5 when it is PARTIAL or FAILED, 4 when it is not final in time.
    #[command(after_help = "Example:\n  sluice batch wait --queue mail newsletter-7 --wait 10m")]
    Wait {
        #[command(flatten)]
        name: Name,
        /// How long to wait.
        #[arg(long, default_value = DEFAULT_WAIT, value_parser = span, value_name = "SPAN")]
        wait: Duration,
    },
}

#[derive(Debug, Args)]
pub(super) struct Name {
    /// The batch's queue.
    #[arg(short, long)]
    queue: String,
    /// The batch, as its jobs name it.
    batch_id: String,
}

impl Batch {
    pub(super) async fn run(self, session: &Session) -> Result<(), CliError> {
        match self {
            Batch::Get(name) => {
                let batch = name.read(session, Duration::ZERO).await?;
                Ok(session.output.one(&BatchView::new(&name.queue, &name.batch_id, &batch))?)
            }
            Batch::Wait { name, wait } => name.wait(session, wait).await,
        }
    }
}

impl Name {
    async fn read(&self, session: &Session, wait: Duration) -> Result<GetBatchResponse, CliError> {
        let (queue, batch_id) = (self.queue.clone(), self.batch_id.clone());
        let request = GetBatchRequest { queue, batch_id, wait_timeout: Some(span_to_proto(wait)) };
        Ok(session.client.get_batch(request).await?)
    }

    async fn wait(self, session: &Session, wait: Duration) -> Result<(), CliError> {
        let mut waits = Waits::new(wait);
        let bar = progress_bar();
        let step = if io::stderr().is_terminal() { BAR_STEP } else { Duration::MAX };
        let batch = loop {
            let batch = self.read(session, waits.next().min(step)).await?;
            bar.set_length(batch.total_jobs.unwrap_or(batch.jobs));
            bar.set_position(at_rest(&batch.counts.unwrap_or_default()));
            if is_final(batch.state()) || waits.are_over() {
                break batch;
            }
        };
        bar.finish_and_clear();
        session.output.one(&BatchView::new(&self.queue, &self.batch_id, &batch))?;
        match batch.state() {
            BatchState::Completed => Ok(()),
            BatchState::Partial | BatchState::Failed => Err(CliError::Answer(NOT_COMPLETED)),
            BatchState::Unspecified | BatchState::Pending | BatchState::Running => {
                Err(CliError::Answer(UNFINISHED))
            }
        }
    }
}

fn is_final(state: BatchState) -> bool {
    match state {
        BatchState::Completed | BatchState::Partial | BatchState::Failed => true,
        BatchState::Unspecified | BatchState::Pending | BatchState::Running => false,
    }
}

fn at_rest(counts: &StateCounts) -> u64 {
    counts.completed + counts.dead + counts.cancelled + counts.expired + counts.dropped + counts.drained
}

/// On stderr, and only when that is a terminal.
fn progress_bar() -> ProgressBar {
    let bar = ProgressBar::new(0);
    let style = ProgressStyle::with_template("{pos}/{len} jobs {wide_bar} {elapsed} {eta}");
    bar.set_style(style.expect("the template is well formed"));
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}
