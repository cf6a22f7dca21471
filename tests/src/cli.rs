//! The command line `sluice`, as a person or a script runs it.

use std::path::Path;
use std::process::{Output, Stdio};
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::process::{Child, Command};

use crate::{Sluiced, binary};

/// How long a program may take that is to end: far more than it ever needs.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a finished command said.
#[derive(Debug)]
pub struct Said {
    /// Its exit code.
    pub code: i32,
    /// Its results.
    pub stdout: String,
    /// All else.
    pub stderr: String,
}

/// `sluice` with the address of `server`.
fn command(server: &Sluiced, arguments: &[&str]) -> Command {
    let mut command = Command::new(binary::sluice());
    command.arg("--addr").arg(server.url()).args(arguments).kill_on_drop(true);
    command
}

/// Runs a command to its end.
pub async fn run(server: &Sluiced, arguments: &[&str]) -> Said {
    said(command(server, arguments).stdin(Stdio::null()).output().await.unwrap())
}

/// Runs a command to its end, with input.
pub async fn run_with(server: &Sluiced, arguments: &[&str], input: &[u8]) -> Said {
    let mut command = command(server, arguments);
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().expect("it is piped").write_all(input).await.unwrap();
    said(child.wait_with_output().await.unwrap())
}

/// Starts a command that goes on; what it says on stderr goes to `log`. Dropped, it is killed.
pub fn start(server: &Sluiced, arguments: &[&str], log: &Path) -> Child {
    let log = std::fs::File::create(log).unwrap();
    command(server, arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().unwrap()
}

impl Said {
    /// The results of a command that must have gone well.
    #[must_use]
    pub fn ok(self) -> String {
        assert_eq!(self.code, 0, "{}{}", self.stdout, self.stderr);
        self.stdout
    }

    /// Each line of the results as JSON, of a command that must have gone well.
    #[must_use]
    pub fn lines(self) -> Vec<serde_json::Value> {
        self.ok().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

pub(crate) fn said(output: Output) -> Said {
    Said {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// Runs a `sluiced` that is not to come up, on ports that are free.
pub async fn run_server(data: &Path, arguments: &[&str]) -> Said {
    let mut command = Command::new(binary::sluiced());
    command.args(["--listen", "127.0.0.1:0", "--http", "127.0.0.1:0", "--data-dir"]).arg(data);
    command.args(arguments).stdin(Stdio::null()).kill_on_drop(true);
    let output = tokio::time::timeout(PATIENCE, command.output()).await;
    said(output.expect("it does not come up").unwrap())
}
