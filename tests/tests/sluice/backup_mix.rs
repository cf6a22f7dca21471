//! A backup of all that there can be, taken while much of it changes: what was acknowledged is in it as it stood, or
//! as it came to stand.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use sluice_proto::v1::{
    BatchState, EnqueueRequest, GetBatchResponse, JobSpec, JobState, KeyRule, NodeSettings, OverflowPolicy,
    Queue, QueueStatus,
};
use sluice_tests::load::{Load, Weight};
use sluice_tests::{Setup, Sluiced, spec, status};
use tonic::Code;

use crate::backup::{back_up, restored};

/// Takes a backup, and starts a server on what is restored of it.
async fn copy(server: &Sluiced, file: &Path) -> Sluiced {
    back_up(server, file).await;
    restored(Setup::small_segments(), file.to_owned()).await
}

/// Where every job of a queue stands.
async fn states(server: &Sluiced, queue: &str) -> BTreeMap<String, JobState> {
    let jobs = server.queue(queue).list(&[], 1_000).await;
    jobs.into_iter().map(|job| (job.job_id.clone(), job.state())).collect()
}

async fn fill(server: &Sluiced, name: &str, jobs: usize) {
    for _ in 0..jobs / 500 {
        server.queue(name).enqueue(spec::jobs(name, 500)).await;
    }
}

