//! `sluice bench`.
