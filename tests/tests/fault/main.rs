//! Faults of a real process on a real file system: killed at a system call, refused by the disk, without
//! power, with spoiled files. By itself, for each of these needs the machine. `cargo run --bin fault` has the long forms.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed, and says where")]
#![allow(clippy::print_stderr, reason = "the figures")]

mod call;
mod full;
mod power;
mod spoil;
