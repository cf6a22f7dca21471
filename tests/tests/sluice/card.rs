//! The design card, row by row, where no other file shows a row better: C3 is in `service`, C5 in
//! `python`, C6 in `watch`.

use sluice_proto::v1::{
    DrainRequest, EnqueueRequest, GetJobRequest, JobSpec, JobState, NackReason, WatchQueueRequest,
};
use sluice_tests::{Setup, Sluiced, binary, cli, spec, wire};

#[tokio::test]
async fn c1_contract_defines_enqueue_get_job_watch_queue_and_drain() {
    let methods = wire::methods();
    let find = |name: &str| methods.iter().find(|method| method.name() == name).unwrap();
    for name in ["Enqueue", "GetJob"] {
        assert!(!find(name).is_server_streaming(), "{name}");
    }
    for name in ["WatchQueue", "Drain"] {
        assert!(find(name).is_server_streaming(), "{name}");
    }

    let server = Sluiced::fresh().await;
    let mut client = server.client();
    let queue = || "card".to_owned();
    let request = EnqueueRequest {
        queue: queue(),
        jobs: spec::jobs("x", 2),
        request_id: String::new(),
        ..Default::default()
    };
    let jobs = client.enqueue(request).await.unwrap().into_inner().jobs;
    let request =
        GetJobRequest { job_id: jobs[1].job_id.clone(), include_payload: true, ..Default::default() };
    let job = client.get_job(request).await.unwrap().into_inner().job.unwrap();
    assert_eq!((job.state(), job.payload.unwrap().as_ref()), (JobState::Ready, &b"x-1"[..]));
    let request = WatchQueueRequest { queue: queue(), min_interval: None };
    let mut watch = client.watch_queue(request).await.unwrap().into_inner();
    assert_eq!(watch.message().await.unwrap().unwrap().status.unwrap().jobs, 2);
    let request = DrainRequest { queue: queue(), request_id: "d".to_owned(), ..DrainRequest::default() };
    let mut pages = client.drain(request).await.unwrap().into_inner();
    assert_eq!(pages.message().await.unwrap().unwrap().total_jobs, 2);
}

#[test]
fn c2_server_is_built_with_what_the_card_names() {
    let manifest = std::fs::read_to_string(binary::workspace().join("server/Cargo.toml")).unwrap();
    for name in ["tonic", "prost", "tokio", "tower", "sled", "tracing", "tokio-stream"] {
        let named = manifest
            .lines()
            .any(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with([' ', '.', '='])));
        assert!(named, "{name} is no dependency of the server");
    }
}

#[tokio::test]
async fn c4_waiting_retried_and_dead_jobs_are_persisted_in_sled() {
    let mut server = Setup::small_segments().start().await;
    let queue = server.queue("trees");
    queue.put(spec::retrying(5, std::time::Duration::from_secs(3_600))).await;
    let kept = queue.enqueue(spec::jobs("kept", 3)).await;
    let out = queue.lease(2).await;
    queue.nack(&out[0], NackReason::Rejected).await;
    queue.nack(&out[1], NackReason::Failed).await;
    // Far more than the log may hold: the first jobs have to move home.
    for _ in 0..24 {
        let filler = (0..1_000).map(|_| JobSpec { payload: vec![7; 1_000].into(), ..JobSpec::default() });
        server.queue("filler").enqueue(filler.collect()).await;
        let out = server.queue("filler").lease(1_000).await;
        server.queue("filler").ack(&out).await;
    }
    server.kill_and_start().await;
    let queue = server.queue("trees");
    let expected = [JobState::Dead, JobState::Retrying, JobState::Ready];
    for ((n, id), state) in kept.iter().enumerate().zip(expected) {
        let job = queue.job(id).await;
        assert_eq!(job.state(), state);
        assert_eq!(job.payload.unwrap(), format!("kept-{n}"), "its payload has moved with it");
    }
    assert!(server.data().join("sled").is_dir());
    let segments = std::fs::read_dir(server.data().join("log")).unwrap().count();
    assert!(segments <= 10, "24 MB went through a log of 4 MiB, and {segments} segments are left");
}

#[tokio::test]
async fn c7_command_line_speaks_to_the_server() {
    let server = Sluiced::fresh().await;
    let said = cli::run_with(
        &server,
        &["-o", "jsonl", "enqueue", "--queue", "q", "--ids", "-f", "-"],
        b"{\"payload\":\"hello\",\"priority\":9}\n{\"payload\":{\"a\": 1}}\n{\"payload_base64\":\"AAH/\"}\n",
    )
    .await;
    let ids: Vec<String> =
        said.lines().iter().map(|job| job["job_id"].as_str().unwrap().to_owned()).collect();
    assert_eq!(ids.len(), 3);
    let queue = server.queue("q");
    let payloads = [&b"hello"[..], b"{\"a\": 1}", &[0, 1, 255]];
    for (id, payload) in ids.iter().zip(payloads) {
        assert_eq!(queue.job(id).await.payload.unwrap(), payload);
    }
    let job = cli::run(&server, &["-o", "json", "get", &ids[0]]).await;
    assert!(job.ok().contains(&ids[0]));
    assert_eq!(cli::run(&server, &["get", "no-such-job"]).await.code, 3);
    assert_eq!(cli::run(&server, &["--no-such-flag"]).await.code, 2);
    let empty = cli::run(&server, &["lease", "--queue", "nothing-here"]).await;
    assert_eq!(empty.code, 3, "nothing there: {empty:?}");
}

#[test]
fn c8_top_level_holds_what_the_card_names() {
    for name in ["Cargo.toml", "proto", "server", "client", "tests", "build.rs", "README.md"] {
        assert!(binary::workspace().join(name).exists(), "{name}");
    }
}
