//! The engine's words as the contract's. Total: whatever the engine says can be shown.

mod explanation;
mod gate;
mod info;
pub(super) mod job;
mod queue;
mod time;

pub(super) use explanation::explanation;
pub(super) use gate::{acquired, limit};
pub(super) use info::server_info;
pub(super) use job::{job, leased_job, state, state_of};
pub(super) use queue::{absent_status, batch, etag, flow_hint, key_status, queue, status};
pub(super) use time::{duration, std_duration, timestamp};
