//! The thread that moves jobs home. It steps back for the writer: half of the time it sleeps, unless the
//! log is far over its budget.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};
use std::{mem, thread};

use sluice_engine::Timestamp;
use tracing::warn;

use super::housekeeper::{Housekeeper, Order, Report};
use crate::os;
use crate::store::StoreError;
use crate::store::home::Home;

/// Jobs that move early wait so long for others: a sync costs as much as a thousand of them.
const GATHER: Duration = Duration::from_millis(250);
/// So many of them wait no longer.
const MAX_GATHERED: usize = 4_096;
/// The longest sleep after a piece of work.
const MAX_SLEEP: Duration = Duration::from_millis(20);
/// How often to look whether a full disk has room again.
const ROOM_POLL: Duration = Duration::from_millis(100);
/// By how much others come first for the scheduler.
const NICENESS: i32 = 5;

/// What the writer says besides its orders.
#[derive(Clone, Debug, Default)]
pub(super) struct Signals {
    /// The log is far over its budget: do not sleep.
    pub(super) is_urgent: Arc<AtomicBool>,
    /// Leave everything as it is: what is half done is done again after the next start.
    pub(super) is_stopping: Arc<AtomicBool>,
}

/// Does orders until it is to stop, nobody can give one any more, or one fails.
pub(super) fn run(
    mut keeper: Housekeeper,
    home: &Home,
    orders: &Receiver<Order>,
    reports: &Sender<Report>,
    signals: &Signals,
) {
    os::lower_priority(NICENESS);
    if let Err(error) = home.guarded(|| work(&mut keeper, orders, reports, signals)) {
        // Nobody listens only when the store is gone.
        let _ = reports.send(Report::Failed(error));
    }
}

fn work(
    keeper: &mut Housekeeper,
    orders: &Receiver<Order>,
    reports: &Sender<Report>,
    signals: &Signals,
) -> Result<(), StoreError> {
    let mut gather_until: Option<Instant> = None;
    // Orders whose jobs are written and not synced.
    let mut taken = 0;
    loop {
        let order = match gather_until {
            None => orders.recv().map_err(|_| RecvTimeoutError::Disconnected),
            Some(until) => orders.recv_timeout(until.saturating_duration_since(now())),
        };
        if signals.is_stopping.load(Ordering::Acquire) {
            return Ok(());
        }
        if !wait_for_room(keeper, signals)? {
            return Ok(());
        }
        let began = now();
        let mut done = match order {
            Ok(order) => {
                taken += 1;
                keeper.take(order)?
            }
            Err(RecvTimeoutError::Timeout) => Vec::new(),
            Err(RecvTimeoutError::Disconnected) => return Ok(()),
        };
        let is_time = gather_until.is_some_and(|until| until <= began);
        if keeper.unsettled() >= MAX_GATHERED || keeper.unsettled() > 0 && is_time {
            // Windows pass when segments move; here nothing is said of the time.
            done.extend(keeper.settle(Timestamp::default())?);
        }
        gather_until = match keeper.unsettled() {
            0 => None,
            _ => gather_until.or(Some(began + GATHER)),
        };
        if gather_until.is_none() && taken > 0 {
            done.push(Report::Done(mem::take(&mut taken)));
        }
        for report in done {
            if reports.send(report).is_err() {
                return Ok(());
            }
        }
        if !signals.is_urgent.load(Ordering::Relaxed) {
            thread::sleep(now().duration_since(began).min(MAX_SLEEP));
        }
    }
}

/// Waits until the disk has room for what comes next: jobs stay in the log meanwhile. Says no if we are to stop.
fn wait_for_room(keeper: &Housekeeper, signals: &Signals) -> Result<bool, StoreError> {
    let mut is_told = false;
    while !keeper.has_room()? {
        if signals.is_stopping.load(Ordering::Acquire) {
            return Ok(false);
        }
        if !is_told {
            warn!("the disk is full: jobs wait in the log until there is room to move them");
            is_told = true;
        }
        thread::sleep(ROOM_POLL);
    }
    Ok(true)
}

#[allow(clippy::disallowed_methods, reason = "only how long to sleep follows from it")]
fn now() -> Instant {
    Instant::now()
}
