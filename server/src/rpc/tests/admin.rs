//! What operators do.

use prost_types::{Duration, FieldMask};

use super::*;

fn named(name: &str) -> v1::Queue {
    v1::Queue { name: name.to_owned(), ..Default::default() }
}

fn put(queue: v1::Queue, paths: &[&str]) -> v1::PutQueueRequest {
    let paths = paths.iter().map(|path| (*path).to_owned()).collect();
    v1::PutQueueRequest { queue: Some(queue), update_mask: Some(FieldMask { paths }) }
}

#[tokio::test]
async fn queue_is_put_changed_and_read() {
    let mut server = Server::start().await;
    let lease_duration = Some(Duration { seconds: 5, nanos: 0 });
    let queue = v1::Queue { lease_duration, ..named("q") };
    let first = server.admin.put_queue(put(queue, &[])).await.unwrap().into_inner().queue.unwrap();
    assert_eq!((first.lease_duration, first.retention.unwrap().seconds), (lease_duration, 3_600));
    let policy = v1::RetryPolicy { max_attempts: Some(9), ..Default::default() };
    let change = v1::Queue { retry_policy: Some(policy), etag: first.etag.clone(), ..named("q") };
    let change = put(change, &["retry_policy.max_attempts"]);
    let second = server.admin.put_queue(change.clone()).await.unwrap().into_inner().queue.unwrap();
    assert_eq!((second.retry_policy.unwrap().max_attempts, second.lease_duration), (Some(9), lease_duration));
    assert_ne!(second.etag, first.etag);
    let stale = server.admin.put_queue(change).await;
    assert_eq!(reason(stale), (Code::Aborted, "ETAG_MISMATCH".to_owned()));
    let read = v1::GetQueueRequest { name: "q".to_owned() };
    assert_eq!(server.admin.get_queue(read).await.unwrap().into_inner().queue.unwrap(), second);
    let unknown = server.admin.get_queue(v1::GetQueueRequest { name: "p".to_owned() }).await;
    assert_eq!(reason(unknown), (Code::NotFound, "QUEUE_NOT_FOUND".to_owned()));
}

#[tokio::test]
async fn queues_are_listed_by_name_page_by_page() {
    let mut server = Server::start().await;
    for name in ["c", "a", "e", "b", "d"] {
        server.admin.put_queue(put(named(name), &[])).await.unwrap();
    }
    let mut names = Vec::new();
    let mut request = v1::ListQueuesRequest { page_size: 2, page_token: String::new() };
    let mut pages = 0;
    loop {
        let page = server.admin.list_queues(request.clone()).await.unwrap().into_inner();
        names.extend(page.queues.into_iter().map(|queue| queue.name));
        pages += 1;
        if page.next_page_token.is_empty() {
            break;
        }
        request.page_token = page.next_page_token;
    }
    assert_eq!((names.join(""), pages), ("abcde".to_owned(), 3));
}

async fn list(server: &mut Server, request: v1::ListJobsRequest) -> (Vec<v1::Job>, usize) {
    let mut request = request;
    let (mut jobs, mut pages) = (Vec::new(), 0);
    loop {
        let page = server.admin.list_jobs(request.clone()).await.unwrap().into_inner();
        jobs.extend(page.jobs);
        pages += 1;
        if page.next_page_token.is_empty() {
            return (jobs, pages);
        }
        request.page_token = page.next_page_token;
    }
}

fn filter(states: &[v1::JobState]) -> Option<v1::JobFilter> {
    Some(v1::JobFilter {
        queue: "q".to_owned(),
        states: states.iter().map(|s| *s as i32).collect(),
        ..Default::default()
    })
}

#[tokio::test]
async fn jobs_are_listed_by_age_page_by_page() {
    let mut server = Server::start().await;
    let put = server.put_in((0..250).map(|n: u32| spec(n.to_string())).collect()).await;
    let (jobs, pages) = list(&mut server, v1::ListJobsRequest::default()).await;
    assert_eq!(jobs.iter().map(|job| job.job_id.clone()).collect::<Vec<_>>(), put);
    assert_eq!(pages, 3);
    assert!(jobs.iter().all(|job| job.payload.is_none()));
    let request = v1::ListJobsRequest {
        filter: filter(&[v1::JobState::Dead]),
        include_payload: true,
        page_size: 10,
        ..Default::default()
    };
    assert_eq!(list(&mut server, request.clone()).await.0.len(), 0);
    let leased = server.take(25).await;
    for job in &leased {
        server.nack(job, v1::NackReason::Rejected).await;
    }
    let (dead, pages) = list(&mut server, request).await;
    assert_eq!((dead.len(), dead[24].payload.as_deref()), (25, Some(&b"24"[..])));
    assert!((3..=4).contains(&pages));
}

