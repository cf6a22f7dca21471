//! Every bound, with its reason. Those that clients can run into are in `GetServerInfo` and have a test.

use crate::time::Span;

/// Characters of a queue name: fits a path segment, a metric label and a sled key.
pub const MAX_QUEUE_NAME_BYTES: usize = 128;
/// Bytes of a key: three generous identifiers.
pub const MAX_KEY_BYTES: usize = 256;
/// Segments of a key: tenant, group, user. Each is a level of the dispatch tree.
pub const MAX_KEY_SEGMENTS: usize = 3;
/// Bytes of a payload unless set otherwise.
pub const DEFAULT_PAYLOAD_BYTES: usize = 1 << 20;
/// Bytes of a payload, whatever the setting: one job must fit an answer.
pub const MAX_PAYLOAD_BYTES: usize = 3 << 20;
/// Jobs, acks, nacks or extensions of one request.
pub const MAX_ITEMS_PER_REQUEST: usize = 10_000;
/// Bytes of one request: gRPC's customary limit.
pub const MAX_REQUEST_BYTES: usize = 4 << 20;
/// Bytes of one answer. Clients refuse over 4 MiB, and a lease they cannot receive would burn attempts.
pub const MAX_RESPONSE_BYTES: usize = 3_670_016;
/// Labels of a job.
pub const MAX_LABELS: usize = 16;
/// Bytes of a label's name or value.
pub const MAX_LABEL_BYTES: usize = 128;
/// Bytes of an error message; longer ones are cut.
pub const MAX_ERROR_BYTES: usize = 4 << 10;
/// Bytes of a result.
pub const MAX_RESULT_BYTES: usize = 64 << 10;
/// Bytes of job ids, worker ids, error codes and content types.
pub const MAX_ID_BYTES: usize = 128;
/// Characters of a request id: a UUID in its usual form.
pub const MAX_REQUEST_ID_BYTES: usize = 36;
/// Jobs of one Lease.
pub const MAX_LEASE_JOBS: u32 = 1_000;
/// Jobs of one Drain, RequeueJobs or PurgeJobs: their ids must fit a frame of the log.
pub const MAX_BULK_JOBS: u32 = 1_000_000;
/// Jobs that one command of a requeue or purge looks at: the writer must not stand still for one caller.
pub const MAX_SWEEP_JOBS: usize = 10_000;
/// The longest wait of a call.
pub const MAX_WAIT: Span = Span::from_secs(60);
/// The longest span of any setting: ten years.
pub const MAX_SPAN: Span = Span::from_secs(10 * 366 * 86_400);
/// The shortest lease: below it network delays alone would lose it.
pub const MIN_LEASE: Span = Span::from_secs(1);
/// The longest lease: a dead worker's jobs come back within half a day.
pub const MAX_LEASE: Span = Span::from_secs(12 * 3600);
/// Queues of a server: each costs memory and a record.
pub const MAX_QUEUES: usize = 100_000;
/// Request ids that are remembered.
pub const MAX_REQUEST_IDS: usize = 1_000_000;
/// How long a request id is remembered.
pub const REQUEST_ID_WINDOW: Span = Span::from_secs(24 * 3600);
/// Error codes counted apart in a queue's totals.
pub const MAX_ERROR_CODES: usize = 64;
/// Attempts of a retry policy.
pub const MAX_ATTEMPTS: u32 = 1_000;
/// Bytes of history a queue may keep.
pub const MAX_RETENTION_BYTES: u64 = 1 << 40;
/// What a finished job counts in `retention_bytes`, besides its result.
pub const FINISHED_JOB_BYTES: u64 = 128;
/// Lease calls that may wait at a time, over all queues.
pub const MAX_WAITING_LEASES: usize = 100_000;
/// Jobs that one step forgets when their retention has passed: the rest are due again at once.
pub const MAX_FORGET_PER_STEP: usize = 4_096;
/// Timers that one step wakes: the rest are due again at once.
pub const MAX_WAKES_PER_STEP: usize = 4_096;
/// Statistics' window.
pub const RATE_WINDOW: Span = Span::from_secs(10);
