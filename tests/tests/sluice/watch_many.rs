//! Watching many queues at once: all at first, then those that changed, came or went.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use sluice_proto::v1::{QueueStatus, WatchQueuesRequest, WatchQueuesResponse};
use sluice_tests::{Queue, Sluiced, spec, status};
use tokio::task::JoinSet;
use tonic::{Code, Streaming};

use crate::watch::Spoken;

/// Far more than any message needs to come.
const PATIENCE: Duration = Duration::from_secs(30);

/// A watch, and what it has shown so far.
struct Watch {
    stream: Streaming<WatchQueuesResponse>,
    shown: BTreeMap<String, QueueStatus>,
    deleted: Vec<String>,
}

impl Watch {
    async fn begin(server: &Sluiced, queue_pattern: &str, min_interval: Duration) -> Watch {
        let request = WatchQueuesRequest {
            queue_pattern: queue_pattern.to_owned(),
            min_interval: Some(spec::span(min_interval)),
        };
        let stream = server.client().watch_queues(request).await.unwrap().into_inner();
        Watch { stream, shown: BTreeMap::new(), deleted: Vec::new() }
    }

    /// As often as is allowed.
    async fn all(server: &Sluiced, queue_pattern: &str) -> Watch {
        Watch::begin(server, queue_pattern, Duration::from_millis(50)).await
    }

    /// Reads one message; it names no queue twice.
    async fn read(&mut self) -> WatchQueuesResponse {
        let message = tokio::time::timeout(PATIENCE, self.stream.message()).await;
        let message = message.expect("a message comes").unwrap().expect("a watch goes on");
        let names: BTreeSet<&String> = message.statuses.iter().map(|status| &status.queue).collect();
        assert_eq!(names.len(), message.statuses.len(), "{names:?}");
        for status in &message.statuses {
            self.shown.insert(status.queue.clone(), status.clone());
        }
        for queue in &message.deleted_queues {
            self.shown.remove(queue);
            self.deleted.push(queue.clone());
        }
        message
    }

    /// Reads on until what was shown is as it has to be.
    async fn until(&mut self, reached: impl Fn(&Watch) -> bool) {
        let began = Instant::now();
        while !reached(self) {
            assert!(began.elapsed() < PATIENCE, "it never came there: {:#?}", self.shown);
            self.read().await;
        }
    }

    fn ready(&self, queue: &str) -> Option<u64> {
        self.shown.get(queue).map(|status| status.counts.unwrap_or_default().ready)
    }

    fn names(&self) -> Vec<&str> {
        self.shown.keys().map(String::as_str).collect()
    }
}

#[tokio::test]
async fn watch_begins_with_all_queues_as_they_stand() {
    let server = Sluiced::fresh().await;
    let mut names: Vec<String> = (0..600).map(|n| format!("queue-{n:03}")).collect();
    for (n, name) in names.iter().enumerate() {
        server.queue(name).enqueue(spec::jobs("x", 1 + n % 3)).await;
    }
    let mut watch = Watch::all(&server, "").await;
    let mut first = Vec::new();
    while first.len() < names.len() {
        let message = watch.read().await;
        assert!(message.deleted_queues.is_empty());
        first.extend(message.statuses);
    }
    names.sort();
    assert_eq!(watch.names(), names, "each of them, and none twice");
    for (n, name) in names.iter().enumerate() {
        assert_eq!(watch.ready(name), Some(1 + n as u64 % 3), "{name}");
        assert_eq!(watch.shown[name], first.iter().find(|status| status.queue == *name).unwrap().clone());
    }
    // `*` says the same as nothing.
    let mut watch = Watch::all(&server, "*").await;
    watch.until(|watch| watch.shown.len() == 600).await;
}

