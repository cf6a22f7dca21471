//! A paused queue: nothing is leased from it, all else goes on, and whoever waits is served when it is resumed.

use std::time::Duration;

use sluice_proto::v1::{
    GetQueueRequest, JobSpec, JobState, NackReason, PauseQueueRequest, PutQueueRequest, Queue as Settings,
    ResumeQueueRequest,
};
use sluice_tests::{Setup, Sluiced, cli, spec, status};
use tonic::Code;

#[tokio::test]
async fn paused_queue_leases_nothing_and_serves_who_waits_when_it_is_resumed() {
    let server = Sluiced::fresh().await;
    let queue = server.queue("paused");
    queue.enqueue_one(spec::job("before")).await;
    let mut watch = queue.watch().await;
    assert!(queue.pause().await.paused);
    let told = async {
        loop {
            let status = watch.message().await.unwrap().expect("a watch goes on").status.unwrap();
            if status.paused {
                return status;
            }
        }
    };
    let told = tokio::time::timeout(Duration::from_secs(30), told).await.expect("watchers are told");
    assert_eq!(told.counts.unwrap().ready, 1);
    assert!(queue.lease(10).await.is_empty(), "not what was there before");

    let waiting: Vec<_> = (0..2)
        .map(|_| {
            let queue = queue.clone();
            tokio::spawn(async move { spec::text(&queue.lease_next().await) })
        })
        .collect();
    queue.until(|status| status.waiting_leases == 2).await;
    queue.enqueue_one(spec::job("meanwhile")).await;
    let status = queue.status().await;
    assert!(status.paused);
    assert_eq!((status.jobs, status.counts.unwrap().ready), (2, 2), "jobs come in");
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(queue.status().await.waiting_leases, 2, "a new job wakes nobody");

    assert!(!queue.resume().await.paused);
    let mut served = Vec::new();
    for call in waiting {
        served.push(call.await.unwrap());
    }
    served.sort();
    assert_eq!(served, ["before", "meanwhile"]);
    assert!(!queue.status().await.paused);
}

#[tokio::test]
async fn what_was_leased_before_is_settled_while_the_queue_is_paused() {
    let server = Sluiced::fresh().await;
    let queue = server.queue("settled");
    queue.put(spec::retrying(5, Duration::ZERO)).await;
    let ids = queue.enqueue(spec::jobs("x", 4)).await;
    let out = queue.lease(4).await;
    queue.pause().await;
    assert_eq!(queue.extend(&out[0], Duration::from_secs(60)).await.error, None);
    queue.ack(&out[..1]).await;
    assert_eq!(queue.nack(&out[1], NackReason::Failed).await.state(), JobState::Ready);
    assert_eq!(queue.nack(&out[2], NackReason::Rejected).await.state(), JobState::Dead);
    // Time goes on: leases end, and jobs become ready.
    assert_eq!(queue.extend(&out[3], Duration::from_secs(1)).await.error, None);
    queue.enqueue_one(JobSpec { delay: Some(spec::millis(100)), ..spec::job("delayed") }).await;
    queue.until(|status| status.counts.as_ref().unwrap().ready == 3).await;
    assert_eq!(queue.job(&ids[3]).await.attempts, 1);
    assert!(queue.lease(10).await.is_empty(), "what came back is not given out again");
    queue.resume().await;
    assert_eq!(spec::texts(&queue.lease(10).await), ["x-1", "x-3", "delayed"]);
}

#[tokio::test]
async fn job_that_waits_in_a_paused_queue_expires_in_its_time() {
    let server = Sluiced::fresh().await;
    let queue = server.queue("mortal");
    queue.put(Settings::default()).await;
    queue.pause().await;
    let ttl = Some(spec::millis(100));
    let id = queue.enqueue_one(JobSpec { ttl, ..spec::job("x") }).await;
    assert_eq!(queue.at_rest(&id).await.state(), JobState::Expired);
}

