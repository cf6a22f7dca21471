//! What `sluiced` does with a store that nobody serves: `check` and `restore`, as an operator runs them.

use std::ffi::OsStr;
use std::path::Path;
use std::process::Stdio;

use tokio::process::Command;

use crate::binary;
use crate::cli::{Said, said};

/// `sluiced check DIR`.
pub async fn check(dir: &Path) -> Said {
    run(&["check".as_ref(), dir.as_os_str()]).await
}

/// `sluiced restore FILE DIR`.
pub async fn restore(file: &Path, dir: &Path) -> Said {
    run(&["restore".as_ref(), file.as_os_str(), dir.as_os_str()]).await
}

/// Runs `sluiced` with these arguments to its end.
pub async fn run(arguments: &[&OsStr]) -> Said {
    let mut command = Command::new(binary::sluiced());
    said(command.args(arguments).stdin(Stdio::null()).kill_on_drop(true).output().await.unwrap())
}
