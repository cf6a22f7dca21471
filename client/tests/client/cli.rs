//! The program `sluice`: what it prints, and how it ends.

use std::process::{Output, Stdio};

use serde_json::Value;
use sluice_client::{
    Code,
    proto::{
        BatchState, GetBatchResponse, Job, JobError, JobState, KeyStatus, OverflowPolicy, QueueLevel,
        QueueStatus, StateCounts, WatchQueuesResponse,
    },
};
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
    let flags = ["enqueue", "--queue", "q", "-f", "-", "--batch-size", "10"];
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
    let output = sluice(&fake, &["enqueue", "--queue", "q", "-f", "-", "--batch-size", "2"], input).await;
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
    let output = sluice(&fake, &["enqueue", "--queue", "q", "-f", "-", "--batch-size", "1"], input).await;
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
async fn work_has_one_means_and_its_options_make_sense() {
    const URL: &str = "http://127.0.0.1:9/hook";
    let fake = Fake::start().await;
    let wrong: [(&[&str], &str); 16] = [
        (&[], "--exec <CMD>|--http <URL>"),
        (&["--exec", "true", "--http", URL], "cannot be used with"),
        (&["--exec", "true", "--header", "a: b"], "cannot be used with"),
        (&["--exec", "true", "--throttled-status", "413"], "cannot be used with"),
        (&["--exec", "true", "--throttle-scope-header", "X-Scope"], "cannot be used with"),
        (&["--http", URL, "--throttle-scope-header", "X Scope"], "a character that none can have"),
        (&["--http", "https://example.com/hook"], "http:// only"),
        (&["--http", "127.0.0.1:9"], "not a URL"),
        (&["--http", URL, "--request-timeout", "0"], "1ms to 1h"),
        (&["--http", URL, "--request-timeout", "2h"], "1ms to 1h"),
        (&["--http", URL, "--throttled-status", "413,200"], "300..=599"),
        (&["--http", URL, "--failed-status", "600"], "300..=599"),
        (&["--http", URL, "--failed-status", "404", "--rejected-status", "500,404"], "404 is given two"),
        (&["--http", URL, "--header", "s3cret"], "'Name: value'"),
        (&["--http", URL, "--header", "Content-Length: 5"], "content-length"),
        (&["--http", URL, "--header", "@/nowhere/at/all"], "/nowhere/at/all"),
    ];
    for (arguments, expected) in wrong {
        let output = sluice(&fake, &[&["work", "--queue", "q"], arguments].concat(), "").await;
        let said = text(&output.stderr);
        assert_eq!((code(&output), text(&output.stdout)), (2, ""), "{arguments:?}: {said}");
        assert!(said.contains(expected) && !said.contains("s3cret"), "{arguments:?}: {said}");
    }
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

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap()
}

#[tokio::test]
async fn job_takes_its_ttl_its_idempotency_key_and_its_batch_along() {
    let fake = Fake::start().await;
    fake.state().duplicate = true;
    fake.state().dropped = vec!["j0".to_owned()];
    let flags = ["enqueue", "--queue", "q", "--payload", "x", "--ttl", "1h", "--idempotency-key", "once"];
    let flags = [&flags[..], &["--batch", "b7", "--batch-total", "9"]].concat();
    let output = sluice(&fake, &flags, "").await;
    assert_eq!((code(&output), text(&output.stdout)), (0, "j1\n"));
    let said = text(&output.stderr);
    assert!(said.contains("j1 was there already") && said.contains("dropped to make room: j0"), "{said}");
    let request = fake.state().enqueues[0].clone();
    let job = &request.jobs[0];
    assert_eq!(
        (job.ttl.unwrap().seconds, job.idempotency_key.as_str(), job.batch_id.as_str()),
        (3600, "once", "b7")
    );
    assert_eq!(request.batch_totals["b7"], 9);
    assert_eq!(json(&sluice(&fake, &[&flags[..], &["-o", "json"]].concat(), "").await)["duplicate"], true);
}

#[tokio::test]
async fn lines_name_their_batch_or_take_the_flags_and_duplicates_are_counted() {
    let fake = Fake::start().await;
    fake.state().duplicate = true;
    let input = "{\"batch_id\":\"own\",\"ttl\":\"5s\"}\n{\"idempotency_key\":\"k\"}\n";
    let flags = ["enqueue", "--queue", "q", "-f", "-", "--batch", "b", "--batch-total", "2"];
    let output = sluice(&fake, &flags, input).await;
    assert_eq!((code(&output), text(&output.stdout)), (0, "0 jobs enqueued, 2 were there already\n"));
    let state = fake.state();
    let jobs = &state.enqueues[0].jobs;
    assert_eq!((jobs[0].batch_id.as_str(), jobs[1].batch_id.as_str()), ("own", "b"));
    assert_eq!(state.enqueues[0].batch_totals["b"], 2);
}

