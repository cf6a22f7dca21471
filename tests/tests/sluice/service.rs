//! What a good service shows besides its work: health, reflection, its bounds, its log, a graceful stop.

use std::time::Duration;

use sluice_proto::v1::{EnqueueRequest, GetServerInfoRequest, LeaseRequest};
use sluice_tests::{Setup, Sluiced, http, spec, status};
use tonic::Code;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_types::StatusExt;

const SERVICES: [&str; 3] = ["", "sluice.v1.QueueService", "sluice.v1.AdminService"];

#[tokio::test]
async fn health_is_serving_for_each_service_and_ends_with_the_server() {
    let mut server = Sluiced::fresh().await;
    let mut health = HealthClient::new(server.channel());
    for service in SERVICES {
        let request = HealthCheckRequest { service: service.to_owned() };
        let answer = health.check(request).await.unwrap().into_inner();
        assert_eq!(answer.status(), ServingStatus::Serving, "{service:?}");
    }
    let unknown = health.check(HealthCheckRequest { service: "no.such.Service".to_owned() }).await;
    assert_eq!(unknown.unwrap_err().code(), Code::NotFound);

    let request = HealthCheckRequest { service: SERVICES[1].to_owned() };
    let mut watch = health.watch(request).await.unwrap().into_inner();
    assert_eq!(watch.message().await.unwrap().unwrap().status(), ServingStatus::Serving);
    server.terminate();
    let next = watch.message().await;
    let ended = match &next {
        Ok(Some(answer)) => answer.status() == ServingStatus::NotServing,
        Ok(None) | Err(_) => true,
    };
    assert!(ended, "{next:?}");
    drop(watch);
    assert_eq!(server.stopped().await.code(), Some(0));
}

#[tokio::test]
async fn pages_say_that_it_lives_and_is_ready() {
    let server = Sluiced::fresh().await;
    assert_eq!(http::get(server.http(), "/healthz").await.0, 200);
    assert_eq!(http::get(server.http(), "/readyz").await.0, 200);
    assert_eq!(http::get(server.http(), "/nothing-here").await.0, 404);
}

/// What reflection says of itself in one version. The two packages are alike and share no type.
macro_rules! reflected {
    ($server:expr, $version:ident) => {{
        use tonic_reflection::pb::$version::ServerReflectionRequest;
        use tonic_reflection::pb::$version::server_reflection_client::ServerReflectionClient;
        use tonic_reflection::pb::$version::server_reflection_request::MessageRequest;
        use tonic_reflection::pb::$version::server_reflection_response::MessageResponse;
        let ask = |message_request| ServerReflectionRequest {
            host: String::new(),
            message_request: Some(message_request),
        };
        let requests = vec![
            ask(MessageRequest::ListServices(String::new())),
            ask(MessageRequest::FileContainingSymbol("sluice.v1.QueueService".to_owned())),
        ];
        let mut client = ServerReflectionClient::new($server.channel());
        let mut answers =
            client.server_reflection_info(tokio_stream::iter(requests)).await.unwrap().into_inner();
        let first = answers.message().await.unwrap().unwrap().message_response;
        let Some(MessageResponse::ListServicesResponse(list)) = first else { panic!("{first:?}") };
        let second = answers.message().await.unwrap().unwrap().message_response;
        let Some(MessageResponse::FileDescriptorResponse(files)) = second else { panic!("{second:?}") };
        let names: Vec<String> = list.service.into_iter().map(|service| service.name).collect();
        (names, files.file_descriptor_proto.len())
    }};
}

#[tokio::test]
async fn reflection_shows_the_contract_in_both_versions() {
    let server = Sluiced::fresh().await;
    for (names, files) in [reflected!(server, v1), reflected!(server, v1alpha)] {
        for name in ["sluice.v1.QueueService", "sluice.v1.AdminService", "grpc.health.v1.Health"] {
            assert!(names.iter().any(|listed| listed == name), "{name} is missing in {names:?}");
        }
        assert!(files >= 1);
    }
}

