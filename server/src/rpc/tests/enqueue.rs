//! Jobs in, alone and in streams.

use std::num::NonZeroU32;
use std::time::Duration;

use futures::stream;
use sluice_proto::v1::enqueue_stream_response::Outcome;
use tokio_stream::StreamExt as _;

use super::*;
use crate::layer::RequestRate;
use crate::store::Pressure;

#[tokio::test]
async fn job_comes_back_as_it_went_in() {
    let mut server = Server::start().await;
    let spec = v1::JobSpec {
        key: "bot42/chat7".to_owned(),
        priority: Some(7),
        labels: [("event".to_owned(), "push".to_owned())].into(),
        content_type: "application/json".to_owned(),
        retry_policy: Some(v1::RetryPolicy { max_attempts: Some(3), ..Default::default() }),
        ..spec("{}")
    };
    let ids = server.put_in(vec![spec]).await;
    let job = server.job(&ids[0]).await;
    assert_eq!(job.payload.as_deref(), Some(&b"{}"[..]));
    assert_eq!((&*job.queue, &*job.key, job.priority), ("q", "bot42/chat7", 7));
    assert_eq!((&*job.labels["event"], &*job.content_type), ("push", "application/json"));
    assert_eq!((state(&job), job.queue_position, job.max_attempts), (v1::JobState::Ready, Some(1), 3));
    assert!(job.create_time.unwrap().seconds > 1_600_000_000);
    let bare = v1::GetJobRequest { job_id: ids[0].clone(), include_payload: false, ..Default::default() };
    assert_eq!(server.queues.get_job(bare).await.unwrap().into_inner().job.unwrap().payload, None);
}

#[tokio::test]
async fn repeated_request_gets_its_first_answer() {
    let mut server = Server::start().await;
    let labels = |n: usize| (0..n).map(|i| (i.to_string(), i.to_string())).collect();
    let request = |payload: &str| v1::EnqueueRequest {
        request_id: "r".to_owned(),
        // A map has no order of its own: the same labels must be the same request, whatever it was.
        ..enqueue(vec![v1::JobSpec { labels: labels(16), ..spec(payload) }])
    };
    let first = server.queues.enqueue(request("a")).await.unwrap().into_inner();
    for _ in 0..10 {
        assert_eq!(server.queues.enqueue(request("a")).await.unwrap().into_inner(), first);
    }
    let other = server.queues.enqueue(request("b")).await;
    assert_eq!(reason(other), (Code::InvalidArgument, "REQUEST_ID_REUSED".to_owned()));
    assert_eq!(server.status().await.jobs, 1);
}

#[tokio::test]
async fn full_disk_refuses_jobs_and_nothing_else() {
    let mut server = Server::start().await;
    server.put_in(vec![spec("a")]).await;
    server.store.press(Pressure::NoEnqueue);
    // The writer looks at the store after each step.
    server.take(1).await;
    let refused = server.queues.enqueue(enqueue(vec![spec("b")])).await;
    assert_eq!(reason(refused), (Code::ResourceExhausted, "STORAGE_FULL".to_owned()));
    assert_eq!(server.status().await.counts.unwrap().leased, 1);
}

fn message(sequence: u64, jobs: Vec<v1::JobSpec>) -> v1::EnqueueStreamRequest {
    v1::EnqueueStreamRequest { sequence, request: Some(enqueue(jobs)) }
}

#[tokio::test]
async fn stream_answers_in_order_and_outlives_refusals() {
    let mut server = Server::start().await;
    // Far more than are in flight at a time; every third is wrong.
    let messages = (0..1_000).map(|n| match n % 3 {
        0 => message(n, Vec::new()),
        _ => message(n, vec![spec(n.to_string())]),
    });
    let answers = server.queues.enqueue_stream(stream::iter(messages)).await.unwrap().into_inner();
    let answers: Vec<_> = answers.map(Result::unwrap).collect().await;
    assert_eq!(answers.len(), 1_000);
    let mut last_id = 0;
    for (n, answer) in answers.into_iter().enumerate() {
        assert_eq!(answer.sequence, n as u64);
        match answer.outcome.unwrap() {
            Outcome::Error(error) => {
                assert_eq!(n % 3, 0);
                assert_eq!((error.code, &*error.reason), (3, "INVALID_FIELDS"));
                assert_eq!(error.message, "jobs must not be empty");
            }
            Outcome::Response(response) => {
                let id: u64 = response.jobs[0].job_id.parse().unwrap();
                assert!(id > last_id, "jobs are in the order of the stream");
                last_id = id;
            }
        }
    }
    assert_eq!(server.status().await.jobs, 666);
}

#[tokio::test]
async fn stream_ends_when_the_server_stops() {
    let mut server = Server::start().await;
    let messages = stream::iter([message(1, vec![spec("a")])]).chain(stream::pending());
    let mut answers = server.queues.enqueue_stream(messages).await.unwrap().into_inner();
    assert_eq!(answers.next().await.unwrap().unwrap().sequence, 1);
    server.shutdown.cancel();
    let end = answers.next().await.unwrap();
    assert_eq!(reason(end), (Code::Unavailable, "STOPPING".to_owned()));
    assert!(answers.next().await.is_none());
}

#[tokio::test]
async fn stream_holds_no_place_but_its_messages_do() {
    let settings = RpcSettings { max_in_flight: 1, ..RpcSettings::default() };
    let mut server = Server::start_with(settings).await;
    let (sender, receiver) = tokio::sync::mpsc::channel(1);
    let messages = tokio_stream::wrappers::ReceiverStream::new(receiver);
    let mut answers = server.queues.enqueue_stream(messages).await.unwrap().into_inner();
    server.put_in(vec![spec("beside it")]).await;
    sender.send(message(1, vec![spec("in it")])).await.unwrap();
    assert!(matches!(answers.next().await.unwrap().unwrap().outcome, Some(Outcome::Response(_))));
    assert_eq!(server.status().await.jobs, 2);
}

#[tokio::test]
async fn each_job_counts_in_its_callers_rate() {
    let burst = NonZeroU32::new(10).unwrap();
    let request_rate = RequestRate::new(burst, Duration::from_secs(86_400), burst);
    let mut server = Server::start_with(RpcSettings { request_rate, ..RpcSettings::default() }).await;
    server.put_in(vec![spec("a"); 4]).await;
    // The stream itself is a call; then five are left.
    let messages = [vec![spec("b"); 3], vec![spec("c"); 3], vec![spec("d"); 2]];
    let messages = messages.into_iter().enumerate().map(|(n, jobs)| message(n as u64, jobs));
    let answers = server.queues.enqueue_stream(stream::iter(messages)).await.unwrap().into_inner();
    let answers: Vec<_> = answers.map(|answer| answer.unwrap().outcome.unwrap()).collect().await;
    assert!(matches!(answers[0], Outcome::Response(_)));
    let Outcome::Error(error) = &answers[1] else { panic!("three are too many") };
    assert_eq!((error.code, &*error.reason, error.retry_after.is_some()), (8, "REQUEST_RATE", true));
    assert!(matches!(answers[2], Outcome::Response(_)));
    let refused = server.queues.enqueue(enqueue(vec![spec("e")])).await;
    assert_eq!(reason(refused), (Code::ResourceExhausted, "REQUEST_RATE".to_owned()));
}
