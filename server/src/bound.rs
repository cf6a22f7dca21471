//! The server's bounds, with their reasons. Those of the queue itself are in [`sluice_engine::bound`].

use std::time::Duration;

/// Calls that the mailbox holds unless set otherwise: some milliseconds of the writer's work.
pub const DEFAULT_MAILBOX_CALLS: usize = 16_384;
/// Bytes that the mailbox holds unless set otherwise: sixteen of the largest requests.
pub const DEFAULT_MAILBOX_BYTES: usize = 64 << 20;
/// A group takes no more calls once it holds so many bytes: with the largest request on top, and what
/// upkeep adds, it stays well under the 16 MiB at which a frame of the log must close.
pub const GROUP_BYTES: usize = 8 << 20;
/// A group takes no more calls than this: their answers go out together, so it bounds the wait of the first.
pub const GROUP_CALLS: usize = 8_192;
/// How often the store may do its upkeep while nothing happens.
pub const IDLE_UPKEEP: Duration = Duration::from_secs(1);
/// A watched queue's status is published no more often: what people and dashboards can follow.
pub const WATCH_INTERVAL: Duration = Duration::from_millis(50);
/// Statuses that one step publishes; the rest are due again at once.
pub const MAX_PUBLISHED_PER_STEP: usize = 256;
/// How long an enqueue waits, at most, while the store asks for time: then it goes on all the same,
/// for the store refuses by itself before it is too late.
pub const MAX_ENQUEUE_DELAY: Duration = Duration::from_millis(200);
/// What a caller may send ahead on a stream: a large request without a pause.
pub const STREAM_WINDOW: u32 = 1 << 20;
