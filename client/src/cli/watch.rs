//! `sluice watch`.

use std::time::Duration;

use backon::BackoffBuilder;
use clap::Args;
use tokio::time::sleep;

use super::{
    Session,
    argument::span,
    error::CliError,
    output::{Format, write_line},
    view::StatusView,
};
use crate::{Error, Repeat, proto::WatchQueueRequest, retry::lengthened, span_to_proto};

/// Follow how a queue stands: a line at once, then one at each change, until interrupted. Goes on when
/// the server comes back. Plain lines, or with -o json or jsonl a JSON value a line.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  sluice watch --queue mail --interval 1s -o jsonl")]
pub(super) struct Watch {
    /// The queue to follow.
    #[arg(short, long)]
    queue: String,
    /// The least time between two lines, 50ms to 1m.
    #[arg(long, default_value = "250ms", value_parser = span, value_name = "SPAN")]
    interval: Duration,
    /// Print one line and end. Default: no.
    #[arg(long)]
    once: bool,
}

impl Watch {
    pub(super) async fn run(self, session: &Session) -> Result<(), CliError> {
        let policy = session.client.retry_policy();
        let new_waits = || policy.backoff().with_max_times(policy.max_attempts).build();
        let mut waits = new_waits();
        loop {
            let (error, progress) = match self.follow(session).await {
                Ok(()) => return Ok(()),
                Err((CliError::Call(error), progress)) => (error, progress),
                Err((other, _)) => return Err(other),
            };
            if progress {
                waits = new_waits();
            }
            match waits.next() {
                Some(wait) if Repeat::Always.allows(&error) => {
                    let wait = lengthened(wait, error.retry_after());
                    tracing::warn!(%error, ?wait, "watch broke off, trying again");
                    sleep(wait).await;
                }
                _ => return Err(error.into()),
            }
        }
    }

    /// Prints until the stream breaks; the flag says whether it brought anything.
    async fn follow(&self, session: &Session) -> Result<(), (CliError, bool)> {
        let request =
            WatchQueueRequest { queue: self.queue.clone(), min_interval: Some(span_to_proto(self.interval)) };
        let mut progress = false;
        let call = |error: Error, progress| (CliError::Call(error), progress);
        let mut stream = session.client.watch_queue(request).await.map_err(|error| call(error, progress))?;
        loop {
            let message = stream.message().await.map_err(|status| call(status.into(), progress))?;
            let Some(message) = message else {
                return Err(call(Error::broken("the server ended the watch"), progress));
            };
            print(session, &StatusView::from(message.status.unwrap_or_default()))
                .map_err(|error| (error, progress))?;
            progress = true;
            if self.once {
                return Ok(());
            }
        }
    }
}

fn print(session: &Session, status: &StatusView) -> Result<(), CliError> {
    match session.output.format() {
        Format::Table => write_line(status.line().as_bytes())?,
        Format::Json | Format::Jsonl => {
            write_line(&serde_json::to_vec(status).map_err(std::io::Error::from)?)?
        }
    }
    Ok(())
}
