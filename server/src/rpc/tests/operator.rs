//! Pause, delete, keys, and looks at many queues.

use tokio_stream::StreamExt as _;

use super::*;

#[tokio::test]
async fn paused_queue_gives_nothing_until_it_is_resumed() {
    let mut server = Server::start().await;
    server.put_in(vec![spec("a")]).await;
    let name = || "q".to_owned();
    let paused = server.admin.pause_queue(v1::PauseQueueRequest { name: name() }).await.unwrap().into_inner();
    assert!(paused.queue.unwrap().paused && server.status().await.paused);
    assert!(server.take(1).await.is_empty());
    let mut worker = server.queues.clone();
    let wait_timeout = Some(prost_types::Duration { seconds: 30, nanos: 0 });
    let request = v1::LeaseRequest { wait_timeout, ..lease(1) };
    let working = tokio::spawn(async move { worker.lease(request).await });
    while server.status().await.waiting_leases < 1 {
        tokio::task::yield_now().await;
    }
    server.admin.resume_queue(v1::ResumeQueueRequest { name: name() }).await.unwrap();
    assert_eq!(working.await.unwrap().unwrap().into_inner().jobs.len(), 1);
    let unknown = v1::PauseQueueRequest { name: "nobody".to_owned() };
    assert_eq!(
        reason(server.admin.pause_queue(unknown).await),
        (Code::NotFound, "QUEUE_NOT_FOUND".to_owned())
    );
}

#[tokio::test]
async fn deleted_queue_is_gone_at_once_and_its_name_is_free() {
    let mut server = Server::start().await;
    let ids = server.put_in(vec![spec("a"), spec("b")]).await;
    let held = server.take(1).await;
    let delete = |force| v1::DeleteQueueRequest { name: "q".to_owned(), force };
    let refused = server.admin.delete_queue(delete(false)).await;
    assert_eq!(reason(refused), (Code::FailedPrecondition, "QUEUE_NOT_EMPTY".to_owned()));
    server.admin.delete_queue(delete(true)).await.unwrap();
    let read = v1::GetJobRequest { job_id: ids[1].clone(), ..Default::default() };
    assert_eq!(reason(server.queues.get_job(read).await), (Code::NotFound, "JOB_NOT_FOUND".to_owned()));
    let job_id = held[0].job.as_ref().unwrap().job_id.clone();
    let ack = v1::Ack { job_id, lease_token: 1, result: None, actual_cost: None };
    let acked = server.queues.ack(v1::AckRequest { acks: vec![ack] }).await.unwrap().into_inner();
    assert_eq!(acked.results[0].error.as_ref().unwrap().reason, "JOB_NOT_FOUND");
    assert_eq!(
        reason(server.admin.delete_queue(delete(true)).await),
        (Code::NotFound, "QUEUE_NOT_FOUND".to_owned())
    );
    server.put_in(vec![spec("c")]).await;
    assert_eq!((server.status().await.jobs, server.status().await.totals.unwrap().enqueued), (1, 1));
}

#[tokio::test]
async fn keys_are_listed_with_what_waits_under_them() {
    let mut server = Server::start().await;
    let job = |key: &str| v1::JobSpec { key: key.to_owned(), ..spec("a") };
    server.put_in(vec![job("bot1/x"), job("bot1/y"), job("bot2"), spec("b")]).await;
    let request = |key_prefix: &str, page_size| v1::ListKeysRequest {
        queue: "q".to_owned(),
        key_prefix: key_prefix.to_owned(),
        page_size,
        page_token: String::new(),
    };
    let mut keys = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = v1::ListKeysRequest { page_token, ..request("", 2) };
        let page = server.admin.list_keys(request).await.unwrap().into_inner();
        keys.extend(page.keys.into_iter().map(|key| (key.key, key.ready)));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    keys.sort();
    let named = |key: &str, ready| (key.to_owned(), ready);
    assert_eq!(keys, [named("bot1", 2), named("bot1/x", 1), named("bot1/y", 1), named("bot2", 1)]);
    let page = server.admin.list_keys(request("bot1", 0)).await.unwrap().into_inner();
    assert_eq!(page.keys.len(), 3);
}

#[tokio::test]
async fn dead_are_requeued_at_a_pace_and_by_label_and_code() {
    let mut server = Server::start().await;
    let labelled = |value: &str| {
        let labels = [("event".to_owned(), value.to_owned())].into();
        v1::JobSpec { labels, ..spec("a") }
    };
    server.put_in(vec![labelled("push"), labelled("pull"), labelled("push")]).await;
    for job in server.take(3).await {
        server.nack(&job, v1::NackReason::Rejected).await;
    }
    let filter = |label: &str, code: &str| {
        let labels = [("event".to_owned(), label.to_owned())].into();
        Some(v1::JobFilter {
            queue: "q".to_owned(),
            labels,
            error_code: code.to_owned(),
            ..Default::default()
        })
    };
    let requeue = |filter, dry_run, pace| v1::RequeueJobsRequest { filter, dry_run, pace, max_jobs: None };
    let counted = server.admin.requeue_jobs(requeue(filter("push", "http_500"), true, None)).await.unwrap();
    assert_eq!(counted.into_inner().requeued_jobs, 2);
    let other = server.admin.requeue_jobs(requeue(filter("push", "http_404"), false, None)).await.unwrap();
    assert_eq!(other.into_inner().requeued_jobs, 0);
    let done = server.admin.requeue_jobs(requeue(filter("push", ""), false, Some(0.01))).await.unwrap();
    assert_eq!(done.into_inner().requeued_jobs, 2);
    let counts = server.status().await.counts.unwrap();
    assert_eq!((counts.ready, counts.scheduled, counts.dead), (1, 1, 1));
}

#[tokio::test]
async fn watcher_of_many_sees_all_queues_then_what_changes_and_what_goes() {
    let mut server = Server::start().await;
    for queue in ["sms.a", "sms.b", "mail"] {
        server
            .queues
            .enqueue(v1::EnqueueRequest { queue: queue.to_owned(), ..enqueue(vec![spec("a")]) })
            .await
            .unwrap();
    }
    let min_interval = Some(prost_types::Duration { seconds: 0, nanos: 50_000_000 });
    let request = v1::WatchQueuesRequest { queue_pattern: "sms.*".to_owned(), min_interval };
    let mut messages = server.queues.watch_queues(request).await.unwrap().into_inner();
    let names = |message: &v1::WatchQueuesResponse| -> Vec<String> {
        message.statuses.iter().map(|status| status.queue.clone()).collect()
    };
    let first = messages.next().await.unwrap().unwrap();
    assert_eq!(names(&first), ["sms.a", "sms.b"]);
    for queue in ["mail", "sms.b"] {
        server
            .queues
            .enqueue(v1::EnqueueRequest { queue: queue.to_owned(), ..enqueue(vec![spec("a")]) })
            .await
            .unwrap();
    }
    let second = messages.next().await.unwrap().unwrap();
    assert_eq!((names(&second), second.statuses[0].jobs), (vec!["sms.b".to_owned()], 2));
    let delete = v1::DeleteQueueRequest { name: "sms.a".to_owned(), force: true };
    server.admin.delete_queue(delete).await.unwrap();
    let third = messages.next().await.unwrap().unwrap();
    assert_eq!(third.deleted_queues, ["sms.a"]);
    server.shutdown.cancel();
    let end = messages.next().await.unwrap();
    assert_eq!(reason(end), (Code::Unavailable, "STOPPING".to_owned()));
}
