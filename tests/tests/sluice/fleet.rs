//! A fleet of chat bots: many bots and users at once, mixed priorities, limits on two levels, and three workers of
//! which one dies.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant, SystemTime};

use sluice_proto::v1::{Job, JobSpec, JobState, KeyRule, NodeSettings, Queue, Window};
use sluice_tests::downstream::{Answer, Call, Downstream};
use sluice_tests::{Sluiced, cli, spec};
use tokio::process::Child;

const BOTS: usize = 50;
const USERS: usize = 100;
/// As the mission calls them: high, normal, low.
const HIGH: u32 = 7;
const NORMAL: u32 = 4;
const LOW: u32 = 2;
/// Of each bot: messages of low and of normal priority that wait from the start, and urgent ones that come later.
const WAITING: usize = 5;
const COMING: usize = 20;
const MESSAGES: usize = BOTS * (2 * WAITING + COMING);
/// A second, over all bots and of each: what comes is nearly as much as what may go.
const ALL: u32 = 90;
const BOT: u32 = 5;
const BURST: u32 = 5;
/// Urgent messages come so many at a time,
const BATCH: usize = 8;
/// and so often: 80 a second.
const EVERY: Duration = Duration::from_millis(100);
/// A priority more for each.
const AGEING: Duration = Duration::from_secs(1);
/// What a worker has in its hands.
const CONCURRENCY: usize = 8;
/// Two clocks are read, and a call is on its way.
const SLACK: Duration = Duration::from_millis(300);

fn rate(amount: u32) -> NodeSettings {
    let window =
        Window { amount, period: Some(spec::millis(1_000)), burst: Some(BURST), ..Window::default() };
    NodeSettings { windows: vec![window], ..NodeSettings::default() }
}

/// Message `n` of a bot to the user it has for a priority: every bot has three, every user one bot or two.
fn message(bot: usize, priority: u32, n: usize) -> JobSpec {
    let user = match priority {
        HIGH => bot,
        NORMAL => bot + BOTS,
        _ => (bot + USERS - BOTS / 2) % USERS,
    };
    let job = spec::keyed(&format!("bot{bot}/user{user}"), &format!("{bot} {priority} {n}"));
    JobSpec { priority: Some(priority), ..job }
}

fn worker(server: &Sluiced, downstream: &Downstream, number: usize) -> Child {
    let (url, concurrency) = (downstream.url(), CONCURRENCY.to_string());
    let work = ["work", "--queue", "fleet", "--http", &url, "--concurrency", &concurrency];
    cli::start(server, &work, &server.data().parent().unwrap().join(format!("worker-{number}")))
}

