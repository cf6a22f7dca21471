//! CancelJob: at once where a job waits, at its worker's next word where one is held, never where it is at rest.

use std::time::Duration;

use bytes::Bytes;
use sluice_proto::v1::{Ack, JobSpec, JobState, NackReason, OverflowPolicy, Queue};
use sluice_tests::{Setup, Sluiced, cli, spec, status};
use tonic::Code;

fn later(text: &str) -> JobSpec {
    JobSpec { delay: Some(spec::millis(3_600_000)), ..spec::job(text) }
}

/// Each reason for which a worker gives a job back.
const REASONS: [NackReason; 4] =
    [NackReason::Failed, NackReason::Throttled, NackReason::Rejected, NackReason::Released];

#[tokio::test]
async fn waiting_job_is_cancelled_at_once_wherever_it_waits() {
    let mut server = Setup::default().start().await;
    let queue = server.queue("waiting");
    queue.put(spec::retrying(5, Duration::from_secs(3_600))).await;
    let retrying = queue.enqueue_one(spec::job("retrying")).await;
    let out = queue.lease(1).await;
    assert_eq!(queue.nack(&out[0], NackReason::Failed).await.state(), JobState::Retrying);
    let ready = queue.enqueue_one(spec::job("ready")).await;
    let scheduled = queue.enqueue_one(later("scheduled")).await;
    queue.enqueue_one(spec::job("stays")).await;
    let ids = [retrying, ready, scheduled];
    for id in &ids {
        let answered = queue.try_cancel(id).await.unwrap();
        assert_eq!((answered.job_id.as_str(), answered.state()), (id.as_str(), JobState::Cancelled));
        assert_eq!((answered.payload, answered.run_time, answered.queue_position), (None, None, None));
        assert!(spec::moment(answered.end_time) >= spec::moment(answered.create_time));
        assert_eq!(queue.state(id).await, JobState::Cancelled);
    }
    let status = queue.status().await;
    assert_eq!((status.jobs, status.counts.as_ref().unwrap().cancelled), (1, 3));
    assert_eq!(status.totals.as_ref().unwrap().cancelled, 3);
    assert_eq!(spec::texts(&queue.lease(10).await), ["stays"]);

    // Safe to repeat, and durable.
    server.kill_and_start().await;
    let queue = server.queue("waiting");
    for id in &ids {
        assert_eq!(queue.try_cancel(id).await.unwrap().state(), JobState::Cancelled);
    }
    let after = queue.status().await;
    assert_eq!((after.counts.unwrap().cancelled, after.totals.unwrap().cancelled), (3, 3), "once each");
    assert_eq!(queue.requeue(&[]).await, 0);
    assert!(queue.lease(10).await.is_empty());
}

#[tokio::test]
async fn held_job_is_asked_for_and_its_ack_still_completes_it() {
    let server = Sluiced::fresh().await;
    let queue = server.queue("acked");
    let ids = queue.enqueue(spec::jobs("x", 2)).await;
    let out = queue.lease(2).await;
    assert!(!queue.extend(&out[0], Duration::from_secs(60)).await.cancel_requested);
    for _ in 0..2 {
        let answered = queue.try_cancel(&ids[0]).await.unwrap();
        assert_eq!((answered.state(), answered.cancel_requested), (JobState::Leased, true));
        assert_eq!(answered.end_time, None);
    }
    let job = queue.job(&ids[0]).await;
    assert_eq!((job.state(), job.cancel_requested), (JobState::Leased, true));
    let extended = queue.extend(&out[0], Duration::from_secs(60)).await;
    assert_eq!((extended.error, extended.cancel_requested), (None, true), "the lease still holds");
    assert!(
        !queue.extend(&out[1], Duration::from_secs(60)).await.cancel_requested,
        "nobody asked for this one"
    );
    assert!(!queue.job(&ids[1]).await.cancel_requested);

    let result = Some(Bytes::from_static(b"done all the same"));
    let acked = queue.try_ack(vec![Ack { result: result.clone(), ..spec::ack(&out[0]) }]).await;
    assert_eq!(acked[0].error, None);
    let job = queue.job(&ids[0]).await;
    assert_eq!((job.state(), job.result), (JobState::Completed, result));
    let totals = queue.status().await.totals.unwrap();
    assert_eq!((totals.cancelled, totals.completed), (0, 1));
}

