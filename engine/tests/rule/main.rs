//! The engine's rules, one sentence a test, seen from outside.

#![allow(clippy::unwrap_used, reason = "a test")]

mod deletion;
#[path = "../driver/mod.rs"]
mod driver;
mod expiry;
mod overflow;
mod replay;
mod room;
mod stage;
