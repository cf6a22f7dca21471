//! A fleet of chat bots that send through one vendor: everything that its team wrote down, at once and against one
//! server that is killed in the middle. Ten times as fast as the vendor would have it; judged by what the vendor saw.

mod bot;
mod sender;
mod vendor;
mod verdict;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sluice_proto::v1::{GateKind, Job, JobState};
use sluice_tests::history::History;
use sluice_tests::judge::judge;
use sluice_tests::{Queue, Sluiced, cli, http};
use tokio::task::JoinSet;

use self::sender::Sender;
use self::vendor::{RETRY_AFTER, Vendor};
use self::verdict::Verdict;

/// Queues under the vendor's limit, and bots of each.
const QUEUES: [&str; 2] = ["east", "west"];
const BOTS: usize = 4;
const SENDERS: usize = 3;

/// Over all bots, of each, and of each group chat: together bots could send more than the vendor takes of all.
const ALL: Rate = Rate { amount: 60, burst: 6 };
const BOT: Rate = Rate { amount: 10, burst: 3 };
const GROUP: Quota = Quota { amount: 4, period: Duration::from_secs(3) };
/// Of a chat that has no more to say within a test.
const ALARM: Quota = Quota { amount: 2, period: Duration::from_secs(3_600) };

const AGEING: Duration = Duration::from_millis(300);
const LEASE: Duration = Duration::from_secs(3);
/// How long somebody tries to send at once before the message is queued.
const TRY: Duration = Duration::from_secs(2);
const MAX_ATTEMPTS: u32 = 4;
const BACKOFF: Duration = Duration::from_millis(300);
const JITTER: f64 = 0.2;

/// As the mission calls them: high, normal, low.
const HIGH: u32 = 7;
const NORMAL: u32 = 4;
const LOW: u32 = 2;

/// A second, and at once.
#[derive(Clone, Copy, Debug)]
struct Rate {
    amount: u32,
    burst: u32,
}

/// In any span of a period.
#[derive(Clone, Copy, Debug)]
struct Quota {
    amount: u32,
    period: Duration,
}

async fn put(server: &Sluiced) {
    let said = |rate: Rate| format!("rate={}/1s/{}", rate.amount, rate.burst);
    let quota = |quota: Quota| format!("quota={}/{}s", quota.amount, quota.period.as_secs());
    let (ageing, backoff) = (format!("{}ms", AGEING.as_millis()), format!("{}ms", BACKOFF.as_millis()));
    let all = ["limit", "put", "vendor", "--limits", &said(ALL), "--priority-ageing", &ageing];
    drop(cli::run(server, &all).await.ok());
    let rules = [
        format!("bot*/group/alarm:{}", quota(ALARM)),
        format!("bot*/group/*:{},ordered=true", quota(GROUP)),
        format!("bot*:{}", said(BOT)),
    ];
    let rules: Vec<&str> = rules.iter().flat_map(|rule| ["--key-rule", rule]).collect();
    let (attempts, jitter) = (MAX_ATTEMPTS.to_string(), JITTER.to_string());
    for queue in QUEUES {
        let put = ["queue", "put", queue, "--limit", "vendor", "--priority-ageing", &ageing];
        let retry = ["--max-attempts", &attempts, "--initial-backoff", &backoff, "--jitter", &jitter];
        let arguments = put.into_iter().chain(retry).chain(rules.iter().copied());
        drop(cli::run(server, &arguments.collect::<Vec<_>>()).await.ok());
    }
}

