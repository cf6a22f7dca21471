//! Limits as clients see them: what may not go does not go, what may go goes, and why is told.

use std::time::{Duration, Instant};

use sluice_proto::v1::{
    GateKind, Job, JobSpec, JobState, LeasedJob, Nack, NackReason, NodeSettings, Queue as Settings,
    ResetNodeRequest, Window, WindowKind, WindowUnit,
};
use sluice_tests::{Queue, Setup, Sluiced, cli, spec, status};
use tonic::Code;

const HOUR: u64 = 3_600_000;

/// `amount` in so many milliseconds, evenly, and `burst` at once.
fn rate(amount: u32, period: u64, burst: u32) -> Window {
    Window { amount, period: Some(spec::millis(period)), burst: Some(burst), ..Window::default() }
}

/// `amount` in any span of so many milliseconds.
fn quota(amount: u32, period: u64) -> Window {
    let kind = WindowKind::Quota.into();
    Window { kind, amount, period: Some(spec::millis(period)), ..Window::default() }
}

fn of_cost(window: Window) -> Window {
    Window { unit: WindowUnit::Cost.into(), ..window }
}

fn windows(windows: &[Window]) -> NodeSettings {
    NodeSettings { windows: windows.to_vec(), ..NodeSettings::default() }
}

/// What goes now.
async fn goes(queue: &Queue) -> Vec<String> {
    spec::texts(&queue.lease(1_000).await)
}

async fn throttle(queue: &Queue, job: &LeasedJob, retry_after: Option<u64>, scope: &str) {
    let nack = Nack {
        retry_after: retry_after.map(spec::millis),
        throttle_scope: scope.to_owned(),
        ..spec::nack(job, NackReason::Throttled)
    };
    let result = queue.try_nack(nack).await;
    assert_eq!((result.error.clone(), result.state()), (None, JobState::Ready));
}

/// Takes jobs as they come, until there were so many; when each came.
async fn arrivals(queue: &Queue, count: usize) -> Vec<Instant> {
    let mut came = Vec::new();
    while came.len() < count {
        let request = sluice_proto::v1::LeaseRequest {
            wait_timeout: Some(spec::millis(10_000)),
            ..queue.lease_request(10)
        };
        let jobs = queue.rpc.clone().lease(request).await.unwrap().into_inner().jobs;
        came.extend(jobs.iter().map(|_| Instant::now()));
        queue.ack(&jobs).await;
    }
    came
}

#[tokio::test]
async fn s0_2_bucket_lets_a_burst_through_and_then_an_even_stream() {
    let server = Sluiced::fresh().await;
    let queue = server.queue("bucket");
    queue.put(spec::limited(windows(&[rate(30, 1_000, 5)]), &[])).await;
    queue.enqueue(spec::jobs("x", 50)).await;
    let began = Instant::now();
    let came = arrivals(&queue, 50).await;
    let times: Vec<f64> = came.iter().map(|time| (*time - began).as_secs_f64()).collect();
    // Answers come later than they left, by a little that differs: a span may seem shorter than it was.
    let jitter = 0.1;
    for (first, from) in times.iter().enumerate() {
        for (last, until) in times.iter().enumerate().skip(first) {
            let allowed = 5.0 + (until - from + jitter) * 30.0;
            assert!((last - first + 1) as f64 <= allowed, "{} within {}", last - first + 1, until - from);
        }
    }
    let whole = times[49];
    assert!((1.45..4.5).contains(&whole), "45 after the burst take 1.5 s, and took {whole}");
    let status = queue.status().await;
    assert_eq!((status.jobs, status.totals.unwrap().completed), (0, 50));
}

