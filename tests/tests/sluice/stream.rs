//! EnqueueStream: enqueue without waiting for each answer.

use sluice_proto::v1::enqueue_stream_response::Outcome;
use sluice_proto::v1::{EnqueueRequest, EnqueueStreamRequest, EnqueueStreamResponse, JobSpec};
use sluice_tests::{Queue, Sluiced, spec, status};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Streaming};

type Requests = mpsc::Sender<EnqueueStreamRequest>;

async fn open(queue: &Queue) -> (Requests, Streaming<EnqueueStreamResponse>) {
    let (requests, outgoing) = mpsc::channel(64);
    let answers = queue.rpc.clone().enqueue_stream(ReceiverStream::new(outgoing)).await.unwrap();
    (requests, answers.into_inner())
}

fn request(queue: &Queue, sequence: u64, jobs: Vec<JobSpec>) -> EnqueueStreamRequest {
    let request = EnqueueRequest {
        queue: queue.name().to_owned(),
        jobs,
        request_id: format!("request-{sequence}"),
        ..Default::default()
    };
    EnqueueStreamRequest { sequence, request: Some(request) }
}

#[tokio::test]
async fn answers_come_in_the_order_of_the_requests() {
    let server = Sluiced::fresh().await;
    let queue = server.queue("stream");
    let (requests, mut answers) = open(&queue).await;
    let sender = tokio::spawn({
        let queue = queue.clone();
        async move {
            for n in 0..1_000 {
                let jobs = vec![spec::job(&format!("{n}-0")), spec::job(&format!("{n}-1"))];
                requests.send(request(&queue, n, jobs)).await.unwrap();
            }
        }
    });
    let mut ids = Vec::new();
    for n in 0..1_000 {
        let answer = answers.message().await.unwrap().unwrap();
        assert_eq!(answer.sequence, n);
        let Some(Outcome::Response(response)) = answer.outcome else { panic!("{answer:?}") };
        assert_eq!(response.jobs.len(), 2);
        ids.extend(response.jobs.into_iter().map(|job| job.job_id));
    }
    assert!(answers.message().await.unwrap().is_none(), "it ends when the client has said all");
    sender.await.unwrap();
    assert_eq!(queue.status().await.jobs, 2_000);
    let (first, last) = (queue.job(&ids[0]).await, queue.job(&ids[1_999]).await);
    assert_eq!((first.payload.unwrap(), last.payload.unwrap()), ("0-0".into(), "999-1".into()));
}

#[tokio::test]
async fn refused_request_does_not_end_the_stream() {
    let server = Sluiced::fresh().await;
    let queue = server.queue("stream");
    let (requests, mut answers) = open(&queue).await;
    requests.send(request(&queue, 7, spec::jobs("x", 1))).await.unwrap();
    requests.send(request(&queue, 8, vec![spec::urgent(10, "x")])).await.unwrap();
    requests.send(request(&queue, 7, spec::jobs("y", 1))).await.unwrap();
    requests.send(request(&queue, 7, spec::jobs("x", 1))).await.unwrap();
    drop(requests);

    let mut next = async || answers.message().await.unwrap().unwrap();
    let first = next().await;
    assert!(matches!(first.outcome, Some(Outcome::Response(_))), "{first:?}");
    let wrong = next().await;
    let Some(Outcome::Error(error)) = wrong.outcome else { panic!("{wrong:?}") };
    assert_eq!((wrong.sequence, error.code), (8, Code::InvalidArgument as i32));
    assert!(error.message.contains("jobs[0].priority"), "{error:?}");
    assert_eq!(error.retry_after, None, "trying again is of no use");
    let reused = next().await;
    let Some(Outcome::Error(error)) = reused.outcome else { panic!("{reused:?}") };
    assert_eq!(error.reason, "REQUEST_ID_REUSED");
    assert_eq!(next().await.outcome, first.outcome, "the same request has the same answer");
    assert_eq!(queue.status().await.jobs, 1);
}

#[tokio::test]
async fn stream_ends_with_unavailable_when_the_server_stops() {
    let mut server = Sluiced::fresh().await;
    let queue = server.queue("stream");
    let (requests, mut answers) = open(&queue).await;
    requests.send(request(&queue, 1, spec::jobs("x", 1))).await.unwrap();
    assert!(answers.message().await.unwrap().is_some());
    server.terminate();
    let ended = answers.message().await.unwrap_err();
    assert_eq!((ended.code(), status::reason(&ended).as_str()), (Code::Unavailable, "STOPPING"));
    assert_eq!(server.stopped().await.code(), Some(0));
}
