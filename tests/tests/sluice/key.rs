//! Keys: what waits and is held under each, and how full it is.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use sluice_proto::v1::{
    DrainRequest, JobSpec, JobState, KeyRule, KeyStatus, ListKeysRequest, NackReason, NodeSettings,
    QueueLevel,
};
use sluice_tests::{Queue, Sluiced, cli, spec, status};
use tonic::Code;

/// Every key beneath `key_prefix`, page by page; none may come twice.
async fn keys(queue: &Queue, key_prefix: &str, page_size: i32) -> BTreeMap<String, KeyStatus> {
    let mut keys = BTreeMap::new();
    let mut page_token = String::new();
    loop {
        let page = page(queue, key_prefix, page_size, &page_token).await;
        for key in page.0 {
            assert_eq!(keys.insert(key.key.clone(), key), None, "listed twice");
        }
        page_token = page.1;
        if page_token.is_empty() {
            return keys;
        }
    }
}

async fn page(queue: &Queue, key_prefix: &str, page_size: i32, page_token: &str) -> (Vec<KeyStatus>, String) {
    let request = ListKeysRequest {
        queue: queue.name().to_owned(),
        key_prefix: key_prefix.to_owned(),
        page_size,
        page_token: page_token.to_owned(),
    };
    let page = queue.admin.clone().list_keys(request).await.unwrap().into_inner();
    assert!(page.keys.len() <= if page_size == 0 { 100 } else { page_size as usize });
    (page.keys, page.next_page_token)
}

fn names(keys: &BTreeMap<String, KeyStatus>) -> Vec<&str> {
    keys.keys().map(String::as_str).collect()
}

/// SCHEDULED, READY, LEASED and RETRYING.
fn counts(key: &KeyStatus) -> [u64; 4] {
    [key.scheduled, key.ready, key.leased, key.retrying]
}

/// A rule of so many jobs.
fn rule(key_pattern: &str, max_jobs: u64) -> KeyRule {
    let settings = NodeSettings { max_jobs: Some(max_jobs), ..Default::default() };
    KeyRule { key_pattern: key_pattern.to_owned(), settings: Some(settings) }
}

/// Jobs in every live state under `bot`, in some that are at rest, and some elsewhere.
async fn some_of_everything(queue: &Queue) {
    queue.put(spec::retrying(5, Duration::from_secs(3_600))).await;
    queue.enqueue_one(JobSpec { priority: Some(9), ..spec::keyed("bot/x", "retried") }).await;
    queue.enqueue_one(JobSpec { priority: Some(8), ..spec::keyed("bot/x", "held") }).await;
    queue.enqueue_one(JobSpec { priority: Some(7), ..spec::keyed("bot/y", "done") }).await;
    queue.enqueue_one(JobSpec { priority: Some(6), ..spec::keyed("gone/far", "dead") }).await;
    for expected in ["retried", "held", "done", "dead"] {
        let out = queue.lease(1).await;
        assert_eq!(spec::texts(&out), [expected]);
        match expected {
            "retried" => drop(queue.nack(&out[0], NackReason::Failed).await),
            "dead" => drop(queue.nack(&out[0], NackReason::Rejected).await),
            "done" => queue.ack(&out).await,
            _ => {}
        }
    }
    let later = JobSpec { delay: Some(spec::millis(3_600_000)), ..spec::keyed("bot/y/z", "later") };
    let ready = ["bot/x", "bot/x", "bot/y/z", "bot", "bot42", ""].map(|key| spec::keyed(key, "0123456789"));
    queue.enqueue_one(later).await;
    queue.enqueue(ready.to_vec()).await;
}

