//! One suite over every store: what was committed is there again, whatever happened in between.
//!
//! `rig` drives an engine on a store without threads or clocks, `workload` gives it something to do, and
//! `picture` is everything that can be seen of both, to be compared. `restart` holds what must be true of
//! every store; `crash` ends the process of the store on disk at each step of moving home, `deletion`
//! while a deleted queue goes; `damage` spoils its files; `check` looks at what they leave; `fuzz` makes records up.

mod backup;
mod check;
mod compact;
mod crash;
mod damage;
mod deletion;
mod fuzz;
mod home;
pub(crate) mod picture;
mod restart;
mod rig;
mod workload;
