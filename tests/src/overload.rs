//! More than a server can do: more peers than it serves, more calls than it may take, peers that mean it ill. Others must
//! not notice much, and afterwards all must be as before.

pub mod crowd;
pub mod latency;
pub mod siege;
pub mod surge;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

pub use latency::Latency;

/// Lets this process have as many files open as it may: each peer is one.
fn raise_file_limit(needed: u64) {
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
    let may = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    assert!(may >= needed, "{needed} files must be allowed to be open (ulimit -n), and {may} are");
}