/// The numbers of a queue as a page of JSON.
async fn numbers(server: &Sluiced, queue: &str) -> serde_json::Value {
    http::json(server.http(), &format!("/stats?queue={queue}")).await["queues"][0].clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s3_bots_send_all_within_every_limit_and_in_fair_order_through_429s_failures_and_kill_9() {
    let mut server = Sluiced::fresh().await;
    put(&server).await;
    let (history, vendor) = (History::default(), Arc::new(Vendor::default()));
    let queues: Vec<Queue> = QUEUES.iter().map(|name| server.queue(name)).collect();
    let sender = |queue: &Queue| Sender::new(server.queue(queue.name()), vendor.clone(), history.clone());

    // What waits from the start; S3.6: it can be read.
    let mut count = 0;
    for queue in &queues {
        let waiting = bot::waiting(queue.name());
        count += waiting.len();
        sender(queue).enqueue("waiting", waiting.clone()).await;
        let page = numbers(&server, queue.name()).await;
        let of = |priority| waiting.iter().filter(|job| job.priority == Some(priority)).count();
        for (name, priority) in [("high", HIGH), ("normal", NORMAL), ("low", LOW)] {
            assert_eq!(page[name], of(priority), "{name}: {page}");
        }
    }

    // Senders, a producer and the bots themselves.
    let began = Instant::now();
    let (mut senders, mut producers, mut bots) = (JoinSet::new(), JoinSet::new(), JoinSet::new());
    for queue in &queues {
        for _ in 0..SENDERS {
            senders.spawn(sender(queue).work());
        }
        let coming = bot::coming(queue.name());
        count += coming.iter().map(Vec::len).sum::<usize>();
        producers.spawn(sender(queue).produce(coming));
        for number in 0..BOTS {
            bots.spawn(bot::live(sender(queue), number));
        }
    }
    // S3.1: every bot tried, was refused, and passed its limit in an emergency. What they queued.
    while let Some(queued) = bots.join_next().await {
        count += queued.unwrap();
    }

    // S3.9: one chat is told to wait; S3.7: and meanwhile the server is killed.
    vendor.arm();
    sender(&queues[0]).enqueue("unwelcome", vec![vendor::unwelcome()]).await;
    let refusal = vendor.refusal().await;
    let waits = sender(&queues[0]).enqueue("behind", vec![vendor::behind()]).await;
    count += 2;
    server.kill_and_start().await;
    let behind = queues[0].job(&waits[0]).await;
    if refusal.time.elapsed().unwrap() < RETRY_AFTER {
        let is_frozen = behind.blocked_by.iter().any(|gate| gate.kind() == GateKind::Frozen);
        assert!(is_frozen, "{behind:?}");
    }

    while let Some(ended) = producers.join_next().await {
        ended.unwrap();
    }
    for queue in &queues {
        queue.until(|status| status.jobs == 0).await;
    }
    let took = began.elapsed();
    vendor.close();
    while let Some(ended) = senders.join_next().await {
        ended.unwrap();
    }

    let mut jobs: Vec<Job> = Vec::new();
    for queue in &queues {
        let of_queue = queue.list(&[], 1_000).await;
        // S3.6
        let page = numbers(&server, queue.name()).await;
        let dead = of_queue.iter().filter(|job| job.state() == JobState::Dead).count();
        let empty = ["high", "normal", "low", "retry"];
        assert!(empty.iter().all(|name| page[*name] == 0), "{page}");
        assert_eq!((&page["total_queued"], &page["dead_letter"]), (&of_queue.len().into(), &dead.into()));
        assert!(page["total_failed"].as_u64() > page["dead_letter"].as_u64(), "{page}");
        let throttled = u64::from(queue.name() == QUEUES[0]);
        let totals = &page["totals"];
        let codes = &totals["failed_by_code"];
        assert_eq!((&totals["throttled"], &codes["HTTP_403"]), (&throttled.into(), &BOTS.into()), "{page}");
        assert!(codes["HTTP_500"].as_u64() >= Some(BOTS as u64), "{page}");
        jobs.extend(of_queue);
    }
    assert_eq!(jobs.len(), count);
    let arrivals = vendor.arrivals();
    eprintln!("{} messages arrived {} times in {took:.1?}", jobs.len(), arrivals.len());
    let audit = jobs.iter().map(|job| (job.job_id.clone(), job.state())).collect();
    assert_eq!(judge(&history.seen(), &audit), BTreeSet::new());

    let verdict = Verdict::new(&arrivals, &jobs);
    verdict.all_came_and_what_never_succeeds_is_dead();
    verdict.no_window_is_exceeded();
    verdict.emergencies_pass_what_is_used_up();
    verdict.order_is_kept_within_keys();
    verdict.bots_are_served_alike();
    verdict.low_ones_are_served_while_high_ones_come();
    verdict.failures_wait_longer_each_time();
    verdict.one_key_alone_was_frozen(&refusal);
}