#[tokio::test]
async fn server_info_tells_the_bounds_that_hold() {
    let server = Setup::default().environment("SLUICED_MAX_PAYLOAD_BYTES", "1000").start().await;
    let info = server.admin().get_server_info(GetServerInfoRequest {}).await.unwrap().into_inner();
    assert_eq!(info.version, env!("CARGO_PKG_VERSION"));
    assert!(info.start_time.is_some());
    let bounds = info.bounds.unwrap();
    assert_eq!(bounds.max_payload_bytes, 1_000);
    assert_eq!(bounds.max_queue_name_bytes, 128);
    assert_eq!(bounds.max_items_per_request, 10_000);
    assert_eq!(bounds.max_lease_jobs, 1_000);
    assert_eq!(bounds.max_wait, Some(spec::millis(60_000)));

    let queue = server.queue("q");
    queue.enqueue_one(spec::job(&"x".repeat(1_000))).await;
    let refused = queue.try_enqueue(vec![spec::job(&"x".repeat(1_001))], "").await.unwrap_err();
    assert_eq!(status::fields(&refused), ["jobs[0].payload"]);
}

#[tokio::test]
async fn c3_request_rate_is_held_in_front_of_the_queue() {
    let server = Setup::default()
        .environment("SLUICED_REQUEST_RATE", "1")
        .environment("SLUICED_REQUEST_BURST", "50")
        .start()
        .await;
    let queue = server.queue("q");
    let mut accepted = 0;
    let refused = loop {
        match queue.try_enqueue(spec::jobs("x", 4), "").await {
            Ok(jobs) => accepted += jobs.len(),
            Err(status) => break status,
        }
        assert!(accepted <= 60, "a burst is 50");
    };
    assert!(accepted >= 30, "{accepted} jobs before the first refusal");
    assert_eq!(refused.code(), Code::ResourceExhausted);
    assert_eq!(status::reason(&refused), "REQUEST_RATE");
    let wait = refused.get_details_retry_info().unwrap().retry_delay.unwrap();
    assert!(wait > Duration::ZERO && wait < Duration::from_secs(60), "{wait:?}");
    assert!(refused.get_details_quota_failure().is_some());
    let pushback = refused.metadata().get("grpc-retry-pushback-ms").unwrap().to_str().unwrap();
    assert!(pushback.parse::<i64>().unwrap() > 0);
    // Refused means that nothing was applied. The page over HTTP is not charged.
    let page = http::json(server.http(), "/stats?queue=q").await;
    assert_eq!(page["queues"][0]["total_queued"], accepted);
}

#[tokio::test]
async fn c3_without_a_request_rate_nobody_is_refused() {
    let server = Sluiced::fresh().await;
    let queue = server.queue("q");
    for _ in 0..300 {
        queue.enqueue_one(spec::job("x")).await;
    }
}

#[tokio::test]
async fn request_id_of_a_call_is_echoed_and_logged() {
    let server = Setup::default()
        .environment("SLUICED_LOG_FORMAT", "json")
        .environment("SLUICED_LOG_LEVEL", "debug")
        .start()
        .await;
    let mut request = tonic::Request::new(EnqueueRequest {
        queue: "q".to_owned(),
        jobs: spec::jobs("x", 1),
        request_id: String::new(),
        ..Default::default()
    });
    request.metadata_mut().insert("x-request-id", "call-4711".parse().unwrap());
    let answer = server.client().enqueue(request).await.unwrap();
    assert_eq!(answer.metadata().get("x-request-id").unwrap(), "call-4711");
    let info = server.admin().get_server_info(GetServerInfoRequest {}).await.unwrap();
    assert!(!info.metadata().get("x-request-id").unwrap().is_empty(), "one is made for calls without");
    assert!(server.log().contains("call-4711"), "{}", server.log());
}

