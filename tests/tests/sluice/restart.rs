//! What is acknowledged is there after any end of the process.

use std::time::Duration;

use sluice_proto::v1::{Job, JobSpec, JobState, LeaseRequest, NackReason};
use sluice_tests::{Queue, Setup, spec};

/// One job in every state; gives their ids.
async fn one_in_every_state(queue: &Queue) -> Vec<(String, JobState)> {
    queue.put(spec::retrying(5, Duration::from_secs(3_600))).await;
    let ids = queue.enqueue(spec::jobs("x", 6)).await;
    let scheduled = JobSpec { delay: Some(spec::millis(3_600_000)), ..spec::job("later") };
    queue.drain_all("none yet").await;
    queue.requeue(&[JobState::Drained]).await;

    let request = LeaseRequest { lease_duration: Some(spec::millis(3_600_000)), ..queue.lease_request(4) };
    let out = queue.lease_by(request).await;
    assert_eq!(out.iter().map(spec::id).collect::<Vec<_>>(), ids[..4]);
    queue.drain_all("drain-1").await;
    queue.ack(&out[..1]).await;
    queue.nack(&out[1], NackReason::Rejected).await;
    queue.nack(&out[2], NackReason::Failed).await;
    let scheduled = queue.enqueue_one(scheduled).await;
    let ready = queue.enqueue_one(spec::keyed("a/b/c", "ready")).await;
    vec![
        (ids[0].clone(), JobState::Completed),
        (ids[1].clone(), JobState::Dead),
        (ids[2].clone(), JobState::Retrying),
        (ids[3].clone(), JobState::Leased),
        (ids[4].clone(), JobState::Drained),
        (ids[5].clone(), JobState::Drained),
        (scheduled, JobState::Scheduled),
        (ready, JobState::Ready),
    ]
}

/// Asserts that two readings are the same, but for how times are shown that a clock of the server's own keeps.
fn assert_same(before: &[Job], after: &[Job]) {
    for (before, after) in before.iter().zip(after) {
        if before.state() == JobState::Leased {
            assert!(spec::same_moment(before.lease_expire_time, after.lease_expire_time));
        }
        if before.run_time.is_some() {
            assert!(spec::same_moment(before.run_time, after.run_time));
        }
        // What is expected begins anew with what comes and goes.
        let (lease_expire_time, run_time, eta) = (before.lease_expire_time, before.run_time, before.eta);
        assert_eq!(*before, Job { lease_expire_time, run_time, eta, ..after.clone() });
    }
}

async fn read(queue: &Queue, jobs: &[(String, JobState)]) -> Vec<Job> {
    let mut read = Vec::new();
    for (id, state) in jobs {
        let mut job = queue.job(id).await;
        assert_eq!(job.state(), *state);
        if *state == JobState::Completed {
            // Kept for a while only, and nobody says how long.
            job.payload = None;
        }
        read.push(job);
    }
    read
}

async fn everything_survives(setup: Setup) {
    let mut server = setup.start().await;
    let queue = server.queue("survivor");
    let jobs = one_in_every_state(&queue).await;
    let before = read(&queue, &jobs).await;
    let status = queue.status().await;
    for round in 0..4 {
        if round % 2 == 0 {
            server.kill().await;
        } else {
            server.stop().await;
        }
        server.start().await;
        let queue = server.queue("survivor");
        assert_same(&before, &read(&queue, &jobs).await);
        let after = queue.status().await;
        assert_eq!((&after.counts, &after.totals), (&status.counts, &status.totals));
        assert_eq!((after.jobs, after.bytes), (status.jobs, status.bytes));
    }
}

#[tokio::test]
async fn s3_7_every_state_survives_kill_9_and_clean_stops() {
    everything_survives(Setup::default()).await;
}

#[tokio::test]
async fn s3_7_every_state_survives_with_small_segments_too() {
    everything_survives(Setup::small_segments()).await;
}

#[tokio::test]
async fn lease_survives_kill_9_and_its_token_still_counts() {
    let mut server = Setup::default().start().await;
    let queue = server.queue("leased");
    queue.enqueue(spec::jobs("x", 3)).await;
    let out = queue.lease(2).await;
    server.kill_and_start().await;

    let queue = server.queue("leased");
    let rest = queue.lease(10).await;
    assert_eq!(spec::texts(&rest), ["x-2"], "what is leased is given to nobody else");
    assert!(
        out.iter()
            .all(|early| early.lease_token < rest[0].lease_token || spec::id(early) != spec::id(&rest[0]))
    );
    queue.ack(&out[..1]).await;
    assert_eq!(queue.extend(&out[1], Duration::from_secs(60)).await.error, None);
    assert_eq!(queue.job(&spec::id(&out[1])).await.attempts, 0, "a crash spends nothing");
}

#[tokio::test]
async fn lease_that_expires_while_the_server_is_down_is_expired_when_it_is_up() {
    let mut server = Setup::default().start().await;
    let queue = server.queue("expired");
    queue.put(spec::retrying(5, Duration::ZERO)).await;
    queue.enqueue_one(spec::job("x")).await;
    let request = LeaseRequest { lease_duration: Some(spec::millis(1_000)), ..queue.lease_request(1) };
    let first = queue.lease_by(request).await.remove(0);
    server.kill().await;
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    server.start().await;
    let second = server.queue("expired").lease_next().await;
    assert!(second.lease_token > first.lease_token);
    assert_eq!(second.job.unwrap().attempts, 1);
}

#[tokio::test]
async fn order_survives_kill_9() {
    let mut server = Setup::default().start().await;
    let queue = server.queue("order");
    queue.enqueue(spec::jobs("x", 50)).await;
    let out = queue.lease(10).await;
    queue.nack(&out[3], NackReason::Released).await;
    server.kill_and_start().await;
    let out = spec::texts(&server.queue("order").lease(100).await);
    let expected: Vec<String> = [3].into_iter().chain(10..50).map(|n| format!("x-{n}")).collect();
    assert_eq!(out, expected);
}

#[tokio::test]
async fn second_server_on_the_same_directory_is_refused() {
    let server = Setup::default().start().await;
    let output = tokio::process::Command::new(sluice_tests::binary::sluiced())
        .args(["--listen", "127.0.0.1:0", "--http", "127.0.0.1:0", "--data-dir"])
        .arg(server.data())
        .output()
        .await
        .unwrap();
    assert!(!output.status.success());
    assert!(output.stdout.is_empty(), "it never says `listening on`");
    assert!(String::from_utf8_lossy(&output.stderr).contains("data"), "it says which directory");
    server.queue("still").enqueue_one(spec::job("here")).await;
}

#[cfg(unix)]
#[tokio::test]
async fn data_directory_is_for_its_owner_alone() {
    use std::os::unix::fs::PermissionsExt;
    let server = Setup::default().start().await;
    let mode = std::fs::metadata(server.data()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
}
