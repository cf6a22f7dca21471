//! How full a queue is, as a word; the colour only stresses it.

use ratatui::{
    style::{Color, Stylize},
    text::Span,
};

use crate::proto::{QueueLevel, QueueStatus};

pub(super) fn level(status: &QueueStatus) -> Span<'static> {
    match status.level() {
        QueueLevel::Unspecified => Span::from("-"),
        QueueLevel::Ok => Span::from("OK"),
        QueueLevel::Warning => Span::from("WARNING").fg(Color::Yellow),
        QueueLevel::Critical => Span::from("CRITICAL").fg(Color::Red).bold(),
    }
}
