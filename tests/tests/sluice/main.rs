//! Black-box tests: everything here goes over the network or the command line to a real `sluiced`,
//! as its users do. One file a theme; a test that shows a row of the mission bears its id.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed, and says where")]
#![allow(clippy::disallowed_methods, reason = "tests stand outside: their clock is the client's own")]
#![allow(clippy::print_stderr, reason = "what a failed test has to say")]

mod back_pressure;
mod backup;
mod capacity;
mod card;
mod chaos;
mod check;
mod drain;
mod inbox;
mod input;
mod job;
mod lease;
mod order;
mod page;
mod payload;
mod python;
mod readme;
mod repeat;
mod restart;
mod retry;
mod room;
mod service;
mod setting;
mod statistic;
mod stream;
mod watch;
mod webhook;
mod work;
