//! The program `sluice`: what it prints, and how it ends.

use std::process::{Output, Stdio};

use serde_json::Value;
use sluice_client::{Code, proto::Job};
use tokio::{io::AsyncWriteExt, process::Command};
use tonic::Status;

use crate::fake::Fake;

pub(crate) async fn sluice(fake: &Fake, arguments: &[&str], input: &str) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_sluice"))
        .args(["--addr", &fake.url()])
        .args(arguments)
        .env_remove("SLUICE_TOKEN")
        .env_remove("SLUICE_TOKEN_FILE")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    // A command that fails early reads nothing.
    let _ = stdin.write_all(input.as_bytes()).await;
    drop(stdin);
    child.wait_with_output().await.unwrap()
}

pub(crate) fn code(output: &Output) -> i32 {
    output.status.code().unwrap()
}

pub(crate) fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

fn payloads(fake: &Fake) -> Vec<String> {
    let payload = |job: &Job| text(job.payload.as_deref().unwrap()).to_owned();
    fake.state().ready.iter().map(payload).collect()
}

#[tokio::test]
async fn single_job_goes_in_with_all_its_flags_and_its_id_comes_out() {
    let fake = Fake::start().await;
    let flags =
        ["enqueue", "--queue", "q", "--key", "a/b", "--priority", "7", "--delay", "5s", "--label", "k=v"];
    let flags = [&flags[..], &["--content-type", "text/plain", "--max-attempts", "3"]].concat();
    let output = sluice(&fake, &flags, "from stdin").await;
    assert_eq!((code(&output), text(&output.stdout)), (0, "j1\n"));
    let request = fake.state().enqueues[0].clone();
    let job = &request.jobs[0];
    assert_eq!((request.queue.as_str(), &job.payload[..]), ("q", &b"from stdin"[..]));
    assert_eq!((job.key.as_str(), job.priority, job.content_type.as_str()), ("a/b", Some(7), "text/plain"));
    assert_eq!((job.labels["k"].as_str(), job.delay.unwrap().seconds), ("v", 5));
    assert_eq!(job.retry_policy.unwrap().max_attempts, Some(3));
    let output = sluice(&fake, &["enqueue", "--queue", "q", "--payload", "x", "-o", "json"], "").await;
    assert_eq!(serde_json::from_slice::<Value>(&output.stdout).unwrap()["job_id"], "j2");
}

#[tokio::test]
async fn lines_go_in_in_order_and_are_summed_up() {
    let fake = Fake::start().await;
    let lines: String = (0..25).map(|line| format!("{{\"payload\":{{\"n\": {line}}}}}\n")).collect();
    let flags = ["enqueue", "--queue", "q", "-f", "-", "--batch", "10"];
    let output = sluice(&fake, &flags, &lines).await;
    assert_eq!((code(&output), text(&output.stdout)), (0, "25 jobs enqueued\n"));
    assert_eq!(payloads(&fake), (0..25).map(|line| format!("{{\"n\": {line}}}")).collect::<Vec<_>>());

    let output = sluice(&fake, &[&flags[..], &["--ids"]].concat(), "{}\n{}\n").await;
    assert_eq!(text(&output.stdout), "j26\nj27\n");
}

#[tokio::test]
async fn bad_line_is_named_and_nothing_of_its_batch_goes() {
    let fake = Fake::start().await;
    let input = "{\"payload\":\"a\"}\n{\"payload\":\"b\"}\n{\"payload\":\"c\"}\n{\"priority\":\"high\"}\n";
    let output = sluice(&fake, &["enqueue", "--queue", "q", "-f", "-", "--batch", "2"], input).await;
    assert_eq!((code(&output), text(&output.stdout)), (2, ""));
    let said = text(&output.stderr);
    assert!(said.contains("line 4: ") && said.contains("2 jobs of other batches are enqueued"), "{said}");
    assert_eq!(payloads(&fake), ["a", "b"]);
}

#[tokio::test]
async fn refused_batch_names_its_lines_and_ends_with_its_code() {
    let fake = Fake::start().await;
    let refusal = sluice_client::proto::EnqueueError {
        code: Code::InvalidArgument as i32,
        message: "jobs[1].key: too long".to_owned(),
        ..Default::default()
    };
    fake.state().refusals.insert("b", refusal);
    let input = "{\"payload\":\"a\"}\n{\"payload\":\"b\"}\n{\"payload\":\"c\"}\n";
    let output = sluice(&fake, &["enqueue", "--queue", "q", "-f", "-", "--batch", "1"], input).await;
    assert_eq!(code(&output), 67);
    assert!(text(&output.stderr).contains("lines 2 to 2: INVALID_ARGUMENT: jobs[1].key: too long"));
}