#[tokio::test]
async fn watch_of_nothing_answers_at_once_and_shows_what_comes() {
    let server = Sluiced::fresh().await;
    let mut watch = Watch::all(&server, "").await;
    assert_eq!(watch.read().await, WatchQueuesResponse::default());
    server.queue("first").enqueue(spec::jobs("x", 2)).await;
    watch.until(|watch| watch.ready("first") == Some(2)).await;
    // A queue that is put and has no jobs is one too.
    server.queue("second").put(sluice_proto::v1::Queue::default()).await;
    watch.until(|watch| watch.ready("second") == Some(0)).await;
    assert_eq!(watch.names(), ["first", "second"]);
}

#[tokio::test]
async fn changes_are_told_with_the_queues_that_changed_and_no_others() {
    let server = Sluiced::fresh().await;
    let (busy, quiet) = (server.queue("busy"), server.queue("quiet"));
    quiet.enqueue(spec::jobs("x", 3)).await;
    busy.enqueue(spec::jobs("x", 1)).await;
    let mut watch = Watch::all(&server, "").await;
    watch.until(|watch| watch.shown.len() == 2).await;
    // What was under way when the watch began may be told once more.
    busy.enqueue(spec::jobs("x", 1)).await;
    watch.until(|watch| watch.ready("busy") == Some(2)).await;
    let mut last = Instant::now();
    for round in 3..13 {
        busy.enqueue(spec::jobs("x", 1)).await;
        while watch.ready("busy") != Some(round) {
            let message = watch.read().await;
            // After a long silence a watch repeats itself.
            let only_busy = message.statuses.iter().all(|status| status.queue == "busy");
            assert!(only_busy || last.elapsed() > Duration::from_secs(4), "{message:?}");
            last = Instant::now();
        }
    }
    let out = busy.lease(5).await;
    busy.ack(&out).await;
    watch.until(|watch| watch.ready("busy") == Some(7)).await;
    let counts = watch.shown["busy"].counts.unwrap();
    assert_eq!((counts.completed + counts.leased, watch.ready("quiet")), (5, Some(3)));
}

#[tokio::test]
async fn pattern_says_which_queues_those_too_that_come_later() {
    let server = Sluiced::fresh().await;
    for name in ["sms.de", "sms.en", "sms", "mms.de", "xsms.de", "a.sms.de", "smsXde"] {
        server.queue(name).enqueue_one(spec::job("x")).await;
    }
    for (pattern, expected) in [
        ("sms.*", &["sms.de", "sms.en", "sms.new"][..]),
        ("*.de", &["a.sms.de", "mms.de", "sms.de", "xsms.de"]),
        ("*sms*", &["a.sms.de", "sms", "sms.de", "sms.en", "sms.new", "smsXde", "xsms.de"]),
        ("sms", &["sms"]),
        ("sms.d", &[]),
        ("a.*.de", &["a.sms.de"]),
    ] {
        let mut watch = Watch::all(&server, pattern).await;
        // Its first message has all there is of so few.
        watch.read().await;
        let before: Vec<&str> = expected.iter().copied().filter(|name| *name != "sms.new").collect();
        assert_eq!(watch.names(), before, "{pattern}");
        if before.len() == expected.len() {
            continue;
        }
        server.queue("other.new").enqueue_one(spec::job("x")).await;
        server.queue("sms.new").enqueue_one(spec::job("x")).await;
        watch.until(|watch| watch.ready("sms.new") == Some(1)).await;
        assert_eq!(watch.names(), expected, "{pattern}");
        for name in ["other.new", "sms.new"] {
            server.queue(name).try_delete(true).await.unwrap();
        }
        watch.until(|watch| !watch.deleted.is_empty()).await;
        assert_eq!((watch.names(), &*watch.deleted), (before, &["sms.new".to_owned()][..]), "{pattern}");
    }
}

