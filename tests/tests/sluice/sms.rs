//! An SMS gateway, from its settings to the state of each message: five times as fast as its carrier would have it.

use std::time::{Duration, Instant};

use sluice_proto::v1::{BatchState, EnqueueRequest, JobSpec, JobState, NackReason};
use sluice_tests::{Queue, Sluiced, cli, spec};

/// A message to so many recipients: one job each, of one batch.
async fn send(queue: &Queue, message: &str, recipients: usize) -> Vec<String> {
    let job = |n| JobSpec { batch_id: message.to_owned(), ..spec::job(&format!("{message} to {n}")) };
    let request = EnqueueRequest {
        batch_totals: [(message.to_owned(), recipients as u64)].into(),
        ..queue.enqueue_request((0..recipients).map(job).collect())
    };
    queue.enqueue_by(request).await.unwrap().jobs.into_iter().map(|job| job.job_id).collect()
}

async fn state(queue: &Queue, message: &str) -> BatchState {
    queue.try_batch(message, Duration::ZERO).await.unwrap().state()
}

#[tokio::test]
async fn s1_messages_have_one_state_each_and_no_more_recipients_are_sent_to_than_the_carrier_takes() {
    let server = Sluiced::fresh().await;
    let put = ["queue", "put", "sms", "--limits", "rate_cost=10/1s/4", "--max-attempts", "1"];
    assert_eq!(cli::run(&server, &put).await.code, 0);
    let queue = server.queue("sms");
    let messages = [("whole", 5), ("some", 4), ("none", 2)];
    let mut ids = Vec::new();
    for (message, recipients) in messages {
        ids.push(send(&queue, message, recipients).await);
        assert_eq!(state(&queue, message).await, BatchState::Pending);
    }
    // S1.3: the place in line, from 1, over all messages.
    for (place, id) in (1..).zip(ids.iter().flatten()) {
        assert_eq!(queue.job(id).await.queue_position, Some(place));
    }

    // S1.2: as many recipients as fit, whatever message they are of.
    let began = Instant::now();
    let mut sent = Vec::new();
    let first = queue.lease(10).await;
    assert_eq!(spec::texts(&first), ["whole to 0", "whole to 1", "whole to 2", "whole to 3"]);
    assert_eq!(state(&queue, "whole").await, BatchState::Running);
    assert_eq!(queue.job(&ids[0][0]).await.queue_position, None, "it is being sent");
    assert!(queue.job(&ids[0][4]).await.queue_position.is_some());
    // S1.4
    let status = queue.status().await;
    let counts = status.counts.unwrap();
    assert!(counts.leased == 4 && counts.ready == 7 && status.jobs == 11, "{counts:?}");
    assert!(status.oldest_ready_age.is_some() && status.rates.unwrap().dispatched > 0.0);
    sent.push((began.elapsed(), first.len()));
    queue.ack(&first).await;

    // One recipient of `some` and all of `none` cannot be reached.
    let mut left = 7;
    while left > 0 {
        let leased = queue.lease_next().await;
        sent.push((began.elapsed(), 1));
        let text = spec::text(&leased);
        if text.starts_with("none") || text == "some to 2" {
            queue.nack(&leased, NackReason::Failed).await;
        } else {
            queue.ack(&[leased]).await;
        }
        left -= 1;
    }
    let mut count = 0;
    for (time, recipients) in &sent {
        count += recipients;
        let allowed = 4.0 + 10.0 * (time.as_secs_f64() + 0.05);
        assert!(count as f64 <= allowed, "{count} recipients within {time:?}");
    }
    assert!(began.elapsed() < Duration::from_secs(5), "7 more take 0.7 s: {:?}", began.elapsed());

    // S1.1
    let states = [BatchState::Completed, BatchState::Partial, BatchState::Failed];
    for ((message, _), expected) in messages.into_iter().zip(states) {
        assert_eq!(state(&queue, message).await, expected, "{message}");
    }
    assert_eq!(queue.list(&[JobState::Dead], 10).await.len(), 3);
    assert_eq!(queue.status().await.totals.unwrap().completed, 8);
}