#[tokio::test]
async fn held_job_is_cancelled_by_any_end_but_an_ack_across_kill_9_too() {
    let mut server = Setup::default().start().await;
    let queue = server.queue("nacked");
    queue.put(spec::retrying(5, Duration::ZERO)).await;
    let ids = queue.enqueue(spec::jobs("x", 5)).await;
    let out = queue.lease(5).await;
    for id in &ids {
        assert!(queue.try_cancel(id).await.unwrap().cancel_requested);
    }
    server.kill_and_start().await;
    let queue = server.queue("nacked");
    for (leased, reason) in out.iter().zip(REASONS) {
        let job = queue.job(&spec::id(leased)).await;
        assert_eq!((job.state(), job.cancel_requested), (JobState::Leased, true), "{reason:?}");
        assert_eq!(queue.nack(leased, reason).await.state(), JobState::Cancelled, "{reason:?}");
        assert_eq!(queue.nack(leased, reason).await.state(), JobState::Cancelled, "again {reason:?}");
    }
    assert_eq!(queue.extend(&out[4], Duration::from_secs(1)).await.error, None);
    assert_eq!(queue.at_rest(&ids[4]).await.state(), JobState::Cancelled, "its lease expired");
    for (id, attempts) in ids.iter().zip([1, 0, 1, 0, 1]) {
        let job = queue.job(id).await;
        assert_eq!((job.state(), job.attempts), (JobState::Cancelled, attempts));
    }
    let status = queue.status().await;
    let totals = status.totals.unwrap();
    assert_eq!((status.jobs, totals.cancelled, totals.dead), (0, 5, 0));
    assert!(queue.lease(10).await.is_empty());
}

#[tokio::test]
async fn job_at_rest_cannot_be_cancelled() {
    let server = Sluiced::fresh().await;
    let queue = server.queue("rest");
    let settings =
        Queue { max_jobs: Some(5), overflow_policy: OverflowPolicy::DropOldest.into(), ..Queue::default() };
    queue.put(settings).await;
    let jobs = (0..5).map(|n| JobSpec { ttl: (n == 2).then(|| spec::millis(1)), ..spec::urgent(9 - n, "x") });
    let ids = queue.enqueue(jobs.collect()).await;
    assert_eq!(queue.at_rest(&ids[2]).await.state(), JobState::Expired);
    let out = queue.lease(2).await;
    queue.ack(&out[..1]).await;
    queue.nack(&out[1], NackReason::Rejected).await;
    // The last is of the lowest priority: four more, and it makes room.
    queue.enqueue((0..4).map(|_| spec::urgent(9, "fills")).collect()).await;
    queue.drain_all("drain-1").await;
    let expected =
        [JobState::Completed, JobState::Dead, JobState::Expired, JobState::Drained, JobState::Dropped];
    for (id, state) in ids.iter().zip(expected) {
        assert_eq!(queue.state(id).await, state);
        let refused = status::refused(queue.try_cancel(id).await, Code::FailedPrecondition, "WRONG_STATE");
        let violations = tonic_types::StatusExt::get_details_precondition_failure(&refused).unwrap();
        assert!(violations.violations[0].subject.contains(id.as_str()), "{violations:?}");
        assert_eq!(queue.state(id).await, state, "nothing has changed");
    }
    assert_eq!(queue.status().await.totals.unwrap().cancelled, 0);
    let refused = queue.try_cancel("no-such-job").await.unwrap_err();
    assert_eq!(refused.code(), Code::NotFound);
}

#[tokio::test]
async fn cancelled_job_makes_room_for_one_that_waits_for_it() {
    let server = Sluiced::fresh().await;
    let queue = server.queue("room");
    queue.put(spec::bounded(1, OverflowPolicy::Wait)).await;
    let first = queue.enqueue_one(spec::job("first")).await;
    let waiting = queue.caller(queue.enqueue_request(spec::jobs("next", 1))).await;
    queue.try_cancel(&first).await.unwrap();
    waiting.await.unwrap().unwrap();
    assert_eq!(spec::texts(&queue.lease(10).await), ["next-0"]);
}

#[tokio::test]
async fn command_line_cancels_what_it_can_and_exits_with_the_first_refusal() {
    let server = Sluiced::fresh().await;
    let queue = server.queue("cli");
    let ids = queue.enqueue(spec::jobs("x", 4)).await;
    let out = queue.lease(2).await;
    queue.ack(&out[..1]).await;

    let said = cli::run(&server, &["-o", "jsonl", "cancel", &ids[2]]).await.lines();
    assert_eq!((&said[0]["job_id"], &said[0]["state"]), (&ids[2].as_str().into(), &"CANCELLED".into()));

    let said = cli::run(&server, &["-o", "jsonl", "cancel", &ids[0], "nowhere", &ids[1], &ids[3]]).await;
    assert_eq!(said.code, 73, "the first that was refused is at rest: {said:?}");
    assert!(said.stderr.contains(&ids[0]), "{}", said.stderr);
    let printed: Vec<serde_json::Value> =
        said.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(printed.len(), 2);
    assert_eq!((&printed[0]["state"], &printed[0]["cancel_requested"]), (&"LEASED".into(), &true.into()));
    assert_eq!(queue.state(&ids[3]).await, JobState::Cancelled);
    assert!(queue.job(&ids[1]).await.cancel_requested);
    assert_eq!(cli::run(&server, &["cancel", "nowhere", &ids[0]]).await.code, 3);
}