#[tokio::test]
async fn page_of_large_jobs_stays_within_its_bound() {
    use prost::Message;
    let mut server = Server::start().await;
    for _ in 0..3 {
        server.put_in(vec![spec(vec![7; 1 << 20]); 3]).await;
    }
    let mut request = v1::ListJobsRequest { include_payload: true, ..Default::default() };
    let mut seen = 0;
    loop {
        let page = server.admin.list_jobs(request.clone()).await.unwrap().into_inner();
        assert!(page.encoded_len() <= sluice_engine::bound::MAX_RESPONSE_BYTES);
        seen += page.jobs.len();
        if page.next_page_token.is_empty() {
            break;
        }
        request.page_token = page.next_page_token;
    }
    assert_eq!(seen, 9);
}

#[tokio::test]
async fn dead_jobs_are_requeued_and_purged() {
    let mut server = Server::start().await;
    server.put_in((0..10).map(|n: u32| spec(n.to_string())).collect()).await;
    for job in &server.take(10).await {
        server.nack(job, v1::NackReason::Rejected).await;
    }
    let requeue = v1::RequeueJobsRequest { filter: filter(&[]), max_jobs: Some(4), ..Default::default() };
    let requeued = server.admin.requeue_jobs(requeue).await.unwrap().into_inner().requeued_jobs;
    assert_eq!(requeued, 4);
    let counts = server.status().await.counts.unwrap();
    assert_eq!((counts.ready, counts.dead), (4, 6));
    let purge =
        v1::PurgeJobsRequest { filter: filter(&[v1::JobState::Dead]), max_jobs: None, ..Default::default() };
    assert_eq!(server.admin.purge_jobs(purge).await.unwrap().into_inner().purged_jobs, 6);
    assert_eq!(server.status().await.counts.unwrap().dead, 0);
    let other = v1::JobFilter { queue: "nobody".to_owned(), states: Vec::new(), ..Default::default() };
    let unknown = v1::RequeueJobsRequest { filter: Some(other), max_jobs: None, ..Default::default() };
    // Whether an unknown queue is an error or has no jobs: nothing is requeued.
    if let Ok(answer) = server.admin.requeue_jobs(unknown).await {
        assert_eq!(answer.into_inner().requeued_jobs, 0);
    }
}

#[tokio::test]
async fn pass_over_many_jobs_takes_several_slices() {
    let mut server = Server::start().await;
    for _ in 0..3 {
        server.put_in(vec![spec(""); 8_000]).await;
    }
    let purge = v1::PurgeJobsRequest {
        filter: filter(&[v1::JobState::Ready]),
        max_jobs: Some(23_999),
        ..Default::default()
    };
    assert_eq!(server.admin.purge_jobs(purge).await.unwrap().into_inner().purged_jobs, 23_999);
    assert_eq!(server.status().await.jobs, 1);
}

#[tokio::test]
async fn info_tells_the_setting_that_is_in_force() {
    let settings = RpcSettings { max_payload_bytes: usize::MAX, ..RpcSettings::default() };
    let mut server = Server::start_with(settings).await;
    let info = server.admin.get_server_info(v1::GetServerInfoRequest {}).await.unwrap().into_inner();
    assert_eq!(info.bounds.unwrap().max_payload_bytes, 3 << 20);
    server.put_in(vec![spec(vec![0; 3 << 20])]).await;
    let large = server.queues.enqueue(enqueue(vec![spec(vec![0; (3 << 20) + 1])])).await;
    assert_eq!(reason(large), (Code::InvalidArgument, "INVALID_FIELDS".to_owned()));
    assert_eq!(server.take(1).await.len(), 1, "the largest job fits an answer");
}
