//! Keys with a capacity of their own: which rule holds, what counts under a key, and what a full one does.

use sluice_proto::v1::{JobSpec, JobState, KeyRule, NodeSettings, OverflowPolicy, QueueLevel, QueueStatus};
use sluice_tests::{Queue, Sluiced, spec, status};
use tonic::Code;

fn rule(key_pattern: &str, settings: NodeSettings) -> KeyRule {
    KeyRule { key_pattern: key_pattern.to_owned(), settings: Some(settings) }
}

/// A rule for so many jobs, with the queue's policy.
fn jobs(key_pattern: &str, max_jobs: u64) -> KeyRule {
    rule(key_pattern, NodeSettings { max_jobs: Some(max_jobs), ..NodeSettings::default() })
}

fn ruled(key_rules: Vec<KeyRule>) -> sluice_proto::v1::Queue {
    sluice_proto::v1::Queue { key_rules, ..Default::default() }
}

async fn comes(queue: &Queue, key: &str, payload: &str) {
    assert_eq!(drops(queue, vec![spec::keyed(key, payload)]).await, [] as [&str; 0]);
}

/// Enqueues; the payloads of the jobs that went for it.
async fn drops(queue: &Queue, jobs: Vec<JobSpec>) -> Vec<String> {
    let answer = queue.enqueue_by(queue.enqueue_request(jobs)).await.unwrap();
    let mut payloads = Vec::new();
    for id in answer.dropped_job_ids {
        let job = queue.job(&id).await;
        assert_eq!(job.state(), JobState::Dropped);
        payloads.push(String::from_utf8(job.payload.unwrap().to_vec()).unwrap());
    }
    payloads
}

async fn full(queue: &Queue, jobs: Vec<JobSpec>) {
    let before = queue.status().await;
    let refused = queue.try_enqueue(jobs, "").await;
    status::refused(refused, Code::ResourceExhausted, "QUEUE_FULL");
    let after = queue.status().await;
    assert_eq!((after.counts, after.totals), (before.counts, before.totals), "nothing was applied");
}

#[tokio::test]
async fn n9_first_rule_that_matches_holds_and_a_full_key_is_in_nobody_elses_way() {
    let server = Sluiced::fresh().await;
    let queue = server.queue("rules");
    queue.put(ruled(vec![jobs("bot1", 1), jobs("bot*", 3), jobs("bot1", 100)])).await;
    comes(&queue, "bot1", "a").await;
    full(&queue, vec![spec::keyed("bot1", "b")]).await;
    for payload in ["a", "b", "c"] {
        comes(&queue, "bot2", payload).await;
    }
    full(&queue, vec![spec::keyed("bot2", "d")]).await;
    for other in ["bot3", "", "robot1", "other/bot1"] {
        comes(&queue, other, "e").await;
    }
    // One full key refuses the whole request, of other keys too.
    full(&queue, vec![spec::keyed("bot4", "f"), spec::keyed("bot2", "f"), spec::job("f")]).await;
    assert_eq!(queue.key_status("bot4").await.jobs, 0);

    let one = queue.key_status("bot1").await;
    assert_eq!((one.jobs, one.utilization, one.level()), (1, Some(1.0), QueueLevel::Critical));
    assert_eq!(queue.key_status("bot3").await.utilization, Some(1.0 / 3.0));
    let none = queue.key_status("robot1").await;
    assert_eq!((none.jobs, none.utilization, none.level()), (1, None, QueueLevel::Ok));
    assert_eq!(queue.status().await.utilization, None, "the queue itself has no capacity");
}

