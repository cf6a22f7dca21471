//! Flow hints: how many jobs to put in a call and how long to pause, by the load of the machine.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use futures::StreamExt;
use sluice_client::{Client, JobBuilder};
use sluice_proto::v1::work_request::Message as Asked;
use sluice_proto::v1::work_response::Message as Told;
use sluice_proto::v1::{
    FlowHint, FlowHintPolicy, FlowHintStep, GetQueueRequest, LoadLevel, PutQueueRequest, WorkRequest,
    WorkStart,
};
use sluice_tests::{Queue, Sluiced, cli, spec, status};
use tonic::Code;

/// A look at the load comes every 5 s; a loaded machine is given more.
const PATIENCE: Duration = Duration::from_secs(60);

/// Loads are 0 to 1: above 1 is never, above 0 is whenever anything runs.
const NEVER: f64 = 1.0;
const ALWAYS: f64 = 0.0;

fn policy(medium_load: f64, high_load: f64) -> FlowHintPolicy {
    FlowHintPolicy { medium_load: Some(medium_load), high_load: Some(high_load), ..Default::default() }
}

fn step(batch_size: u32, wait: u64) -> Option<FlowHintStep> {
    Some(FlowHintStep { batch_size: Some(batch_size), wait: Some(spec::millis(wait)) })
}

fn hint(level: LoadLevel, batch_size: u32, wait: u64) -> Option<FlowHint> {
    Some(FlowHint { load_level: level.into(), batch_size, wait: Some(spec::millis(wait)) })
}

async fn put(queue: &Queue, policy: Option<FlowHintPolicy>) -> Option<FlowHintPolicy> {
    let settings = sluice_proto::v1::Queue { flow_hint: policy, ..Default::default() };
    queue.put(settings).await.flow_hint
}

/// The hint of an Enqueue.
async fn hinted(queue: &Queue) -> Option<FlowHint> {
    queue.enqueue_by(queue.enqueue_request(spec::jobs("x", 1))).await.unwrap().flow_hint
}

/// Enqueues, which is work for the machine, until the hint is of `level`.
async fn until_hinted(queue: &Queue, level: LoadLevel) -> Option<FlowHint> {
    let until = async {
        loop {
            let hint = hinted(queue).await;
            if hint.as_ref().is_some_and(|hint| hint.load_level() == level) {
                return hint;
            }
        }
    };
    tokio::time::timeout(PATIENCE, until).await.expect("the load is looked at")
}

#[tokio::test]
async fn s4_4_hint_follows_the_load_by_the_table_of_the_mission() {
    let server = Sluiced::fresh().await;
    let [calm, busy, full] = ["calm", "busy", "full"].map(|name| server.queue(name));
    put(&calm, Some(policy(NEVER, NEVER))).await;
    put(&busy, Some(policy(ALWAYS, NEVER))).await;
    put(&full, Some(policy(ALWAYS, ALWAYS))).await;
    let rows = [
        (&full, LoadLevel::High, hint(LoadLevel::High, 5, 200)),
        (&busy, LoadLevel::Medium, hint(LoadLevel::Medium, 10, 100)),
        (&calm, LoadLevel::Low, hint(LoadLevel::Low, 20, 50)),
    ];
    for (queue, level, expected) in rows {
        assert_eq!(until_hinted(queue, level).await, expected, "Enqueue");
        let lease = queue.rpc.clone().lease(queue.lease_request(1)).await.unwrap().into_inner();
        assert_eq!(lease.flow_hint, expected, "Lease");
        assert_eq!(queue.status().await.flow_hint, expected, "GetQueueStatus");
        let watched = queue.watch().await.message().await.unwrap().unwrap().status.unwrap();
        assert_eq!(watched.flow_hint, expected, "WatchQueue");
        queue.enqueue_one(spec::job("x")).await;
        let start = WorkStart { queue: queue.name().to_owned(), credit: 1, ..Default::default() };
        let start = WorkRequest { message: Some(Asked::Start(start)) };
        let asked = tokio_stream::iter([start]).chain(tokio_stream::pending());
        let mut told = queue.rpc.clone().work(asked).await.unwrap().into_inner();
        let told = told.message().await.unwrap().unwrap().message;
        let Some(Told::Jobs(jobs)) = told else { panic!("jobs are there: {told:?}") };
        assert_eq!(jobs.flow_hint, expected, "Work");
    }
    let said = cli::run(&server, &["stats", "--queue", "full", "-o", "json"]).await.ok();
    let stats: serde_json::Value = serde_json::from_str(&said).unwrap();
    let shown = serde_json::json!({ "load_level": "HIGH", "batch_size": 5, "wait": "0.200s" });
    assert_eq!(stats["flow_hint"], shown);
}

