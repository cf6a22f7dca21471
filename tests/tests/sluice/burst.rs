//! `kill -9` in a loop while jobs are dispatched under limits: counted where they arrive, by one clock over all lives
//! of the server, no window is ever exceeded by more than the path is late.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use sluice_proto::v1::{
    KeyRule, LeaseRequest, LeasedJob, NodeSettings, Queue as Settings, Window, WindowKind,
};
use sluice_tests::{Queue, Setup, spec};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

const KILLS: usize = 24;
const KEYS: [&str; 4] = ["bot1/a", "bot1/b", "bot2/a", "bot2/b"];
const WORKERS: usize = 3;
/// Of all, of a bot, and of a chat: bursts so large that one that went through twice were seen at once.
const ALL: Rate = Rate { amount: 20, burst: 10 };
const BOT: Rate = Rate { amount: 12, burst: 6 };
const CHAT: Rate = Rate { amount: 8, burst: 4 };
/// And so many of all in any span of [`PERIOD`]: less than the rate alone would let through.
const QUOTA: u32 = 45;
const PERIOD: Duration = Duration::from_secs(3);

/// A second, and at once.
#[derive(Clone, Copy)]
struct Rate {
    amount: u32,
    burst: u32,
}

impl Rate {
    fn window(self) -> Window {
        let Rate { amount, burst } = self;
        Window { amount, period: Some(spec::millis(1_000)), burst: Some(burst), ..Window::default() }
    }

    fn node(self) -> NodeSettings {
        NodeSettings { windows: vec![self.window()], ..NodeSettings::default() }
    }

    /// Whether no more came in any span than may, were each late by up to `jitter`.
    fn is_kept(self, came: &[Instant], jitter: Duration) -> bool {
        let allowed =
            |span: Duration| f64::from(self.burst) + (span + jitter).as_secs_f64() * f64::from(self.amount);
        let spans = |from: usize| {
            came[from..].iter().enumerate().map(move |(more, time)| (more + 1, *time - came[from]))
        };
        (0..came.len()).flat_map(spans).all(|(count, span)| count as f64 <= allowed(span))
    }
}

/// A job that came.
struct Arrival {
    time: Instant,
    key: String,
    /// How long after the server let it go, as it says by the wall's clock.
    late: Duration,
}

impl Arrival {
    fn of(leased: &LeasedJob) -> Arrival {
        let (time, wall) = (Instant::now(), SystemTime::now());
        let job = leased.job.as_ref().expect("a lease has its job");
        let late = wall.duration_since(spec::moment(job.start_time)).unwrap_or_default();
        Arrival { time, key: job.key.clone(), late }
    }
}

fn settings() -> Settings {
    let quota = Window {
        kind: WindowKind::Quota.into(),
        amount: QUOTA,
        period: Some(spec::span(PERIOD)),
        ..Window::default()
    };
    let rule =
        |pattern: &str, rate: Rate| KeyRule { key_pattern: pattern.to_owned(), settings: Some(rate.node()) };
    Settings {
        settings: Some(NodeSettings { windows: vec![ALL.window(), quota], ..NodeSettings::default() }),
        key_rules: vec![rule("bot*/*", CHAT), rule("bot*", BOT)],
        // What a killed server had let go and nobody got comes back within the test.
        lease_duration: Some(spec::millis(1_500)),
        ..spec::retrying(1_000, Duration::ZERO)
    }
}

/// Takes jobs as fast as they come, from whatever life of the server there is.
async fn work(queue: Queue, arrivals: mpsc::UnboundedSender<Arrival>, stop: Arc<AtomicBool>) {
    while !stop.load(Ordering::Relaxed) {
        let request = LeaseRequest { wait_timeout: Some(spec::millis(500)), ..queue.lease_request(3) };
        let Ok(answer) = queue.rpc.clone().lease(request).await else {
            tokio::time::sleep(Duration::from_millis(5)).await;
            continue;
        };
        let jobs = answer.into_inner().jobs;
        jobs.iter().map(Arrival::of).for_each(|arrival| arrivals.send(arrival).unwrap());
        let acks = jobs.iter().map(spec::ack).collect();
        // One that does not arrive lets the job come again, which counts again.
        let _ = queue.rpc.clone().ack(sluice_proto::v1::AckRequest { acks }).await;
    }
}

