//! Watching a queue: at once, on every change, never too often, and always the newest.

use std::time::{Duration, Instant};

use sluice_proto::v1::{QueueStatus, WatchQueueRequest, WatchQueueResponse};
use sluice_tests::{Sluiced, spec};
use tonic::{Code, Streaming};

/// Reads on until a status has so many jobs READY.
async fn until_ready(watch: &mut Streaming<WatchQueueResponse>, ready: u64) -> QueueStatus {
    let read = async {
        loop {
            let status = watch.message().await.unwrap().expect("a watch goes on").status.unwrap();
            if status.counts.unwrap_or_default().ready == ready {
                return status;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(30), read).await.expect("a change is told")
}

#[tokio::test]
async fn c6_watch_streams_the_live_depth() {
    let server = Sluiced::fresh().await;
    let queue = server.queue("depth");
    let mut watch = queue.watch().await;
    let first = watch.message().await.unwrap().unwrap().status.unwrap();
    assert_eq!((first.queue.as_str(), first.jobs), ("depth", 0), "one at once");

    queue.enqueue(spec::jobs("x", 5)).await;
    until_ready(&mut watch, 5).await;
    let out = queue.lease(2).await;
    assert_eq!(until_ready(&mut watch, 3).await.jobs, 5);
    queue.ack(&out).await;
    queue.enqueue(spec::jobs("x", 1)).await;
    let status = until_ready(&mut watch, 4).await;
    assert_eq!((status.jobs, status.counts.unwrap().completed), (4, 2));
}

#[tokio::test]
async fn watch_never_speaks_more_often_than_it_was_told() {
    let server = Sluiced::fresh().await;
    let queue = server.queue("calm");
    let interval = Duration::from_millis(300);
    let request = WatchQueueRequest { queue: "calm".to_owned(), min_interval: Some(spec::span(interval)) };
    let mut spoken = Spoken::begin(interval);
    let mut watch = queue.rpc.clone().watch_queue(request).await.unwrap().into_inner();
    let busy = tokio::spawn({
        let queue = queue.clone();
        async move {
            loop {
                queue.enqueue_one(spec::job("x")).await;
            }
        }
    });
    for _ in 0..6 {
        watch.message().await.unwrap().unwrap();
        spoken.count();
    }
    busy.abort();
}

/// How often a watch spoke since before it was asked for. Messages may be late and so come close to the next one,
/// but on the whole there is never one more than the interval allows: this bound is exact on any machine.
pub(crate) struct Spoken {
    began: Instant,
    interval: Duration,
    messages: u32,
}

impl Spoken {
    pub(crate) fn begin(interval: Duration) -> Self {
        Self { began: Instant::now(), interval, messages: 0 }
    }

    /// Another message is here.
    pub(crate) fn count(&mut self) {
        self.messages += 1;
        let (elapsed, least) = (self.began.elapsed(), self.interval * (self.messages - 1));
        assert!(elapsed >= least, "{} messages after {elapsed:?}", self.messages);
    }
}

#[tokio::test]
async fn quiet_watch_still_shows_that_it_lives() {
    let server = Sluiced::fresh().await;
    let queue = server.queue("quiet");
    let mut watch = queue.watch().await;
    watch.message().await.unwrap().unwrap();
    let began = Instant::now();
    let next = tokio::time::timeout(Duration::from_secs(30), watch.message()).await;
    assert!(next.unwrap().unwrap().is_some());
    assert!(began.elapsed() >= Duration::from_secs(1), "nothing had changed");
}

#[tokio::test]
async fn slow_reader_gets_the_newest_and_no_backlog() {
    let server = Sluiced::fresh().await;
    let queue = server.queue("slow");
    let slow = sluice_tests::Queue::new("slow", server.narrow_channel());
    let mut watch = slow.watch().await;
    let mut fast = queue.watch().await;
    for round in 1..=40 {
        queue.enqueue_one(spec::job("x")).await;
        until_ready(&mut fast, round).await;
    }
    let mut read = 0;
    loop {
        let status = watch.message().await.unwrap().unwrap().status.unwrap();
        read += 1;
        if status.counts.unwrap_or_default().ready == 40 {
            break;
        }
    }
    assert!(read < 20, "{read} of 40 changes were kept for a reader who slept");
}

#[tokio::test]
async fn watch_ends_with_unavailable_when_the_server_stops() {
    let mut server = Sluiced::fresh().await;
    let mut watch = server.queue("q").watch().await;
    watch.message().await.unwrap().unwrap();
    server.terminate();
    let status = loop {
        match watch.message().await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("the stream ended without saying why"),
            Err(status) => break status,
        }
    };
    assert_eq!(status.code(), Code::Unavailable, "{status:?}");
    assert_eq!(sluice_tests::status::reason(&status), "STOPPING");
    assert_eq!(server.stopped().await.code(), Some(0));
}
