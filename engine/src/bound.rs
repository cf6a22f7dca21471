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
/// Deliveries that a job's history tells of: enough to see a pattern, too few to matter.
pub const MAX_ATTEMPT_HISTORY: usize = 10;
/// Bytes of an error message in that history: the last one is kept whole beside it.
pub const MAX_ATTEMPT_ERROR_BYTES: usize = 256;
/// Jobs of a queue's or key's capacity.
pub const MAX_CAPACITY_JOBS: u64 = 1 << 40;
/// Bytes of a queue's or key's capacity.
pub const MAX_CAPACITY_BYTES: u64 = 1 << 50;
/// Key rules of a queue: each new key is held against all of them.
pub const MAX_KEY_RULES: usize = 100;
/// Enqueue calls that may wait for room, over all queues.
pub const MAX_WAITING_ENQUEUES: usize = 100_000;
/// Bytes of the jobs of those calls: they lie in memory while they wait.
pub const MAX_WAITING_ENQUEUE_BYTES: usize = 256 << 20;
/// Idempotency keys that are remembered unless set otherwise; each costs some 60 bytes.
pub const DEFAULT_IDEMPOTENCY_KEYS: u64 = 10_000_000;
/// How long an idempotency key is remembered unless set otherwise.
pub const IDEMPOTENCY_WINDOW: Span = Span::from_secs(24 * 3600);
/// Batches that are remembered, over all queues.
pub const MAX_BATCHES: usize = 1_000_000;
/// Batches that one Enqueue may announce.
pub const MAX_BATCH_TOTALS: usize = 1_000;
/// Jobs of one BatchGetJobs.
pub const MAX_GET_JOBS: usize = 1_000;
/// Idempotency keys that one step forgets: the rest are due again at once.
pub const MAX_KEYS_FORGOTTEN_PER_STEP: usize = 65_536;
/// Jobs of a deleted queue that one step looks for: the writer must not stand still.
pub const MAX_DELETIONS_PER_STEP: usize = 4_096;
/// A queue is WARNING above this part of its capacity,
pub const WARNING_ABOVE: f64 = 0.8;
/// until it is below this one: a queue at the edge must not flicker.
pub const WARNING_UNTIL: f64 = 0.7;
/// A queue is CRITICAL when it is full, until it is below this part of its capacity.
pub const CRITICAL_UNTIL: f64 = 0.95;
/// A queue is WARNING too when, at the present rates, it is full within this.
pub const WARNING_AHEAD: Span = Span::from_secs(60);
/// Timers that one step wakes: the rest are due again at once.
pub const MAX_WAKES_PER_STEP: usize = 4_096;
/// Statistics' window.
pub const RATE_WINDOW: Span = Span::from_secs(10);
/// Over how much time it is looked at how much comes, when it is said when a job will run.
pub const ARRIVAL_WINDOW: Span = Span::from_secs(300);
/// Jobs of a batch that are looked at to say when it will be done, the latest first,
pub const MAX_BATCH_JOBS_LOOKED_AT: usize = 4_096;
/// and those of them whose turn is reckoned with.
pub const MAX_BATCH_JOBS_RECKONED: usize = 64;
/// Windows of a node.
pub const MAX_WINDOWS: usize = 4;
/// Units of a window, in one period and at once.
pub const MAX_AMOUNT: u32 = 1_000_000_000;
/// The shortest period of a window.
pub const MIN_PERIOD: Span = Span::from_millis(1);
/// The longest period of a window.
pub const MAX_PERIOD: Span = Span::from_secs(366 * 86_400);
/// What a job may cost.
pub const MAX_COST: u32 = 1_000_000_000;
/// Jobs in flight that a node may be allowed.
pub const MAX_IN_FLIGHT: u32 = 1_000_000;
/// Jobs that a node may send in its turn.
pub const MAX_WEIGHT: u32 = 1_000;
/// Nodes that one search for a job parks: the rest are looked at again at once.
pub const MAX_PARKED_PER_STEP: usize = 4_096;
/// Nodes that one step goes through when the limits of a queue have changed: the rest are gone through in the next ones.
pub const MAX_NODES_SWEPT_PER_STEP: usize = 4_096;
/// Nodes of which one step looks whether their debt is past, besides two for each that it made.
pub const MIN_GATES_SWEPT_PER_STEP: usize = 64;
/// Queues beside a job's own under their shared limit that are looked at to say when it will run.
pub const MAX_QUEUES_LOOKED_AT: usize = 1_000;
/// Shared limits: all are said again whenever the log lets go of a segment.
pub const MAX_LIMITS: usize = 1_000;
/// AcquireLimit calls that may wait at a time, over all nodes.
pub const MAX_WAITING_ACQUIRES: usize = 10_000;
/// How long a node is frozen at first when a worker says THROTTLED and no time; then twice as long each time,
pub const FIRST_FREEZE: Span = Span::from_secs(1);
/// up to this many doublings: 1, 2, 4, 8, 16 s;
pub const MAX_FREEZE_DOUBLINGS: u8 = 4;
/// until this much time passed without another.
pub const FREEZE_MEMORY: Span = Span::from_secs(60);
/// Nodes of which one step says again what limits know.
pub const MAX_NODES_RESTATED: usize = 1_024;
/// What a rate may be owed beyond its burst, in time, for jobs that bypass limits still to go: an emergency is short.
pub const MAX_BYPASS_DEBT: Span = Span::from_secs(60);
/// Keys of jobs that bypass limits that one search for a job asks: the rest are asked at once again.
pub const MAX_BYPASS_LOOKS: usize = 64;
/// What a node whose rate is not known lets through a second when the downstream first says that it was too much: a
/// queue,
pub const FIRST_QUEUE_RATE: f64 = 5.0;
/// and a key. Then twice as much each second, until it is said again.
pub const FIRST_KEY_RATE: f64 = 1.0;
/// What a THROTTLED leaves of a node's rate,
pub const CUT: f64 = 0.85;
/// and of one that was still looked for: it was overshot by up to twice.
pub const SEARCH_CUT: f64 = 0.7;
/// The rate comes back to what it was at the cut within this much time of use,
pub const GROWTH_SPAN: Span = Span::from_secs(60);
/// or within so many calls, where that takes longer: what is rarely asked learns little in a minute.
pub const GROWTH_CALLS: f64 = 60.0;
/// The least that a node learns to let through, a second: one in a minute. What is rarer the downstream says by a time.
pub const MIN_LEARNED_RATE: f64 = 1.0 / 60.0;
/// The most that a node learns to let through, a second: so much is no limit any more.
pub const MAX_LEARNED_RATE: f64 = 1e6;
/// What a node with a learned rate lets through at once, at least.
pub const MIN_LEARNED_BURST: u32 = 2;
/// Lateness that it makes up for, where its rate is high enough for that to be more.
pub const LEARNED_LATENESS: Span = Span::from_millis(20);
/// Answers without a THROTTLED after which the next one is not the same trouble again.
pub const CALM_ANSWERS: u8 = 3;
/// What a node learned is forgotten after so long without a word from the downstream.
pub const FEEDBACK_MEMORY: Span = Span::from_secs(3_600);
/// Children of a node that are told off within this time may mean that it was too much for the node.
pub const WITNESS_WINDOW: Span = Span::from_secs(1);
/// So many of those that went well before,
pub const MIN_PROVEN_WITNESSES: usize = 2;
/// or so many of those of which nothing is known, where the node's own rate is not known either,
pub const MIN_WITNESSES: usize = 3;
/// or so many where it is.
pub const MIN_WITNESSES_AGAINST_A_RATE: usize = 16;
/// And one in so many of the node's answers at least.
pub const WITNESS_SHARE: usize = 50;
/// Witnesses that are remembered, over all nodes: the oldest go first.
pub const MAX_WITNESSES: usize = 1_024;
/// Failures in a row that a breaker may ask for.
pub const MAX_CONSECUTIVE_FAILURES: u32 = 1_000;
/// The shortest time that a breaker stays open.
pub const MIN_OPEN: Span = Span::from_secs(1);
/// The longest.
pub const MAX_OPEN: Span = Span::from_secs(86_400);
