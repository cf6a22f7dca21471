//! What jobs cost, as clients see it: reserved when they go, settled when they are done.

use std::time::Duration;

use sluice_proto::v1::{
    Ack, JobSpec, LeasedJob, ListKeysRequest, Nack, NackReason, NodeSettings, NodeStatus, Queue as Settings,
    Window, WindowKind, WindowUnit,
};
use sluice_tests::downstream::{Answer, Downstream};
use sluice_tests::{Queue, Sluiced, cli, spec, status};

const HOUR: u64 = 3_600_000;

fn window(kind: WindowKind, amount: u32, burst: Option<u32>, unit: WindowUnit) -> Window {
    Window { kind: kind.into(), amount, period: Some(spec::millis(HOUR)), burst, unit: unit.into() }
}

/// So many requests and so much cost an hour: as many at once, and then next to nothing while a test runs.
fn requests_and_cost(requests: u32, cost: u32) -> NodeSettings {
    let jobs = window(WindowKind::Rate, 1, Some(requests), WindowUnit::Jobs);
    let cost = window(WindowKind::Rate, 1, Some(cost), WindowUnit::Cost);
    NodeSettings { windows: vec![jobs, cost], ..NodeSettings::default() }
}

fn limited(settings: NodeSettings) -> Settings {
    let lease_duration = Some(spec::millis(HOUR));
    Settings { settings: Some(settings), lease_duration, ..Settings::default() }
}

fn costs(cost: u32, text: &str) -> JobSpec {
    JobSpec { cost: Some(cost), ..spec::job(text) }
}

async fn goes(queue: &Queue) -> Vec<LeasedJob> {
    queue.lease(1_000).await
}

fn tokens(node: &NodeStatus) -> Vec<u64> {
    node.windows.iter().map(|window| window.tokens).collect()
}

async fn tokens_now(queue: &Queue) -> Vec<u64> {
    tokens(&queue.status().await.nodes[0])
}

#[tokio::test]
async fn n5_requests_and_cost_are_limited_at_once_and_cost_is_settled_at_ack() {
    let server = Sluiced::fresh().await;
    let queue = server.queue("model");
    queue.put(limited(requests_and_cost(4, 1_000))).await;
    queue.enqueue((0..9).map(|n| costs(400, &format!("p{n}"))).collect()).await;
    let out = goes(&queue).await;
    assert_eq!(spec::texts(&out), ["p0", "p1"], "the third would be too much cost");
    assert_eq!(tokens_now(&queue).await, [2, 200]);

    // One used less than it reserved: another may go.
    let acked = queue.try_ack(vec![Ack { actual_cost: Some(150), ..spec::ack(&out[0]) }]).await;
    assert_eq!(acked[0].error, None);
    assert_eq!(tokens_now(&queue).await, [2, 450]);
    let next = goes(&queue).await;
    assert_eq!(spec::texts(&next), ["p2"]);

    // The same ack again settles nothing more.
    queue.try_ack(vec![Ack { actual_cost: Some(150), ..spec::ack(&out[0]) }]).await;
    assert_eq!(tokens_now(&queue).await, [1, 50]);

    // One used more: that is owed, and a refund only lessens it.
    let more = Nack { actual_cost: Some(900), ..spec::nack(&out[1], NackReason::Rejected) };
    assert_eq!(queue.try_nack(more).await.error, None);
    assert_eq!(tokens_now(&queue).await, [1, 0]);
    queue.try_ack(vec![Ack { actual_cost: Some(0), ..spec::ack(&next[0]) }]).await;
    assert_eq!(tokens_now(&queue).await, [1, 0], "1,050 of 1,000 are used");
    assert_eq!(goes(&queue).await.len(), 0);

    // Cost there is again, and then requests are at their end.
    queue.put(limited(requests_and_cost(4, 3_000))).await;
    let out = goes(&queue).await;
    assert_eq!(out.len(), 1, "four requests in all");
    queue.try_ack(vec![Ack { actual_cost: Some(0), ..spec::ack(&out[0]) }]).await;
    assert_eq!(goes(&queue).await.len(), 0);
}

#[tokio::test]
async fn n10_what_was_settled_survives_kill_9() {
    let mut server = Sluiced::fresh().await;
    let queue = server.queue("kept");
    queue.put(limited(requests_and_cost(100, 1_000))).await;
    queue.enqueue((0..9).map(|n| costs(300, &format!("p{n}"))).collect()).await;
    let out = goes(&queue).await;
    assert_eq!(out.len(), 3);
    queue.try_ack(vec![Ack { actual_cost: Some(100), ..spec::ack(&out[0]) }]).await;
    server.kill_and_start().await;
    let queue = server.queue("kept");
    assert_eq!(tokens_now(&queue).await, [97, 300]);
    // What was leased before settles after.
    queue.try_ack(vec![Ack { actual_cost: Some(0), ..spec::ack(&out[1]) }]).await;
    assert_eq!(tokens_now(&queue).await, [97, 600]);
    assert_eq!(goes(&queue).await.len(), 2);
}

