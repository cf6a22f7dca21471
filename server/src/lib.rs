//! sluiced, the Sluice server.

pub mod store;
