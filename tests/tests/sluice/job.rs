//! What a job carries comes back as it was given.

use std::collections::HashMap;
use std::time::SystemTime;

use bytes::Bytes;
use sluice_proto::v1::{Ack, GetJobRequest, JobSpec, JobState};
use sluice_tests::{Sluiced, spec};
use tonic::Code;

#[tokio::test]
async fn job_carries_what_it_was_given() {
    let server = Sluiced::fresh().await;
    let queue = server.queue("carried");
    let labels: HashMap<String, String> = (0..16).map(|n| (format!("name-{n}"), "é".repeat(64))).collect();
    let payload = Bytes::from((0..=255).collect::<Vec<u8>>());
    let given = JobSpec {
        payload: payload.clone(),
        key: "bot42/group/chat7".to_owned(),
        priority: Some(0),
        labels: labels.clone(),
        content_type: "application/octet-stream".to_owned(),
        ..JobSpec::default()
    };
    let before = SystemTime::now();
    let id = queue.enqueue_one(given).await;

    let leased = queue.lease(1).await.remove(0).job.unwrap();
    let read = queue.job(&id).await;
    for job in [leased, read] {
        assert_eq!(job.job_id, id);
        assert_eq!(job.queue, "carried");
        assert_eq!(job.payload, Some(payload.clone()));
        assert_eq!(job.key, "bot42/group/chat7");
        assert_eq!(job.priority, 0);
        assert_eq!(job.labels, labels);
        assert_eq!(job.content_type, "application/octet-stream");
        assert!(spec::moment(job.create_time) <= SystemTime::now());
        assert!(spec::moment(job.create_time) + std::time::Duration::from_secs(1) > before);
    }
}

#[tokio::test]
async fn empty_payload_is_a_payload() {
    let server = Sluiced::fresh().await;
    let queue = server.queue("empty");
    let id = queue.enqueue_one(JobSpec::default()).await;
    assert_eq!(queue.job(&id).await.payload, Some(Bytes::new()));
    assert_eq!(queue.lease(1).await[0].job.as_ref().unwrap().payload, Some(Bytes::new()));
}

#[tokio::test]
async fn payload_is_read_only_when_asked_for() {
    let server = Sluiced::fresh().await;
    let queue = server.queue("asked");
    let job_id = queue.enqueue_one(spec::job("heavy")).await;
    let request = GetJobRequest { job_id, include_payload: false, ..Default::default() };
    let job = queue.rpc.clone().get_job(request).await.unwrap().into_inner().job.unwrap();
    assert_eq!(job.payload, None);
}

#[tokio::test]
async fn result_of_an_ack_is_there_for_whoever_reads_the_job() {
    let server = Sluiced::fresh().await;
    let queue = server.queue("results");
    let largest = Bytes::from(vec![0xA5; 64 << 10]);
    for result in [None, Some(Bytes::new()), Some(Bytes::from_static(b"done")), Some(largest)] {
        let id = queue.enqueue_one(spec::job("x")).await;
        let out = queue.lease(1).await;
        let ack = Ack { result: result.clone(), ..spec::ack(&out[0]) };
        assert_eq!(queue.try_ack(vec![ack]).await[0].error, None);
        let job = queue.job(&id).await;
        assert_eq!((job.state(), job.result), (JobState::Completed, result));
    }
}

#[tokio::test]
async fn unknown_job_is_not_found_and_named() {
    let server = Sluiced::fresh().await;
    let queue = server.queue("unknown");
    queue.enqueue_one(spec::job("x")).await;
    for id in ["0", "no-such-job", "18446744073709551615", "é"] {
        let status = queue.try_job(id).await.unwrap_err();
        assert_eq!(status.code(), Code::NotFound, "{id}: {status:?}");
        let resource = tonic_types::StatusExt::get_details_resource_info(&status).unwrap();
        assert_eq!(resource.resource_name, id);
    }
}

#[tokio::test]
async fn ids_are_never_given_twice() {
    let server = Sluiced::fresh().await;
    let mut ids = Vec::new();
    for name in ["a", "b", "a"] {
        ids.extend(server.queue(name).enqueue(spec::jobs("x", 100)).await);
    }
    let unique: std::collections::BTreeSet<&String> = ids.iter().collect();
    assert_eq!(unique.len(), 300);
}