#[tokio::test]
async fn n9_keys_count_under_what_they_begin_with() {
    let server = Sluiced::fresh().await;
    let queue = server.queue("nested");
    queue.put(ruled(vec![jobs("bot*", 4), jobs("bot*/group", 2), jobs("bot*/group/*", 1)])).await;
    comes(&queue, "bot1/group/a", "1").await;
    full(&queue, vec![spec::keyed("bot1/group/a", "-")]).await;
    comes(&queue, "bot1/group/b", "2").await;
    full(&queue, vec![spec::keyed("bot1/group/c", "-")]).await;
    full(&queue, vec![spec::keyed("bot1/group", "-")]).await;
    comes(&queue, "bot1/other/a", "3").await;
    comes(&queue, "bot1", "4").await;
    full(&queue, vec![spec::keyed("bot1/other/b", "-")]).await;
    comes(&queue, "bot2/group/a", "5").await;
    comes(&queue, "bot10", "6").await;
    for (name, jobs) in [("bot1", 4), ("bot1/group", 2), ("bot1/group/a", 1), ("bot2", 1)] {
        assert_eq!(queue.key_status(name).await.jobs, jobs, "{name}");
    }

    // What is done makes room at each of them.
    let out = queue.lease(10).await;
    let done = out.iter().find(|job| spec::text(job) == "1").unwrap();
    full(&queue, vec![spec::keyed("bot1/group/a", "-")]).await;
    queue.ack(std::slice::from_ref(done)).await;
    comes(&queue, "bot1/group/a", "7").await;
    full(&queue, vec![spec::keyed("bot1", "-")]).await;
}

#[tokio::test]
async fn n9_key_overflows_by_its_own_policy_and_by_the_queues_where_it_has_none() {
    let server = Sluiced::fresh().await;
    let queue = server.queue("policies");
    let dropping = NodeSettings {
        max_jobs: Some(2),
        overflow_policy: OverflowPolicy::DropOldest.into(),
        ..NodeSettings::default()
    };
    let rejecting = NodeSettings { overflow_policy: OverflowPolicy::Reject.into(), ..dropping.clone() };
    let rules = vec![rule("drop", dropping), rule("reject", rejecting), jobs("as-queue", 2)];
    queue.put(ruled(rules.clone())).await;
    for name in ["drop", "reject", "as-queue"] {
        comes(&queue, name, &format!("{name}-0")).await;
        comes(&queue, name, &format!("{name}-1")).await;
    }
    let next = |name: &str| vec![spec::keyed(name, &format!("{name}-2"))];
    assert_eq!(drops(&queue, next("drop")).await, ["drop-0"]);
    full(&queue, next("reject")).await;
    full(&queue, next("as-queue")).await;

    let settings =
        sluice_proto::v1::Queue { overflow_policy: OverflowPolicy::DropOldest.into(), ..ruled(rules) };
    queue.put(settings).await;
    full(&queue, next("reject")).await;
    assert_eq!(drops(&queue, next("as-queue")).await, ["as-queue-0"]);
    assert_eq!(drops(&queue, next("drop")).await, ["drop-1"]);
    let left: Vec<String> = spec::texts(&queue.lease(10).await);
    assert_eq!(left.len(), 6);
    for stays in ["drop-2", "reject-0", "reject-1", "as-queue-1", "as-queue-2"] {
        assert!(left.iter().any(|text| text == stays), "{stays} in {left:?}");
    }
}

#[tokio::test]
async fn n9_only_jobs_under_the_full_key_go_for_it() {
    let server = Sluiced::fresh().await;
    let queue = server.queue("under");
    let dropping = NodeSettings {
        max_jobs: Some(3),
        overflow_policy: OverflowPolicy::DropOldest.into(),
        ..NodeSettings::default()
    };
    queue.put(ruled(vec![rule("a", dropping)])).await;
    let low = |key: &str, payload: &str| JobSpec { priority: Some(0), ..spec::keyed(key, payload) };
    queue.enqueue(vec![low("b", "older"), low("", "older"), low("ab", "older")]).await;
    queue.enqueue(vec![spec::keyed("a/x", "x0"), spec::keyed("a", "0"), spec::keyed("a/y", "y0")]).await;
    assert_eq!(drops(&queue, vec![spec::keyed("a/z", "z0")]).await, ["x0"]);
    assert_eq!(drops(&queue, vec![low("a/x", "low")]).await, ["low"]);
    assert_eq!(drops(&queue, vec![spec::keyed("a", "1"), spec::keyed("b", "b1")]).await, ["0"]);
    let status = queue.status().await;
    assert_eq!((status.jobs, status.counts.unwrap().dropped), (7, 3));
    assert_eq!(queue.key_status("a").await.jobs, 3);
}