#[tokio::test]
async fn pause_and_resume_are_kept_over_kill_9_and_safe_to_repeat() {
    let mut server = Setup::default().start().await;
    let queue = server.queue("killed");
    queue.put(spec::retrying(7, Duration::ZERO)).await;
    queue.enqueue_one(spec::job("x")).await;
    queue.pause().await;
    assert!(queue.pause().await.paused);
    server.kill_and_start().await;
    let queue = server.queue("killed");
    assert!(queue.lease(10).await.is_empty());
    assert!(queue.status().await.paused);
    queue.resume().await;
    let resumed = queue.resume().await;
    assert!(!resumed.paused);
    assert_eq!(resumed.retry_policy.unwrap().max_attempts, Some(7), "no other setting has changed");
    server.kill_and_start().await;
    let queue = server.queue("killed");
    assert!(!queue.status().await.paused);
    assert_eq!(spec::texts(&queue.lease(10).await), ["x"]);
}

#[tokio::test]
async fn pause_is_a_setting_and_changes_the_etag() {
    let server = Sluiced::fresh().await;
    let queue = server.queue("setting");
    let put = queue.put(Settings::default()).await;
    let paused = queue.pause().await;
    assert_ne!(paused.etag, put.etag);
    let mut admin = queue.admin.clone();
    let get = GetQueueRequest { name: "setting".to_owned() };
    assert_eq!(admin.get_queue(get).await.unwrap().into_inner().queue.unwrap(), paused);

    let masked = |settings: Settings| PutQueueRequest {
        queue: Some(Settings { name: "setting".to_owned(), ..settings }),
        update_mask: Some(prost_types::FieldMask { paths: vec!["paused".to_owned()] }),
    };
    let stale = masked(Settings { etag: put.etag, ..Settings::default() });
    assert_eq!(admin.put_queue(stale).await.unwrap_err().code(), Code::Aborted, "it was paused since");
    queue.enqueue_one(spec::job("x")).await;
    assert!(queue.lease(1).await.is_empty());
    let answer = admin.put_queue(masked(Settings::default())).await.unwrap().into_inner();
    assert!(!answer.queue.unwrap().paused);
    assert_eq!(queue.lease(1).await.len(), 1);
    assert!(queue.put(Settings { paused: true, ..Settings::default() }).await.paused);
    queue.enqueue_one(spec::job("y")).await;
    assert!(queue.lease(1).await.is_empty());
    assert!(!queue.put(Settings::default()).await.paused, "what is not said goes back to its default");
    assert_eq!(queue.lease(1).await.len(), 1);
}

#[tokio::test]
async fn queue_that_is_not_there_is_neither_paused_nor_resumed_nor_made() {
    let server = Sluiced::fresh().await;
    let mut admin = server.admin();
    let pause = PauseQueueRequest { name: "none".to_owned() };
    status::refused(admin.pause_queue(pause).await, Code::NotFound, "QUEUE_NOT_FOUND");
    let resume = ResumeQueueRequest { name: "none".to_owned() };
    status::refused(admin.resume_queue(resume).await, Code::NotFound, "QUEUE_NOT_FOUND");
    let get = GetQueueRequest { name: "none".to_owned() };
    assert_eq!(admin.get_queue(get).await.unwrap_err().code(), Code::NotFound);
}

#[tokio::test]
async fn command_line_pauses_and_resumes_a_queue() {
    let server = Sluiced::fresh().await;
    let queue = server.queue("cli");
    queue.enqueue_one(spec::job("x")).await;
    let run = async |arguments: &[&str]| cli::run(&server, &[&["-o", "json"], arguments].concat()).await;
    let json = |text: String| serde_json::from_str::<serde_json::Value>(&text).unwrap();
    assert_eq!(json(run(&["queue", "pause", "cli"]).await.ok())["paused"], true);
    assert_eq!(json(run(&["stats", "--queue", "cli"]).await.ok())["paused"], true);
    assert_eq!(run(&["lease", "--queue", "cli"]).await.code, 3, "there is nothing to lease");
    assert_eq!(json(run(&["queue", "resume", "cli"]).await.ok())["paused"], false);
    assert_eq!(json(run(&["stats", "--queue", "cli"]).await.ok())["paused"], false);
    assert_eq!(run(&["lease", "--queue", "cli"]).await.code, 0);
    assert_eq!(run(&["queue", "pause", "none"]).await.code, 3);
    assert_eq!(run(&["queue", "resume", "none"]).await.code, 3);
}
