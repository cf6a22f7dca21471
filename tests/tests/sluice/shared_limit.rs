//! Limits that queues share, and tokens without a job, as clients see them.

use std::time::{Duration, Instant};

use sluice_proto::v1::{
    AcquireLimitRequest, AcquireLimitResponse, DeleteLimitRequest, GateKind, GetLimitRequest, Limit,
    ListLimitsRequest, Nack, NackReason, NodeSettings, PutLimitRequest, Queue as Settings, ResetNodeRequest,
    Window, WindowUnit,
};
use sluice_tests::{Queue, Setup, Sluiced, cli, spec, status};
use tonic::{Code, Status};

const HOUR: u64 = 3_600_000;

fn rate(amount: u32, period: u64, burst: u32) -> Window {
    Window { amount, period: Some(spec::millis(period)), burst: Some(burst), ..Window::default() }
}

async fn put_limit(server: &Sluiced, name: &str, settings: NodeSettings) -> Limit {
    let limit = Limit { name: name.to_owned(), settings: Some(settings), ..Limit::default() };
    let request = PutLimitRequest { limit: Some(limit), update_mask: None };
    server.admin().put_limit(request).await.unwrap().into_inner().limit.unwrap()
}

async fn put_window(server: &Sluiced, name: &str, window: Window) -> Limit {
    put_limit(server, name, NodeSettings { windows: vec![window], ..NodeSettings::default() }).await
}

/// A queue under a limit.
async fn queue_under(server: &Sluiced, name: &str, limit: &str) -> Queue {
    let queue = server.queue(name);
    let settings =
        Settings { limit: limit.to_owned(), lease_duration: Some(spec::millis(HOUR)), ..Settings::default() };
    assert_eq!(queue.put(settings).await.limit, limit);
    queue
}

async fn get_limit(server: &Sluiced, name: &str) -> Result<Limit, Status> {
    let request = GetLimitRequest { name: name.to_owned() };
    Ok(server.admin().get_limit(request).await?.into_inner().limit.unwrap())
}

async fn acquire(queue: &Queue, request: AcquireLimitRequest) -> AcquireLimitResponse {
    queue.rpc.clone().acquire_limit(request).await.unwrap().into_inner()
}

fn of_limit(limit: &str, wait: u64) -> AcquireLimitRequest {
    AcquireLimitRequest {
        limit: limit.to_owned(),
        wait_timeout: Some(spec::millis(wait)),
        ..AcquireLimitRequest::default()
    }
}

#[tokio::test]
async fn s3_1_bots_share_the_rate_of_their_vendor_beside_their_own() {
    let mut server = Setup::small_segments().start().await;
    put_window(&server, "vendor", rate(1, HOUR, 5)).await;
    let mut bots = Vec::new();
    for name in ["bot1", "bot2", "bot3"] {
        let bot = queue_under(&server, name, "vendor").await;
        let own = NodeSettings { windows: vec![rate(1, HOUR, 2)], ..NodeSettings::default() };
        bot.put(Settings { limit: "vendor".to_owned(), settings: Some(own), ..Settings::default() }).await;
        bot.enqueue(spec::jobs("x", 9)).await;
        bots.push(bot);
    }
    let mut counts = Vec::new();
    for bot in &bots {
        counts.push(bot.lease(9).await.len());
    }
    assert_eq!(counts, [2, 2, 1], "two each, and five in all");
    let waiting = bots[2].list(&[], 10).await.into_iter().find(|job| !job.blocked_by.is_empty()).unwrap();
    let gate = &waiting.blocked_by[0];
    assert_eq!((gate.kind(), &*gate.limit, &*gate.node), (GateKind::Rate, "vendor", ""));
    let seen = get_limit(&server, "vendor").await.unwrap();
    assert_eq!((seen.queues, seen.in_flight, seen.tokens), (3, 5, Some(0)));
    // What it is and what went through it survive, though what said so leaves the log.
    let churn = server.queue("churn");
    let large = vec![spec::job(&"x".repeat(100_000)); 20];
    for _ in 0..60 {
        churn.enqueue(large.clone()).await;
        churn.ack(&churn.lease(20).await).await;
    }
    for _ in 0..2 {
        server.kill_and_start().await;
        assert_eq!(get_limit(&server, "vendor").await.unwrap(), seen);
        assert_eq!(server.queue("bot3").lease(9).await.len(), 0);
    }
}