#[tokio::test]
async fn full_queue_is_waited_out_or_ends_with_its_code() {
    let fake = Fake::start().await;
    fake.state().full = 1;
    let output = sluice(&fake, &["enqueue", "--queue", "q", "--payload", "x"], "").await;
    assert_eq!((code(&output), text(&output.stdout)), (0, "j1\n"));
    let told = "back-pressure: 1 waits, 1 sends succeeded after waiting, 0 failed";
    assert!(text(&output.stderr).contains(told), "{}", text(&output.stderr));

    fake.state().full = 1;
    let flags = ["enqueue", "--queue", "q", "--payload", "x", "--wait-room", "0"];
    let output = sluice(&fake, &flags, "").await;
    assert_eq!(code(&output), 72);

    fake.state().full = 2;
    let output =
        sluice(&fake, &["enqueue", "--queue", "q", "-f", "-", "--batch-size", "1"], "{}\n{}\n{}\n").await;
    assert_eq!((code(&output), text(&output.stdout)), (0, "3 jobs enqueued\n"));
    assert!(text(&output.stderr).contains("back-pressure: 2 waits, 2 sends succeeded"));
}

#[tokio::test]
async fn result_is_awaited_and_printed_and_its_state_is_the_exit_code() {
    let fake = Fake::start().await;
    let ended = |id: &str, state: JobState| Job {
        job_id: id.to_owned(),
        state: state.into(),
        result: (state == JobState::Completed).then(|| "42\n".into()),
        last_error: Some(JobError { code: "http_500".to_owned(), message: "no".to_owned() }),
        ..Job::default()
    };
    for (id, state) in [("j1", JobState::Completed), ("j2", JobState::Dead), ("j3", JobState::Ready)] {
        fake.state().known.insert(id.to_owned(), ended(id, state));
    }
    let flags = ["enqueue", "--queue", "q", "--payload", "x", "--wait", "50ms"];
    let output = sluice(&fake, &flags, "").await;
    assert_eq!((code(&output), text(&output.stdout)), (0, "42\n"));
    let output = sluice(&fake, &flags, "").await;
    assert_eq!((code(&output), text(&output.stdout)), (5, ""));
    assert!(text(&output.stderr).contains("job j2 is DEAD: http_500 no"));
    assert_eq!(code(&sluice(&fake, &flags, "").await), 4);
}

#[tokio::test]
async fn many_jobs_are_shown_and_the_missing_are_named() {
    let fake = Fake::start().await;
    fake.state().add_jobs(["a", "b", "c"]);
    let output = sluice(&fake, &["get", "j1", "j2", "j3", "-o", "jsonl"], "").await;
    assert_eq!((code(&output), text(&output.stdout).lines().count()), (0, 3));
    let output = sluice(&fake, &["get", "j1", "nothing", "-o", "json"], "").await;
    assert_eq!((code(&output), json(&output).as_array().unwrap().len()), (3, 1));
    assert!(text(&output.stderr).contains("job nothing is not there"));
}

#[tokio::test]
async fn jobs_are_cancelled_and_updated() {
    let fake = Fake::start().await;
    fake.state().add_jobs(["a"]);
    let output = sluice(&fake, &["cancel", "j9", "j1", "-o", "json"], "").await;
    assert_eq!((code(&output), &json(&output)[0]["state"]), (3, &"CANCELLED".into()));
    let output = sluice(&fake, &["update", "j1", "--priority", "9", "--delay", "0", "-o", "json"], "").await;
    assert_eq!((code(&output), &json(&output)["priority"]), (0, &9.into()));
    let update = fake.state().updates[0].clone();
    assert_eq!((update.delay.unwrap().seconds, update.run_time), (0, None));
    assert_eq!(code(&sluice(&fake, &["update", "j1"], "").await), 2);
}

