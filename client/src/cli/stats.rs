//! `sluice stats`.

use clap::Args;
use futures::{StreamExt, TryStreamExt, stream};

use super::{Session, error::CliError, queue, view::StatusView};

/// Queues asked for at a time.
const AT_A_TIME: usize = 16;

/// Show how queues stand: jobs per state, rates over the last 10 seconds, totals, and what their limits let through now
/// (a limit, a colon, and the units that may go).
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  sluice stats --queue mail -o json\n  sluice stats --queue mail --key bot42"
)]
pub(super) struct Stats {
    /// Only this queue. Default: every queue, by name.
    #[arg(short, long)]
    queue: Option<String>,
    /// Only this key of the queue, with those that begin with it and a `/`: of it only jobs that wait or are held,
    /// how full it is, and its limits and those above it. Default: the whole queue.
    #[arg(long, requires = "queue", default_value = "", hide_default_value = true)]
    key: String,
}

impl Stats {
    pub(super) async fn run(self, session: &Session) -> Result<(), CliError> {
        if let Some(queue) = self.queue {
            let status = session.client.key_status(queue, self.key).await?;
            return Ok(session.output.one(&StatusView::from(status))?);
        }
        let queues = queue::all(session).await?;
        let status = |queue: crate::proto::Queue| session.client.queue_status(queue.name);
        let statuses: Vec<_> = stream::iter(queues).map(status).buffered(AT_A_TIME).try_collect().await?;
        let views: Vec<_> = statuses.into_iter().map(StatusView::from).collect();
        Ok(session.output.many(&views)?)
    }
}
