//! The terminal as a full screen, given back as it was whatever happens: on an error and a signal by the drop
//! of the value, on a panic by a hook before the message.

use std::{io, thread};

use ratatui::{DefaultTerminal, Frame};

use crate::cli::log::Hush;

pub(super) struct FullScreen {
    // Dropped in this order: the cursor is shown, the screen given back, the log speaks again.
    terminal: DefaultTerminal,
    _restore: Restore,
    _hush: Hush,
}

struct Restore;

impl Drop for Restore {
    fn drop(&mut self) {
        // The hook of a panic has done it, and what was said since then would be written over.
        if !thread::panicking() {
            // With the terminal gone there is nothing left to restore.
            let _ = ratatui::try_restore();
        }
    }
}

impl FullScreen {
    pub(super) fn open() -> io::Result<FullScreen> {
        let hush = Hush::new();
        // First: the opening may fail half-way.
        let restore = Restore;
        Ok(FullScreen { terminal: ratatui::try_init()?, _restore: restore, _hush: hush })
    }

    pub(super) fn draw(&mut self, draw: impl FnOnce(&mut Frame)) -> io::Result<()> {
        self.terminal.draw(draw).map(|_| ())
    }
}