#[tokio::test]
async fn deleted_queue_is_told_and_so_is_one_that_takes_its_name() {
    let server = Sluiced::fresh().await;
    let queue = server.queue("comes-and-goes");
    queue.enqueue(spec::jobs("x", 3)).await;
    server.queue("stays").enqueue_one(spec::job("x")).await;
    let mut watch = Watch::all(&server, "").await;
    watch.until(|watch| watch.shown.len() == 2).await;
    for round in 1..=5 {
        queue.try_delete(true).await.unwrap();
        watch.until(|watch| watch.deleted.len() == round).await;
        assert_eq!(watch.names(), ["stays"]);
        queue.enqueue_one(spec::job("x")).await;
        watch.until(|watch| watch.ready("comes-and-goes") == Some(1)).await;
        assert_eq!(watch.shown["comes-and-goes"].totals.as_ref().unwrap().enqueued, 1, "it is another");
    }
    assert!(watch.deleted.iter().all(|queue| queue == "comes-and-goes"));
}

#[tokio::test]
async fn busy_queues_are_told_together_and_never_more_often_than_said() {
    let server = Sluiced::fresh().await;
    let names: Vec<String> = (0..20).map(|n| format!("busy-{n}")).collect();
    let interval = Duration::from_millis(300);
    let mut spoken = Spoken::begin(interval);
    let mut watch = Watch::begin(&server, "busy-*", interval).await;
    watch.read().await;
    spoken.count();
    let mut busy = JoinSet::new();
    for name in &names {
        let queue = server.queue(name);
        busy.spawn(async move {
            for _ in 0..150 {
                queue.enqueue_one(spec::job("x")).await;
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        });
    }
    let began = Instant::now();
    while !names.iter().all(|name| watch.ready(name) == Some(150)) {
        watch.read().await;
        spoken.count();
        assert!(began.elapsed() < PATIENCE, "{:?}", watch.names());
    }
    busy.join_all().await;
}

#[tokio::test]
async fn quiet_watch_still_shows_that_it_lives() {
    let server = Sluiced::fresh().await;
    server.queue("quiet").enqueue_one(spec::job("x")).await;
    let mut watch = Watch::all(&server, "").await;
    watch.until(|watch| watch.ready("quiet") == Some(1)).await;
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(2) {
        watch.read().await;
    }
    assert_eq!(watch.ready("quiet"), Some(1));
}

#[tokio::test]
async fn many_watchers_all_come_to_see_the_same() {
    let server = Sluiced::fresh().await;
    let queues: Vec<Queue> = (0..10).map(|n| server.queue(&format!("queue-{n}"))).collect();
    for queue in &queues {
        queue.enqueue_one(spec::job("x")).await;
    }
    let mut watchers = JoinSet::new();
    for _ in 0..100 {
        let mut watch = Watch::all(&server, "queue-*").await;
        watch.read().await;
        assert_eq!(watch.shown.len(), 10);
        watchers.spawn(async move {
            let last = |watch: &Watch| (0..10).all(|n| watch.ready(&format!("queue-{n}")) == Some(31));
            watch.until(last).await;
        });
    }
    for _ in 0..30 {
        for queue in &queues {
            queue.enqueue_one(spec::job("x")).await;
        }
    }
    assert_eq!(watchers.join_all().await.len(), 100);
}

#[tokio::test]
async fn watch_of_many_ends_with_unavailable_when_the_server_stops() {
    let mut server = Sluiced::fresh().await;
    server.queue("q").enqueue_one(spec::job("x")).await;
    let mut watches = [Watch::all(&server, "").await, Watch::all(&server, "nobody").await];
    for watch in &mut watches {
        watch.read().await;
    }
    server.terminate();
    for watch in &mut watches {
        let ended = loop {
            match watch.stream.message().await {
                Ok(Some(_)) => {}
                Ok(None) => panic!("the stream ended without saying why"),
                Err(status) => break status,
            }
        };
        status::refused::<()>(Err(ended), Code::Unavailable, "STOPPING");
    }
    assert_eq!(server.stopped().await.code(), Some(0));
}
