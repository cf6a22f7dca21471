//! sluiced, the Sluice server.

pub mod os;
pub mod store;
pub mod writer;
