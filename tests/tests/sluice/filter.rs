//! Which jobs are meant: the filter of a list of jobs, part by part, and its pages.

use std::collections::HashMap;
use std::time::{Duration, SystemTime};

use sluice_proto::v1::{
    Job, JobFilter, JobSpec, JobState, ListJobsRequest, Nack, NackReason, PurgeJobsRequest,
};
use sluice_tests::{Queue, Sluiced, spec, status};
use tonic::Code;

use JobState::{Cancelled, Completed, Dead, Drained, Ready, Retrying, Scheduled};

fn labelled(job: JobSpec, labels: &[(&str, &str)]) -> JobSpec {
    let labels = labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    JobSpec { labels, ..job }
}

fn labels(labels: &[(&str, &str)]) -> HashMap<String, String> {
    labelled(JobSpec::default(), labels).labels
}

/// All pages of a filter, in their order.
async fn list(queue: &Queue, filter: &JobFilter, page_size: i32) -> Vec<Job> {
    let (mut jobs, mut page_token) = (Vec::new(), String::new());
    loop {
        let request =
            ListJobsRequest { filter: Some(filter.clone()), page_size, page_token, include_payload: true };
        let page = queue.admin.clone().list_jobs(request).await.unwrap().into_inner();
        assert!(page.jobs.len() <= page_size as usize);
        jobs.extend(page.jobs);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return jobs;
        }
    }
}

/// What the jobs of a filter carry: tests name jobs by their payloads.
async fn listed(queue: &Queue, filter: &JobFilter) -> Vec<String> {
    let jobs = list(queue, filter, 100).await;
    jobs.into_iter().map(|job| String::from_utf8(job.payload.unwrap().to_vec()).unwrap()).collect()
}

async fn purge(queue: &Queue, filter: JobFilter) -> u64 {
    let request = PurgeJobsRequest { filter: Some(filter), ..Default::default() };
    queue.admin.clone().purge_jobs(request).await.unwrap().into_inner().purged_jobs
}

/// A job in every state that one comes to soon, named after it, with keys and labels.
async fn some_of_everything(queue: &Queue) {
    queue.put(spec::retrying(5, Duration::from_secs(3_600))).await;
    let old = [
        labelled(spec::keyed("bot1/a", "completed"), &[("kind", "mail"), ("lang", "de")]),
        labelled(spec::keyed("bot1/b", "dead"), &[("kind", "mail"), ("lang", "")]),
        labelled(spec::keyed("bot1", "retrying"), &[("kind", "sms")]),
        labelled(spec::keyed("bot12", "leased"), &[("kind", "sms"), ("lang", "de")]),
    ];
    for (n, job) in old.into_iter().enumerate() {
        queue.enqueue_one(JobSpec { priority: Some(9 - n as u32), ..job }).await;
    }
    for name in ["completed", "dead", "retrying", "leased"] {
        let out = queue.lease(1).await;
        assert_eq!(spec::texts(&out), [name]);
        let nack = |reason| Nack { error_code: format!("code-{name}"), ..spec::nack(&out[0], reason) };
        match name {
            "completed" => queue.ack(&out).await,
            "dead" => assert_eq!(queue.try_nack(nack(NackReason::Rejected)).await.state(), Dead),
            "retrying" => assert_eq!(queue.try_nack(nack(NackReason::Failed)).await.state(), Retrying),
            _ => {}
        }
    }
    let job_id = queue.enqueue_one(spec::keyed("bot1/a", "cancelled")).await;
    queue.try_cancel(&job_id).await.unwrap();
    queue.enqueue_one(JobSpec { delay: Some(spec::millis(3_600_000)), ..spec::job("scheduled") }).await;
    queue.enqueue_one(labelled(spec::keyed("bot1/a/x", "ready"), &[("lang", "en")])).await;
}

#[tokio::test]
async fn jobs_are_listed_by_each_part_of_a_filter_and_by_all_together() {
    let mut server = Sluiced::fresh().await;
    let queue = server.queue("parts");
    server.queue("other").enqueue_one(labelled(spec::keyed("bot1/a", "x"), &[("kind", "mail")])).await;
    some_of_everything(&queue).await;
    let all = || queue.filter(&[]);
    let keyed = |key: &str| JobFilter { key_prefix: key.to_owned(), ..all() };
    let with = |pairs: &[(&str, &str)]| JobFilter { labels: labels(pairs), ..all() };
    let coded = |code: &str| JobFilter { error_code: code.to_owned(), ..all() };
    let cases: Vec<(JobFilter, &[&str])> = vec![
        (all(), &["completed", "dead", "retrying", "leased", "cancelled", "scheduled", "ready"]),
        (queue.filter(&[Ready, Completed]), &["completed", "ready"]),
        (queue.filter(&[Cancelled, Scheduled, Retrying]), &["retrying", "cancelled", "scheduled"]),
        (queue.filter(&[Drained]), &[]),
        (keyed("bot1"), &["completed", "dead", "retrying", "cancelled", "ready"]),
        (keyed("bot1/a"), &["completed", "cancelled", "ready"]),
        (keyed("bot12"), &["leased"]),
        (keyed("bot"), &[]),
        (with(&[("kind", "mail")]), &["completed", "dead"]),
        (with(&[("kind", "mai")]), &[]),
        (with(&[("lang", "")]), &["completed", "dead", "leased", "ready"]),
        (with(&[("kind", ""), ("lang", "de")]), &["completed", "leased"]),
        (coded("code-dead"), &["dead"]),
        (coded("code-retrying"), &["retrying"]),
        (coded("code"), &[]),
        (JobFilter { states: vec![Retrying.into()], ..with(&[("kind", "sms")]) }, &["retrying"]),
        (
            JobFilter { key_prefix: "bot1".to_owned(), ..with(&[("lang", "")]) },
            &["completed", "dead", "ready"],
        ),
        (JobFilter { error_code: "code-dead".to_owned(), ..keyed("bot1/a") }, &[]),
        (JobFilter { queue: "other".to_owned(), ..keyed("bot1") }, &["x"]),
        (JobFilter { queue: "nobody".to_owned(), ..JobFilter::default() }, &[]),
        (JobFilter { queue: String::new(), ..with(&[("kind", "mail")]) }, &["x", "completed", "dead"]),
    ];
    for round in 0..2 {
        for (filter, expected) in &cases {
            assert_eq!(listed(&queue, filter).await, *expected, "round {round}: {filter:?}");
        }
        server.kill_and_start().await;
    }
}

