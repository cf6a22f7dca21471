//! Sets of drained jobs.

use prost::Message;
use sluice_engine::bound::MAX_RESPONSE_BYTES;
use tokio_stream::StreamExt as _;

use super::*;

fn drain(request_id: &str) -> v1::DrainRequest {
    v1::DrainRequest { queue: "q".to_owned(), request_id: request_id.to_owned(), ..Default::default() }
}

async fn pages(server: &mut Server, request: v1::DrainRequest) -> Vec<v1::DrainResponse> {
    let pages = server.queues.drain(request).await.unwrap().into_inner();
    pages.map(Result::unwrap).collect().await
}

fn payloads(pages: &[v1::DrainResponse]) -> Vec<String> {
    let jobs = pages.iter().flat_map(|page| &page.jobs);
    jobs.map(|job| String::from_utf8(job.payload.as_deref().unwrap().to_vec()).unwrap()).collect()
}

fn numbered(count: usize) -> Vec<v1::JobSpec> {
    (0..count).map(|n| spec(n.to_string())).collect()
}

fn numbers(count: usize) -> Vec<String> {
    (0..count).map(|n| n.to_string()).collect()
}

#[tokio::test]
async fn queue_is_drained_in_order_page_by_page() {
    let mut server = Server::start().await;
    server.put_in(numbered(2_500)).await;
    let pages = pages(&mut server, drain("r")).await;
    assert_eq!(pages.iter().map(|page| page.jobs.len()).collect::<Vec<_>>(), [1_000, 1_000, 500]);
    assert!(pages.iter().all(|page| page.total_jobs == 2_500));
    assert_eq!(payloads(&pages), numbers(2_500));
    assert_eq!(state(&pages[0].jobs[0]), v1::JobState::Drained);
    assert!(pages[..2].iter().all(|page| !page.next_page_token.is_empty()));
    assert_eq!(pages[2].next_page_token, "");
    assert_eq!(server.status().await.counts.unwrap().drained, 2_500);
}

#[tokio::test]
async fn same_request_reads_the_same_set_from_any_page() {
    let mut server = Server::start().await;
    server.put_in(numbered(2_500)).await;
    let first = pages(&mut server, drain("r")).await;
    server.put_in(vec![spec("later")]).await;
    assert_eq!(payloads(&pages(&mut server, drain("r")).await), numbers(2_500));
    let page_token = first[0].next_page_token.clone();
    let rest = pages(&mut server, v1::DrainRequest { page_token: page_token.clone(), ..drain("r") }).await;
    assert_eq!(payloads(&rest), numbers(2_500)[1_000..]);
    let other = server.queues.drain(v1::DrainRequest { page_token, ..drain("s") }).await;
    assert_eq!(reason(other), (Code::InvalidArgument, "INVALID_FIELDS".to_owned()));
    assert_eq!(server.status().await.jobs, 1, "a token of another set drains nothing");
    let changed = server.queues.drain(v1::DrainRequest { max_jobs: Some(5), ..drain("r") }).await;
    assert_eq!(reason(changed), (Code::InvalidArgument, "REQUEST_ID_REUSED".to_owned()));
}

#[tokio::test]
async fn empty_set_has_one_empty_page() {
    let mut server = Server::start().await;
    for _ in 0..2 {
        let pages = pages(&mut server, drain("r")).await;
        assert_eq!(pages, [v1::DrainResponse::default()]);
    }
}

#[tokio::test]
async fn jobs_that_were_purged_since_are_left_out() {
    let mut server = Server::start().await;
    server.put_in(numbered(2_500)).await;
    pages(&mut server, drain("r")).await;
    let filter = |max_jobs| v1::PurgeJobsRequest {
        filter: Some(v1::JobFilter {
            queue: "q".to_owned(),
            states: vec![v1::JobState::Drained as i32],
            ..Default::default()
        }),
        max_jobs,
        ..Default::default()
    };
    server.admin.purge_jobs(filter(Some(1_200))).await.unwrap();
    let rest = pages(&mut server, drain("r")).await;
    assert_eq!(payloads(&rest), numbers(2_500)[1_200..]);
    assert_eq!(rest[0].total_jobs, 2_500);
    server.admin.purge_jobs(filter(None)).await.unwrap();
    let none = pages(&mut server, drain("r")).await;
    assert_eq!((none.len(), none[0].jobs.len(), &*none[0].next_page_token), (1, 0, ""));
}

#[tokio::test]
async fn pages_of_large_jobs_stay_within_their_bound() {
    let mut server = Server::start().await;
    for _ in 0..3 {
        server.put_in(vec![spec("x".repeat(1 << 20)); 3]).await;
    }
    let pages = pages(&mut server, drain("r")).await;
    assert!(pages.iter().all(|page| page.encoded_len() <= MAX_RESPONSE_BYTES));
    assert_eq!(payloads(&pages).len(), 9);
}

#[tokio::test]
async fn reading_ends_when_the_server_stops() {
    let mut server = Server::start().await;
    server.put_in(numbered(2_500)).await;
    let mut pages = server.queues.drain(drain("r")).await.unwrap().into_inner();
    server.shutdown.cancel();
    let end = loop {
        match pages.next().await.expect("it does not end well") {
            Ok(_) => {}
            Err(status) => break status,
        }
    };
    assert_eq!(reason(Err::<(), _>(end)), (Code::Unavailable, "STOPPING".to_owned()));
}
