//! sluiced.
fn main() {}
