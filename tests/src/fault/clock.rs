//! The clock that a recording of system calls and the client of the same machine share.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// Now, on the machine's monotonic clock.
#[must_use]
pub fn now() -> Duration {
    let time = clock_gettime(ClockId::Monotonic);
    Duration::new(u64::try_from(time.tv_sec).unwrap(), u32::try_from(time.tv_nsec).unwrap())
}
