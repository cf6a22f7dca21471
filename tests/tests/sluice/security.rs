//! Who calls and what they may do, as callers and operators see it: tokens, rights, rotation, and what a server
//! does not do unless it is told who may call.

use std::process::Stdio;
use std::time::Duration;

use sluice_proto::v1::{EnqueueRequest, GetQueueStatusRequest, ListQueuesRequest, WatchQueueRequest};
use sluice_tests::guarded::{Guarded, by, identity, identity_with};
use sluice_tests::{Setup, Sluiced, binary, http, spec, status};
use tonic::{Code, Status};

const PATIENCE: Duration = Duration::from_secs(60);
const ALL: &[&str] = &["enqueue", "consume", "read", "admin", "bypass"];
/// Exit codes of `sluice`: 64 and the code.
const DENIED: i32 = 64 + Code::PermissionDenied as i32;
const UNKNOWN: i32 = 64 + Code::Unauthenticated as i32;

async fn enqueue(server: &Sluiced, token: &str, queue: &str) -> Result<String, Status> {
    let request =
        EnqueueRequest { queue: queue.to_owned(), jobs: vec![spec::job("a")], ..Default::default() };
    Ok(server.client().enqueue(by(token, request)).await?.into_inner().jobs.remove(0).job_id)
}

async fn stats(server: &Sluiced, token: &str, queue: &str) -> Result<(), Status> {
    let request = GetQueueStatusRequest { queue: queue.to_owned(), ..Default::default() };
    server.client().get_queue_status(by(token, request)).await.map(drop)
}

/// Asks for the status of `q` until it is answered with `code`.
async fn until(server: &Sluiced, token: &str, code: Code) {
    let asking = async {
        while stats(server, token, "q").await.map_or_else(|status| status.code(), |()| Code::Ok) != code {}
    };
    tokio::time::timeout(PATIENCE, asking).await.unwrap_or_else(|_| panic!("never {code:?}"));
}

#[tokio::test]
async fn s1_6_viewer_reads_statistics_and_nothing_else_without_more_rights() {
    let file = identity("viewer", "look", "sms.*", &["read"]) + &identity("owner", "own", "*", ALL);
    let guarded = Guarded::start(&file).await;
    enqueue(&guarded.server, "own", "sms.a").await.unwrap();
    enqueue(&guarded.server, "own", "mail").await.unwrap();

    let shown = guarded.run("look", &["-o", "json", "stats"]).await.ok();
    assert!(shown.contains("sms.a") && !shown.contains("mail"), "{shown}");
    for arguments in [
        &["enqueue", "--queue", "sms.a", "--payload", "x"][..],
        &["lease", "--queue", "sms.a"],
        &["queue", "pause", "sms.a"],
        &["stats", "--queue", "mail"],
        &["stats", "--queue", "nowhere"],
    ] {
        assert_eq!(guarded.run("look", arguments).await.code, DENIED, "{arguments:?}");
    }
    assert_eq!(guarded.run("guess", &["stats"]).await.code, UNKNOWN);
    let nobody = guarded.run_with(&[("SLUICE_ADDR", &guarded.server.url())], &["stats"]).await;
    assert_eq!(nobody.code, UNKNOWN);
    let file = guarded.files().write("token", "look\n");
    let url = guarded.server.url();
    let by_file = guarded.run_with(&[("SLUICE_ADDR", &url), ("SLUICE_TOKEN_FILE", &file)], &["stats"]).await;
    drop(by_file.ok());
}

