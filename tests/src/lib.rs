//! What the black-box tests need: a real `sluiced` to start, kill and start again, the generated
//! clients to speak to it, and a judge of what those clients saw. Knows the contract and the command
//! lines; knows nothing of how the server works inside.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed, and says where")]
#![allow(clippy::disallowed_methods, reason = "tests stand outside: their clock is the client's own")]
#![allow(clippy::print_stderr, reason = "what a failed test has to say")]

pub mod authority;
pub mod binary;
pub mod cable;
pub mod cli;
pub mod downstream;
pub mod fault;
pub mod flood;
pub mod guarded;
pub mod history;
pub mod http;
pub mod idle;
pub mod judge;
pub mod load;
pub mod nginx;
pub mod overload;
pub mod peer;
pub mod queue;
pub mod referee;
pub mod sink;
pub mod sluiced;
pub mod spec;
pub mod status;
pub mod task;
pub mod webhook;
pub mod wire;
pub mod worker;

pub use queue::Queue;
pub use sluiced::{Setup, Sluiced};
pub use worker::Worker;