#[tokio::test]
async fn s0_5_queue_and_rate_events_are_logged_as_json() {
    let mut server = Setup::default()
        .environment("SLUICED_LOG_FORMAT", "json")
        .environment("SLUICED_REQUEST_RATE", "1")
        .environment("SLUICED_REQUEST_BURST", "100")
        .start()
        .await;
    let queue = server.queue("events");
    queue.put(sluice_proto::v1::Queue::default()).await;
    let id = queue.enqueue_one(spec::job("x")).await;
    let out = queue.lease(1).await;
    queue.nack(&out[0], sluice_proto::v1::NackReason::Rejected).await;
    queue.requeue(&[]).await;
    queue.drain_all("drain-1").await;
    while queue.try_enqueue(spec::jobs("x", 50), "").await.is_ok() {}
    server.stop().await;

    let log = server.log();
    let events: Vec<serde_json::Value> = log
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect();
    let event = |message: &str| {
        let found = events.iter().find(|event| event["message"] == message);
        found.unwrap_or_else(|| panic!("`{message}` is missing in\n{log}"))
    };
    assert_eq!(event("queue put")["queue"], "events");
    assert_eq!(event("job dead")["job"], id.as_str());
    assert_eq!(event("jobs requeued")["jobs"], 1);
    assert_eq!(event("queue drained")["jobs"], 1);
    assert_eq!(event("caller over its request rate")["level"], "INFO");
    for event in &events {
        assert!(event["timestamp"].is_string() && event["level"].is_string(), "{event}");
    }
}

#[tokio::test]
async fn s0_5_stop_lets_calls_finish_and_loses_nothing() {
    let mut server = Sluiced::fresh().await;
    let queue = server.queue("graceful");
    server.queue("nothing-here").put(sluice_proto::v1::Queue::default()).await;
    let load = tokio::spawn({
        let queue = queue.clone();
        async move {
            let mut accepted = Vec::new();
            while let Ok(ids) = queue.try_enqueue(spec::jobs("x", 10), "").await {
                accepted.extend(ids);
            }
            accepted
        }
    });
    let waiting = tokio::spawn({
        let mut rpc = server.client();
        let request = LeaseRequest {
            queue: "nothing-here".to_owned(),
            wait_timeout: Some(spec::millis(60_000)),
            ..LeaseRequest::default()
        };
        async move { rpc.lease(request).await }
    });
    queue.until(|status| status.jobs >= 500).await;
    server.queue("nothing-here").until(|status| status.waiting_leases == 1).await;
    server.stop().await;

    let accepted = load.await.unwrap();
    match waiting.await.unwrap() {
        Ok(answer) => assert!(answer.into_inner().jobs.is_empty()),
        Err(status) => assert_eq!(status.code(), Code::Unavailable, "{status:?}"),
    }
    server.start().await;
    let after: std::collections::BTreeSet<String> =
        server.queue("graceful").list(&[], 1_000).await.into_iter().map(|job| job.job_id).collect();
    let lost: Vec<&String> = accepted.iter().filter(|id| !after.contains(*id)).collect();
    assert!(lost.is_empty(), "{lost:?}");
}

#[tokio::test]
async fn s0_5_interrupt_stops_it_as_well() {
    let mut server = Sluiced::fresh().await;
    server.queue("q").enqueue_one(spec::job("x")).await;
    server.interrupt();
    assert_eq!(server.stopped().await.code(), Some(0));
}

#[tokio::test]
async fn port_0_takes_a_free_port_and_says_which() {
    use tokio::io::{AsyncBufReadExt, BufReader};
    let directory = tempfile::tempdir().unwrap();
    let mut child = tokio::process::Command::new(sluice_tests::binary::sluiced())
        .args(["--listen", "127.0.0.1:0", "--http", "127.0.0.1:0", "--data-dir"])
        .arg(directory.path().join("data"))
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let line = lines.next_line().await.unwrap().unwrap();
    let address: std::net::SocketAddr = line.strip_prefix("listening on ").unwrap().parse().unwrap();
    assert_ne!(address.port(), 0);
    tokio::net::TcpStream::connect(address).await.unwrap();
}
