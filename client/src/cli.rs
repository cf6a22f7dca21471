//! The program `sluice`.
