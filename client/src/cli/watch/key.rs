//! Keys, and what they mean.

use crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

/// Rows that a page key goes.
const PAGE_ROWS: isize = 10;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    Quit,
    /// Holds the display still, or lets it go on.
    Pause,
    /// So many rows down; up when negative. Stops at the ends.
    Move(isize),
    /// Into the selected queue.
    Open,
    /// Back to all queues.
    Back,
}

impl Action {
    pub(super) fn of(key: KeyEvent) -> Option<Action> {
        if key.kind == KeyEventKind::Release {
            return None;
        }
        // A terminal in raw mode makes no signals of its own.
        if key.modifiers.contains(KeyModifiers::CONTROL) {
            return (key.code == KeyCode::Char('c')).then_some(Action::Quit);
        }
        Some(match key.code {
            KeyCode::Char('q') => Action::Quit,
            KeyCode::Char('p') => Action::Pause,
            KeyCode::Up | KeyCode::Char('k') => Action::Move(-1),
            KeyCode::Down | KeyCode::Char('j') => Action::Move(1),
            KeyCode::PageUp => Action::Move(-PAGE_ROWS),
            KeyCode::PageDown => Action::Move(PAGE_ROWS),
            KeyCode::Home => Action::Move(isize::MIN),
            KeyCode::End => Action::Move(isize::MAX),
            KeyCode::Enter => Action::Open,
            KeyCode::Esc | KeyCode::Backspace => Action::Back,
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_mean_what_the_footer_says() {
        let plain = |code| Action::of(KeyEvent::new(code, KeyModifiers::NONE));
        assert_eq!(plain(KeyCode::Char('q')), Some(Action::Quit));
        assert_eq!(plain(KeyCode::Char('p')), Some(Action::Pause));
        assert_eq!(plain(KeyCode::Char('j')), plain(KeyCode::Down));
        assert_eq!(plain(KeyCode::Char('k')), plain(KeyCode::Up));
        assert_eq!((plain(KeyCode::Enter), plain(KeyCode::Esc)), (Some(Action::Open), Some(Action::Back)));
        assert_eq!(plain(KeyCode::Char('c')), None);
        let control = |c| Action::of(KeyEvent::new(KeyCode::Char(c), KeyModifiers::CONTROL));
        assert_eq!((control('c'), control('q')), (Some(Action::Quit), None));
    }
}