#[tokio::test]
async fn s3_1_n2_all_levels_hold_at_once_and_nobody_stands_in_anothers_way() {
    let server = Sluiced::fresh().await;
    let queue = server.queue("tree");
    let rules = [
        ("bot*/group/*", windows(&[quota(2, HOUR)])),
        ("bot*", windows(&[quota(5, HOUR), quota(100, 10 * HOUR)])),
    ];
    queue.put(spec::limited(windows(&[rate(1, HOUR, 8)]), &rules)).await;
    let mut jobs = Vec::new();
    for key in ["bot1/group/a", "bot1/group/b", "bot1/direct/c", "bot2/group/a", "none"] {
        jobs.extend((0..4).map(|n| spec::keyed(key, &format!("{key}:{n}"))));
    }
    queue.enqueue(jobs).await;
    let mut went = goes(&queue).await;
    went.sort_unstable();
    // Of a group two, of bot1 five, in all eight.
    assert_eq!(went.len(), 8, "{went:?}");
    let of = |prefix: &str| went.iter().filter(|text| text.starts_with(prefix)).count();
    assert!(of("bot1/") <= 5 && of("bot2/") == 2, "{went:?}");
    assert!(["bot1/group/a", "bot1/group/b", "bot2/group/a"].iter().all(|group| of(group) <= 2), "{went:?}");
    assert!(of("none") >= 1, "keys take turns: {went:?}");

    // Why each of the others waits is told, the deepest first.
    for job in queue.list(&[JobState::Ready], 100).await {
        let blocks = spec::blocks(&job);
        assert_eq!(blocks.last(), Some(&(GateKind::Rate, "")), "{job:?}");
        if job.key == "bot2/group/a" {
            assert_eq!(blocks[0], (GateKind::Quota, "bot2/group/a"));
        }
        assert!(job.blocked_by.iter().all(|gate| gate.closed && !gate.message.is_empty()));
        assert!(job.blocked_by.iter().all(|gate| gate.until_time.is_some()));
    }
}

#[tokio::test]
async fn n3_key_that_is_throttled_blocks_nobody_and_polls_that_get_nothing_charge_nothing() {
    let server = Sluiced::fresh().await;
    let queue = server.queue("polls");
    queue.put(spec::limited(NodeSettings::default(), &[("*", windows(&[rate(1, 700, 1)]))])).await;
    queue.enqueue(vec![spec::keyed("a", "a0"), spec::keyed("a", "a1"), spec::keyed("b", "b0")]).await;
    assert_eq!(goes(&queue).await, ["a0", "b0"]);
    let began = Instant::now();
    let mut polls = 0;
    let next = loop {
        let next = goes(&queue).await;
        if !next.is_empty() {
            break next;
        }
        polls += 1;
    };
    assert_eq!(next, ["a1"]);
    assert!(polls > 20, "{polls}");
    assert!(began.elapsed() < Duration::from_millis(5_000), "{:?}", began.elapsed());
}

#[tokio::test]
async fn s1_2_n5_what_jobs_cost_is_counted_and_a_dear_one_is_not_passed_for_ever() {
    let server = Sluiced::fresh().await;
    let queue = server.queue("cost");
    queue.put(spec::limited(windows(&[of_cost(rate(10, 1_000, 4))]), &[])).await;
    let costs = |cost: u32, text: &str| JobSpec { cost: Some(cost), ..spec::job(text) };
    queue.enqueue(vec![costs(3, "three"), costs(4, "four"), costs(1, "one"), costs(9, "nine")]).await;
    assert_eq!(goes(&queue).await, ["three"], "one would fit, and stands behind four");
    let job = queue.list(&[JobState::Ready], 1).await.remove(0);
    assert_eq!((job.cost, spec::blocks(&job)), (4, vec![(GateKind::Rate, "")]));
    let began = Instant::now();
    let came = arrivals(&queue, 3).await;
    let times: Vec<u128> = came.iter().map(|time| (*time - began).as_millis()).collect();
    // Four when three are repaid, one a tenth of a second after it, nine when all is.
    assert!(times[0] >= 250 && times[1] >= times[0] + 50 && times[2] >= times[1] + 300, "{times:?}");
    assert_eq!(queue.status().await.totals.unwrap().completed, 3);
}