#[tokio::test]
async fn jobs_are_listed_by_when_they_came_and_when_they_came_to_rest() {
    let server = Sluiced::fresh().await;
    let queue = server.queue("times");
    let pause = || tokio::time::sleep(Duration::from_millis(30));
    queue.enqueue_one(spec::job("one")).await;
    pause().await;
    let between = SystemTime::now();
    pause().await;
    queue.enqueue_one(spec::job("two")).await;
    queue.enqueue_one(spec::job("waits")).await;
    let out = queue.lease(2).await;
    // They come to rest the other way round.
    queue.ack(&out[1..]).await;
    pause().await;
    let half = SystemTime::now();
    pause().await;
    queue.ack(&out[..1]).await;

    let all = || queue.filter(&[]);
    let (between, half) = (Some(spec::time(between)), Some(spec::time(half)));
    let cases: [(JobFilter, &[&str]); 7] = [
        (JobFilter { create_time_from: between, ..all() }, &["two", "waits"]),
        (JobFilter { create_time_until: between, ..all() }, &["one"]),
        (JobFilter { create_time_from: between, create_time_until: half, ..all() }, &["two", "waits"]),
        (JobFilter { end_time_from: half, ..all() }, &["one"]),
        (JobFilter { end_time_until: half, ..all() }, &["two"]),
        (JobFilter { create_time_from: between, end_time_from: half, ..all() }, &[]),
        (JobFilter { end_time_from: between, end_time_until: half, ..all() }, &["two"]),
    ];
    for (filter, expected) in &cases {
        assert_eq!(listed(&queue, filter).await, *expected, "{filter:?}");
    }
    // Nobody purges what came to rest later than said.
    let filter = JobFilter { end_time_until: half, ..queue.filter(&[Completed]) };
    assert_eq!(purge(&queue, filter).await, 1);
    assert_eq!(listed(&queue, &all()).await, ["one", "waits"]);
}

#[tokio::test]
async fn pages_of_a_rare_kind_stay_stable_while_the_world_changes() {
    let server = Sluiced::fresh().await;
    let queue = server.queue("rare");
    let rare = |n: usize| n.is_multiple_of(97);
    let job = |n| labelled(spec::job("x"), if rare(n) { &[("kind", "rare")] } else { &[] });
    let mut stay = Vec::new();
    for _ in 0..3 {
        let ids = queue.enqueue((0..1_000).map(job).collect()).await;
        stay.extend(ids.into_iter().enumerate().filter(|(n, _)| rare(*n)).map(|(_, id)| id));
    }
    let filter = JobFilter { labels: labels(&[("kind", "rare")]), ..queue.filter(&[]) };
    for page_size in [1, 10, 1_000] {
        let ids: Vec<String> = list(&queue, &filter, page_size).await.into_iter().map(|j| j.job_id).collect();
        assert_eq!(ids, stay, "oldest first, in pages of {page_size}");
    }

    let (mut found, mut page_token, mut pages) = (Vec::new(), String::new(), 0);
    loop {
        let request = ListJobsRequest {
            filter: Some(filter.clone()),
            page_size: 4,
            page_token: page_token.clone(),
            include_payload: false,
        };
        let page = queue.admin.clone().list_jobs(request).await.unwrap().into_inner();
        found.extend(page.jobs.into_iter().map(|job| job.job_id));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
        pages += 1;
        assert!(pages < 1_000, "the list comes to an end");
        // Those that stay change their states; others come, and go for good.
        queue.enqueue(vec![labelled(spec::urgent(9, "x"), &[("kind", "passes")]); 5]).await;
        queue.ack(&queue.lease(25).await).await;
        let passed = JobFilter { labels: labels(&[("kind", "passes")]), ..queue.filter(&[Completed]) };
        assert_eq!(purge(&queue, passed).await, 5);
    }
    assert_eq!(found, stay, "each once, in its order");

    let other = JobFilter { labels: labels(&[("kind", "rare")]), ..queue.filter(&[Ready]) };
    let first = ListJobsRequest { filter: Some(filter), page_size: 1, ..Default::default() };
    let page_token = queue.admin.clone().list_jobs(first).await.unwrap().into_inner().next_page_token;
    let request = ListJobsRequest { filter: Some(other), page_size: 1, page_token, include_payload: false };
    let refused = queue.admin.clone().list_jobs(request).await;
    let refused = status::refused(refused, Code::InvalidArgument, "INVALID_FIELDS");
    assert_eq!(status::fields(&refused), ["page_token"], "a token of another filter");
}