#[tokio::test]
async fn batch_is_awaited_and_its_state_is_the_exit_code() {
    let fake = Fake::start().await;
    let batch = |state: BatchState| GetBatchResponse {
        counts: Some(StateCounts { completed: 1, dead: 1, ..StateCounts::default() }),
        state: state.into(),
        jobs: 2,
        total_jobs: Some(2),
        eta: None,
    };
    assert_eq!(code(&sluice(&fake, &["batch", "get", "--queue", "q", "b"], "").await), 3);
    for (last, expected) in [(BatchState::Completed, 0), (BatchState::Partial, 5), (BatchState::Failed, 5)] {
        fake.state().batches = [batch(BatchState::Running), batch(last)].into();
        let output = sluice(&fake, &["batch", "wait", "--queue", "q", "b", "-o", "json"], "").await;
        assert_eq!((code(&output), &json(&output)["counts"]["dead"]), (expected, &1.into()));
    }
    fake.state().batches = [batch(BatchState::Running)].into();
    let output = sluice(&fake, &["batch", "wait", "--queue", "q", "b", "--wait", "50ms"], "").await;
    assert_eq!(code(&output), 4);
    let output = sluice(&fake, &["batch", "get", "--queue", "q", "b", "-o", "json"], "").await;
    assert_eq!((code(&output), &json(&output)["state"]), (0, &"RUNNING".into()));
}

#[tokio::test]
async fn queue_is_put_with_what_is_said_and_nothing_else_changes() {
    let fake = Fake::start().await;
    let flags =
        ["queue", "put", "q", "--max-jobs", "1000", "--max-bytes", "none", "--overflow", "drop-oldest"];
    let more =
        ["--reserve-priority", "8", "--key-rule", "bot*:max_jobs=10,overflow=wait", "--flow-hint", "default"];
    let output =
        sluice(&fake, &[&flags[..], &more, &["--idempotency-window", "1h", "-o", "json"]].concat(), "").await;
    assert_eq!((code(&output), &json(&output)["overflow_policy"]), (0, &"DROP_OLDEST".into()));
    let put = fake.state().puts[0].clone();
    let (queue, mask) = (put.queue.unwrap(), put.update_mask.unwrap());
    let expected = [
        "max_jobs",
        "max_bytes",
        "overflow_policy",
        "reserve",
        "key_rules",
        "flow_hint",
        "idempotency_window",
    ];
    assert_eq!(mask.paths, expected);
    assert_eq!(
        (queue.max_jobs, queue.max_bytes, queue.overflow_policy()),
        (Some(1000), None, OverflowPolicy::DropOldest)
    );
    assert_eq!((queue.reserve.unwrap().min_priority, queue.reserve.unwrap().percent), (Some(8), None));
    assert_eq!(queue.key_rules[0].settings.as_ref().unwrap().max_jobs, Some(10));
    assert!(queue.flow_hint.is_some() && queue.idempotency_window.unwrap().seconds == 3600);

    let flags = ["queue", "put", "q", "--reserve-percent", "0", "--key-rule", "", "--flow-hint", "off"];
    assert_eq!(code(&sluice(&fake, &flags, "").await), 0);
    let put = fake.state().puts[1].clone();
    assert_eq!(put.update_mask.unwrap().paths, ["reserve", "key_rules", "flow_hint"]);
    let queue = put.queue.unwrap();
    assert!(queue.reserve.is_none() && queue.key_rules.is_empty() && queue.flow_hint.is_none());
    assert_eq!(code(&sluice(&fake, &["queue", "put", "q", "--key-rule", "bot*:rate=1"], "").await), 2);
}

#[tokio::test]
async fn queue_is_paused_resumed_and_deleted() {
    let fake = Fake::start().await;
    assert_eq!(json(&sluice(&fake, &["queue", "pause", "q", "-o", "json"], "").await)["paused"], true);
    assert_eq!(json(&sluice(&fake, &["queue", "resume", "q", "-o", "json"], "").await)["paused"], false);
    assert_eq!(code(&sluice(&fake, &["queue", "delete", "q"], "").await), 0);
    assert_eq!(code(&sluice(&fake, &["queue", "delete", "q", "--force"], "").await), 0);
    assert_eq!(fake.state().orders, ["pause q", "resume q", "delete q", "force q"]);
}

fn standing(level: QueueLevel, utilization: f64) -> QueueStatus {
    let (queue, level) = ("q".to_owned(), level.into());
    QueueStatus { queue, jobs: 9, level, utilization: Some(utilization), ..QueueStatus::default() }
}

#[tokio::test]
async fn capacity_says_whether_there_is_room() {
    let fake = Fake::start().await;
    fake.state().status = Some(standing(QueueLevel::Warning, 0.9));
    let output = sluice(&fake, &["queue", "capacity", "q", "--key", "bot42", "-o", "json"], "").await;
    assert_eq!(
        (code(&output), &json(&output)["has_room"], &json(&output)["jobs"]),
        (0, &true.into(), &9.into())
    );
    assert_eq!(fake.state().statuses[0].key, "bot42");
    fake.state().status = Some(standing(QueueLevel::Critical, 1.0));
    let output = sluice(&fake, &["queue", "capacity", "q"], "").await;
    assert_eq!(code(&output), 1);
    assert!(text(&output.stdout).contains("100.0%") && text(&output.stdout).contains("CRITICAL"));
    assert_eq!(text(&output.stderr), "");
}

