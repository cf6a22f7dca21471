//! Being told to stop: SIGTERM and SIGINT once for a graceful end, twice for an end now.

use std::io;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tonic::Code;

use super::{error::CliError, output::remark};
use crate::Error;

/// Ends at the first signal that asks the process to end, or says that its terminal has gone. Listens from
/// the call on.
pub(super) fn first() -> io::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            _ = hangup.recv() => {}
        }
    })
}

/// A token that the first signal cancels. The second one ends the process.
pub(super) fn stop_token() -> io::Result<CancellationToken> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let stop = CancellationToken::new();
    let told = stop.clone();
    tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            if told.is_cancelled() {
                let error = CliError::from(Error::local(Code::Cancelled, "stopped at once"));
                error.print();
                std::process::exit(error.exit_code().into());
            }
            remark("stopping: what runs is finished first; a second signal stops at once");
            told.cancel();
        }
    });
    Ok(stop)
}