#[tokio::test]
async fn s1_2_tokens_can_be_read_of_a_queue_and_of_a_key_with_all_above_it() {
    let server = Sluiced::fresh().await;
    let queue = server.queue("read");
    let quota = window(WindowKind::Quota, 5, None, WindowUnit::Jobs);
    let rule = |pattern: &str, settings| sluice_proto::v1::KeyRule {
        key_pattern: pattern.to_owned(),
        settings: Some(settings),
    };
    let of_chats = NodeSettings { windows: vec![quota], max_in_flight: Some(7), ..NodeSettings::default() };
    let key_rules = vec![rule("bot*/*", of_chats)];
    queue.put(Settings { key_rules, ..limited(requests_and_cost(4, 9)) }).await;
    queue.enqueue((0..3).map(|n| spec::keyed("bot1/a", &format!("a{n}"))).collect()).await;
    queue.lease(2).await;

    let status = queue.key_status("bot1/a").await;
    let nodes: Vec<_> = status.nodes.iter().map(|node| (node.node.as_str(), tokens(node))).collect();
    assert_eq!(nodes, [("bot1/a", vec![3]), ("bot1", vec![]), ("", vec![2, 7])]);
    let node = &status.nodes[0];
    assert_eq!((node.in_flight, node.max_in_flight, node.ready), (2, Some(7), 1));
    assert_eq!(node.windows[0].window, Some(window(WindowKind::Quota, 5, None, WindowUnit::Jobs)));

    // A key that nobody has yet is limited all the same.
    let nodes = queue.key_status("bot2/b").await.nodes;
    assert_eq!((tokens(&nodes[0]), nodes[0].in_flight), (vec![5], 0));

    // What a worker said of a key is there too, and in the list of keys only where there is something to say.
    let held = queue.lease(1).await;
    let throttled =
        Nack { retry_after: Some(spec::millis(HOUR)), ..spec::nack(&held[0], NackReason::Throttled) };
    queue.try_nack(throttled).await;
    let request = ListKeysRequest { queue: "read".to_owned(), ..ListKeysRequest::default() };
    let keys = server.admin().list_keys(request).await.unwrap().into_inner().keys;
    let mut nodes: Vec<_> = keys.iter().map(|key| (key.key.as_str(), key.node.as_ref())).collect();
    nodes.sort_unstable_by_key(|(key, _)| *key);
    assert_eq!((nodes[0].0, nodes[0].1), ("bot1", None));
    let of_chat = nodes[1].1.unwrap();
    assert_eq!((of_chat.node.as_str(), tokens(of_chat)), ("bot1/a", vec![2]));
    assert!(of_chat.frozen_until_time.is_some());

    let said = cli::run(&server, &["stats", "--queue", "read", "-o", "jsonl"]).await.lines();
    assert_eq!(said[0]["nodes"][0]["windows"][0]["tokens"], 1, "{said:?}");
    let said = cli::run(&server, &["keys", "--queue", "read"]).await.ok();
    assert!(said.contains("quota=5/3600s:2 in_flight=2/7 frozen until"), "{said}");
}

#[tokio::test]
async fn command_line_settles_what_jobs_cost() {
    let server = Sluiced::fresh().await;
    let queue = server.queue("told");
    queue.put(limited(requests_and_cost(100, 100))).await;
    queue.enqueue(vec![costs(50, "a"), costs(50, "b"), costs(50, "c")]).await;
    let out = goes(&queue).await;
    let leases: Vec<_> = out.iter().map(|job| format!("{}:{}", spec::id(job), job.lease_token)).collect();
    drop(cli::run(&server, &["ack", &leases[0], "--actual-cost", "10"]).await.ok());
    assert_eq!(tokens_now(&queue).await, [98, 40]);
    drop(cli::run(&server, &["nack", &leases[1], "--reason", "rejected", "--actual-cost", "0"]).await.ok());
    assert_eq!(tokens_now(&queue).await, [98, 90]);
    let refused = cli::run(&server, &["ack", &leases[0], "--actual-cost", "1000000001"]).await;
    assert_eq!(refused.code, 2);
}

#[tokio::test]
async fn service_says_in_a_header_what_a_request_cost() {
    let server = Sluiced::fresh().await;
    let queue = server.queue("http");
    queue.put(limited(requests_and_cost(100, 1_000))).await;
    queue.enqueue(vec![costs(400, "a"), costs(400, "b"), costs(400, "c")]).await;
    let downstream = Downstream::start(|_| Answer::new(200).header("x-used-tokens", "50")).await;
    let url = downstream.url();
    let arguments =
        ["work", "--queue", "http", "--http", &url, "--cost-header", "x-used-tokens", "--until-empty"];
    let said = tokio::time::timeout(Duration::from_secs(60), cli::run(&server, &arguments)).await;
    assert!(said.unwrap().ok().starts_with("3 done"));
    assert_eq!(tokens_now(&queue).await, [97, 850]);
}

#[tokio::test]
async fn actual_cost_beyond_its_bound_names_its_field() {
    let server = Sluiced::fresh().await;
    let queue = server.queue("bounds");
    queue.enqueue_one(spec::job("x")).await;
    let out = queue.lease(1).await;
    let acks = vec![Ack { actual_cost: Some(1_000_000_001), ..spec::ack(&out[0]) }];
    let request = sluice_proto::v1::AckRequest { acks };
    let refused = queue.rpc.clone().ack(request).await.unwrap_err();
    assert_eq!(status::fields(&refused), ["acks[0].actual_cost"]);
}
