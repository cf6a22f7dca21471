//! The watch as a live full screen: the edge where news, keys, time and signals meet the model.

use std::{pin::pin, time::Duration};

use crossterm::event::{Event, EventStream};
use futures::{Stream, StreamExt};
use tokio::time::{MissedTickBehavior, interval};

use super::{feed::News, key::Action, model::Model, screen, terminal::FullScreen};
use crate::{
    Error,
    cli::{error::CliError, signal},
};

/// A column of the graphs.
const TICK: Duration = Duration::from_secs(1);

/// Shows the news until the person or a signal says stop, or there is no sense in trying on.
pub(super) async fn run(
    news: impl Stream<Item = Result<News, Error>>,
    mut model: Model,
) -> Result<(), CliError> {
    let mut stop = pin!(signal::first()?);
    let mut news = pin!(news);
    let mut ticks = interval(TICK);
    // A process that stood still has no samples of that time.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut screen = FullScreen::open()?;
    let mut events = EventStream::new();
    while !model.is_over() {
        screen.draw(|frame| screen::draw(frame, &model))?;
        tokio::select! {
            news = news.next() => match news {
                Some(Ok(News::Update(update))) => model.update(update),
                Some(Ok(News::Lost { error, .. })) => model.lose(&error.to_string()),
                Some(Err(error)) => return Err(error.into()),
                None => return Ok(()),
            },
            event = events.next() => match event {
                Some(Ok(Event::Key(key))) => {
                    if let Some(action) = Action::of(key) {
                        model.press(action);
                    }
                }
                // Of the others only a new size matters, and drawing finds it.
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(error.into()),
                None => return Ok(()),
            },
            _ = ticks.tick() => model.tick(),
            () = &mut stop => return Ok(()),
        }
    }
    Ok(())
}
