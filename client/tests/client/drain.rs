//! Reading a drain.

use sluice_client::proto::{DrainRequest, Job};

use crate::fake::Fake;

fn jobs(count: usize) -> Vec<Job> {
    (0..count).map(|job| Job { job_id: format!("j{job}"), ..Job::default() }).collect()
}

#[tokio::test]
async fn reader_goes_on_from_its_page_when_the_stream_breaks() {
    let fake = Fake::start().await;
    fake.state().drained = jobs(7);
    fake.state().drain_breaks = 3;
    let mut reader = fake.client().drain(DrainRequest { queue: "q".to_owned(), ..DrainRequest::default() });
    let mut read = Vec::new();
    while let Some(job) = reader.next_job().await.unwrap() {
        read.push(job);
    }
    assert_eq!((read, reader.total_jobs()), (jobs(7), 7));
    let drains = fake.state().drains.clone();
    let tokens: Vec<_> = drains.iter().map(|drain| drain.page_token.as_str()).collect();
    assert_eq!(tokens, ["", "2", "4", "6"]);
    assert!(drains.iter().all(|drain| drain.request_id == reader.request_id()));
}

#[tokio::test]
async fn empty_drain_has_no_jobs() {
    let fake = Fake::start().await;
    let mut reader = fake.client().drain(DrainRequest { queue: "q".to_owned(), ..DrainRequest::default() });
    assert_eq!(reader.next_job().await.unwrap(), None);
}