#[tokio::test]
async fn n2_queues_of_a_limit_have_turns_and_one_without_workers_holds_nobody_up() {
    let server = Sluiced::fresh().await;
    put_window(&server, "vendor", rate(20, 1_000, 1)).await;
    let mut tasks = Vec::new();
    for name in ["left", "right", "idle"] {
        let queue = queue_under(&server, name, "vendor").await;
        queue.enqueue(spec::jobs("x", 100)).await;
        if name != "idle" {
            tasks.push(tokio::spawn(async move {
                let until = Instant::now() + Duration::from_secs(3);
                let mut count = 0;
                while Instant::now() < until {
                    let request = sluice_proto::v1::LeaseRequest {
                        wait_timeout: Some(spec::millis(500)),
                        ..queue.lease_request(1)
                    };
                    let jobs = queue.rpc.clone().lease(request).await.unwrap().into_inner().jobs;
                    count += jobs.len();
                    if !jobs.is_empty() {
                        queue.ack(&jobs).await;
                    }
                }
                count
            }));
        }
    }
    let mut counts = Vec::new();
    for task in tasks {
        counts.push(task.await.unwrap());
    }
    let sum: usize = counts.iter().sum();
    assert!((40..=72).contains(&sum), "20 a second for 3 s: {counts:?}");
    assert!(counts[0].abs_diff(counts[1]) <= sum / 5, "in turns: {counts:?}");
}

#[tokio::test]
async fn n4_worker_that_names_the_limit_freezes_it_and_a_person_lets_it_go_on() {
    let mut server = Sluiced::fresh().await;
    put_limit(&server, "vendor", NodeSettings::default()).await;
    let (first, second) =
        (queue_under(&server, "first", "vendor").await, queue_under(&server, "second", "vendor").await);
    first.enqueue(spec::jobs("x", 3)).await;
    second.enqueue(spec::jobs("y", 3)).await;
    let held = first.lease(1).await;
    let nack = |scope: &str| Nack {
        throttle_scope: scope.to_owned(),
        retry_after: Some(spec::millis(HOUR)),
        ..spec::nack(&held[0], NackReason::Throttled)
    };
    let refused = first.try_nack(nack("another")).await.error.unwrap();
    assert_eq!((refused.code, &*refused.reason), (Code::NotFound as i32, "LIMIT_NOT_FOUND"));
    assert_eq!(first.try_nack(nack("vendor")).await.error, None);
    assert_eq!(second.lease(9).await.len(), 0);
    server.kill_and_start().await;
    let second = server.queue("second");
    assert_eq!(second.lease(9).await.len(), 0);
    let limit = get_limit(&server, "vendor").await.unwrap();
    assert!(limit.frozen_until_time.is_some() && limit.rate_in_force.is_some(), "{limit:?}");
    let reset = ResetNodeRequest { limit: "vendor".to_owned(), ..ResetNodeRequest::default() };
    server.admin().reset_node(reset).await.unwrap();
    assert_eq!(second.lease(9).await.len(), 3);
    assert_eq!(get_limit(&server, "vendor").await.unwrap().rate_in_force, None);
}

#[tokio::test]
async fn s1_2_tokens_are_tried_waited_for_and_read() {
    let server = Sluiced::fresh().await;
    // Two messages a second, four at once; the rate counts recipients.
    put_window(&server, "gateway", Window { unit: WindowUnit::Cost.into(), ..rate(2, 1_000, 4) }).await;
    let queue = server.queue("gateway");
    let answer = acquire(&queue, AcquireLimitRequest { cost: Some(3), ..of_limit("gateway", 0) }).await;
    assert_eq!((answer.acquired, answer.tokens), (true, Some(1)));
    let refused = acquire(&queue, AcquireLimitRequest { cost: Some(3), ..of_limit("gateway", 0) }).await;
    let wait = refused.retry_after.unwrap();
    assert!(!refused.acquired && wait.seconds <= 1, "{refused:?}");
    let began = Instant::now();
    let waited = acquire(&queue, AcquireLimitRequest { cost: Some(3), ..of_limit("gateway", 5_000) }).await;
    assert!(waited.acquired, "{waited:?}");
    assert!((500..3_000).contains(&began.elapsed().as_millis()), "{:?}", began.elapsed());
    let began = Instant::now();
    let late = acquire(&queue, AcquireLimitRequest { cost: Some(4), ..of_limit("gateway", 200) }).await;
    assert!(!late.acquired && began.elapsed() >= Duration::from_millis(200), "{late:?}");
    // Whoever reads them takes none.
    let tokens = get_limit(&server, "gateway").await.unwrap().tokens.unwrap();
    assert!(tokens <= 2, "{tokens}");
}

