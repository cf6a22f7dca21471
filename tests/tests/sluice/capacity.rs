//! What a queue and its keys hold at most, and what happens beyond.

use sluice_proto::v1::{
    EnqueueRequest, EnqueueResponse, JobSpec, JobState, KeyRule, NodeSettings, OverflowPolicy,
    Queue as Settings, QueueLevel,
};
use sluice_tests::{Queue, Sluiced, spec, status};
use tonic::Code;
use tonic_types::StatusExt;

fn holds(max_jobs: u64, overflow: OverflowPolicy) -> Settings {
    Settings { max_jobs: Some(max_jobs), overflow_policy: overflow.into(), ..Settings::default() }
}

async fn put_in(queue: &Queue, jobs: Vec<JobSpec>) -> EnqueueResponse {
    let request = EnqueueRequest { queue: queue.name().to_owned(), jobs, ..EnqueueRequest::default() };
    queue.rpc.clone().enqueue(request).await.unwrap().into_inner()
}

#[tokio::test]
async fn s4_1_full_queue_refuses_all_of_a_request_and_says_when_to_try_again() {
    let server = Sluiced::fresh().await;
    let queue = server.queue("small");
    queue.put(holds(10, OverflowPolicy::Reject)).await;
    queue.enqueue(spec::jobs("x", 8)).await;
    let before = queue.status().await;
    assert_eq!((before.utilization, before.jobs), (Some(0.8), 8));
    let refused = queue.try_enqueue(spec::jobs("y", 3), "once").await;
    let refused = status::refused(refused, Code::ResourceExhausted, "QUEUE_FULL");
    assert!(refused.get_details_retry_info().is_some_and(|info| info.retry_delay.is_some()), "{refused:?}");
    assert_eq!(queue.status().await.totals, before.totals, "nothing was applied");
    // The same request goes in once there is room.
    let leased = queue.lease(1).await;
    queue.ack(&leased).await;
    assert_eq!(queue.try_enqueue(spec::jobs("y", 3), "once").await.unwrap().len(), 3);
    assert_eq!(queue.status().await.utilization, Some(1.0));
}

#[tokio::test]
async fn s4_1_bytes_are_a_capacity_too_and_what_never_fits_is_told_apart() {
    let server = Sluiced::fresh().await;
    let queue = server.queue("small");
    let settings = Settings { max_bytes: Some(1_000), ..Settings::default() };
    queue.put(settings).await;
    queue.enqueue(vec![spec::job(&"x".repeat(600))]).await;
    let full = queue.try_enqueue(vec![spec::job(&"x".repeat(600))], "").await;
    status::refused(full, Code::ResourceExhausted, "QUEUE_FULL");
    let never = queue.try_enqueue(vec![spec::job(&"x".repeat(1_200))], "").await.unwrap_err();
    assert_eq!(never.code(), Code::InvalidArgument, "{never:?}");
    assert_eq!(queue.status().await.jobs, 1);
}

#[tokio::test]
async fn s0_4_full_queue_drops_its_oldest_job_of_the_lowest_priority_counts_and_tells_it() {
    let server = Sluiced::fresh().await;
    let queue = server.queue("drops");
    queue.put(holds(4, OverflowPolicy::DropOldest)).await;
    let ids = queue
        .enqueue(vec![spec::urgent(5, "a"), spec::urgent(2, "b"), spec::urgent(2, "c"), spec::urgent(7, "d")])
        .await;
    let held = queue.lease(1).await;
    assert_eq!(spec::text(&held[0]), "d");
    let answer = put_in(&queue, vec![spec::urgent(5, "e"), spec::urgent(5, "f")]).await;
    assert_eq!(
        answer.dropped_job_ids,
        [ids[1].clone(), ids[2].clone()],
        "the lowest priority, the oldest first"
    );
    let status = queue.status().await;
    let counts = status.counts.unwrap();
    assert_eq!((counts.dropped, counts.ready, counts.leased), (2, 3, 1));
    assert_eq!(status.totals.unwrap().dropped, 2);
    let dropped = queue.job(&ids[1]).await;
    assert_eq!((dropped.state(), dropped.payload.as_deref()), (JobState::Dropped, Some(b"b".as_slice())));
    // A newcomer that is the least urgent is the one to go.
    let answer = put_in(&queue, vec![spec::urgent(0, "g")]).await;
    assert_eq!(answer.dropped_job_ids, [answer.jobs[0].job_id.clone()]);
    // What a worker holds is never dropped, and can be acked.
    queue.ack(&held).await;
    assert_eq!(queue.requeue(&[JobState::Dropped]).await, 3, "a person may bring them back");
}

