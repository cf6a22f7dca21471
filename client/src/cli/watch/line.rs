//! The watch as plain lines, for pipes and logs.

use futures::{Stream, StreamExt};
use serde::Serialize;

use super::feed::{News, Scope, Update};
use crate::{
    Error,
    cli::{
        Session,
        error::CliError,
        output::{Format, printable, write_line},
        view::StatusView,
    },
};

/// What is said of a queue that is no more.
#[derive(Serialize)]
struct Deleted<'a> {
    queue: &'a str,
    deleted: bool,
}

/// Prints a line a status, until there is no sense in trying on; with `once` what comes first.
pub(super) async fn run(
    news: impl Stream<Item = Result<News, Error>>,
    session: &Session,
    scope: &Scope,
    once: bool,
) -> Result<(), CliError> {
    let mut news = std::pin::pin!(news);
    while let Some(news) = news.next().await {
        match news? {
            News::Update(update) => {
                print(session, scope, update)?;
                if once {
                    return Ok(());
                }
            }
            News::Lost { error, wait } => {
                tracing::warn!(%error, ?wait, "watch broke off, trying again");
            }
        }
    }
    Ok(())
}

fn print(session: &Session, scope: &Scope, update: Update) -> Result<(), CliError> {
    for status in update.statuses {
        let view = StatusView::from(status);
        let line = match scope {
            Scope::One(_) => view.line(),
            Scope::Many(_) => view.named_line(),
        };
        print_line(session, &line, &view)?;
    }
    for queue in &update.deleted_queues {
        let line = format!("{} deleted", printable(queue));
        print_line(session, &line, &Deleted { queue, deleted: true })?;
    }
    Ok(())
}

/// JSON is a value a line in both of its forms: nobody waits for the end of a watch.
fn print_line(session: &Session, line: &str, value: &impl Serialize) -> Result<(), CliError> {
    match session.output.format() {
        Format::Table => write_line(line.as_bytes())?,
        Format::Json | Format::Jsonl => {
            write_line(&serde_json::to_vec(value).map_err(std::io::Error::from)?)?;
        }
    }
    Ok(())
}
