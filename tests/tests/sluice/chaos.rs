//! `kill -9` at random moments under load, again and again, judged by what clients saw.

use std::collections::BTreeSet;
use std::time::Duration;

use sluice_proto::v1::{JobState, OverflowPolicy, Queue};
use sluice_tests::judge::{Audit, Violation, judge};
use sluice_tests::load::{Load, Weight};
use sluice_tests::{Setup, binary, spec};

/// The longest time between a start and a kill: long enough for some thousand commits.
const LIFE: Duration = Duration::from_millis(200);

/// Kills a server `kills` times under load, lets it come to rest, and gives the verdict.
async fn chaos(setup: Setup, settings: Queue, weight: Weight, kills: u32) -> BTreeSet<Violation> {
    let seed = fastrand::u64(..1_000_000);
    eprintln!("seed {seed}");
    let mut chance = fastrand::Rng::with_seed(seed);
    let mut server = setup.start().await;
    let drops = settings.overflow_policy() == OverflowPolicy::DropOldest;
    server.queue("chaos").put(Queue { retention_bytes: Some(1 << 40), ..settings }).await;

    let load = Load::begin(&server, "chaos", weight, seed);
    for _ in 0..kills {
        tokio::time::sleep(Duration::from_micros(chance.u64(..LIFE.as_micros() as u64))).await;
        server.kill().await;
        // One start in ten is cut short too: recovery itself must survive a kill.
        while chance.u8(..10) == 0 {
            server.launch();
            tokio::time::sleep(Duration::from_micros(chance.u64(..50_000))).await;
            server.kill().await;
        }
        server.start().await;
    }
    let queue = server.queue("chaos");
    let history = load.finish(&queue).await;
    let jobs = queue.list(&[], 1_000).await;
    let audit: Audit = jobs.into_iter().map(|job| (job.job_id.clone(), job.state())).collect();
    let seen = history.seen();
    let count = |wanted| audit.values().filter(|state| **state == wanted).count();
    let ends =
        [JobState::Completed, JobState::Dead, JobState::Cancelled, JobState::Expired, JobState::Dropped];
    let counts = ends.map(count);
    eprintln!("{kills} kills, {} answers, {} jobs; {ends:?}: {counts:?}", seen.len(), audit.len());
    let [completed, dead, cancelled, expired, dropped] = counts;
    assert!(completed > 10 * kills as usize, "there was load: {completed} jobs completed");
    assert!(dead.min(cancelled).min(expired) > 0, "there was every end: {counts:?}");
    assert_eq!(dropped > 0, drops, "{counts:?}");
    judge(&seen, &audit)
}

fn retries() -> Queue {
    spec::retrying(5, Duration::ZERO)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost_to_200_kills() {
    let weight = Weight { producers: 3, workers: 4, payload_bytes: 300, backlog: 2_000 };
    assert_eq!(chaos(Setup::default(), retries(), weight, 200).await, BTreeSet::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost_to_200_kills_while_jobs_move_home() {
    // A backlog of about twice the log's budget: what waits longest is in sled.
    let weight = Weight { producers: 3, workers: 4, payload_bytes: 2_000, backlog: 8_000 };
    assert_eq!(chaos(Setup::small_segments(), retries(), weight, 200).await, BTreeSet::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_dropped_untold_in_60_kills() {
    let weight = Weight { producers: 3, workers: 2, payload_bytes: 300, backlog: 2_000 };
    let settings =
        Queue { max_jobs: Some(50), overflow_policy: OverflowPolicy::DropOldest.into(), ..retries() };
    assert_eq!(chaos(Setup::default(), settings, weight, 60).await, BTreeSet::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn server_that_answers_before_it_commits_is_found_out() {
    let weight = Weight { producers: 3, workers: 4, payload_bytes: 300, backlog: 2_000 };
    let setup = Setup::default().program(binary::sluiced_planted());
    let violations = chaos(setup, retries(), weight, 40).await;
    let lost = violations.iter().filter(|violation| matches!(violation, Violation::JobLost(_))).count();
    assert!(lost > 0, "the judge let a server pass that answers before it commits: {violations:?}");
}
