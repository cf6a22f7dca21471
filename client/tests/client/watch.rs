//! `sluice watch`, as lines and on a terminal.

use std::process::Stdio;

use serde_json::Value;
use sluice_client::proto::{QueueStatus, StateCounts, WatchQueuesResponse};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::Command,
};
use tonic::Status;

use crate::{
    cli::{code, sluice, text},
    fake::Fake,
    terminal::Terminal,
};

fn statuses(queues: &[(&str, u64)]) -> WatchQueuesResponse {
    let status = |(queue, ready): &(&str, u64)| QueueStatus {
        queue: (*queue).to_owned(),
        counts: Some(StateCounts { ready: *ready, ..Default::default() }),
        ..Default::default()
    };
    WatchQueuesResponse { statuses: queues.iter().map(status).collect(), ..Default::default() }
}

#[tokio::test]
async fn all_queues_are_shown_with_their_names() {
    let fake = Fake::start().await;
    fake.state().changes.push_back(vec![Ok(statuses(&[("mail", 3), ("sms\u{1b}", 4)]))]);
    let output = sluice(&fake, &["watch", "--once"], "").await;
    let lines: Vec<_> = text(&output.stdout).lines().collect();
    assert_eq!((code(&output), lines.len()), (0, 2));
    assert!(lines[0].starts_with("- mail ready 3 ") && lines[1].starts_with("- sms\\u{1b} ready 4 "));
    assert_eq!(fake.state().patterns, ["*"]);
}

#[tokio::test]
async fn queues_of_a_pattern_are_followed_over_a_broken_stream() {
    let fake = Fake::start().await;
    let deleted =
        WatchQueuesResponse { deleted_queues: vec!["sms.b".to_owned()], ..statuses(&[("sms.a", 2)]) };
    fake.state().changes.extend([
        vec![Ok(statuses(&[("sms.a", 1), ("sms.b", 1)])), Err(Status::unavailable("broken"))],
        vec![Ok(deleted)],
    ]);
    let mut child = Command::new(env!("CARGO_BIN_EXE_sluice"))
        .args(["--addr", &fake.url(), "watch", "--queue", "sms.*", "-o", "jsonl"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut next =
        async || -> Value { serde_json::from_str(&lines.next_line().await.unwrap().unwrap()).unwrap() };
    assert_eq!(next().await["queue"], "sms.a");
    assert_eq!(next().await["queue"], "sms.b");
    assert_eq!(next().await["counts"]["ready"], 2);
    assert_eq!(next().await, serde_json::json!({ "queue": "sms.b", "deleted": true }));
    assert_eq!(fake.state().patterns, ["sms.*", "sms.*"]);
}

#[tokio::test]
async fn terminal_shows_the_queues_and_is_given_back_at_the_end() {
    let fake = Fake::start().await;
    fake.state().changes.push_back(vec![Ok(statuses(&[("mail", 3), ("sms", 4)]))]);
    let mut terminal = Terminal::start(&fake, &["watch"]);
    terminal.until("sms").await;
    terminal.press("j\r");
    terminal.until("Esc back").await;
    terminal.press("q");
    assert_eq!(terminal.end().await, (0, String::new()));
}

#[tokio::test]
async fn terminal_is_given_back_at_a_signal_and_at_an_interrupt_by_key() {
    let fake = Fake::start().await;
    fake.state().add_jobs(["a"]);
    let mut terminal = Terminal::start(&fake, &["watch", "--queue", "q"]);
    terminal.until("level").await;
    terminal.terminate();
    assert_eq!(terminal.end().await, (0, String::new()));

    let mut terminal = Terminal::start(&fake, &["watch", "--queue", "q"]);
    terminal.until("level").await;
    terminal.press("\u{3}");
    assert_eq!(terminal.end().await, (0, String::new()));
}

#[tokio::test]
async fn terminal_is_given_back_before_the_error_is_said() {
    let fake = Fake::start().await;
    let refused = Status::permission_denied("no more");
    fake.state().changes.push_back(vec![Ok(statuses(&[("mail", 3)])), Err(refused)]);
    let terminal = Terminal::start(&fake, &["watch"]);
    let (code, said) = terminal.end().await;
    assert_eq!(code, 71);
    assert!(said.contains("sluice: PERMISSION_DENIED: no more"), "{said}");
}

#[tokio::test]
async fn view_says_that_the_server_is_away_and_goes_on_when_it_is_back() {
    let fake = Fake::start().await;
    fake.state().changes.extend([
        vec![Ok(statuses(&[("mail", 3)])), Err(Status::unavailable("restarting"))],
        vec![Ok(statuses(&[("mail", 3), ("sms", 4)]))],
    ]);
    let mut terminal = Terminal::start(&fake, &["watch"]);
    terminal.until("UNAVAILABLE: restarting; trying again").await;
    terminal.until("sms").await;
    terminal.press("q");
    assert_eq!(terminal.end().await, (0, String::new()));
}

#[tokio::test]
async fn plain_lines_are_what_a_terminal_gets_that_asks_for_them() {
    let fake = Fake::start().await;
    fake.state().add_jobs(["a"]);
    for flags in [&["--once"][..], &["-o", "jsonl"][..]] {
        let mut terminal = Terminal::start(&fake, &[&["watch", "--queue", "q"], flags].concat());
        terminal.until("ready").await;
        assert!(!terminal.has_entered());
    }
}