#[tokio::test]
async fn n9_bytes_of_a_key_are_bounded_and_what_never_fits_under_it_is_refused_as_such() {
    let server = Sluiced::fresh().await;
    let queue = server.queue("bytes");
    let ten = NodeSettings { max_bytes: Some(10), ..NodeSettings::default() };
    queue.put(ruled(vec![rule("*", ten), jobs("*/*", 2)])).await;
    comes(&queue, "a/x", "123456").await;
    full(&queue, vec![spec::keyed("a/y", "12345")]).await;
    comes(&queue, "a/y", "1234").await;
    let status = queue.key_status("a").await;
    assert_eq!((status.bytes, status.utilization, status.level()), (10, Some(1.0), QueueLevel::Critical));
    comes(&queue, "b", "1234567890").await;

    let too_long = vec![spec::keyed("c", "12345678901")];
    let too_many: Vec<JobSpec> = vec![spec::keyed("c/x", ""); 3];
    for never in [too_long, too_many] {
        let refused = queue.try_enqueue(never, "").await;
        let refused = status::refused(refused, Code::InvalidArgument, "NEVER_FITS");
        assert_eq!(status::fields(&refused), ["jobs"]);
    }
    comes(&queue, "", "12345678901").await;
}

#[tokio::test]
async fn s4_3_level_of_a_key_is_what_its_utilization_says() {
    let server = Sluiced::fresh().await;
    let queue = server.queue("levels");
    queue.put(ruled(vec![jobs("a", 100)])).await;
    queue.enqueue(vec![spec::keyed("a", "x"); 85]).await;
    assert_eq!(queue.key_status("a").await.level(), QueueLevel::Warning);
    let out = queue.lease(15).await;
    queue.ack(&out[..10]).await;
    let status = queue.key_status("a").await;
    assert_eq!((status.utilization, status.level()), (Some(0.75), QueueLevel::Ok));
    queue.enqueue(vec![spec::keyed("a", "x"); 25]).await;
    let status = queue.key_status("a").await;
    assert_eq!((status.utilization, status.level()), (Some(1.0), QueueLevel::Critical));
    queue.ack(&out[10..]).await;
    let status = queue.key_status("a").await;
    assert_eq!((status.utilization, status.level()), (Some(0.95), QueueLevel::Warning));
}

#[tokio::test]
async fn n9_keys_are_as_full_as_before_right_after_kill_9() {
    let mut server = Sluiced::fresh().await;
    let queue = server.queue("killed");
    let dropping = NodeSettings {
        max_jobs: Some(2),
        overflow_policy: OverflowPolicy::DropOldest.into(),
        ..NodeSettings::default()
    };
    queue.put(ruled(vec![rule("drop/*", dropping), jobs("*", 3)])).await;
    for (name, payload) in [("drop/a", "0"), ("drop/a", "1"), ("keep/a", "2"), ("keep/b", "3"), ("keep", "4")]
    {
        comes(&queue, name, payload).await;
    }
    let out = queue.lease(1).await;
    assert_eq!(spec::texts(&out), ["0"]);
    let names = ["drop", "drop/a", "keep", "keep/a", "keep/b", "other"];
    let mut before = Vec::new();
    for name in names {
        before.push(QueueStatus { status_time: None, ..queue.key_status(name).await });
    }

    server.kill_and_start().await;
    for (name, before) in names.into_iter().zip(before) {
        assert_eq!(QueueStatus { status_time: None, ..queue.key_status(name).await }, before);
    }
    full(&queue, vec![spec::keyed("keep/c", "-")]).await;
    assert_eq!(drops(&queue, vec![spec::keyed("drop/a", "5")]).await, ["1"], "0 is held");
    queue.ack(&out).await;
    comes(&queue, "drop/a", "6").await;
    full(&queue, vec![spec::keyed("keep", "-")]).await;
}