fn bot(key: &str) -> &str {
    key.split('/').next().expect("a split gives something")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s3_8_fleet_loses_nothing_shares_fairly_and_starves_nobody_though_a_worker_dies() {
    let server = Sluiced::fresh().await;
    let queue = server.queue("fleet");
    queue
        .put(Queue {
            settings: Some(rate(ALL)),
            key_rules: vec![KeyRule { key_pattern: "bot*".to_owned(), settings: Some(rate(BOT)) }],
            priority_ageing: Some(spec::span(AGEING)),
            lease_duration: Some(spec::millis(5_000)),
            ..spec::retrying(5, Duration::from_millis(200))
        })
        .await;
    let downstream = Downstream::start(|_| Answer::new(200).after(Duration::from_millis(20))).await;
    let waiting = (0..WAITING)
        .flat_map(|n| (0..BOTS).flat_map(move |bot| [message(bot, LOW, n), message(bot, NORMAL, n)]));
    let mut ids: BTreeSet<String> = queue.enqueue(waiting.collect()).await.into_iter().collect();

    let began = Instant::now();
    let mut workers: Vec<Child> = (0..3).map(|number| worker(&server, &downstream, number)).collect();
    let coming: Vec<JobSpec> =
        (0..COMING).flat_map(|n| (0..BOTS).map(move |bot| message(bot, HIGH, n))).collect();
    let mut ticks = tokio::time::interval(EVERY);
    for (number, batch) in coming.chunks(BATCH).enumerate() {
        ticks.tick().await;
        ids.extend(queue.enqueue(batch.to_vec()).await);
        if number == coming.len() / BATCH / 2 {
            workers[0].kill().await.unwrap();
        }
    }
    queue.until(|status| status.jobs == 0).await;
    let took = began.elapsed();

    let calls = downstream.calls();
    let jobs: BTreeMap<String, Job> =
        queue.list(&[], 1_000).await.into_iter().map(|job| (job.job_id.clone(), job)).collect();
    let per_minute = MESSAGES as f64 / took.as_secs_f64() * 60.0;
    eprintln!("{MESSAGES} messages in {took:.1?}: {per_minute:.0} a minute");
    assert!(per_minute >= 1_000.0, "{per_minute} messages a minute");
    nothing_is_lost(&ids, &jobs, &calls);
    shares_are_fair(&calls);
    nobody_starves(&jobs);
}

/// Every message is done and arrived; again only what the dead worker had in its hands, or was about to have.
fn nothing_is_lost(ids: &BTreeSet<String>, jobs: &BTreeMap<String, Job>, calls: &[Call]) {
    assert_eq!(ids.len(), MESSAGES);
    assert!(jobs.keys().eq(ids), "every message is there and no other");
    let mut arrived = BTreeMap::<&str, u32>::new();
    for call in calls {
        *arrived.entry(&call.headers["idempotency-key"]).or_default() += 1;
    }
    let mut again = 0;
    for job in jobs.values() {
        assert_eq!(job.state(), JobState::Completed, "{job:?}");
        let times = arrived.get(&*job.job_id).copied().unwrap_or_default();
        assert!(times >= 1 && times <= job.deliveries, "{times} arrivals of {job:?}");
        // What could not be handed over any more came back unspent.
        assert!(job.attempts < job.deliveries, "{job:?}");
        again += job.deliveries - 1;
    }
    // At that moment its hands may have been empty.
    assert!(again <= CONCURRENCY as u32, "{again} were in the hands of the worker that died");
}

/// While there is enough to do for all, no bot is far ahead of another.
fn shares_are_fair(calls: &[Call]) {
    let mut counts = vec![0_usize; BOTS];
    for (number, call) in calls.iter().enumerate() {
        let bot: usize = bot(&call.headers["x-sluice-key"])["bot".len()..].parse().unwrap();
        counts[bot] += 1;
        let (most, least) = (counts.iter().max().unwrap(), counts.iter().min().unwrap());
        // A turn of its own, one that is out of step with the urgent message of another, one that came again, and what
        // calls on their way overtake.
        assert!(number * 2 > MESSAGES || most - least <= 4, "after {number} calls: {counts:?}");
    }
}

/// Nobody is passed within its bot by one that came more than the difference of their priorities in steps of ageing after
/// it: by the server's own times, of what was delivered once.
fn nobody_starves(jobs: &BTreeMap<String, Job>) {
    let mut bots = BTreeMap::<&str, Vec<&Job>>::new();
    for job in jobs.values() {
        bots.entry(bot(&job.key)).or_default().push(job);
    }
    let came = |job: &Job| spec::moment(job.create_time);
    let went = |job: &Job| spec::moment(job.start_time);
    let (mut passed, mut longest) = (0, Duration::ZERO);
    for jobs in bots.values().filter(|jobs| jobs.iter().all(|job| job.deliveries == 1)) {
        let mut fronts = BTreeMap::<&str, SystemTime>::new();
        let mut in_order = jobs.clone();
        in_order.sort_by_key(|job| job.job_id.parse::<u64>().unwrap());
        for job in in_order {
            // It waits in earnest from when the one before it went.
            let front = fronts.get(&*job.key).copied().unwrap_or(came(job)).max(came(job));
            fronts.insert(&job.key, went(job));
            for other in jobs.iter().filter(|other| other.priority > job.priority && went(other) < went(job))
            {
                let bound = front + AGEING * (other.priority - job.priority) + SLACK;
                assert!(came(other) <= bound, "{other:?} passed {job:?}, first of its key since {front:?}");
                passed += usize::from(went(other) > front);
            }
            longest = longest.max(went(job).duration_since(front).unwrap_or_default());
        }
    }
    eprintln!(
        "passed {passed} times by more urgent ones; the longest wait of a first of its key {longest:.1?}"
    );
    assert!(passed > BOTS, "urgent messages went first for a while");
}
