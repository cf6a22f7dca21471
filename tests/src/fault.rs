//! Faults of a real process on a real file system: a fixed workload, what its client was told of each job, and ways to
//! end, refuse, fill and spoil. Whatever happened, what a restart shows must be what somebody was told.

pub mod clock;
pub mod full;
pub mod image;
pub mod power;
pub mod recording;
pub mod script;
pub mod spoil;
pub mod strace;
pub mod sweep;
pub mod told;

pub use script::Script;
pub use told::Told;
