//! The one thread that changes anything. It drains the mailbox, lets the engine decide, makes the group
//! durable, and only then answers.

mod handle;

pub use handle::{CallError, Delivery, Handle, LeaseGuard};
