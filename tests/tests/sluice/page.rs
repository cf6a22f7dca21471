//! Lists come in pages that stay stable while the world changes.

use std::collections::BTreeSet;

use sluice_proto::v1::{JobState, ListJobsRequest, ListQueuesRequest};
use sluice_tests::{Sluiced, spec};

#[tokio::test]
async fn jobs_are_listed_oldest_first_in_pages() {
    let server = Sluiced::fresh().await;
    let queue = server.queue("pages");
    let mut ids = queue.enqueue(spec::jobs("x", 25)).await;
    ids.extend(queue.enqueue(vec![spec::urgent(9, "x")]).await);
    server.queue("other").enqueue(spec::jobs("x", 5)).await;
    for page_size in [1, 7, 26, 1_000] {
        let listed: Vec<String> = queue.list(&[], page_size).await.into_iter().map(|j| j.job_id).collect();
        assert_eq!(listed, ids, "in pages of {page_size}");
    }
}

#[tokio::test]
async fn jobs_are_listed_by_state() {
    let server = Sluiced::fresh().await;
    let queue = server.queue("states");
    let ids = queue.enqueue(spec::jobs("x", 4)).await;
    let out = queue.lease(3).await;
    queue.ack(&out[..1]).await;
    queue.nack(&out[1], sluice_proto::v1::NackReason::Rejected).await;
    for (state, id) in [
        (JobState::Completed, &ids[0]),
        (JobState::Dead, &ids[1]),
        (JobState::Leased, &ids[2]),
        (JobState::Ready, &ids[3]),
    ] {
        let listed = queue.list(&[state], 10).await;
        assert_eq!(listed.len(), 1, "{state:?}");
        assert_eq!((&listed[0].job_id, listed[0].state()), (id, state));
    }
    assert_eq!(queue.list(&[JobState::Ready, JobState::Dead], 10).await.len(), 2);
    assert!(queue.list(&[JobState::Drained], 10).await.is_empty());
}

#[tokio::test]
async fn job_that_is_there_all_the_while_is_listed_once() {
    let server = Sluiced::fresh().await;
    let queue = server.queue("stable");
    let stay: BTreeSet<String> = queue.enqueue(spec::jobs("stay", 40)).await.into_iter().collect();
    let mut listed = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = ListJobsRequest {
            filter: Some(queue.filter(&[])),
            page_size: 7,
            page_token,
            include_payload: false,
        };
        let page = queue.admin.clone().list_jobs(request).await.unwrap().into_inner();
        listed.extend(page.jobs.into_iter().map(|job| job.job_id));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
        // Between two pages one job comes and goes, one is leased, and one that was leased is done.
        queue.enqueue_one(spec::urgent(9, "comes and goes")).await;
        let out = queue.lease(2).await;
        queue.ack(&out).await;
        queue.purge(&[JobState::Drained]).await;
        assert!(listed.len() < 1_000, "the list comes to an end");
    }
    let unique: BTreeSet<String> = listed.iter().cloned().collect();
    assert_eq!(unique.len(), listed.len(), "none twice");
    assert!(unique.is_superset(&stay), "and none left out");
}

#[tokio::test]
async fn page_may_end_early_but_the_list_does_not() {
    let server = Sluiced::fresh().await;
    let queue = server.queue("heavy");
    let heavy = || sluice_proto::v1::JobSpec { payload: vec![7; 1 << 20].into(), ..Default::default() };
    for _ in 0..6 {
        queue.enqueue_one(heavy()).await;
    }
    let jobs = queue.list(&[], 1_000).await;
    assert_eq!(jobs.len(), 6, "a page of six would not fit a message");
    assert!(jobs.iter().all(|job| job.payload.as_ref().unwrap().len() == 1 << 20));
}

#[tokio::test]
async fn queues_are_listed_by_name_in_pages() {
    let server = Sluiced::fresh().await;
    let names: Vec<String> = (0..25).map(|n| format!("queue-{n:02}")).collect();
    for name in names.iter().rev() {
        server.queue(name).enqueue_one(spec::job("x")).await;
    }
    let mut admin = server.admin();
    for page_size in [1, 10, 100] {
        let (mut listed, mut page_token) = (Vec::new(), String::new());
        loop {
            let request = ListQueuesRequest { page_size, page_token };
            let page = admin.list_queues(request).await.unwrap().into_inner();
            listed.extend(page.queues.into_iter().map(|queue| queue.name));
            page_token = page.next_page_token;
            if page_token.is_empty() {
                break;
            }
        }
        assert_eq!(listed, names);
    }
}