#[tokio::test]
async fn keys_are_listed_with_what_waits_and_is_held_under_them() {
    let mut server = Sluiced::fresh().await;
    let queue = server.queue("counted");
    some_of_everything(&queue).await;
    let before = keys(&queue, "", 0).await;
    let listed: Vec<(&str, [u64; 4])> = before.iter().map(|(name, key)| (&**name, counts(key))).collect();
    // Neither a job without a key nor one that is at rest makes a key; `bot/y` is what one begins with.
    assert_eq!(
        listed,
        [
            ("bot", [1, 4, 1, 1]),
            ("bot/x", [0, 2, 1, 1]),
            ("bot/y", [1, 1, 0, 0]),
            ("bot/y/z", [1, 1, 0, 0]),
            ("bot42", [0, 1, 0, 0]),
        ]
    );
    let bytes = |key: &str| before[key].bytes;
    assert!(bytes("bot42") >= 10 && bytes("bot/x") >= 2 * 10 + "retried".len() as u64 + 4);
    assert_eq!(bytes("bot/y"), bytes("bot/y/z"));
    let own = queue.key_status("bot").await.bytes - bytes("bot/x") - bytes("bot/y");
    assert!((10..bytes("bot42") + 10).contains(&own), "{own} bytes of the key itself");
    assert!(before.values().all(|key| key.utilization.is_none() && key.level() == QueueLevel::Ok));

    for (name, key) in &before {
        let status = queue.key_status(name).await;
        let of = status.counts.unwrap_or_default();
        assert_eq!([of.scheduled, of.ready, of.leased, of.retrying], counts(key), "{name}");
        assert_eq!((status.key, status.bytes), (name.clone(), key.bytes));
        assert_eq!(status.jobs, counts(key).iter().sum::<u64>(), "{name}");
    }
    server.kill_and_start().await;
    assert_eq!(keys(&queue, "", 0).await, before, "after kill -9");
}

#[tokio::test]
async fn prefix_is_a_key_and_what_is_beneath_it_and_no_other_that_begins_so() {
    let server = Sluiced::fresh().await;
    let queue = server.queue("prefix");
    queue.put(sluice_proto::v1::Queue::default()).await;
    let all = ["bot4", "bot4/a", "bot4/a/x", "bot4/ab", "bot42", "bot42/a", "bot", "é/ü"];
    queue.enqueue(all.iter().map(|key| spec::keyed(key, "x")).collect()).await;
    for (prefix, expected) in [
        ("bot4", &["bot4", "bot4/a", "bot4/a/x", "bot4/ab"][..]),
        ("bot4/a", &["bot4/a", "bot4/a/x"]),
        ("bot4/a/x", &["bot4/a/x"]),
        ("bot", &["bot"]),
        ("é", &["é", "é/ü"]),
        ("b", &[]),
        ("bot4/b", &[]),
    ] {
        for page_size in [1, 100] {
            assert_eq!(names(&keys(&queue, prefix, page_size).await), expected, "{prefix}");
        }
    }
}

#[tokio::test]
async fn keys_come_in_pages_and_each_that_stays_is_listed_once() {
    let server = Sluiced::fresh().await;
    let queue = server.queue("pages");
    let stay: BTreeSet<String> = (0..300).map(|n| format!("stay-{n}")).collect();
    queue.enqueue(stay.iter().map(|key| spec::keyed(key, "x")).collect()).await;
    for page_size in [0, 7, 299, 300, 1_000] {
        let listed: BTreeSet<String> = keys(&queue, "", page_size).await.into_keys().collect();
        assert_eq!(listed, stay, "in pages of {page_size}");
    }

    // Between two pages fewer keys come than one holds, and go again with all that is known of them.
    let (mut listed, mut page_token, mut turn) = (Vec::new(), String::new(), 0);
    loop {
        let (keys, next) = page(&queue, "", 20, &page_token).await;
        listed.extend(keys.into_iter().map(|key| key.key).filter(|key| stay.contains(key)));
        page_token = next;
        if page_token.is_empty() {
            break;
        }
        turn += 1;
        assert!(turn < 1_000, "the list comes to an end");
        let passing = (0..10).map(|n| {
            let key = format!("{}-{turn}-{n}", ["aa", "stay", "zz"][n % 3]);
            JobSpec { priority: Some(9), ..spec::keyed(&key, "passes") }
        });
        queue.enqueue(passing.collect()).await;
        let out = queue.lease(8).await;
        assert!(out.iter().all(|job| spec::text(job) == "passes"));
        queue.ack(&out).await;
        assert_eq!(queue.purge(&[JobState::Completed]).await, 8);
    }
    let unique: BTreeSet<String> = listed.iter().cloned().collect();
    assert_eq!(unique.len(), listed.len(), "none twice");
    assert_eq!(unique, stay, "and none left out");
}

