//! Queues and keys that are full.

use super::*;

fn wait(seconds: i64) -> Option<prost_types::Duration> {
    Some(prost_types::Duration { seconds, nanos: 0 })
}

async fn put(server: &mut Server, queue: v1::Queue) {
    let queue = v1::Queue { name: "q".to_owned(), ..queue };
    server.admin.put_queue(v1::PutQueueRequest { queue: Some(queue), update_mask: None }).await.unwrap();
}

fn bounded(max_jobs: u64, policy: v1::OverflowPolicy) -> v1::Queue {
    v1::Queue { max_jobs: Some(max_jobs), overflow_policy: policy as i32, ..Default::default() }
}

#[tokio::test]
async fn full_queue_refuses_and_says_when_to_come_again() {
    let mut server = Server::start().await;
    put(&mut server, bounded(2, v1::OverflowPolicy::Reject)).await;
    server.put_in(vec![spec("a"), spec("b")]).await;
    let refused = server.queues.enqueue(enqueue(vec![spec("c")])).await;
    let status = refused.as_ref().unwrap_err();
    assert!(status.get_details_retry_info().unwrap().retry_delay.is_some());
    assert!(status.metadata().contains_key("grpc-retry-pushback-ms"));
    assert_eq!(reason(refused), (Code::ResourceExhausted, "QUEUE_FULL".to_owned()));
    let never = server.queues.enqueue(enqueue(vec![spec("c"); 3])).await;
    assert_eq!(reason(never), (Code::InvalidArgument, "NEVER_FITS".to_owned()));
    let status = server.status().await;
    assert_eq!((status.level(), status.utilization), (v1::QueueLevel::Critical, Some(1.0)));
}

#[tokio::test]
async fn oldest_job_of_the_lowest_priority_makes_room() {
    let mut server = Server::start().await;
    put(&mut server, bounded(2, v1::OverflowPolicy::DropOldest)).await;
    let low = v1::JobSpec { priority: Some(2), ..spec("low") };
    let first = server.put_in(vec![spec("a"), low]).await;
    let answer = server.queues.enqueue(enqueue(vec![spec("b")])).await.unwrap().into_inner();
    assert_eq!(answer.dropped_job_ids, [first[1].clone()]);
    let dropped = server.job(&first[1]).await;
    assert_eq!((state(&dropped), dropped.payload.as_deref()), (v1::JobState::Dropped, Some(&b"low"[..])));
    let least = v1::JobSpec { priority: Some(0), ..spec("least") };
    let answer = server.queues.enqueue(enqueue(vec![least])).await.unwrap().into_inner();
    assert_eq!(answer.dropped_job_ids, [answer.jobs[0].job_id.clone()], "newcomers count");
    let status = server.status().await;
    assert_eq!((status.jobs, status.totals.unwrap().dropped), (2, 2));
}

#[tokio::test]
async fn caller_waits_for_room_in_order_of_arrival() {
    let mut server = Server::start().await;
    put(&mut server, bounded(1, v1::OverflowPolicy::Wait)).await;
    server.put_in(vec![spec("a")]).await;
    let mut callers = Vec::new();
    for payload in ["b", "c"] {
        let mut caller = server.queues.clone();
        let request = v1::EnqueueRequest { wait_timeout: wait(30), ..enqueue(vec![spec(payload)]) };
        callers.push(tokio::spawn(async move { caller.enqueue(request).await }));
        while server.status().await.waiting_enqueues < callers.len() as u64 {
            tokio::task::yield_now().await;
        }
    }
    for expected in ["a", "b", "c"] {
        let jobs = server.take(1).await;
        let job = jobs[0].job.as_ref().unwrap();
        assert_eq!(job.payload.as_deref(), Some(expected.as_bytes()));
        let ack = v1::Ack { job_id: job.job_id.clone(), lease_token: 1, result: None, actual_cost: None };
        server.queues.ack(v1::AckRequest { acks: vec![ack] }).await.unwrap();
    }
    for caller in callers {
        caller.await.unwrap().unwrap();
    }
    assert_eq!(server.status().await.waiting_enqueues, 0);
}