#[tokio::test]
async fn monitor_looks_once_and_the_level_is_the_exit_code() {
    let fake = Fake::start().await;
    for (level, expected) in [(QueueLevel::Ok, 0), (QueueLevel::Warning, 4), (QueueLevel::Critical, 5)] {
        fake.state().status = Some(standing(level, 0.85));
        let output = sluice(&fake, &["queue", "monitor", "--queue", "q", "--once"], "").await;
        assert_eq!(code(&output), expected);
        assert!(text(&output.stdout).contains("q 9 jobs 85.0% full"), "{}", text(&output.stdout));
    }
}

#[tokio::test]
async fn monitor_prints_a_line_at_each_change_of_level() {
    let fake = Fake::start().await;
    let told = |level, utilization| {
        Ok(WatchQueuesResponse { statuses: vec![standing(level, utilization)], ..Default::default() })
    };
    let denied = Err(Status::permission_denied("enough"));
    fake.state().changes.push_back(vec![
        told(QueueLevel::Ok, 0.5),
        told(QueueLevel::Warning, 0.81),
        told(QueueLevel::Warning, 0.9),
        told(QueueLevel::Critical, 1.0),
        told(QueueLevel::Ok, 0.1),
        denied,
    ]);
    let output = sluice(&fake, &["queue", "monitor", "-o", "jsonl"], "").await;
    assert_eq!(code(&output), 71);
    let levels: Vec<_> = text(&output.stdout)
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["level"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(levels, ["WARNING", "CRITICAL", "OK"]);
}

#[tokio::test]
async fn keys_are_listed_page_by_page() {
    let fake = Fake::start().await;
    let key = |key: &str| KeyStatus { key: key.to_owned(), ready: 1, ..KeyStatus::default() };
    fake.state().keys = ["a", "b", "c"].map(key).to_vec();
    let output = sluice(&fake, &["keys", "--queue", "q", "-o", "json"], "").await;
    assert_eq!(json(&output).as_array().unwrap().len(), 3);
    let output = sluice(&fake, &["keys", "--queue", "q", "-o", "jsonl", "--limit", "1"], "").await;
    assert_eq!(text(&output.stdout).lines().count(), 1);
}

#[tokio::test]
async fn filters_reach_the_server() {
    let fake = Fake::start().await;
    let filters = ["--queue", "q", "--key-prefix", "bot42", "--label", "kind=x", "--error-code", "http_500"];
    let times = ["--created-from", "1970-01-01T00:00:01Z", "--created-until", "1970-01-01T00:00:02Z"];
    let ended = ["--ended-from", "1970-01-01T00:00:03Z", "--ended-until", "1970-01-01T00:00:04Z"];
    let filters = [&filters[..], &times, &ended].concat();
    let with = |command: &[&'static str], more: &[&'static str]| [command, &filters, more].concat();
    assert_eq!(code(&sluice(&fake, &with(&["jobs", "list"], &[]), "").await), 0);
    assert_eq!(code(&sluice(&fake, &with(&["dead", "list"], &[]), "").await), 0);
    let requeue = with(&["dead", "requeue"], &["--pace", "2.5", "--dry-run"]);
    assert_eq!(text(&sluice(&fake, &requeue, "").await.stdout), "7 would be requeued\n");
    let purge = with(&["dead", "purge"], &["--state", "dropped"]);
    assert_eq!(text(&sluice(&fake, &purge, "").await.stdout), "7 purged\n");

    let state = fake.state();
    let listed: Vec<_> = state.lists.iter().map(|list| list.filter.clone().unwrap()).collect();
    let requeued = state.requeues[0].filter.clone().unwrap();
    let purged = state.purges[0].filter.clone().unwrap();
    for filter in listed.iter().chain([&requeued, &purged]) {
        assert_eq!(
            (filter.queue.as_str(), filter.key_prefix.as_str(), filter.error_code.as_str()),
            ("q", "bot42", "http_500")
        );
        assert_eq!(filter.labels["kind"], "x");
        let times =
            [filter.create_time_from, filter.create_time_until, filter.end_time_from, filter.end_time_until];
        assert_eq!(times.map(|time| time.unwrap().seconds), [1, 2, 3, 4]);
    }
    assert_eq!(
        (state.requeues[0].pace, state.requeues[0].dry_run, state.purges[0].dry_run),
        (Some(2.5), true, false)
    );
    assert_eq!(
        (&requeued.states[..], &purged.states[..]),
        (&[JobState::Dead.into()][..], &[JobState::Dropped.into()][..])
    );
}
