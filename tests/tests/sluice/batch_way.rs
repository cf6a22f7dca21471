//! What counts in a batch: every way in which a job of it can end, and nothing that never came in.

use std::time::Duration;

use sluice_proto::v1::{
    BatchState, EnqueueRequest, GetBatchResponse, JobSpec, JobState, LeaseRequest, NackReason,
    OverflowPolicy, Queue as Settings, StateCounts,
};
use sluice_tests::{Queue, Setup, Sluiced, spec, status};
use tonic::{Code, Status};

use BatchState::{Completed, Partial, Pending, Running};

const BATCH: &str = "b";

fn of_batch(batch_id: &str, job: JobSpec) -> JobSpec {
    JobSpec { batch_id: batch_id.to_owned(), ..job }
}

async fn batch(queue: &Queue, batch_id: &str) -> Result<GetBatchResponse, Status> {
    queue.try_batch(batch_id, Duration::ZERO).await
}

async fn stands(queue: &Queue, jobs: u64) -> (BatchState, StateCounts) {
    let batch = batch(queue, BATCH).await.unwrap();
    assert_eq!(batch.jobs, jobs, "{batch:?}");
    (batch.state(), batch.counts.unwrap())
}

/// No job is in any state.
fn none() -> StateCounts {
    StateCounts::default()
}

/// A full queue lets its oldest job go for a new one.
fn dropping() -> Settings {
    spec::bounded(1, OverflowPolicy::DropOldest)
}