#[tokio::test]
async fn page_token_of_another_prefix_is_refused() {
    let server = Sluiced::fresh().await;
    let queue = server.queue("token");
    queue.enqueue(["a/x", "a/y", "b/x"].iter().map(|key| spec::keyed(key, "x")).collect()).await;
    let (_, page_token) = page(&queue, "a", 1, "").await;
    assert!(!page_token.is_empty());
    let request =
        ListKeysRequest { queue: "token".to_owned(), key_prefix: "b".to_owned(), page_size: 1, page_token };
    let refused = queue.admin.clone().list_keys(request).await;
    let refused = status::refused(refused, Code::InvalidArgument, "INVALID_FIELDS");
    assert_eq!(status::fields(&refused), ["page_token"]);
}

#[tokio::test]
async fn key_with_a_capacity_tells_how_full_it_is() {
    let server = Sluiced::fresh().await;
    let queue = server.queue("capacity");
    // The first rule that matches a node holds, and a rule holds for nodes of just so many segments.
    let key_rules = vec![rule("bot1", 10), rule("bot*", 4), rule("bot*/group", 2)];
    queue.put(sluice_proto::v1::Queue { key_rules, ..Default::default() }).await;
    let five = ["bot1", "bot1/group", "bot1/group/deep", "bot1/other", "bot1"];
    queue.enqueue(five.map(|key| spec::keyed(key, "x")).to_vec()).await;
    queue.enqueue([spec::keyed("bot2", "x"), spec::keyed("cat", "x")].to_vec()).await;

    let listed = keys(&queue, "", 0).await;
    for (name, utilization) in [
        ("bot1", Some(0.5)),
        ("bot1/group", Some(1.0)),
        ("bot1/group/deep", None),
        ("bot1/other", None),
        ("bot2", Some(0.25)),
        ("cat", None),
    ] {
        assert_eq!(listed[name].utilization, utilization, "{name}");
        assert_eq!(queue.key_status(name).await.utilization, utilization, "{name}");
    }
    assert_eq!(listed["bot1/group"].level(), QueueLevel::Critical);
    assert_eq!(queue.key_status("bot1/group").await.level(), QueueLevel::Critical);
    assert_eq!((listed["cat"].level(), listed["bot1/other"].level()), (QueueLevel::Ok, QueueLevel::Ok));

    // What is full refuses, and says nothing of the others.
    let refused = queue.try_enqueue(vec![spec::keyed("bot1/group/deep", "x")], "").await;
    status::refused(refused, Code::ResourceExhausted, "QUEUE_FULL");
    queue.enqueue_one(spec::keyed("bot1/other", "x")).await;
    assert_eq!(keys(&queue, "bot1", 0).await["bot1"].utilization, Some(0.6));

    // Another rule holds at once for the jobs that are there.
    let key_rules = vec![rule("*", 12)];
    queue.put(sluice_proto::v1::Queue { key_rules, ..Default::default() }).await;
    let listed = keys(&queue, "", 0).await;
    assert_eq!((listed["bot1"].utilization, listed["bot1/group"].utilization), (Some(0.5), None));
}