#[tokio::test]
async fn s1_6_pages_show_each_caller_what_it_may_read_and_probes_need_no_token() {
    let file = identity("viewer", "look", "sms.*", &["read"]) + &identity("owner", "own", "*", ALL);
    let server = Guarded::start(&file).await.server;
    enqueue(&server, "own", "sms.a").await.unwrap();
    enqueue(&server, "own", "mail").await.unwrap();
    assert_eq!(http::get(server.http(), "/healthz").await.0, 200);
    assert_eq!(http::get(server.http(), "/readyz").await.0, 200);
    for authorization in [None, Some("Bearer guess"), Some("Basic Z3Vlc3M=")] {
        let (code, body) = http::get_as(server.http(), "/stats", authorization).await;
        assert_eq!(code, 401, "{body}");
    }
    // `look` as a password, the way a browser sends it.
    for authorization in ["Bearer look", "Basic YW55Ym9keTpsb29r"] {
        let (code, body) = http::get_as(server.http(), "/stats", Some(authorization)).await;
        assert_eq!(code, 200, "{body}");
        assert!(body.contains("sms.a") && !body.contains("mail"), "{body}");
        let (code, _) = http::get_as(server.http(), "/stats?queue=mail", Some(authorization)).await;
        assert_eq!(code, 403);
        let (code, _) = http::get_as(server.http(), "/anything", Some(authorization)).await;
        assert_eq!(code, 403, "what nobody thought of is for who may read all");
    }
    let (_, body) = http::get_as(server.http(), "/stats", Some("Bearer own")).await;
    assert!(body.contains("sms.a") && body.contains("mail"), "{body}");
}

#[tokio::test]
async fn s1_6_callers_see_what_is_theirs() {
    let file = identity("a", "a", "a.*", ALL) + &identity("b", "b", "b.*", ALL);
    let server = Guarded::start(&file).await.server;
    let of_a = enqueue(&server, "a", "a.q").await.unwrap();
    enqueue(&server, "b", "b.q").await.unwrap();
    for (token, expected) in [("a", "a.q"), ("b", "b.q")] {
        let list = server.admin().list_queues(by(token, ListQueuesRequest::default())).await.unwrap();
        let names: Vec<String> = list.into_inner().queues.into_iter().map(|queue| queue.name).collect();
        assert_eq!(names, [expected]);
    }
    let read = |job: &str| sluice_proto::v1::GetJobRequest { job_id: job.to_owned(), ..Default::default() };
    server.client().get_job(by("a", read(&of_a))).await.unwrap();
    let forbidden = server.client().get_job(by("b", read(&of_a))).await.unwrap_err();
    let unknown = server.client().get_job(by("b", read("999999"))).await.unwrap_err();
    assert_eq!((forbidden.code(), forbidden.message()), (unknown.code(), unknown.message()));
    assert_eq!(status::reason(&forbidden), "JOB_NOT_FOUND");
    let theirs = enqueue(&server, "b", "a.q").await.unwrap_err();
    let nowhere = enqueue(&server, "b", "a.nowhere").await.unwrap_err();
    assert_eq!((theirs.code(), theirs.message()), (nowhere.code(), nowhere.message()));
    assert_eq!(theirs.code(), Code::PermissionDenied);
}

#[tokio::test]
async fn s1_6_token_is_rotated_without_a_restart_and_the_old_one_ends_its_streams() {
    let guarded = Guarded::start(&identity("a", "old", "*", ALL)).await;
    let server = &guarded.server;
    stats(server, "old", "q").await.unwrap();
    guarded.identities(&identity_with("a", &["old", "new"], "*", ALL));
    until(server, "new", Code::Ok).await;
    stats(server, "old", "q").await.unwrap();
    let watch = |token| by(token, WatchQueueRequest { queue: "q".to_owned(), ..Default::default() });
    let mut of_old = server.client().watch_queue(watch("old")).await.unwrap().into_inner();
    let mut of_new = server.client().watch_queue(watch("new")).await.unwrap().into_inner();
    of_old.message().await.unwrap().unwrap();
    of_new.message().await.unwrap().unwrap();

    guarded.identities(&identity("a", "new", "*", ALL));
    let ended = async {
        loop {
            match of_old.message().await {
                Ok(Some(_)) => {}
                Ok(None) => panic!("it ends without a word"),
                Err(status) => return status,
            }
        }
    };
    let ended = tokio::time::timeout(PATIENCE, ended).await.expect("a stream ends with its token");
    assert_eq!(status::reason(&ended), "UNAUTHENTICATED");
    assert_eq!(stats(server, "old", "q").await.unwrap_err().code(), Code::Unauthenticated);
    enqueue(server, "new", "q").await.unwrap();
    of_new.message().await.unwrap().unwrap();
}