#[tokio::test]
async fn n8_ordered_keys_go_one_after_another_and_a_retry_holds_the_rest() {
    let server = Sluiced::fresh().await;
    let queue = server.queue("ordered");
    let ordered = NodeSettings { ordered: true, ..NodeSettings::default() };
    let settings = spec::limited(NodeSettings::default(), &[("*", ordered)]);
    queue
        .put(Settings {
            retry_policy: spec::retrying(3, Duration::from_millis(700)).retry_policy,
            ..settings
        })
        .await;
    queue.enqueue(["a0", "a1", "b0", "b1"].map(|text| spec::keyed(&text[..1], text)).into()).await;
    let out = queue.lease(10).await;
    assert_eq!(spec::texts(&out), ["a0", "b0"]);
    let waits = |text: &'static str| {
        let queue = queue.clone();
        async move {
            let jobs = queue.list(&[JobState::Ready], 10).await;
            jobs.into_iter().find(|job| job.payload.as_deref() == Some(text.as_bytes()))
        }
    };
    if let Some(job) = waits("a1").await {
        assert_eq!(spec::blocks(&job), [(GateKind::Ordered, "a")]);
    }
    queue.ack(&out[1..]).await;
    assert_eq!(goes(&queue).await, ["b1"]);
    queue.nack(&out[0], NackReason::Failed).await;
    assert_eq!(goes(&queue).await, [""; 0], "a0 is to be retried, and a1 stands behind it");
    assert_eq!(spec::text(&queue.lease_next().await), "a0");
    assert_eq!(goes(&queue).await, [""; 0]);
}

#[tokio::test]
async fn jobs_in_flight_are_bounded_at_every_level_and_a_slot_is_free_at_once() {
    let server = Sluiced::fresh().await;
    let queue = server.queue("slots");
    let most = |most| NodeSettings { max_in_flight: Some(most), ..NodeSettings::default() };
    queue.put(spec::limited(most(3), &[("*", most(2))])).await;
    queue
        .enqueue(
            (0..3)
                .flat_map(|n| [spec::keyed("a", &format!("a{n}")), spec::keyed("b", &format!("b{n}"))])
                .collect(),
        )
        .await;
    let out = queue.lease(10).await;
    assert_eq!(spec::texts(&out), ["a0", "b0", "a1"]);
    let waiting = tokio::spawn({
        let queue = queue.clone();
        async move { queue.lease_next().await }
    });
    queue.until(|status| status.waiting_leases == 1).await;
    queue.nack(&out[1], NackReason::Rejected).await;
    assert_eq!(spec::text(&waiting.await.unwrap()), "b1", "a has its two");
    assert_eq!(goes(&queue).await, [""; 0]);
}

#[tokio::test]
async fn n4_429_freezes_its_key_alone_and_spends_no_attempt() {
    let mut server = Sluiced::fresh().await;
    let queue = server.queue("frozen");
    queue.put(spec::limited(NodeSettings::default(), &[])).await;
    let mut jobs: Vec<JobSpec> = (0..3).map(|n| spec::keyed("bot1/a", &format!("a{n}"))).collect();
    jobs.extend((0..2).map(|n| spec::keyed("bot1/b", &format!("b{n}"))));
    let ids = queue.enqueue(jobs).await;
    let out = queue.lease(2).await;
    assert_eq!(spec::texts(&out), ["a0", "b0"]);
    throttle(&queue, &out[0], Some(HOUR), "").await;
    let job = queue.job(&ids[0]).await;
    assert_eq!(
        (job.state(), job.attempts, spec::blocks(&job)),
        (JobState::Ready, 0, vec![(GateKind::Frozen, "bot1/a")])
    );
    assert_eq!(goes(&queue).await, ["b1"], "another key goes on");
    server.kill_and_start().await;
    let queue = server.queue("frozen");
    assert_eq!(goes(&queue).await, [""; 0], "frozen over kill -9");

    // A level above, and the queue.
    throttle(&queue, &out[1], Some(HOUR), "1").await;
    let job = queue.job(&ids[3]).await;
    assert_eq!(spec::blocks(&job), [(GateKind::Frozen, "bot1")]);
    let id = queue.enqueue_one(spec::keyed("bot2", "c0")).await;
    let out = queue.lease(10).await;
    assert_eq!(spec::texts(&out), ["c0"]);
    throttle(&queue, &out[0], Some(700), "0").await;
    assert_eq!(spec::blocks(&queue.job(&id).await), [(GateKind::Frozen, "")]);
    let began = Instant::now();
    assert_eq!(spec::text(&queue.lease_next().await), "c0");
    assert!(began.elapsed() > Duration::from_millis(400), "{:?}", began.elapsed());
    assert_eq!(queue.status().await.totals.unwrap().throttled, 3);

    for (scope, reason) in
        [("4", NackReason::Throttled), ("x y", NackReason::Throttled), ("0", NackReason::Failed)]
    {
        let lease = spec::nack(&out[0], reason);
        let nacks = vec![Nack { throttle_scope: scope.to_owned(), ..lease }];
        let refused = queue.rpc.clone().nack(sluice_proto::v1::NackRequest { nacks }).await;
        let refused = status::refused(refused, Code::InvalidArgument, "INVALID_FIELDS");
        assert_eq!(status::fields(&refused), ["nacks[0].throttle_scope"]);
    }
}