#[tokio::test]
async fn key_goes_with_the_last_of_its_jobs_and_comes_back_with_the_next() {
    let server = Sluiced::fresh().await;
    let queue = server.queue("goes");
    queue.put(sluice_proto::v1::Queue::default()).await;
    assert!(keys(&queue, "", 0).await.is_empty());
    for way in ["ack", "reject", "cancel", "purge", "drain"] {
        let id = queue.enqueue_one(spec::keyed("a/b", way)).await;
        assert_eq!(names(&keys(&queue, "", 0).await), ["a", "a/b"], "before {way}");
        match way {
            "ack" => queue.ack(&queue.lease(1).await).await,
            "reject" => drop(queue.nack(&queue.lease(1).await[0], NackReason::Rejected).await),
            "cancel" => drop(queue.try_cancel(&id).await.unwrap()),
            "purge" => assert_eq!(queue.purge(&[JobState::Ready]).await, 1),
            _ => assert_eq!(queue.drain_all("drained").await.len(), 1),
        }
        assert!(keys(&queue, "", 0).await.is_empty(), "after {way}");
    }
    assert_eq!(queue.requeue(&[JobState::Dead, JobState::Drained]).await, 2);
    assert_eq!(counts(&keys(&queue, "", 0).await["a"]), [0, 2, 0, 0]);

    // One of two: what they have in common stays.
    queue.enqueue_one(spec::keyed("a/c", "stays")).await;
    let request = DrainRequest {
        queue: "goes".to_owned(),
        request_id: "two".to_owned(),
        max_jobs: Some(2),
        ..Default::default()
    };
    let mut set = queue.drain(request).await;
    while set.message().await.unwrap().is_some() {}
    let left = keys(&queue, "", 0).await;
    assert_eq!(left.len(), 2, "{left:?}");
    assert!(left.contains_key("a") && left.values().all(|key| counts(key) == [0, 1, 0, 0]), "{left:?}");
}

#[tokio::test]
async fn keys_of_a_queue_that_is_not_there_are_not_found() {
    let server = Sluiced::fresh().await;
    let request = ListKeysRequest { queue: "nobody".to_owned(), ..Default::default() };
    status::refused(server.admin().list_keys(request).await, Code::NotFound, "QUEUE_NOT_FOUND");
}

#[tokio::test]
async fn command_line_lists_keys() {
    let server = Sluiced::fresh().await;
    let queue = server.queue("cli");
    let key_rules = vec![rule("bot", 8)];
    queue.put(sluice_proto::v1::Queue { key_rules, ..Default::default() }).await;
    queue.enqueue(["bot/x", "bot/y", "cat"].map(|key| spec::keyed(key, "x")).to_vec()).await;
    queue.lease(1).await;

    let lines = cli::run(&server, &["keys", "-q", "cli", "--key-prefix", "bot", "-o", "jsonl"]).await.lines();
    let mut listed: Vec<&str> = lines.iter().map(|line| line["key"].as_str().unwrap()).collect();
    listed.sort_unstable();
    assert_eq!(listed, ["bot", "bot/x", "bot/y"]);
    let bot = lines.iter().find(|line| line["key"] == "bot").unwrap();
    assert_eq!((bot["utilization"].as_f64(), bot["level"].is_string()), (Some(0.25), true));
    assert_eq!(bot["ready"].as_u64().unwrap() + bot["leased"].as_u64().unwrap(), 2);

    let all = cli::run(&server, &["keys", "-q", "cli", "--limit", "0", "-o", "json"]).await.ok();
    assert_eq!(serde_json::from_str::<serde_json::Value>(&all).unwrap().as_array().unwrap().len(), 4);
    let two = cli::run(&server, &["keys", "-q", "cli", "--limit", "2", "-o", "jsonl"]).await.lines();
    assert_eq!(two.len(), 2);
    assert_eq!(cli::run(&server, &["keys", "-q", "nobody"]).await.code, 3);
}