#[tokio::test]
async fn s1_6_file_that_is_no_good_changes_nothing_and_the_log_says_so() {
    let guarded = Guarded::start(&identity("a", "a", "*", ALL)).await;
    let server = &guarded.server;
    guarded.identities("[[identity]]\nname = \"a\"\ntokens = [\"sluice_in_the_clear\"]\n");
    server.hang_up();
    let told = async {
        while !server.log().contains("auth_file is refused") {
            stats(server, "a", "q").await.unwrap();
        }
    };
    tokio::time::timeout(PATIENCE, told).await.expect("the log tells of it");
    assert!(!server.log().contains("in_the_clear"));
    stats(server, "a", "q").await.unwrap();
    // What was refused keeps nothing from the next.
    guarded.identities(&identity("b", "b", "*", ALL));
    until(server, "b", Code::Ok).await;
    until(server, "a", Code::Unauthenticated).await;
}

#[tokio::test]
async fn s1_6_rights_that_change_count_from_then_on() {
    let guarded = Guarded::start(&identity("a", "a", "q", &["read"])).await;
    let server = &guarded.server;
    assert_eq!(enqueue(server, "a", "q").await.unwrap_err().code(), Code::PermissionDenied);
    guarded.identities(&identity("a", "a", "q", &["enqueue"]));
    until(server, "a", Code::PermissionDenied).await;
    enqueue(server, "a", "q").await.unwrap();
}

#[tokio::test]
async fn s1_6_bypass_is_a_right_of_its_own() {
    let file = identity("a", "a", "q", &["enqueue"]) + &identity("b", "b", "q", &["enqueue", "bypass"]);
    let guarded = Guarded::start(&file).await;
    let urgent = ["enqueue", "--queue", "q", "--payload", "x", "--bypass-limits"];
    assert_eq!(guarded.run("a", &urgent).await.code, DENIED);
    drop(guarded.run("b", &urgent).await.ok());
    drop(guarded.run("a", &urgent[..5]).await.ok());
}

#[tokio::test]
async fn s1_6_request_rates_are_by_who_calls_and_not_by_where_from() {
    let file = identity("a", "a", "q", ALL) + &identity("b", "b", "q", ALL);
    // None of it comes back while the test runs.
    let setup = Setup::default()
        .environment("SLUICED_REQUEST_RATE", "1")
        .environment("SLUICED_REQUEST_BURST", "1000");
    let server = Guarded::start_as(setup, &file).await.server;
    let jobs = |count| EnqueueRequest {
        queue: "q".to_owned(),
        jobs: vec![spec::job("a"); count],
        ..Default::default()
    };
    server.client().enqueue(by("a", jobs(900))).await.unwrap();
    let over = server.client().enqueue(by("a", jobs(900))).await.unwrap_err();
    assert_eq!(status::reason(&over), "REQUEST_RATE");
    server.client().enqueue(by("b", jobs(900))).await.unwrap();
}

#[tokio::test]
async fn s1_6_server_does_not_listen_beyond_this_machine_unless_it_is_told_who_may_call() {
    let directory = tempfile::tempdir().unwrap();
    for port in ["--listen", "--http"] {
        let output = tokio::process::Command::new(binary::sluiced())
            .current_dir(directory.path())
            .args([port, "0.0.0.0:0"])
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output();
        let output = tokio::time::timeout(PATIENCE, output).await.expect("it does not serve").unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{said}");
        for part in [&port[2..], "--auth-file", "--insecure-no-auth"] {
            assert!(said.contains(part), "{part} is missing: {said}");
        }
    }
}

#[tokio::test]
async fn s1_6_sluiced_token_makes_a_token_and_what_to_write_down_for_it() {
    let output = tokio::process::Command::new(binary::sluiced()).arg("token").output().await.unwrap();
    assert!(output.status.success());
    let said = String::from_utf8(output.stdout).unwrap();
    let field = |name: &str| said.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim().to_owned();
    let (token, hash) = (field("token:"), field("sha256:"));
    let file = format!(
        "[[identity]]\nname = \"a\"\ntokens = [\"{hash}\"]\n\
         grants = [{{ queues = [\"q\"], rights = [\"enqueue\"] }}]\n"
    );
    let server = Guarded::start(&file).await.server;
    enqueue(&server, &token, "q").await.unwrap();
}