#[tokio::test]
async fn frozen_node_goes_on_when_it_is_told_to_and_owes_what_it_owed() {
    let mut server = Sluiced::fresh().await;
    let queue = server.queue("thaw");
    queue.put(spec::limited(NodeSettings::default(), &[("*", windows(&[quota(2, HOUR)]))])).await;
    queue.enqueue((0..4).map(|n| spec::keyed("a", &format!("a{n}"))).collect()).await;
    let out = queue.lease(1).await;
    throttle(&queue, &out[0], Some(HOUR), "").await;
    server.kill_and_start().await;
    let queue = server.queue("thaw");
    let waiting = tokio::spawn({
        let queue = queue.clone();
        async move { queue.lease_next().await }
    });
    queue.until(|status| status.waiting_leases == 1).await;
    let reset = ResetNodeRequest { queue: "thaw".to_owned(), key: "a".to_owned(), ..Default::default() };
    server.admin().reset_node(reset).await.unwrap();
    assert_eq!(spec::text(&waiting.await.unwrap()), "a0");
    assert_eq!(goes(&queue).await, [""; 0], "two have gone, of two");
    server.kill_and_start().await;
    assert_eq!(goes(&server.queue("thaw")).await, [""; 0]);
    assert_eq!(cli::run(&server, &["queue", "thaw", "thaw", "--key", "a"]).await.code, 0);
    let unknown = cli::run(&server, &["queue", "thaw", "nobody"]).await;
    assert_eq!(unknown.code, 3, "{unknown:?}");
}

#[tokio::test]
async fn s0_3_without_a_time_the_wait_doubles_and_what_is_said_at_once_counts_once() {
    let server = Sluiced::fresh().await;
    let queue = server.queue("ladder");
    let literal = NodeSettings { adaptive: Some(false), ..NodeSettings::default() };
    queue.put(spec::limited(literal, &[])).await;
    queue.enqueue(vec![spec::keyed("a", "x"); 3]).await;
    let out = queue.lease(3).await;
    for job in &out {
        throttle(&queue, job, None, "").await;
    }
    let began = Instant::now();
    let next = queue.lease_next().await;
    let first = began.elapsed();
    assert!((500..1_900).contains(&first.as_millis()), "1 s, though three said so: {first:?}");
    throttle(&queue, &next, None, "").await;
    let began = Instant::now();
    queue.lease_next().await;
    let second = began.elapsed();
    assert!((1_500..3_900).contains(&second.as_millis()), "then 2 s: {second:?}");
}

/// What goes after two restarts though a burst went before them and its leases left the log; and what waits in the end.
async fn after_restarts(setup: Setup) -> (Vec<String>, Vec<Job>) {
    let mut server = setup.start().await;
    let queue = server.queue("debt");
    let rules = [("a", windows(&[rate(1, HOUR, 3)])), ("b", windows(&[of_cost(quota(3, HOUR))]))];
    queue
        .put(Settings { retention: Some(spec::millis(0)), ..spec::limited(NodeSettings::default(), &rules) })
        .await;
    for _ in 0..5 {
        queue.enqueue(vec![spec::keyed("a", "a"), spec::keyed("b", "b")]).await;
    }
    let out = queue.lease(100).await;
    assert_eq!(out.len(), 6);
    queue.ack(&out).await;
    // Until nothing of it is in the log any more.
    let churn = server.queue("churn");
    let large = vec![spec::job(&"x".repeat(100_000)); 20];
    for _ in 0..60 {
        churn.enqueue(large.clone()).await;
        churn.ack(&churn.lease(20).await).await;
    }
    let mut went = Vec::new();
    for _ in 0..2 {
        server.kill_and_start().await;
        went.extend(goes(&server.queue("debt")).await);
    }
    (went, server.queue("debt").list(&[JobState::Ready], 10).await)
}