#[test]
fn burst_that_went_twice_would_be_seen() {
    let began = Instant::now();
    let at = |millis: u64| began + Duration::from_millis(millis);
    let spacing = 1_000 / u64::from(ALL.amount);
    let burst = ALL.burst as usize;
    let stream: Vec<Instant> = (1..40).map(|n| at(n * spacing)).collect();
    let kept = [vec![at(0); burst], stream].concat();
    assert!(ALL.is_kept(&kept, Duration::from_millis(1)));
    // A restart after a second forgets what went.
    let mut again = [kept, vec![at(1_000); burst]].concat();
    again.sort();
    assert!(!ALL.is_kept(&again, Duration::from_millis(100)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn n10_no_window_is_exceeded_though_the_server_is_killed_again_and_again() {
    // Small segments: what limits know outlives the log that it came from.
    let mut server = Setup::small_segments().start().await;
    let queue = server.queue("burst");
    queue.put(settings()).await;
    for key in KEYS {
        queue.enqueue((0..400).map(|n| spec::keyed(key, &format!("{n}"))).collect()).await;
    }
    let (sender, mut receiver) = mpsc::unbounded_channel();
    let stop = Arc::new(AtomicBool::new(false));
    let mut workers = JoinSet::new();
    for _ in 0..WORKERS {
        workers.spawn(work(server.queue("burst"), sender.clone(), stop.clone()));
    }
    drop(sender);
    let mut chance = fastrand::Rng::with_seed(10);
    let began = Instant::now();
    let churn = spec::job(&"x".repeat(200_000));
    for _ in 0..KILLS {
        let life = Duration::from_millis(chance.u64(50..900));
        let other = server.queue("churn");
        let turn_over = async {
            // The log turns over meanwhile.
            for _ in 0..3 {
                other.enqueue(vec![churn.clone(); 2]).await;
                other.ack(&other.lease(2).await).await;
            }
        };
        tokio::join!(turn_over, tokio::time::sleep(life));
        server.kill_and_start().await;
    }
    tokio::time::sleep(PERIOD).await;
    stop.store(true, Ordering::Relaxed);
    while let Some(ended) = workers.join_next().await {
        ended.unwrap();
    }
    let took = began.elapsed();

    let mut arrivals = Vec::new();
    while let Some(arrival) = receiver.recv().await {
        arrivals.push(arrival);
    }
    arrivals.sort_by_key(|arrival| arrival.time);
    let jitter = arrivals.iter().map(|arrival| arrival.late).max().unwrap_or_default();
    let came = |prefix: &str| -> Vec<Instant> {
        let under = |arrival: &&Arrival| arrival.key.starts_with(prefix);
        arrivals.iter().filter(under).map(|arrival| arrival.time).collect()
    };
    let all = came("");
    let used = all.len() as f64 / (took.as_secs_f64() * f64::from(QUOTA) / PERIOD.as_secs_f64());
    eprintln!(
        "{} came in {took:.1?} over {KILLS} kills, late by up to {jitter:?}, used ÷ allowed {used:.2}",
        all.len()
    );
    assert!(used > 0.3, "limits were in force all the time: {used}");
    assert!(jitter < Duration::from_millis(500), "so late that little would be seen: {jitter:?}");
    assert!(ALL.is_kept(&all, jitter), "of the queue");
    for bot in ["bot1", "bot2"] {
        assert!(BOT.is_kept(&came(bot), jitter), "of {bot}");
    }
    for key in KEYS {
        assert!(CHAT.is_kept(&came(key), jitter), "of {key}");
    }
    for window in all.windows(QUOTA as usize + 1) {
        let span = *window.last().unwrap() - window[0];
        assert!(span + jitter >= PERIOD, "{} came within {span:?}", window.len());
    }
}
