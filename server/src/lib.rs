//! sluiced, the Sluice server.

pub mod store;
pub mod writer;
