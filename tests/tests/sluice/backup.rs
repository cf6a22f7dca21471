//! A backup taken while the queue is served, restored elsewhere, holds what was acknowledged before it began.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sluice_proto::v1::{JobSpec, JobState, LeaseRequest, NackReason, Queue};
use sluice_tests::load::{Load, Weight};
use sluice_tests::{Setup, Sluiced, cli, spec, task};

/// Takes a backup with the command line.
pub(crate) async fn back_up(server: &Sluiced, file: &Path) {
    let said = cli::run(server, &["backup", file.to_str().unwrap()]).await;
    assert_eq!(said.code, 0, "{}", said.stderr);
}

/// A server on what is restored of `file`; its store is whole.
pub(crate) async fn restored(setup: Setup, file: PathBuf) -> Sluiced {
    let start = async |dir: PathBuf| {
        let said = task::restore(&file, &dir).await;
        assert_eq!(said.code, 0, "{}", said.stderr);
        let checked = task::check(&dir).await;
        assert_eq!(checked.code, 0, "{}", checked.stdout);
        assert!(checked.stdout.starts_with("ok: "), "{}", checked.stdout);
    };
    setup.start_on(start).await
}

/// The ids of all jobs.
async fn ids(server: &Sluiced, queue: &str) -> BTreeSet<String> {
    server.queue(queue).list(&[], 1_000).await.into_iter().map(|job| job.job_id).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn backup_under_load_holds_every_job_acknowledged_before_it_began() {
    let server = Setup::small_segments().start().await;
    let keep_all = Queue { retention_bytes: Some(1 << 40), ..spec::retrying(5, Duration::ZERO) };
    server.queue("busy").put(keep_all).await;
    let weight = Weight { producers: 2, workers: 2, payload_bytes: 2_000, backlog: 4_000 };
    let load = Load::begin(&server, "busy", weight, 5);
    server.queue("busy").until(|status| status.totals.as_ref().is_some_and(|t| t.enqueued > 6_000)).await;

    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("backup");
    for round in 0..2 {
        let before = ids(&server, "busy").await;
        back_up(&server, &file).await;
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1, "no part is left");
        let copy = restored(Setup::small_segments(), file.clone()).await;
        let after = ids(&copy, "busy").await;
        let lost: Vec<_> = before.difference(&after).collect();
        assert!(lost.is_empty(), "round {round}: {} of {} lost", lost.len(), before.len());
        let queue = copy.queue("busy");
        for job in queue.list(&[JobState::Ready], 200).await.iter().take(200) {
            assert!(queue.job(&job.job_id).await.payload.is_some());
        }
    }
    drop(load);
}

#[tokio::test]
async fn leases_tokens_and_totals_come_back_as_they_were() {
    let server = Setup::default().start().await;
    let queue = server.queue("leased");
    queue.put(spec::retrying(5, Duration::from_secs(3_600))).await;
    queue.enqueue(spec::jobs("x", 6)).await;
    let later = JobSpec { delay: Some(spec::millis(3_600_000)), ..spec::job("later") };
    queue.enqueue_one(later).await;
    let request = LeaseRequest { lease_duration: Some(spec::millis(600_000)), ..queue.lease_request(4) };
    let out = queue.lease_by(request).await;
    queue.ack(&out[..1]).await;
    queue.nack(&out[1], NackReason::Rejected).await;
    let status = queue.status().await;
    let jobs = queue.list(&[], 100).await;

    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("backup");
    back_up(&server, &file).await;
    let copy = restored(Setup::default(), file).await;
    let queue = copy.queue("leased");
    let after = queue.status().await;
    assert_eq!((&after.counts, &after.totals), (&status.counts, &status.totals));
    for (before, after) in jobs.iter().zip(queue.list(&[], 100).await) {
        assert_eq!((&before.job_id, before.state()), (&after.job_id, after.state()));
        if before.state() == JobState::Leased {
            assert!(spec::same_moment(before.lease_expire_time, after.lease_expire_time));
        }
    }
    // Who held a lease settles it there; a lease given anew has a greater token.
    queue.ack(&out[2..3]).await;
    queue.nack(&out[3], NackReason::Released).await;
    let again = queue.lease_next().await;
    assert_eq!(spec::id(&again), spec::id(&out[3]));
    assert!(again.lease_token > out[3].lease_token);
    // Numbers go on.
    let new = queue.enqueue_one(spec::job("new")).await;
    assert!(jobs.iter().all(|job| job.job_id != new));
}

#[tokio::test]
async fn backup_that_is_cut_or_changed_is_refused_and_so_is_a_full_directory() {
    let server = Setup::default().start().await;
    server.queue("q").enqueue(spec::jobs("x", 100)).await;
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("backup");
    back_up(&server, &file).await;
    let whole = fs::read(&file).unwrap();
    let spoiled = directory.path().join("spoiled");
    let store = directory.path().join("store");
    let mut flipped = whole.clone();
    flipped[whole.len() / 2] ^= 1;
    for bytes in [&whole[..whole.len() - 1], &whole[..whole.len() / 3], &flipped] {
        fs::write(&spoiled, bytes).unwrap();
        let said = task::restore(&spoiled, &store).await;
        assert_eq!(said.code, 1, "{}", said.stdout);
        assert!(said.stderr.contains("cannot restore: the backup is"), "{}", said.stderr);
        assert!(!store.exists());
    }
    let said = task::restore(&file, &server.data()).await;
    assert_eq!(said.code, 1);
    assert!(said.stderr.contains("is not empty"), "{}", said.stderr);
}

#[tokio::test]
async fn backup_goes_to_stdout_too_and_leaves_no_part_when_it_fails() {
    let mut server = Setup::default().start().await;
    server.queue("q").enqueue(spec::jobs("x", 10)).await;
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("backup");
    let output = tokio::process::Command::new(sluice_tests::binary::sluice())
        .args(["--addr", &server.url(), "backup", "-"])
        .output()
        .await
        .unwrap();
    assert!(output.status.success());
    fs::write(&file, &output.stdout).unwrap();
    let said = task::restore(&file, &directory.path().join("store")).await;
    assert_eq!(said.code, 0, "{}", said.stderr);
    server.stop().await;
    let gone = directory.path().join("gone");
    let said = cli::run(&server, &["--timeout", "1s", "backup", gone.to_str().unwrap()]).await;
    assert_ne!(said.code, 0);
    assert!(!gone.exists() && !directory.path().join("gone.part").exists());
}
