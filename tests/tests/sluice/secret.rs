//! What a server's log never holds: payloads, keys, tokens and whatever else its callers wrote.

use sluice_proto::v1::{AckRequest, EnqueueRequest, GetJobRequest, JobSpec, Nack, NackReason, NackRequest};
use sluice_tests::guarded::{Guarded, by, identity};
use sluice_tests::{Setup, http, spec};
use tonic::Request;

/// Stands in everything that is not for logs.
const MARK: &str = "XyZZy";

/// A log that is told everything that our own code tells, and whatever the libraries think worth it.
fn talkative(format: &str) -> Setup {
    Setup::default()
        .environment("SLUICED_LOG_LEVEL", "debug,sluice_server=trace,sluice_engine=trace")
        .environment("SLUICED_LOG_FORMAT", format)
}

#[tokio::test]
async fn s1_6_log_of_a_run_holds_no_payload_key_or_token() {
    let token = format!("sluice_{MARK}");
    let marked = |name: &str| format!("{name}-{MARK}");
    for format in ["text", "json"] {
        let rights = ["enqueue", "consume", "read", "admin", "bypass"];
        let mut guarded =
            Guarded::start_as(talkative(format), &identity("owner", &token, "*", &rights)).await;
        let server = &mut guarded.server;
        let job = || JobSpec {
            key: marked("key"),
            labels: [(marked("label"), marked("value"))].into(),
            idempotency_key: marked("once"),
            content_type: marked("type"),
            batch_id: marked("batch"),
            ..spec::job(&marked("payload"))
        };
        let request = EnqueueRequest {
            queue: "q".to_owned(),
            jobs: vec![job(), JobSpec { idempotency_key: marked("twice"), ..job() }],
            request_id: marked("request"),
            ..Default::default()
        };
        let mut client = server.client();
        client.enqueue(by(&token, request.clone())).await.unwrap();
        let lease = sluice_proto::v1::LeaseRequest {
            queue: "q".to_owned(),
            max_jobs: Some(2),
            worker_id: marked("worker"),
            ..Default::default()
        };
        let jobs = client.lease(by(&token, lease)).await.unwrap().into_inner().jobs;
        let [dead, done] = &jobs[..] else { panic!("two were put in: {jobs:?}") };
        let nack = |job, reason| Nack { error: marked("error"), ..spec::nack(job, reason) };
        let nacks = NackRequest { nacks: vec![nack(dead, NackReason::Rejected)] };
        client.nack(by(&token, nacks)).await.unwrap();
        let acks = AckRequest {
            acks: vec![sluice_proto::v1::Ack { result: Some(marked("result").into()), ..spec::ack(done) }],
        };
        client.ack(by(&token, acks)).await.unwrap();
        // What is refused is not quoted either.
        let wrong = EnqueueRequest {
            queue: format!("{}\u{1b}[31m\nno queue", marked("queue")),
            jobs: vec![JobSpec { key: format!("/{}", marked("key")), ..job() }],
            ..request.clone()
        };
        client.enqueue(by(&token, wrong)).await.unwrap_err();
        client.enqueue(by(&marked("guess"), request.clone())).await.unwrap_err();
        client.enqueue(Request::new(request)).await.unwrap_err();
        client
            .get_job(by(&token, GetJobRequest { job_id: marked("id"), ..Default::default() }))
            .await
            .unwrap_err();
        http::get_as(server.http(), "/stats", Some(&format!("Bearer {token}"))).await;
        http::get_as(server.http(), "/stats", Some(&format!("Bearer {}", marked("guess")))).await;
        server.stop().await;

        let log = server.log();
        let found: Vec<&str> = log.lines().filter(|line| line.contains(MARK)).collect();
        assert!(found.is_empty(), "{found:#?}");
        let is_told = |what: &str| assert!(log.contains(what), "{what} is missing in {log}");
        ["job dead", "owner", "without a valid token", "stopped"].into_iter().for_each(is_told);
        let raw = |c: char| c.is_control() && c != '\n';
        assert!(!log.contains(raw), "a control character as it came: {log:?}");
    }
}

#[tokio::test]
async fn s1_6_what_a_caller_writes_cannot_make_up_lines_of_the_log() {
    let mut guarded =
        Guarded::start_as(talkative("text"), &identity("owner", "own", "*", &["enqueue", "consume"])).await;
    let server = &mut guarded.server;
    let mut client = server.client();
    let request = EnqueueRequest { queue: "q".to_owned(), jobs: vec![spec::job("a")], ..Default::default() };
    client.enqueue(by("own", request)).await.unwrap();
    let lease = sluice_proto::v1::LeaseRequest { queue: "q".to_owned(), ..Default::default() };
    let jobs = client.lease(by("own", lease)).await.unwrap().into_inner().jobs;
    // The code of an error is told: it says of which kind the failures are.
    let code = "http_500\n2026-01-01T00:00:00Z  INFO made up\u{1b}[2J".to_owned();
    let nack = Nack { error_code: code, ..spec::nack(&jobs[0], NackReason::Rejected) };
    client.nack(by("own", NackRequest { nacks: vec![nack] })).await.unwrap();
    server.stop().await;
    let log = server.log();
    assert!(log.contains("job dead"), "{log}");
    assert!(!log.lines().any(|line| line.contains("made up") && !line.contains("job dead")), "{log}");
    assert!(!log.contains('\u{1b}'), "{log:?}");
}