#[tokio::test]
async fn s2_1_queue_of_100_is_first_in_first_out_and_its_oldest_go_first() {
    let mut server = Sluiced::fresh().await;
    let queue = server.queue("buffer");
    queue.put(holds(100, OverflowPolicy::DropOldest)).await;
    let ids = queue.enqueue(spec::jobs("x", 100)).await;
    let mut dropped = Vec::new();
    for n in 100..130 {
        dropped.extend(put_in(&queue, vec![spec::job(&format!("x-{n}"))]).await.dropped_job_ids);
    }
    assert_eq!(dropped, ids[..30]);
    server.kill_and_start().await;
    let queue = server.queue("buffer");
    assert_eq!(queue.status().await.counts.unwrap().dropped, 30);
    let texts = spec::texts(&queue.lease(1_000).await);
    assert_eq!(texts, (30..130).map(|n| format!("x-{n}")).collect::<Vec<_>>());
}

#[tokio::test]
async fn s4_3_level_rises_above_80_percent_and_falls_later_than_it_rose() {
    let server = Sluiced::fresh().await;
    let queue = server.queue("levels");
    queue.put(holds(1_000, OverflowPolicy::Reject)).await;
    let level = async || queue.status().await.level();
    // Not so fast that the rates alone warn: that is another reason.
    queue.enqueue(spec::jobs("x", 1_000)).await;
    assert_eq!(level().await, QueueLevel::Critical);
    let settle = async |count| {
        let leased = queue.lease(count).await;
        queue.ack(&leased).await;
    };
    settle(40).await;
    assert_eq!(level().await, QueueLevel::Critical, "96 %: as it was");
    settle(30).await;
    assert_eq!(level().await, QueueLevel::Warning, "93 %");
    settle(180).await;
    assert_eq!(level().await, QueueLevel::Warning, "75 %: as it was");
    server.queue("levels").until(|status| status.level() == QueueLevel::Warning).await;
    assert!(server.log().contains("CRITICAL"), "{}", server.log());
}

#[tokio::test]
async fn n9_keys_have_capacities_and_policies_of_their_own() {
    let mut server = Sluiced::fresh().await;
    let queue = server.queue("keys");
    let rule = |pattern: &str, max_jobs, overflow: OverflowPolicy| KeyRule {
        key_pattern: pattern.to_owned(),
        settings: Some(NodeSettings {
            max_jobs: Some(max_jobs),
            overflow_policy: overflow.into(),
            ..NodeSettings::default()
        }),
    };
    let key_rules =
        vec![rule("bot1", 3, OverflowPolicy::Reject), rule("bot*", 2, OverflowPolicy::DropOldest)];
    queue.put(Settings { key_rules, ..Settings::default() }).await;
    queue
        .enqueue(vec![spec::keyed("bot1/a", "1"), spec::keyed("bot1/b", "2"), spec::keyed("bot1", "3")])
        .await;
    let full = queue.try_enqueue(vec![spec::keyed("bot1/c", "4")], "").await;
    status::refused(full, Code::ResourceExhausted, "QUEUE_FULL");
    let oldest = queue.enqueue(vec![spec::keyed("bot2", "5"), spec::keyed("bot2", "6")]).await;
    let answer = put_in(&queue, vec![spec::keyed("bot2/x", "7")]).await;
    assert_eq!(answer.dropped_job_ids, oldest[..1]);
    queue.enqueue(vec![spec::keyed("other", "8"); 9]).await;
    server.kill_and_start().await;
    let queue = server.queue("keys");
    let full = queue.try_enqueue(vec![spec::keyed("bot1/c", "4")], "").await;
    status::refused(full, Code::ResourceExhausted, "QUEUE_FULL");
    assert_eq!(queue.status().await.jobs, 3 + 2 + 9);
}
