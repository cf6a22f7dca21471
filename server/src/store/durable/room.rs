//! Watches how full the disk is, and says what has to stop while it nearly is.

use std::io;
use std::path::{Path, PathBuf};

use sluice_engine::{Now, Span, Timestamp};
use tracing::info;

use super::DurableOptions;
use super::ballast::Ballast;
use super::mover::Mover;
use crate::os;
use crate::planted::{self, Bug};
use crate::store::log::Log;
use crate::store::{Pressure, StoreError};

/// How often to look.
const INTERVAL: Span = Span::from_millis(250);
/// Room in files that are there already which acks and retirements keep for themselves.
const RESERVED_LOG_BYTES: u64 = 1 << 20;

/// The room on disk.
pub(super) struct Room {
    dir: PathBuf,
    ballast: Ballast,
    /// Free bytes below which enqueues are refused.
    enqueues: u64,
    /// Free bytes below which leases are refused too.
    leases: u64,
    pressure: Pressure,
    next_look: Timestamp,
}

impl Room {
    /// Looks at the disk, and makes the ballast if there is room for it. On a full disk it goes instead:
    /// opening needs room too.
    pub(super) fn open(dir: &Path, options: &DurableOptions) -> Result<Room, StoreError> {
        let ballast = Ballast::new(dir, options.ballast_bytes);
        let space = os::space(dir).map_err(|source| failed(dir, source))?;
        let (enqueues, leases) = options.reserves(space);
        let mut room = Room {
            dir: dir.to_owned(),
            ballast,
            enqueues,
            leases,
            pressure: Pressure::None,
            next_look: Timestamp::default(),
        };
        if space.free < leases {
            room.ballast.give_up_on_full_disk()?;
        } else if room.has_room_for_ballast(space.free) {
            room.ballast.make().map_err(|source| failed(dir, source))?;
        }
        room.judge(space.free, u64::MAX);
        Ok(room)
    }

    pub(super) fn ballast(&self) -> &Ballast {
        &self.ballast
    }

    pub(super) fn pressure(&self) -> Pressure {
        self.pressure
    }

    /// Looks again, if it is time to.
    pub(super) fn look(&mut self, now: Now, log: &mut Log, mover: &mut Mover) -> Result<(), StoreError> {
        if now.engine < self.next_look {
            return Ok(());
        }
        self.next_look = now.engine + INTERVAL;
        let free = os::space(&self.dir).map_err(|source| failed(&self.dir, source))?.free;
        if free < self.leases {
            self.ballast.give_up_on_full_disk()?;
        } else if self.has_room_for_ballast(free) && !self.ballast.is_there() {
            mover.make_ballast()?;
        }
        let before = self.pressure;
        self.judge(free, log.room_bytes());
        if self.pressure != before {
            info!(?before, now = ?self.pressure, free_bytes = free, "room on disk changed");
        }
        Ok(())
    }

    fn judge(&mut self, free: u64, log_room: u64) {
        if planted::has(Bug::NoReserve) {
            return;
        }
        self.pressure = if free < self.leases && log_room < RESERVED_LOG_BYTES {
            Pressure::NoLease
        } else if free < self.enqueues {
            Pressure::NoEnqueue
        } else if self.pressure != Pressure::None && free < self.enqueues.saturating_add(self.enqueues / 4) {
            // A little more than it takes, so that it does not come and go with every segment.
            Pressure::NoEnqueue
        } else {
            Pressure::None
        };
    }

    fn has_room_for_ballast(&self, free: u64) -> bool {
        free > self.enqueues.saturating_mul(2).saturating_add(self.ballast.bytes())
    }
}

fn failed(dir: &Path, source: io::Error) -> StoreError {
    StoreError::Io { what: format!("look after the room in {}", dir.display()), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn room(dir: &Path) -> Room {
        let options = DurableOptions {
            ballast_bytes: 1_000,
            refuse_enqueues_below_bytes: Some(400),
            refuse_leases_below_bytes: Some(100),
            ..DurableOptions::default()
        };
        Room::open(dir, &options).unwrap()
    }

    #[test]
    fn enqueues_stop_first_and_leases_when_the_log_has_no_room_either() {
        let dir = tempfile::tempdir().unwrap();
        let mut room = room(dir.path());
        let mut pressures = Vec::new();
        for (free, log_room) in [
            (1_000, 0),
            (399, 0),
            (99, RESERVED_LOG_BYTES),
            (99, RESERVED_LOG_BYTES - 1),
            (450, 0),
            (501, 0),
            (450, 0),
        ] {
            room.judge(free, log_room);
            pressures.push(room.pressure());
        }
        use Pressure::{NoEnqueue, NoLease, None};
        assert_eq!(pressures, [None, NoEnqueue, NoEnqueue, NoLease, NoEnqueue, None, None]);
    }

    #[test]
    fn ballast_is_made_where_there_is_room_and_given_up_where_there_is_none() {
        let dir = tempfile::tempdir().unwrap();
        assert!(room(dir.path()).ballast.is_there());
        let full = DurableOptions {
            ballast_bytes: 1_000,
            refuse_enqueues_below_bytes: Some(u64::MAX),
            refuse_leases_below_bytes: Some(u64::MAX),
            ..DurableOptions::default()
        };
        let room = Room::open(dir.path(), &full).unwrap();
        assert!(!room.ballast.is_there());
        assert_eq!(room.pressure(), Pressure::NoEnqueue, "the log still has room for leases and acks");
    }
}
