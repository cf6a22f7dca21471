//! Turns what clients send into what the engine takes, or says everything that is wrong with it at once.
//!
//! Nothing that gets past this room needs to be checked again. It knows the contract's requests and the
//! engine's commands and bounds; it knows no queue, job or caller.

mod capacity;
mod change;
mod drain;
mod enqueue;
mod field;
mod filter;
mod job;
mod limit;
mod node;
mod page;
mod path;
mod queue;
mod settle;
mod span;
mod watch;
mod work;

pub(super) use change::{BatchCall, GetCall, batch, get_job, get_jobs, update};
pub(super) use drain::{DrainCall, drain};
pub(super) use enqueue::{enqueue, no_wait};
#[cfg(test)]
pub(super) use field::Fields;
pub(crate) use field::WrongField;
pub(super) use field::{JobRef, job_ref, queue_name};
pub(super) use filter::{Filter, SweepCall, purge, requeue};
pub(super) use limit::put_limit;
pub(super) use node::{acquire, reset_node};
pub(super) use page::{JobsCall, KeysCall, jobs_page, keys_page, queues_page};
pub(super) use queue::put_queue;
pub(super) use settle::{acks, extensions, nacks};
pub(super) use watch::{StatusCall, WatchCall, WatchManyCall, status, watch, watch_many};
pub(super) use work::{credit, lease, out_of_turn, work_start};
