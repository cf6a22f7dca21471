//! The one thread that changes anything. It drains the mailbox, lets the engine decide, makes the group
//! durable, and only then answers.
//!
//! ```text
//! handle ─► mailbox ─► thread ─► step: apply each ─► wake ─► commit ─► answer ─► read ─► publish ─► upkeep
//! ```
//!
//! [`Step`] is the whole of it without thread and clock, so that a simulation can drive it. Nothing here
//! knows gRPC, and of the store only its trait.

#[cfg(test)]
pub(crate) mod bare;
mod delivery;
mod event;
mod handle;
mod mailbox;
mod many;
mod message;
mod post;
mod rest;
mod step;
#[cfg(test)]
mod test;
mod thread;
mod watcher;

pub use delivery::{Delivery, LeaseGuard};
pub use handle::{CallError, Handle};
pub use mailbox::MailboxLimit;
pub use many::ChangedQueues;
pub use message::{Message, Returned};
pub use step::{Step, Wake};
pub use thread::{Fatal, OnFatal, StartError, Writer, exit_at_once};
