//! `kill -9` at random moments under load, again and again, judged by what clients saw.

use std::collections::BTreeSet;
use std::time::Duration;

use sluice_proto::v1::{JobState, Queue};
use sluice_tests::judge::{Audit, Violation, judge};
use sluice_tests::load::{Load, Weight};
use sluice_tests::{Setup, binary, spec};

/// The longest time between a start and a kill: long enough for some thousand commits.
const LIFE: Duration = Duration::from_millis(200);

/// Kills a server `kills` times under load, lets it come to rest, and gives the verdict.
async fn chaos(setup: Setup, weight: Weight, kills: u32) -> BTreeSet<Violation> {
    let seed = fastrand::u64(..1_000_000);
    eprintln!("seed {seed}");
    let mut chance = fastrand::Rng::with_seed(seed);
    let mut server = setup.start().await;
    let keep_all = Queue { retention_bytes: Some(1 << 40), ..spec::retrying(5, Duration::ZERO) };
    server.queue("chaos").put(keep_all).await;

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
    let completed = audit.values().filter(|state| **state == JobState::Completed).count();
    eprintln!("{kills} kills, {} answers, {} jobs, {completed} completed", seen.len(), audit.len());
    assert!(completed > 10 * kills as usize, "there was load: {completed} jobs completed");
    judge(&seen, &audit)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost_to_200_kills() {
    let weight = Weight { producers: 3, workers: 4, payload_bytes: 300, backlog: 2_000 };
    assert_eq!(chaos(Setup::default(), weight, 200).await, BTreeSet::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost_to_200_kills_while_jobs_move_home() {
    // A backlog of about twice the log's budget: what waits longest is in sled.
    let weight = Weight { producers: 3, workers: 4, payload_bytes: 2_000, backlog: 8_000 };
    assert_eq!(chaos(Setup::small_segments(), weight, 200).await, BTreeSet::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn server_that_answers_before_it_commits_is_found_out() {
    let weight = Weight { producers: 3, workers: 4, payload_bytes: 300, backlog: 2_000 };
    let violations = chaos(Setup::default().program(binary::sluiced_planted()), weight, 40).await;
    let lost = violations.iter().filter(|violation| matches!(violation, Violation::JobLost(_))).count();
    assert!(lost > 0, "the judge let a server pass that answers before it commits: {violations:?}");
}
