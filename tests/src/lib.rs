//! Black-box tests of a running sluiced.
