//! A buffer that rides out a disconnect: the scenario of an inbox whose reader is away for a while.

use std::time::Duration;

use sluice_proto::v1::{EnqueueRequest, JobState, OverflowPolicy};
use sluice_tests::{Sluiced, cli, spec};

/// The producer goes on while nobody reads and while the server is killed; what is too much goes, the oldest first,
/// and is told; whoever comes back takes everything out at once, in order.
#[tokio::test]
async fn s2_buffer_rides_out_a_disconnect() {
    let mut server = Sluiced::fresh().await;
    let put = ["queue", "put", "inbox", "--max-jobs", "100", "--overflow", "drop-oldest"];
    assert_eq!(cli::run(&server, &put).await.code, 0);
    let kept = server.queue("inbox").try_settings().await.unwrap();
    assert_eq!((kept.max_jobs, kept.overflow_policy()), (Some(100), OverflowPolicy::DropOldest));

    // The reader is there, and reads.
    let queue = server.queue("inbox");
    queue.enqueue(spec::jobs("early", 3)).await;
    let read = queue.lease(10).await;
    assert_eq!(spec::texts(&read), ["early-0", "early-1", "early-2"]);
    queue.ack(&read).await;
    assert_eq!(queue.status().await.jobs, 0, "the buffer is empty");

    // Now it is away. The server dies in the middle, and the producer repeats what was not answered.
    let (mut accepted, mut dropped) = (Vec::new(), Vec::new());
    for n in 0..130 {
        let request = EnqueueRequest {
            queue: "inbox".to_owned(),
            jobs: vec![spec::job(&format!("m-{n}"))],
            request_id: format!("m-{n}"),
            ..EnqueueRequest::default()
        };
        if n == 60 {
            server.kill().await;
            let lost = server.client().enqueue(request.clone()).await;
            assert!(lost.is_err(), "nobody answers");
            server.start().await;
        }
        let answer = server.client().enqueue(request).await.unwrap().into_inner();
        accepted.push(answer.jobs[0].job_id.clone());
        dropped.extend(answer.dropped_job_ids);
    }
    assert_eq!(dropped, accepted[..30], "the oldest went, each was told once");
    let queue = server.queue("inbox");
    let status = queue.status().await;
    assert_eq!((status.jobs, status.totals.unwrap().dropped), (100, 30));
    let capacity = cli::run(&server, &["queue", "capacity", "inbox"]).await;
    assert_eq!(capacity.code, 1, "a full queue has no room: {}", capacity.stdout);

    // It is back, and takes all there is in one step, though the server dies right after.
    let texts: Vec<String> = (30..130).map(|n| format!("m-{n}")).collect();
    let text = |payload: Option<bytes::Bytes>| String::from_utf8(payload.unwrap().to_vec()).unwrap();
    let taken: Vec<String> = queue.drain_all("back").await.into_iter().map(|job| text(job.payload)).collect();
    assert_eq!(taken, texts);
    server.kill_and_start().await;
    let queue = server.queue("inbox");
    assert_eq!(queue.status().await.jobs, 0, "the buffer is empty");
    assert_eq!(queue.lease(10).await, []);
    let again: Vec<String> = queue.drain_all("back").await.into_iter().map(|job| text(job.payload)).collect();
    assert_eq!(again, texts, "a drain whose answer was lost is read again");
    assert_eq!(queue.list(&[JobState::Dropped], 100).await.len(), 30);
    let room = cli::run(&server, &["queue", "capacity", "inbox"]).await;
    assert_eq!(room.code, 0, "{}{}", room.stdout, room.stderr);
    let waits = tokio::time::timeout(Duration::from_secs(30), async {
        queue.enqueue_one(spec::job("late")).await;
        queue.lease_next().await
    });
    assert_eq!(spec::text(&waits.await.unwrap()), "late");
}