#[tokio::test]
async fn n10_restart_does_not_let_a_burst_through_again_though_its_leases_left_the_log() {
    let (went, waits) = after_restarts(Setup::small_segments()).await;
    assert_eq!(went, [""; 0]);
    assert_eq!(waits.len(), 4);
    assert!(waits.iter().all(|job| spec::blocks(job).len() == 1), "{waits:?}");
}

#[tokio::test]
async fn n10_server_that_forgets_its_debts_is_found_out() {
    let (mut went, _) = after_restarts(Setup::small_segments().planted("forgotten-debts")).await;
    went.sort();
    assert_eq!(went, ["a", "a", "b", "b"], "what the limits hold back would go");
}

#[tokio::test]
async fn n12_limits_change_at_run_time_and_what_went_through_keeps_its_units() {
    let server = Sluiced::fresh().await;
    let queue = server.queue("changes");
    let put = async |limits: &[Window]| {
        queue.put(spec::limited(windows(limits), &[])).await;
    };
    put(&[rate(1, HOUR, 4)]).await;
    queue.enqueue(spec::jobs("x", 20)).await;
    assert_eq!(goes(&queue).await.len(), 4);
    put(&[rate(1, 10 * HOUR, 6)]).await;
    assert_eq!(goes(&queue).await.len(), 2, "four of six are used");
    put(&[quota(9, HOUR)]).await;
    assert_eq!(goes(&queue).await.len(), 3, "six of nine are used");
    let waiting = tokio::spawn({
        let queue = queue.clone();
        async move { queue.lease_next().await }
    });
    queue.until(|status| status.waiting_leases == 1).await;
    put(&[]).await;
    waiting.await.unwrap();
    assert_eq!(goes(&queue).await.len(), 10, "nothing limits it any more");
}

#[tokio::test]
async fn limits_are_put_and_shown_by_the_command_line() {
    let server = Sluiced::fresh().await;
    let arguments = [
        "-o",
        "json",
        "queue",
        "put",
        "cli",
        "--limits",
        "rate=30/60s/5,quota_cost=100/24h,max_in_flight=3",
        "--key-rule",
        "bot*:rate=2/1s,weight=3,ordered=true",
    ];
    let shown: serde_json::Value = serde_json::from_str(&cli::run(&server, &arguments).await.ok()).unwrap();
    let rate =
        serde_json::json!({ "kind": "RATE", "amount": 30, "period": "60s", "burst": 5, "unit": "JOBS" });
    assert_eq!(shown["limits"]["windows"][0], rate, "{shown}");
    assert_eq!(shown["limits"]["max_in_flight"], 3);
    assert_eq!(shown["key_rules"][0]["limits"]["windows"][0]["burst"], 2, "one second's worth");
    for _ in 0..2 {
        let job = ["enqueue", "--queue", "cli", "--key", "bot1", "--cost", "60", "--payload", "x"];
        assert_eq!(cli::run(&server, &job).await.code, 0);
    }
    let queue = server.queue("cli");
    let out = queue.lease(2).await;
    queue.ack(&out).await;
    let listed = cli::run(&server, &["-o", "jsonl", "jobs", "list", "--queue", "cli", "--state", "ready"])
        .await
        .lines();
    assert_eq!(
        (listed[0]["cost"].as_u64(), &listed[0]["blocked_by"][0]["kind"]),
        (Some(60), &"QUOTA".into())
    );
    let cleared = cli::run(&server, &["-o", "json", "queue", "put", "cli", "--limits", "none"]).await.ok();
    let cleared: serde_json::Value = serde_json::from_str(&cleared).unwrap();
    assert_eq!(cleared.get("limits"), None);
    assert_eq!(goes(&queue).await, ["x"]);
}