#[tokio::test]
async fn exit_codes_say_what_happened() {
    let fake = Fake::start().await;
    assert_eq!(code(&sluice(&fake, &["lease", "--queue", "q"], "").await), 3);
    assert_eq!(code(&sluice(&fake, &["get", "nothing"], "").await), 3);
    assert_eq!(code(&sluice(&fake, &["ack", "j1:1"], "").await), 73);
    assert_eq!(code(&sluice(&fake, &["ack", "j1"], "").await), 2);
    assert_eq!(code(&sluice(&fake, &["nonsense"], "").await), 2);
    fake.state().failures.insert("get_job", [Status::permission_denied("no")].into());
    assert_eq!(code(&sluice(&fake, &["get", "j1"], "").await), 71);
    assert_eq!(code(&sluice(&fake, &["--addr", "nowhere", "get", "j1"], "").await), 2);
}

#[tokio::test]
async fn job_is_leased_and_settled_by_hand() {
    let fake = Fake::start().await;
    fake.state().add_jobs(["a", "b"]);
    let output = sluice(&fake, &["lease", "--queue", "q", "--max-jobs", "2", "-o", "jsonl"], "").await;
    let leased: Vec<Value> =
        text(&output.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(
        (leased.len(), &leased[0]["job"]["payload"], &leased[0]["lease_token"]),
        (2, &"a".into(), &1.into())
    );
    let output = sluice(&fake, &["ack", "j1:1", "--result", "fine", "-o", "json"], "").await;
    assert_eq!(serde_json::from_slice::<Value>(&output.stdout).unwrap()[0]["job_id"], "j1");
    let output = sluice(&fake, &["nack", "j2:1", "--reason", "rejected"], "").await;
    assert_eq!(code(&output), 0);
    // The first refused item decides.
    assert_eq!(code(&sluice(&fake, &["ack", "j1:7"], "").await), 73);
}

#[tokio::test]
async fn jobs_are_listed_page_by_page_up_to_the_limit() {
    let fake = Fake::start().await;
    fake.state().add_jobs(["x"; 5]);
    let count = |output: Output| text(&output.stdout).lines().count();
    assert_eq!(count(sluice(&fake, &["jobs", "list", "-o", "jsonl", "--limit", "0"], "").await), 5);
    assert_eq!(count(sluice(&fake, &["jobs", "list", "-o", "jsonl", "--limit", "4"], "").await), 4);
    let output = sluice(&fake, &["jobs", "list", "-o", "json"], "").await;
    assert_eq!(serde_json::from_slice::<Vec<Value>>(&output.stdout).unwrap().len(), 5);
}

#[tokio::test]
async fn drain_prints_every_job_once_over_a_broken_stream() {
    let fake = Fake::start().await;
    let job = |n| Job { job_id: format!("j{n}"), payload: Some("p".into()), ..Job::default() };
    fake.state().drained = (0..5).map(job).collect();
    fake.state().drain_breaks = 2;
    let output = sluice(&fake, &["drain", "--queue", "q", "--request-id", "d"], "").await;
    let ids: Vec<_> = text(&output.stdout)
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["job_id"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!((code(&output), ids), (0, (0..5).map(|n| format!("j{n}")).collect()));
}

#[tokio::test]
async fn command_works_until_the_queue_is_empty() {
    let fake = Fake::start().await;
    fake.state().add_jobs(["a", "b", "c"]);
    let command =
        "read -r word || true; [ \"$word\" = b ] && { echo broken >&2; exit 65; }; echo $SLUICE_JOB_ID";
    let output = sluice(&fake, &["work", "--queue", "q", "--exec", command, "--until-empty"], "").await;
    assert_eq!(code(&output), 0, "{}", text(&output.stderr));
    assert_eq!(text(&output.stdout), "2 done, 0 failed, 0 throttled, 1 rejected, 0 released, 0 lost\n");
    let state = fake.state();
    assert_eq!(state.acks[0][0].result.as_deref(), Some(&b"j1\n"[..]));
    assert_eq!((state.nacks[0].error.as_str(), state.nacks[0].error_code.as_str()), ("broken", "exit_65"));
}

#[tokio::test]
async fn watch_shows_how_the_queue_stands() {
    let fake = Fake::start().await;
    fake.state().add_jobs(["a"]);
    let output = sluice(&fake, &["watch", "--queue", "q", "--once", "-o", "json"], "").await;
    assert_eq!(serde_json::from_slice::<Value>(&output.stdout).unwrap()["counts"]["ready"], 1);
}

#[tokio::test]
async fn completion_is_printed_for_every_shell() {
    let fake = Fake::start().await;
    for shell in ["bash", "zsh", "fish"] {
        let output = sluice(&fake, &["completion", shell], "").await;
        assert!(code(&output) == 0 && text(&output.stdout).contains("sluice"));
    }
}
