//! The Rust client of Sluice.