#[tokio::test]
async fn caller_that_goes_away_or_waits_too_long_leaves_no_trace() {
    let mut server = Server::start().await;
    put(&mut server, bounded(1, v1::OverflowPolicy::Wait)).await;
    server.put_in(vec![spec("a")]).await;
    let mut caller = server.queues.clone();
    let request = v1::EnqueueRequest { wait_timeout: wait(30), ..enqueue(vec![spec("b")]) };
    let calling = tokio::spawn(async move { caller.enqueue(request).await });
    while server.status().await.waiting_enqueues < 1 {
        tokio::task::yield_now().await;
    }
    calling.abort();
    while server.status().await.waiting_enqueues > 0 {
        tokio::task::yield_now().await;
    }
    let short = Some(prost_types::Duration { seconds: 0, nanos: 20_000_000 });
    let request = v1::EnqueueRequest { wait_timeout: short, ..enqueue(vec![spec("c")]) };
    let refused = server.queues.enqueue(request).await;
    assert_eq!(reason(refused), (Code::ResourceExhausted, "QUEUE_FULL".to_owned()));
    assert_eq!((server.status().await.jobs, server.status().await.waiting_enqueues), (1, 0));
}

#[tokio::test]
async fn waiting_caller_is_told_when_the_server_stops() {
    let mut server = Server::start().await;
    put(&mut server, bounded(1, v1::OverflowPolicy::Wait)).await;
    server.put_in(vec![spec("a")]).await;
    let mut caller = server.queues.clone();
    let request = v1::EnqueueRequest { wait_timeout: wait(30), ..enqueue(vec![spec("b")]) };
    let calling = tokio::spawn(async move { caller.enqueue(request).await });
    while server.status().await.waiting_enqueues < 1 {
        tokio::task::yield_now().await;
    }
    server.shutdown.cancel();
    assert_eq!(reason(calling.await.unwrap()), (Code::Unavailable, "STOPPING".to_owned()));
}

#[tokio::test]
async fn full_key_does_not_stand_in_the_way_of_another() {
    let mut server = Server::start().await;
    let settings = v1::NodeSettings { max_jobs: Some(1), ..Default::default() };
    let rule = v1::KeyRule { key_pattern: "bot*".to_owned(), settings: Some(settings) };
    put(&mut server, v1::Queue { key_rules: vec![rule], ..Default::default() }).await;
    let job = |key: &str| v1::JobSpec { key: key.to_owned(), ..spec("a") };
    server.put_in(vec![job("bot1/x"), job("bot2/x"), job("other")]).await;
    let refused = server.queues.enqueue(enqueue(vec![job("bot1/y")])).await;
    assert_eq!(reason(refused), (Code::ResourceExhausted, "QUEUE_FULL".to_owned()));
    server.put_in(vec![job("other")]).await;
    let request = v1::GetQueueStatusRequest { queue: "q".to_owned(), key: "bot1".to_owned() };
    let status = server.queues.get_queue_status(request).await.unwrap().into_inner().status.unwrap();
    assert_eq!((&*status.key, status.jobs, status.level()), ("bot1", 1, v1::QueueLevel::Critical));
}

#[tokio::test]
async fn hint_comes_with_the_answers_of_a_queue_that_has_one() {
    let mut server = Server::start().await;
    put(&mut server, v1::Queue { flow_hint: Some(v1::FlowHintPolicy::default()), ..Default::default() })
        .await;
    let answer = server.queues.enqueue(enqueue(vec![spec("a")])).await.unwrap().into_inner();
    let hint = answer.flow_hint.unwrap();
    assert_eq!((hint.load_level(), hint.batch_size), (v1::LoadLevel::Low, 20));
    assert!(server.queues.lease(lease(1)).await.unwrap().into_inner().flow_hint.is_some());
    assert!(server.status().await.flow_hint.is_some());
    put(&mut server, v1::Queue::default()).await;
    let answer = server.queues.enqueue(enqueue(vec![spec("a")])).await.unwrap().into_inner();
    assert_eq!(answer.flow_hint, None);
}
