//! `sluice drain`.

use std::io::{self, BufWriter, Write};

use clap::Args;

use super::{Session, error::CliError, output::remark, view::JobView};
use crate::proto::DrainRequest;

/// Take everything that waits out of a queue in one durable step, and print it: a JSON job a line, with
/// its payload, whatever -o says. Goes on where it was when the server comes back. The same request id
/// prints the same jobs again.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  sluice drain --queue mail --request-id before-the-move > mail.ndjson")]
pub(super) struct Drain {
    /// The queue to empty.
    #[arg(short, long)]
    queue: String,
    /// Names this drain, so that it can be read again: at most 36 characters. Default: a new one, told on
    /// stderr.
    #[arg(long, default_value = "", hide_default_value = true, value_name = "ID")]
    request_id: String,
    /// The most jobs to take out: 1 to 1,000,000. Default 1,000,000.
    #[arg(long, value_name = "N")]
    max_jobs: Option<u32>,
    /// Where to go on reading, as told on stderr when an earlier run broke off. Default: at the beginning.
    #[arg(long, default_value = "", hide_default_value = true, value_name = "TOKEN")]
    page_token: String,
}

impl Drain {
    pub(super) async fn run(self, session: &Session) -> Result<(), CliError> {
        let named = !self.request_id.is_empty();
        let mut reader = session.client.drain(DrainRequest {
            queue: self.queue,
            request_id: self.request_id,
            max_jobs: self.max_jobs,
            page_token: self.page_token,
        });
        if !named {
            remark(&format!("drain {}", reader.request_id()));
        }
        let mut printed = 0_u64;
        loop {
            let begin = reader.page_token().to_owned();
            let page = match reader.next_page().await {
                Ok(Some(page)) => page,
                Ok(None) => break,
                Err(error) => {
                    remark(&format!(
                        "{printed} jobs printed; go on with --request-id {} --page-token '{begin}'",
                        reader.request_id()
                    ));
                    return Err(error.into());
                }
            };
            printed += page.len() as u64;
            let mut stdout = BufWriter::new(io::stdout().lock());
            for job in page {
                serde_json::to_writer(&mut stdout, &JobView::from(job)).map_err(io::Error::from)?;
                stdout.write_all(b"\n")?;
            }
            stdout.flush()?;
        }
        remark(&format!("{printed} jobs printed, {} in the drain", reader.total_jobs()));
        Ok(())
    }
}