/// Lets the one job of `queue` that waits end in this way.
async fn end(queue: &Queue, job_id: &str, way: &str) {
    match way {
        "acked" => queue.ack(&queue.lease(1).await).await,
        "spent" => {
            queue.put(spec::retrying(1, Duration::ZERO)).await;
            queue.nack(&queue.lease(1).await[0], NackReason::Failed).await;
        }
        "cancelled" => drop(queue.try_cancel(job_id).await.unwrap()),
        "cancelled in hand" => {
            let out = queue.lease(1).await;
            queue.try_cancel(job_id).await.unwrap();
            queue.nack(&out[0], NackReason::Released).await;
        }
        "cancelled, yet acked" => {
            let out = queue.lease(1).await;
            queue.try_cancel(job_id).await.unwrap();
            queue.ack(&out).await;
        }
        "expired in hand" => {
            // Its time passes while it is held; its lease is lost later.
            let request =
                LeaseRequest { lease_duration: Some(spec::millis(1_500)), ..queue.lease_request(1) };
            assert_eq!(queue.lease_by(request).await.len(), 1);
            queue.until(|status| status.counts.unwrap_or_default().expired == 1).await;
        }
        "dropped" => {
            queue.put(dropping()).await;
            queue.enqueue_one(spec::job("of no batch")).await;
        }
        "drained" => assert_eq!(queue.drain_all("set").await.len(), 1),
        "purged" => assert_eq!(queue.purge(&[JobState::Ready]).await, 1),
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn batch_counts_every_way_in_which_a_job_can_end() {
    let mut server = Sluiced::fresh().await;
    let all = StateCounts { completed: 1, ..none() };
    let cases = [
        ("acked", StateCounts { completed: 2, ..all }),
        ("spent", StateCounts { dead: 1, ..all }),
        ("cancelled", StateCounts { cancelled: 1, ..all }),
        ("cancelled in hand", StateCounts { cancelled: 1, ..all }),
        ("cancelled, yet acked", StateCounts { completed: 2, ..all }),
        ("expired in hand", StateCounts { expired: 1, ..all }),
        ("dropped", StateCounts { dropped: 1, ..all }),
        ("drained", StateCounts { drained: 1, ..all }),
        ("purged", StateCounts { cancelled: 1, ..all }),
    ];
    let name = |way: &str| way.replace([' ', ','], "-");
    for (way, counts) in &cases {
        let queue = server.queue(&name(way));
        queue.enqueue_one(of_batch(BATCH, spec::job("is done"))).await;
        queue.ack(&queue.lease(1).await).await;
        let ttl = (*way == "expired in hand").then(|| spec::millis(1_000));
        let id = queue.enqueue_one(of_batch(BATCH, JobSpec { ttl, ..spec::job("ends") })).await;
        assert_eq!(stands(&queue, 2).await, (Running, StateCounts { ready: 1, ..all }), "before {way}");
        end(&queue, &id, way).await;
        let state = if counts.completed == 2 { Completed } else { Partial };
        assert_eq!(stands(&queue, 2).await, (state, *counts), "{way}");
    }
    server.kill_and_start().await;
    for (way, counts) in &cases {
        assert_eq!(stands(&server.queue(&name(way)), 2).await.1, *counts, "{way}, after a kill");
    }
    // What can have a new life makes its batch go on, and be done in the end.
    for (way, state) in
        [("spent", JobState::Dead), ("drained", JobState::Drained), ("dropped", JobState::Dropped)]
    {
        let queue = server.queue(&name(way));
        assert_eq!(queue.requeue(&[state]).await, 1);
        assert_eq!(stands(&queue, 2).await, (Running, StateCounts { ready: 1, ..all }), "{way}, requeued");
        while queue.status().await.jobs > 0 {
            queue.ack(&[queue.lease_next().await]).await;
        }
        assert_eq!(stands(&queue, 2).await, (Completed, StateCounts { completed: 2, ..none() }), "{way}");
    }
}

#[tokio::test]
async fn what_was_not_put_in_is_in_no_batch() {
    let server = Sluiced::fresh().await;
    let queue = server.queue("never");
    let once = |batch_id: &str| {
        let idempotency_key = "once".to_owned();
        of_batch(batch_id, JobSpec { idempotency_key, ..spec::job("x") })
    };
    let jobs = vec![once(BATCH), of_batch(BATCH, spec::job("x")), once(BATCH)];
    let ids = queue.try_enqueue(jobs.clone(), "call").await.unwrap();
    assert_eq!(queue.try_enqueue(jobs, "call").await.unwrap(), ids, "a repeated request");
    assert_eq!(stands(&queue, 2).await, (Pending, StateCounts { ready: 2, ..none() }));

    // A duplicate joins no other batch, and a refused request begins none.
    queue.enqueue_one(once("other")).await;
    status::refused(batch(&queue, "other").await, Code::NotFound, "BATCH_NOT_FOUND");
    queue.put(spec::bounded(2, OverflowPolicy::Reject)).await;
    let request = EnqueueRequest {
        queue: "never".to_owned(),
        jobs: vec![of_batch("refused", spec::job("x"))],
        batch_totals: [("refused".to_owned(), 1), (BATCH.to_owned(), 9)].into(),
        ..EnqueueRequest::default()
    };
    let refused = queue.enqueue_by(request).await;
    status::refused(refused, Code::ResourceExhausted, "QUEUE_FULL");
    status::refused(batch(&queue, "refused").await, Code::NotFound, "BATCH_NOT_FOUND");
    assert_eq!(batch(&queue, BATCH).await.unwrap().total_jobs, None, "nor does it announce a total");
}

#[tokio::test]
async fn announced_batch_waits_for_its_first_job_and_goes_with_its_queue() {
    let mut server = Sluiced::fresh().await;
    let queue = server.queue("announced");
    let request = EnqueueRequest {
        queue: "announced".to_owned(),
        jobs: vec![spec::job("of no batch")],
        batch_totals: [(BATCH.to_owned(), 2)].into(),
        ..EnqueueRequest::default()
    };
    queue.enqueue_by(request).await.unwrap();
    for _ in 0..2 {
        assert_eq!(stands(&queue, 0).await, (Pending, none()), "none of it has come yet");
        assert_eq!(batch(&queue, BATCH).await.unwrap().total_jobs, Some(2));
        server.kill_and_start().await;
    }
    queue.enqueue_one(of_batch(BATCH, spec::job("x"))).await;
    assert_eq!(stands(&queue, 1).await, (Pending, StateCounts { ready: 1, ..none() }));

    queue.try_delete(true).await.unwrap();
    status::refused(batch(&queue, BATCH).await, Code::NotFound, "BATCH_NOT_FOUND");
    queue.enqueue_one(of_batch(BATCH, spec::job("of another queue"))).await;
    let other = batch(&queue, BATCH).await.unwrap();
    assert_eq!((other.jobs, other.total_jobs), (1, None), "another queue's is another");
    server.kill_and_start().await;
    let after = batch(&queue, BATCH).await.unwrap();
    // When it will be done is reckoned anew at each reading.
    assert_eq!(GetBatchResponse { eta: other.eta, ..after }, other);
}

#[tokio::test]
async fn counts_outlive_the_log_that_had_their_jobs() {
    let mut server = Setup::small_segments().start().await;
    let queue = server.queue("home");
    queue.enqueue(vec![of_batch(BATCH, spec::job("x")); 300]).await;
    let out = queue.lease(200).await;
    queue.ack(&out[..100]).await;
    for leased in &out[100..] {
        queue.nack(leased, NackReason::Rejected).await;
    }
    assert_eq!(queue.purge(&[JobState::Completed]).await, 100);
    let expected = (Running, StateCounts { ready: 100, completed: 100, dead: 100, ..none() });
    assert_eq!(stands(&queue, 300).await, expected);
    // Three times what the log may hold pushes its oldest segments out.
    for round in 0..2 {
        for _ in 0..12 {
            let payload = vec![round; 1 << 20].into();
            server.queue("heavy").enqueue_one(JobSpec { payload, ..JobSpec::default() }).await;
        }
        server.kill_and_start().await;
        assert_eq!(stands(&queue, 300).await, expected, "after kill {round}");
    }
    queue.ack(&queue.lease(100).await).await;
    assert_eq!(stands(&queue, 300).await, (Partial, StateCounts { completed: 200, dead: 100, ..none() }));
}
