//! What the program says about its own doings, on stderr.

use std::{
    io::{self, IsTerminal, Write},
    sync::atomic::{AtomicBool, Ordering},
};

use tracing_subscriber::EnvFilter;

/// The log is the process's, and so is this.
static HUSHED: AtomicBool = AtomicBool::new(false);

/// Sets the log up, once.
pub(super) fn init() {
    let filter = EnvFilter::builder().with_default_directive(tracing::Level::WARN.into()).from_env_lossy();
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(writer).with_target(false);
    let log = log.with_ansi(io::stderr().is_terminal());
    log.compact().init();
}

/// While it lives the log says nothing to a terminal, where it would break what is drawn there.
pub(super) struct Hush(());

impl Hush {
    pub(super) fn new() -> Hush {
        HUSHED.store(true, Ordering::Relaxed);
        Hush(())
    }
}

impl Drop for Hush {
    fn drop(&mut self) {
        HUSHED.store(false, Ordering::Relaxed);
    }
}

fn writer() -> Box<dyn Write> {
    if HUSHED.load(Ordering::Relaxed) && io::stderr().is_terminal() {
        Box::new(io::sink())
    } else {
        Box::new(io::stderr())
    }
}
