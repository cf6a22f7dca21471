//! `sluice watch`: which queues, and in which form.

mod board;
mod feed;
mod history;
mod key;
mod line;
mod live;
mod measure;
mod model;
mod screen;
mod terminal;

use std::{
    env,
    io::{self, IsTerminal},
    time::Duration,
};

use clap::Args;

use self::{
    feed::{Feed, Patience, Scope},
    model::Model,
};
use super::{Session, argument::span, error::CliError, output::Format};

/// Follow how queues stand, until interrupted. Goes on when the server comes back.
///
/// On a terminal a live view over the whole screen: a table of queues with their depth, rates and levels,
/// and graphs of each over the last minutes. Up and Down (or k and j) select a queue, Enter goes into it,
/// Esc back; p holds the display still, q or Ctrl-C ends. Elsewhere, or with --once, plain lines: one a
/// queue at once, then one at each change; with -o json or jsonl a JSON value a line.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  sluice watch\n  sluice watch --queue 'sms.*'\n  \
                        sluice watch --queue mail --interval 1s -o jsonl")]
pub(super) struct Watch {
    /// The queue to follow, or a pattern in which `*` stands for any characters. Default: all queues.
    #[arg(short, long)]
    queue: Option<String>,
    /// The least time between two changes shown, 50ms to 1m.
    #[arg(long, default_value = "250ms", value_parser = span, value_name = "SPAN")]
    interval: Duration,
    /// Print how things stand now, in plain lines, and end. Default: no.
    #[arg(long)]
    once: bool,
}

impl Watch {
    pub(super) async fn run(self, session: &Session) -> Result<(), CliError> {
        let scope = Scope::new(self.queue);
        let feed = |patience| Feed::new(&session.client, scope.clone(), self.interval, patience).news();
        if !self.once && session.output.format() == Format::Table && is_capable(io::stdout().is_terminal()) {
            let model = Model::new(&session.global.addr, &scope);
            // Whoever looks at it sees that the server is away, and knows best how long to wait.
            live::run(feed(Patience::Endless), model).await
        } else {
            line::run(feed(Patience::Bounded), session, &scope, self.once).await
        }
    }
}

/// A terminal can be drawn on unless it says that it is a dumb one.
fn is_capable(terminal: bool) -> bool {
    terminal && env::var_os("TERM").is_none_or(|name| name != "dumb")
}
