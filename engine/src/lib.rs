//! The queue itself: pure and deterministic. It knows neither clock, chance, disk, network nor thread.
//!
//! [`Engine::apply`] decides what a [`Command`] does and says so in [`Mutation`]s; only when the store
//! has made those durable may anybody be answered. The facts live in the [`Ledger`], which changes by
//! mutations alone, so that a replay of what the store holds ([`Loader`]) gives the same engine. What
//! can be derived from the facts (the dispatch tree, timers, positions) is rebuilt.
//!
//! ```text
//! command ─► engine: decides ─► mutation ─► ledger: facts      (live: and the store)
//!                    │                      │
//!                    └── tree, timers, positions: derived from them
//! ```

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod arrival;
pub mod bound;
mod command;
mod engine;
mod explanation;
mod id;
mod job;
mod ledger;
mod limit;
mod loader;
mod mutation;
mod name;
mod outcome;
mod queue;
mod retry;
mod settings;
mod time;
mod timer;
mod tree;

pub use command::{
    Ack, Acquire, Command, DeleteQueue, Drain, Enqueue, Extension, JobQuery, Lease, Nack, NackReason,
    NodeName, PutLimit, PutQueue, RequestKey, Requeue, StateSet, Sweep, ThrottleScope, Update,
};
#[cfg(feature = "bench")]
pub use engine::Dispatcher;
pub use engine::{Effects, Engine, EngineConfig, JobsPage};
pub use explanation::{Ahead, Eta, Explanation, GateView, Reason};
pub use id::{JobId, LeaseToken, QueueId, Ticket};
pub use job::{
    Attempt, Attributes, Block, BlockKind, Cost, Detail, Due, JobError, JobRecord, JobSpec, JobState,
    JobView, LeasedJob, Priority, Start,
};
pub use ledger::{
    Adaptation, Breaker, BreakerState, DrainRecord, Feedback, IdempotencyRecord, Ledger, Meter, NodeState,
    Phase, Quota, RequestRecord, Trace, Turn,
};
pub use limit::{
    BreakerPolicy, LimitPatch, LimitRecord, LimitSettings, LimitView, NodeSettings, Unit, Window, WindowKind,
};
pub use loader::{LoadError, Loader};
pub use mutation::{Charge, Mutation, Next, ReturnCause, Settlement};
pub use name::{BatchName, Key, KeyPattern, LimitName, NameError, QueueName, is_like};
pub use outcome::{
    Acquired, Answer, Besides, Drained, Enqueued, Extended, Full, ItemRefusal, Leased, Nacked, Outcome,
    Refusal,
};
pub use queue::{
    BatchRecord, BatchState, BatchView, KeyStatus, KeysPage, Level, NodeStatus, QueueRates, QueueRecord,
    QueueStatus, QueueTotals, QueueVersion, QueueView, StateCounts, WindowStatus,
};
pub use retry::{RetryPatch, RetryPolicy};
pub use settings::{
    Capacity, FlowHintPolicy, FlowHintStep, KeyRule, OverflowPolicy, QueuePatch, QueueSettings, Reserve,
};
pub use time::{Now, Span, Timestamp, WallTime};
