//! Why a job does not run: the server says so.

use sluice_proto::v1::{
    ExplainJobRequest, ExplainJobResponse, GateKind, JobSpec, KeyRule, LeaseRequest, NackReason,
    NodeSettings, Queue as Settings, Window,
};
use sluice_tests::{Queue, Sluiced, cli, spec};

const HOUR: u64 = 3_600_000;

/// One in so many milliseconds.
fn one_in(period: u64) -> NodeSettings {
    let window =
        Window { amount: 1, period: Some(spec::millis(period)), burst: Some(1), ..Window::default() };
    NodeSettings { windows: vec![window], ..NodeSettings::default() }
}

async fn explain(queue: &Queue, job_id: &str) -> ExplainJobResponse {
    let request = ExplainJobRequest { job_id: job_id.to_owned() };
    queue.admin.clone().explain_job(request).await.unwrap().into_inner()
}

/// Why a job does not run, in the words of the server.
async fn reason(queue: &Queue, job_id: &str) -> String {
    explain(queue, job_id).await.reason
}

#[tokio::test]
async fn n7_job_that_does_not_run_says_why_at_every_turn_of_its_life() {
    let server = Sluiced::fresh().await;
    let queue = server.queue("life");
    queue
        .put(Settings {
            lease_duration: Some(spec::millis(HOUR)),
            ..spec::retrying(3, std::time::Duration::from_secs(3_600))
        })
        .await;
    let later = JobSpec { delay: Some(spec::millis(HOUR)), ..spec::job("later") };
    let later = queue.enqueue_one(later).await;
    let why = reason(&queue, &later).await;
    assert!(why.starts_with("it waits for its time: ") && why.contains(" min "), "{why}");

    let ids = queue.enqueue(spec::jobs("x", 3)).await;
    assert_eq!(reason(&queue, &ids[2]).await, "nobody is leasing from this queue");
    let out = queue.lease(1).await;
    assert_eq!(reason(&queue, &ids[2]).await, "it waits for its turn: 1 job goes before it");
    assert_eq!(reason(&queue, &ids[1]).await, "it is the next to go: no worker has asked for it yet");
    let why = reason(&queue, &ids[0]).await;
    assert!(why.starts_with("it is with worker tester since "), "{why}");
    queue.pause().await;
    assert_eq!(reason(&queue, &ids[1]).await, "the queue is paused");
    queue.resume().await;

    queue.try_nack(spec::nack(&out[0], NackReason::Failed)).await;
    let why = reason(&queue, &ids[0]).await;
    assert!(why.starts_with("it came back, and waits for its next attempt: "), "{why}");
    let out = queue.lease(2).await;
    queue.ack(&out[..1]).await;
    assert_eq!(reason(&queue, &ids[1]).await, "it is done");
    queue.try_nack(spec::nack(&out[1], NackReason::Rejected)).await;
    assert!(reason(&queue, &ids[2]).await.starts_with("it is dead"));
}

#[tokio::test]
async fn n7_every_gate_and_what_is_before_it_are_told_level_by_level() {
    let server = Sluiced::fresh().await;
    let queue = server.queue("levels");
    let rule =
        |pattern: &str, settings| KeyRule { key_pattern: pattern.to_owned(), settings: Some(settings) };
    queue
        .put(Settings {
            settings: Some(NodeSettings { max_in_flight: Some(100), ..NodeSettings::default() }),
            key_rules: vec![rule("bot*", one_in(1)), rule("bot*/*", one_in(HOUR))],
            lease_duration: Some(spec::millis(HOUR)),
            ..Settings::default()
        })
        .await;
    let chat = |text| spec::keyed("bot42/chat7", text);
    let ids = queue
        .enqueue(vec![chat("first"), chat("second"), chat("third"), spec::keyed("bot42/chat8", "other")])
        .await;
    let urgent = JobSpec { priority: Some(9), ..spec::keyed("bot1/chat1", "urgent") };
    let out = queue.lease_by(LeaseRequest { wait_timeout: None, ..queue.lease_request(1) }).await;
    assert_eq!(spec::texts(&out), ["first"]);
    queue.enqueue_one(urgent).await;

    let second = explain(&queue, &ids[1]).await;
    assert!(
        second.reason.starts_with("its key bot42/chat7 is at its rate: it opens in 59 min"),
        "{}",
        second.reason
    );
    let gates: Vec<_> =
        second.gates.iter().map(|gate| (gate.kind(), gate.node.as_str(), gate.closed)).collect();
    assert_eq!(gates[0], (GateKind::Rate, "bot42/chat7", true));
    assert_eq!((gates[1].0, gates[1].1), (GateKind::Rate, "bot42"));
    assert_eq!(gates[2], (GateKind::InFlight, "", false));
    assert_eq!(gates.len(), 3);
    assert!(second.gates.iter().all(|gate| !gate.message.is_empty()));
    assert!(second.gates[0].until_time.is_some() && second.gates[2].until_time.is_none());
    let job = second.job.unwrap();
    assert_eq!((job.payload, job.queue_position), (None, Some(2)));
    assert_eq!(job.blocked_by[0], second.gates[0]);
    let earliest = job.eta.unwrap().earliest_time.unwrap().seconds;
    let wait = earliest - job.create_time.unwrap().seconds;
    assert!((3_200..3_601).contains(&wait), "an hour, less a tenth: {wait}");

    let ahead: Vec<_> = second.ahead.iter().map(|ahead| (ahead.node.as_str(), ahead.ready_jobs)).collect();
    assert_eq!(ahead, [("bot42/chat7", 2), ("bot42", 3), ("", 4)]);
    assert_eq!((second.ahead[0].jobs_before, second.ahead[2].higher_jobs), (0, 1));
    assert_eq!((second.ahead[1].rivals, second.ahead[2].rivals), (1, 0));
    let third = explain(&queue, &ids[2]).await;
    assert!(third.reason.ends_with("and another job goes before this one"), "{}", third.reason);
    assert_eq!(third.ahead[0].jobs_before, 1);

    let said = cli::run(&server, &["explain", &ids[1]]).await.ok();
    assert!(said.contains("its key bot42/chat7 is at its rate") && said.contains("closed: "), "{said}");
    let said = cli::run(&server, &["explain", &ids[1], "-o", "json"]).await.ok();
    let said: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert_eq!((&said["gates"][0]["closed"], &said["job"]["queue_position"]), (&true.into(), &2.into()));
    assert_eq!(cli::run(&server, &["explain", "18446744073709551615"]).await.code, 3);
}
