//! `sluice keys`.

use clap::Args;

use super::{Session, error::CliError, output::Format, view::KeyView};
use crate::proto::ListKeysRequest;

/// Keys of one page.
const MAX_PAGE_SIZE: u32 = 1_000;

/// List the keys of a queue, and what they begin with, that have jobs which wait or are held, and what their own limits
/// let through now (a limit, a colon, and the units that may go).
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  sluice keys --queue mail --key-prefix bot42")]
pub(super) struct Keys {
    /// The queue.
    #[arg(short, long)]
    queue: String,
    /// Only this key, and those that begin with it and a `/`. Default: all.
    #[arg(long, default_value = "", hide_default_value = true, value_name = "KEY")]
    key_prefix: String,
    /// The most keys to list; 0 lists all.
    #[arg(long, default_value_t = 100, value_name = "N")]
    limit: u32,
}

impl Keys {
    pub(super) async fn run(self, session: &Session) -> Result<(), CliError> {
        let mut keys = Vec::new();
        let mut page_token = String::new();
        let mut wanted = if self.limit == 0 { u32::MAX } else { self.limit };
        while wanted > 0 {
            let page_size = i32::try_from(wanted.min(MAX_PAGE_SIZE)).unwrap_or(i32::MAX);
            let (queue, key_prefix) = (self.queue.clone(), self.key_prefix.clone());
            let request = ListKeysRequest { queue, key_prefix, page_size, page_token };
            let page = session.client.list_keys(request).await?;
            let room = usize::try_from(wanted).unwrap_or(usize::MAX);
            wanted = wanted.saturating_sub(u32::try_from(page.keys.len()).unwrap_or(u32::MAX));
            keys.extend(page.keys.into_iter().take(room).map(KeyView::from));
            if session.output.format() == Format::Jsonl {
                session.output.many(&keys)?;
                keys.clear();
            }
            page_token = page.next_page_token;
            if page_token.is_empty() {
                break;
            }
        }
        if session.output.format() != Format::Jsonl {
            session.output.many(&keys)?;
        }
        Ok(())
    }
}
