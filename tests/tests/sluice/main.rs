//! Black-box tests: everything here goes over the network or the command line to a real `sluiced`,
//! as its users do. One file a theme; a test that shows a row of the mission bears its id.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed, and says where")]
#![allow(clippy::disallowed_methods, reason = "tests stand outside: their clock is the client's own")]
#![allow(clippy::print_stderr, reason = "what a failed test has to say")]

mod adapt;
mod attempt;
mod back_pressure;
mod backup;
mod backup_mix;
mod backup_spoiled;
mod batch;
mod batch_huge;
mod batch_wait;
mod batch_way;
mod burst;
mod bypass;
mod cancel;
mod capacity;
mod card;
mod chaos;
mod chat_bot;
mod check;
mod cost;
mod deletion;
mod drain;
mod dropped;
mod eta;
mod expiry;
mod explain;
mod filter;
mod fleet;
mod hint;
mod idempotency;
mod idle;
mod inbox;
mod inbox_pressure;
mod input;
mod job;
mod key;
mod key_capacity;
mod lease;
mod limit;
mod order;
mod overflow;
mod page;
mod pause;
mod payload;
mod put_queue;
mod python;
mod readme;
mod redrive;
mod repeat;
mod rest;
mod restart;
mod retry;
mod room;
mod room_change;
mod screen;
mod service;
mod setting;
mod shared_limit;
mod sms;
mod statistic;
mod stream;
mod telegram;
mod update;
mod watch;
mod watch_gone;
mod watch_many;
mod watch_slow;
mod webhook;
mod work;
mod work_credit;
mod work_end;
mod work_http;