fn is_at_rest(state: JobState) -> bool {
    use JobState::{Cancelled, Completed, Dead, Drained, Dropped, Expired};
    [Completed, Dead, Cancelled, Expired, Dropped, Drained].contains(&state)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn backup_under_load_with_drops_cancels_and_expiries_keeps_every_acknowledged_job() {
    let server = Setup::small_segments().start().await;
    let busy = Queue {
        max_jobs: Some(100),
        overflow_policy: OverflowPolicy::DropOldest.into(),
        retention_bytes: Some(1 << 40),
        ..spec::retrying(5, Duration::ZERO)
    };
    server.queue("busy").put(busy).await;
    // Producers heed no backlog that the queue cannot have: it is full, and drops.
    let weight = Weight { producers: 3, workers: 1, payload_bytes: 1_000, backlog: 4_000 };
    let load = Load::begin(&server, "busy", weight, fastrand::u64(..1_000_000));
    let every_end = |status: &QueueStatus| {
        let totals = status.totals.clone().unwrap_or_default();
        [totals.completed, totals.dropped, totals.cancelled, totals.expired].into_iter().all(|n| n > 10)
    };
    server.queue("busy").until(every_end).await;

    // One queue is deleted before, and is another since; one is deleted while the backup is taken.
    fill(&server, "doomed", 1_000).await;
    fill(&server, "going", 2_000).await;
    server.queue("doomed").try_delete(true).await.unwrap();
    let anew = server.queue("doomed").enqueue(spec::jobs("new", 3)).await;
    let before = states(&server, "busy").await;
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("backup");
    let going = server.queue("going");
    let (copy, deleted) = tokio::join!(copy(&server, &file), going.try_delete(true));
    deleted.unwrap();

    // What is held, or waits for its time, comes back or expires by itself; then nothing changes any more.
    let is_calm = |status: &QueueStatus| {
        let counts = status.counts.unwrap_or_default();
        counts.leased + counts.scheduled + counts.retrying == 0
    };
    copy.queue("busy").until(is_calm).await;
    let after = states(&copy, "busy").await;
    let lost: Vec<_> = before.keys().filter(|id| !after.contains_key(*id)).collect();
    assert!(lost.is_empty(), "{} of {} lost: {:?}", lost.len(), before.len(), &lost[..lost.len().min(9)]);
    for (id, state) in &before {
        assert!(!is_at_rest(*state) || after[id] == *state, "{id} was {state:?} and is {:?}", after[id]);
    }
    let live = after.values().filter(|state| !is_at_rest(**state)).count() as u64;
    assert_eq!(copy.queue("busy").status().await.jobs, live, "it is counted as it is listed");
    assert!(live <= 100, "no more than there is room for: {live}");
    let doomed = states(&copy, "doomed").await;
    assert_eq!(doomed.keys().cloned().collect::<Vec<_>>(), anew, "the deleted queue's jobs are gone");
    match copy.queue("going").try_settings().await {
        Ok(_) => assert_eq!(states(&copy, "going").await.len(), 2_000, "whole"),
        Err(status) => {
            assert_eq!(status.code(), Code::NotFound);
            assert_eq!(states(&copy, "going").await.len(), 0, "or not at all");
        }
    }
    drop(load);
}

/// What the calm queue's producer says, and says again.
fn request(request_id: &str) -> EnqueueRequest {
    let job = |n: u64| JobSpec {
        batch_id: "letter".to_owned(),
        idempotency_key: format!("recipient-{n}"),
        ttl: Some(spec::millis(3_600_000 * (n + 1))),
        ..spec::keyed("bot1/group", &format!("hello {n}"))
    };
    EnqueueRequest {
        queue: "calm".to_owned(),
        jobs: (0..5).map(job).collect(),
        request_id: request_id.to_owned(),
        batch_totals: [("letter".to_owned(), 6)].into(),
        ..Default::default()
    }
}

#[tokio::test]
async fn promises_of_batches_keys_requests_and_capacities_come_back_with_their_jobs() {
    let server = Setup::small_segments().start().await;
    let rule = KeyRule {
        key_pattern: "bot*".to_owned(),
        settings: Some(NodeSettings { max_jobs: Some(5), ..Default::default() }),
    };
    let calm = Queue {
        max_jobs: Some(7),
        key_rules: vec![rule],
        flow_hint: Some(sluice_proto::v1::FlowHintPolicy::default()),
        lease_duration: Some(spec::millis(3_600_000)),
        ..spec::retrying(5, Duration::from_secs(3_600))
    };
    let queue = server.queue("calm");
    queue.put(calm).await;
    let first = queue.enqueue_by(request("request-1")).await.unwrap();
    let ids: Vec<String> = first.jobs.iter().map(|job| job.job_id.clone()).collect();
    let out = queue.lease(3).await;
    queue.ack(&out[..1]).await;
    for id in [&ids[1], &ids[4]] {
        queue.try_cancel(id).await.unwrap();
    }
    let said = (
        queue.try_settings().await.unwrap(),
        queue.try_batch("letter", Duration::ZERO).await.unwrap(),
        queue.status().await,
    );
    let jobs = queue.list(&[], 100).await;
    assert_eq!((said.1.state(), said.1.jobs, said.1.total_jobs), (BatchState::Running, 5, Some(6)));

    let directory = tempfile::tempdir().unwrap();
    let copy = copy(&server, &directory.path().join("backup")).await;
    let queue = copy.queue("calm");
    let status = queue.status().await;
    // When it will be done is reckoned anew at each reading.
    let batch = queue.try_batch("letter", Duration::ZERO).await.unwrap();
    assert_eq!(
        (queue.try_settings().await.unwrap(), GetBatchResponse { eta: said.1.eta, ..batch }),
        (said.0, said.1)
    );
    assert_eq!((status.counts, status.totals, status.bytes), (said.2.counts, said.2.totals, said.2.bytes));
    for (before, after) in jobs.iter().zip(queue.list(&[], 100).await) {
        assert_eq!((&before.job_id, before.state()), (&after.job_id, after.state()));
        // Payloads of COMPLETED and CANCELLED jobs are kept for a while only, and nobody says how long.
        if !matches!(before.state(), JobState::Completed | JobState::Cancelled) {
            assert_eq!(before.payload, after.payload);
        }
        assert_eq!(before.key, after.key);
        assert_eq!(before.cancel_requested, after.cancel_requested);
        assert!(spec::same_moment(before.expire_time, after.expire_time), "{before:?} {after:?}");
    }

    // The same request has the same answer, the same keys the same jobs.
    let again = queue.enqueue_by(request("request-1")).await.unwrap();
    assert_eq!(again.jobs, first.jobs);
    let twins = queue.enqueue_by(request("request-2")).await.unwrap();
    assert!(twins.jobs.iter().zip(&ids).all(|(twin, id)| twin.duplicate && twin.job_id == *id), "{twins:?}");
    let other = EnqueueRequest { jobs: spec::jobs("other", 1), ..request("request-1") };
    status::refused(queue.enqueue_by(other).await, Code::InvalidArgument, "REQUEST_ID_REUSED");
    // Three of five places at the key are taken, and three of seven in the queue.
    let more = |jobs: Vec<JobSpec>| queue.enqueue_request(jobs);
    let keyed = |count| more((0..count).map(|_| spec::keyed("bot1/x", "x")).collect());
    status::refused(queue.enqueue_by(keyed(3)).await, Code::ResourceExhausted, "QUEUE_FULL");
    queue.enqueue_by(keyed(2)).await.unwrap();
    status::refused(queue.enqueue_by(more(spec::jobs("x", 3))).await, Code::ResourceExhausted, "QUEUE_FULL");
    queue.enqueue_by(more(spec::jobs("x", 2))).await.unwrap();

    // The cancelled one in a worker's hands is cancelled when it comes back; the batch goes on to its end.
    queue.ack(&out[2..]).await;
    let result = queue.try_nack(spec::nack(&out[1], sluice_proto::v1::NackReason::Failed)).await;
    assert_eq!((result.error.clone(), result.state()), (None, JobState::Cancelled));
    let rest = queue.try_batch("letter", Duration::ZERO).await.unwrap();
    let counts = rest.counts.unwrap();
    assert_eq!((counts.completed, counts.cancelled, counts.ready), (2, 2, 1));
}
