//! The client against a server that does exactly what a test tells it.

#![allow(clippy::unwrap_used, reason = "a test")]

mod bench;
mod cli;
mod client;
mod drain;
mod fake;
mod producer;
mod terminal;
mod watch;
mod worker;
