//! sluiced, the Sluice server.

#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod layer;
pub mod rpc;
pub mod store;
pub mod writer;
