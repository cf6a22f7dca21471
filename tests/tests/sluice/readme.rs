//! The README keeps its word: its two commands are the ones that work.

use std::process::Stdio;

use sluice_tests::binary;
use tokio::io::{AsyncBufReadExt, BufReader};

/// The commands of the README's section of two commands: the lines of its `sh` block.
fn commands() -> Vec<String> {
    let readme = std::fs::read_to_string(binary::workspace().join("README.md")).unwrap();
    let section = readme.split("\n## ").find(|section| section.starts_with("Two commands\n")).unwrap();
    let block = section.split("```sh\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    block.lines().map(|line| line.split('#').next().unwrap_or_default().trim().to_owned()).collect()
}

#[test]
fn readme_has_exactly_two_commands_and_the_second_is_the_test() {
    let commands = commands();
    assert_eq!(commands.len(), 2, "{commands:?}");
    assert_eq!(commands[1], "./test");
}

#[tokio::test]
async fn readmes_first_command_starts_sluiced_on_an_empty_directory() {
    // Built already, so that cargo has nothing left to do but to run it.
    let _ = binary::sluiced();
    let directory = tempfile::tempdir().unwrap();
    let mut child = tokio::process::Command::new("sh")
        .arg("-c")
        .arg(format!("exec {}", commands()[0]))
        .current_dir(binary::workspace())
        .env("SLUICED_LISTEN", "127.0.0.1:0")
        .env("SLUICED_HTTP", "127.0.0.1:0")
        .env("SLUICED_DATA_DIR", directory.path().join("data"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let line = lines.next_line().await.unwrap().unwrap();
    assert!(line.starts_with("listening on 127.0.0.1:"), "{line}");
    // cargo has become sluiced: what is asked to stop here is the server itself.
    let pid = rustix::process::Pid::from_raw(i32::try_from(child.id().unwrap()).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    assert_eq!(child.wait().await.unwrap().code(), Some(0));
}
