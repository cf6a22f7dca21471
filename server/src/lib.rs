//! sluiced, the Sluice server.

#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod auth;
pub mod bound;
pub mod clock;
pub mod config;
pub mod http;
mod idempotency;
pub mod layer;
pub mod listener;
pub mod load;
pub mod os;
mod planted;
pub mod reload;
pub mod rpc;
pub mod run;
#[cfg(test)]
mod simulation;
pub mod store;
pub mod task;
pub mod telemetry;
pub mod tls;
pub mod transport;
pub mod writer;
