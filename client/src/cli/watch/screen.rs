//! How the model is drawn. Pure: the same model on a screen of the same size is the same picture. Colour only
//! stresses what the words say.

mod flow;
mod graph;
mod level;
mod number;
mod queue;
mod table;

use ratatui::{
    Frame,
    layout::{Constraint, Layout, Rect},
    style::{Color, Stylize},
    text::{Line, Span},
};

use self::number::span;
use super::{board::Link, model::Model};

/// How graphs are read.
const SCALE: &str = "  a column is a second ";

pub(super) fn draw(frame: &mut Frame, model: &Model) {
    let lost = matches!(model.board().link(), Link::Lost { .. });
    let rows =
        [Constraint::Length(1), Constraint::Length(lost.into()), Constraint::Min(0), Constraint::Length(1)];
    let [header, notice, body, footer] = Layout::vertical(rows).areas(frame.area());
    draw_header(frame, model, header);
    if let Link::Lost { reason, seconds } = model.board().link() {
        let text = format!(" no connection for {}: {reason}; trying again", span((*seconds).into()));
        frame.render_widget(Line::from(text).fg(Color::Red), notice);
    }
    match model.opened() {
        Some((queue, track)) => queue::draw(frame, queue, track, body),
        None => table::draw(frame, model, body),
    }
    let keys = Line::from(keys(model)).dim();
    let scale = Line::from(SCALE).dim().right_aligned();
    if keys.width() + scale.width() <= footer.width.into() {
        frame.render_widget(scale, footer);
    }
    frame.render_widget(keys, footer);
}

fn draw_header(frame: &mut Frame, model: &Model, area: Rect) {
    let mut state = vec![Span::from(" ")];
    if model.is_paused() {
        state.push("display paused ".bold());
    }
    state.push(match model.board().link() {
        Link::Opening => "connecting ".into(),
        Link::Live => Span::from("live ").fg(Color::Green),
        Link::Lost { .. } => Span::from("no connection ").fg(Color::Red),
    });
    let state = Line::from(state);
    let width = u16::try_from(state.width()).unwrap_or(u16::MAX);
    let [left, right] = Layout::horizontal([Constraint::Min(0), Constraint::Length(width)]).areas(area);
    frame.render_widget(Line::from(vec![" sluice watch ".bold(), Span::from(model.address.as_str())]), left);
    frame.render_widget(state, right);
}

/// The keys that do something here.
fn keys(model: &Model) -> String {
    let pause = if model.is_paused() { "p go on" } else { "p pause" };
    let rest = match (model.opened(), model.can_go_back()) {
        (None, _) => "  ↑↓ select  Enter open",
        (Some(_), true) => "  Esc back",
        (Some(_), false) => "",
    };
    format!(" q quit  {pause}{rest}")
}

#[cfg(test)]
mod tests;