#[tokio::test]
async fn queue_without_a_policy_hints_nothing_and_one_that_has_it_does_at_once() {
    let server = Sluiced::fresh().await;
    let queue = server.queue("q");
    assert_eq!(put(&queue, None).await, None);
    assert_eq!(hinted(&queue).await, None);
    assert_eq!(queue.status().await.flow_hint, None);

    let own = FlowHintPolicy { low: step(3, 70), ..policy(NEVER, NEVER) };
    let shown = put(&queue, Some(own)).await.unwrap();
    assert_eq!((shown.low, shown.medium, shown.high), (step(3, 70), step(10, 100), step(5, 200)));
    assert_eq!(hinted(&queue).await, hint(LoadLevel::Low, 3, 70));
    let request = PutQueueRequest {
        queue: Some(sluice_proto::v1::Queue { name: "q".to_owned(), ..Default::default() }),
        update_mask: Some(prost_types::FieldMask { paths: vec!["flow_hint".to_owned()] }),
    };
    queue.admin.clone().put_queue(request).await.unwrap();
    assert_eq!(hinted(&queue).await, None, "taken away, it is asked no more");
    let shown = put(&queue, Some(FlowHintPolicy::default())).await.unwrap();
    assert_eq!((shown.medium_load, shown.high_load, shown.low), (Some(0.5), Some(0.8), step(20, 50)));
}

#[tokio::test]
async fn policy_is_kept_over_kill_9_and_one_that_contradicts_itself_is_refused() {
    let mut server = Sluiced::fresh().await;
    let own = FlowHintPolicy { low: step(1_000, 60_000), high: step(1, 0), ..policy(NEVER, NEVER) };
    let shown = put(&server.queue("q"), Some(own)).await;
    server.kill_and_start().await;
    let queue = server.queue("q");
    let read = queue.admin.clone().get_queue(GetQueueRequest { name: "q".to_owned() }).await.unwrap();
    assert_eq!(read.into_inner().queue.unwrap().flow_hint, shown);
    assert_eq!(hinted(&queue).await, hint(LoadLevel::Low, 1_000, 60_000));

    let settings = sluice_proto::v1::Queue {
        name: "q".to_owned(),
        flow_hint: Some(policy(0.6, 0.5)),
        ..Default::default()
    };
    let request = PutQueueRequest { queue: Some(settings), update_mask: None };
    let refused = queue.admin.clone().put_queue(request).await.map(drop);
    let refused = status::refused(refused, Code::InvalidArgument, "INVALID_FIELDS");
    assert_eq!(status::fields(&refused), ["queue.flow_hint.high_load"]);
    assert_eq!(hinted(&queue).await, hint(LoadLevel::Low, 1_000, 60_000), "nothing was changed");
}

#[tokio::test]
async fn library_and_command_line_send_as_they_are_asked() {
    let server = Sluiced::fresh().await;
    let queue = server.queue("obeyed");
    put(&queue, Some(FlowHintPolicy { low: step(3, 100), ..policy(NEVER, NEVER) })).await;
    let client = Client::builder(server.url()).build().unwrap();
    let producer = client.producer("obeyed");
    producer.enqueue(JobBuilder::new("learns of it")).await.unwrap();
    let began = Instant::now();
    let (jobs, result) = producer.enqueue_all((0..9).map(|n| JobBuilder::new(n.to_string()))).await;
    result.unwrap();
    assert!(began.elapsed() >= Duration::from_millis(300), "{:?}", began.elapsed());
    assert_eq!(producer.statistics().flow_hint, hint(LoadLevel::Low, 3, 100));
    let ids: Vec<String> = jobs.into_iter().map(|job| job.job_id).collect();
    assert_eq!(calls(&queue, &ids).await, [3, 3, 3]);

    // Whoever asks for no more than there is to say is not held back beyond that.
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "{\"payload\":\"x\"}\n".repeat(10)).unwrap();
    let arguments = ["enqueue", "--queue", "obeyed", "--batch-size", "1", "--in-flight", "1", "--ids", "-f"];
    let began = Instant::now();
    let said = cli::run(&server, &[&arguments[..], &[file.path().to_str().unwrap()]].concat()).await.ok();
    assert!(began.elapsed() >= Duration::from_millis(800), "{:?}", began.elapsed());
    let ids: Vec<String> = said.lines().map(str::to_owned).collect();
    assert_eq!(calls(&queue, &ids).await, [1; 10]);
}

/// How many jobs came together, in order.
async fn calls(queue: &Queue, ids: &[String]) -> Vec<usize> {
    let mut times = BTreeMap::new();
    for id in ids {
        *times.entry(spec::moment(queue.job(id).await.create_time)).or_insert(0) += 1;
    }
    times.into_values().collect()
}