#[tokio::test]
async fn calls_that_wait_for_tokens_leave_no_trace_when_they_are_cancelled() {
    let server = Sluiced::fresh().await;
    put_window(&server, "vendor", rate(1, 1_500, 1)).await;
    let queue = server.queue("vendor");
    assert!(acquire(&queue, of_limit("vendor", 0)).await.acquired);
    let mut cancelled = Vec::new();
    for _ in 0..50 {
        let queue = queue.clone();
        cancelled.push(tokio::spawn(async move { acquire(&queue, of_limit("vendor", 30_000)).await }));
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    cancelled.iter().for_each(|call| call.abort());
    tokio::time::sleep(Duration::from_millis(100)).await;
    let began = Instant::now();
    assert!(acquire(&queue, of_limit("vendor", 30_000)).await.acquired);
    assert!(began.elapsed() < Duration::from_secs(10), "it stood behind those that are gone");
}

#[tokio::test]
async fn limits_are_put_listed_and_deleted_under_their_etag() {
    let mut server = Sluiced::fresh().await;
    for name in ["b", "a", "c"] {
        put_window(&server, name, rate(1, 1_000, 2)).await;
    }
    let page = |page_size, page_token: String| ListLimitsRequest { page_size, page_token };
    let first = server.admin().list_limits(page(2, String::new())).await.unwrap().into_inner();
    let names: Vec<_> = first.limits.iter().map(|limit| &*limit.name).collect();
    assert_eq!(names, ["a", "b"]);
    let rest = server.admin().list_limits(page(2, first.next_page_token)).await.unwrap().into_inner();
    assert_eq!((rest.limits.len(), &*rest.next_page_token), (1, ""));

    let before = get_limit(&server, "a").await.unwrap();
    let stale = before.etag.clone();
    put_window(&server, "a", rate(2, 1_000, 2)).await;
    let put = PutLimitRequest { limit: Some(before), update_mask: None };
    let refused = server.admin().put_limit(put).await.unwrap_err();
    assert_eq!((refused.code(), status::reason(&refused)), (Code::Aborted, "ETAG_MISMATCH".into()));
    assert_ne!(get_limit(&server, "a").await.unwrap().etag, stale);

    let delete = |name: &str| DeleteLimitRequest { name: name.to_owned() };
    queue_under(&server, "q", "a").await;
    let refused = server.admin().delete_limit(delete("a")).await.unwrap_err();
    assert_eq!((refused.code(), status::reason(&refused)), (Code::FailedPrecondition, "LIMIT_IN_USE".into()));
    server.queue("q").put(Settings::default()).await;
    server.admin().delete_limit(delete("a")).await.unwrap();
    server.kill_and_start().await;
    let gone = get_limit(&server, "a").await.unwrap_err();
    assert_eq!((gone.code(), status::reason(&gone)), (Code::NotFound, "LIMIT_NOT_FOUND".into()));
}

#[tokio::test]
async fn limits_are_kept_by_the_command_line() {
    let server = Sluiced::fresh().await;
    let shown = cli::run(
        &server,
        &["-o", "json", "limit", "put", "vendor", "--limits", "rate=1/1h/2,max_in_flight=9"],
    )
    .await
    .ok();
    let shown: serde_json::Value = serde_json::from_str(&shown).unwrap();
    assert_eq!((&shown["limits"]["max_in_flight"], &shown["tokens"]), (&9.into(), &2.into()));
    assert_eq!(cli::run(&server, &["queue", "put", "chat", "--limit", "vendor"]).await.code, 0);
    let of_key = ["limit", "acquire", "--queue", "chat", "--key", "bot42"];
    assert_eq!(cli::run(&server, &["limit", "acquire", "vendor"]).await.code, 0);
    assert_eq!(cli::run(&server, &of_key).await.code, 0);
    let refused = cli::run(&server, &["-o", "json", "limit", "acquire", "vendor", "--wait", "100ms"]).await;
    assert_eq!(refused.code, 3, "{refused:?}");
    let refused: serde_json::Value = serde_json::from_str(&refused.stdout).unwrap();
    assert_eq!((&refused["acquired"], &refused["tokens"]), (&false.into(), &0.into()));
    let listed = cli::run(&server, &["-o", "jsonl", "limit", "list"]).await.lines();
    assert_eq!((listed.len(), &listed[0]["queues"]), (1, &1.into()));
    assert_eq!(cli::run(&server, &["limit", "delete", "vendor"]).await.code, 64 + 9);
    assert_eq!(cli::run(&server, &["queue", "put", "chat", "--limit", "none"]).await.code, 0);
    assert_eq!(cli::run(&server, &["limit", "thaw", "vendor"]).await.code, 0);
    assert_eq!(cli::run(&server, &["limit", "delete", "vendor"]).await.code, 0);
    assert_eq!(cli::run(&server, &["limit", "get", "vendor"]).await.code, 3);
}
