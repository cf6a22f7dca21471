//! The programs under test, built before the first test needs one, with the profile of the tests themselves.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The server.
#[must_use]
pub fn sluiced() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| build("sluiced", &[]))
}

/// The command line.
#[must_use]
pub fn sluice() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| build("sluice", &[]))
}

/// The server with a bug built in: `SLUICE_PLANTED` says which, else it answers before it commits.
#[must_use]
pub fn sluiced_planted() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| build("sluiced-planted", &["--features", "sluice-server/planted-bugs"]))
}

/// What records a process's writes, to be preloaded into it.
#[must_use]
pub fn recorder() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| build("libsluice_recorder.so", &["--package", "sluice-recorder"]))
}

/// The root of the workspace.
#[must_use]
pub fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("this package lies in the workspace")
}

/// All default members are selected, as in `cargo test`, and without optimisation the features that it turns on, so that
/// what is compiled there serves here.
fn build(name: &str, more: &[&str]) -> PathBuf {
    let directory = profile_directory();
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.current_dir(workspace()).args(["build", "--quiet"]).args(more);
    let is_optimised = directory.ends_with("release");
    if is_optimised {
        command.arg("--release");
    }
    if !name.ends_with(".so") {
        command.args(["--bin", name]);
        if !is_optimised {
            command.args(["--features", "sluice-tests/as-tested"]);
        }
    }
    let status = command.status().expect("cargo runs");
    assert!(status.success(), "cargo build of {name} failed: {status}");
    directory.join(name)
}

/// `target/debug` or `target/release`: two above the test's own `deps/NAME-HASH`, one above a binary.
fn profile_directory() -> PathBuf {
    let own = std::env::current_exe().expect("the running program has a path");
    let mut directory = own.parent().expect("a program lies in a directory");
    if directory.ends_with("deps") {
        directory = directory.parent().expect("deps lies in the profile's directory");
    }
    directory.to_owned()
}
