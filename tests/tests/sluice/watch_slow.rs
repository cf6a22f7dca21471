//! Watching many queues from afar: a slow reader gets the newest, and holds nobody up.

use std::time::Duration;

use sluice_proto::v1::queue_service_client::QueueServiceClient;
use sluice_proto::v1::{WatchQueuesRequest, WatchQueuesResponse};
use sluice_tests::{Sluiced, spec};
use tonic::Streaming;
use tonic::transport::Channel;

const QUEUES: [&str; 3] = ["a", "b", "c"];
const CHANGES: u64 = 40;

async fn watch(mut rpc: QueueServiceClient<Channel>) -> Streaming<WatchQueuesResponse> {
    let min_interval = Some(spec::millis(50));
    let request = WatchQueuesRequest { min_interval, ..WatchQueuesRequest::default() };
    rpc.watch_queues(request).await.unwrap().into_inner()
}

/// Reads on until every queue was last shown with so many jobs; gives the number of messages.
async fn until(watch: &mut Streaming<WatchQueuesResponse>, ready: u64) -> usize {
    let read = async {
        let (mut shown, mut messages) = ([0; QUEUES.len()], 0);
        while shown != [ready; QUEUES.len()] {
            let message = watch.message().await.unwrap().expect("a watch goes on");
            messages += 1;
            for status in message.statuses {
                let at = QUEUES.iter().position(|queue| *queue == status.queue).unwrap();
                shown[at] = status.counts.unwrap_or_default().ready;
            }
        }
        messages
    };
    tokio::time::timeout(Duration::from_secs(60), read).await.expect("changes are told")
}

#[tokio::test]
async fn slow_reader_of_many_queues_gets_the_newest_and_no_backlog() {
    let server = Sluiced::fresh().await;
    let queues = QUEUES.map(|name| server.queue(name));
    let mut slow = watch(QueueServiceClient::new(server.narrow_channel())).await;
    let mut fast = watch(server.client()).await;
    for round in 1..=CHANGES {
        for queue in &queues {
            queue.enqueue_one(spec::job("x")).await;
        }
        until(&mut fast, round).await;
    }
    let read = until(&mut slow, CHANGES).await;
    assert!(read < 20, "{read} messages were kept for a reader who slept through {CHANGES} changes");
}
