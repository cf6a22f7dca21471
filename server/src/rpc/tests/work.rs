//! Work: a worker over one stream.

use sluice_proto::v1::work_request::Message as Asked;
use sluice_proto::v1::work_response::Message as Told;
use tokio::sync::mpsc;
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::Streaming;

use super::*;

/// A worker at the other end of a stream.
struct Worker {
    asks: mpsc::UnboundedSender<v1::WorkRequest>,
    tells: Streaming<v1::WorkResponse>,
}

impl Worker {
    async fn start(server: &mut Server, credit: u32) -> Worker {
        let (asks, asked) = mpsc::unbounded_channel();
        let start = v1::WorkStart { queue: "q".to_owned(), credit, ..Default::default() };
        asks.send(v1::WorkRequest { message: Some(Asked::Start(start)) }).unwrap();
        let tells = server.queues.work(UnboundedReceiverStream::new(asked)).await.unwrap().into_inner();
        Worker { asks, tells }
    }

    fn ask(&self, message: Asked) {
        self.asks.send(v1::WorkRequest { message: Some(message) }).unwrap();
    }

    async fn told(&mut self) -> Told {
        self.tells.next().await.unwrap().unwrap().message.unwrap()
    }

    async fn jobs(&mut self) -> Vec<v1::LeasedJob> {
        match self.told().await {
            Told::Jobs(response) => response.jobs,
            other => panic!("no jobs: {other:?}"),
        }
    }
}

fn ack(leased: &v1::LeasedJob) -> Asked {
    let job_id = leased.job.as_ref().unwrap().job_id.clone();
    let ack = v1::Ack { job_id, lease_token: leased.lease_token, result: None, actual_cost: None };
    Asked::Acks(v1::AckRequest { acks: vec![ack] })
}

#[tokio::test]
async fn worker_holds_no_more_than_its_credit_and_gets_the_next_for_each_it_acks() {
    let mut server = Server::start().await;
    server.put_in(vec![spec("a"), spec("b"), spec("c")]).await;
    let mut worker = Worker::start(&mut server, 2).await;
    let held = worker.jobs().await;
    assert_eq!(held.len(), 2);
    worker.ask(ack(&held[0]));
    assert!(matches!(worker.told().await, Told::Acks(acks) if acks.results[0].error.is_none()));
    assert_eq!(worker.jobs().await.len(), 1);
    let counts = server.status().await.counts.unwrap();
    assert_eq!((counts.leased, counts.completed), (2, 1));
}

#[tokio::test]
async fn worker_that_closes_its_side_gives_its_jobs_back_untouched() {
    let mut server = Server::start().await;
    let ids = server.put_in(vec![spec("a")]).await;
    let mut worker = Worker::start(&mut server, 1).await;
    worker.jobs().await;
    drop(worker.asks);
    assert!(worker.tells.next().await.is_none(), "the stream is over");
    while server.status().await.counts.unwrap().ready < 1 {
        tokio::task::yield_now().await;
    }
    let job = server.job(&ids[0]).await;
    assert_eq!((job.attempts, job.deliveries), (0, 1));
}

#[tokio::test]
async fn worker_that_breaks_off_spends_an_attempt() {
    let mut server = Server::start().await;
    let ids = server.put_in(vec![spec("a")]).await;
    let mut worker = Worker::start(&mut server, 1).await;
    worker.jobs().await;
    let Worker { asks, tells } = worker;
    drop(tells);
    while server.status().await.counts.unwrap().retrying < 1 {
        tokio::task::yield_now().await;
    }
    drop(asks);
    let job = server.job(&ids[0]).await;
    assert_eq!((job.attempts, &*job.last_error.unwrap().code), (1, "STREAM_BROKEN"));
}

#[tokio::test]
async fn worker_is_told_what_it_is_to_give_up() {
    let mut server = Server::start().await;
    let ids = server.put_in(vec![spec("a")]).await;
    let mut worker = Worker::start(&mut server, 1).await;
    worker.jobs().await;
    server.queues.cancel_job(v1::CancelJobRequest { job_id: ids[0].clone() }).await.unwrap();
    let Told::Notice(notice) = worker.told().await else { panic!("no notice") };
    assert_eq!(notice.cancelled, ids);
}

#[tokio::test]
async fn worker_may_settle_what_it_holds_when_the_server_stops() {
    let mut server = Server::start().await;
    server.put_in(vec![spec("a"), spec("b")]).await;
    let mut worker = Worker::start(&mut server, 1).await;
    let held = worker.jobs().await;
    server.shutdown.cancel();
    assert!(matches!(worker.told().await, Told::Notice(notice) if notice.going_away));
    worker.ask(ack(&held[0]));
    assert!(matches!(worker.told().await, Told::Acks(acks) if acks.results[0].error.is_none()));
    let end = worker.tells.next().await.unwrap();
    assert_eq!(reason(end), (Code::Unavailable, "STOPPING".to_owned()));
    assert_eq!(server.status().await.counts.unwrap().leased, 0);
}

#[tokio::test]
async fn messages_out_of_turn_end_the_stream() {
    let mut server = Server::start().await;
    let worker = |asked: Vec<Asked>| {
        tokio_stream::iter(asked.into_iter().map(|message| v1::WorkRequest { message: Some(message) }))
            .chain(tokio_stream::pending())
    };
    let start = |credit| Asked::Start(v1::WorkStart { queue: "q".to_owned(), credit, ..Default::default() });
    for asked in [
        vec![Asked::Credit(1)],
        vec![start(1), start(1)],
        vec![start(1_001)],
        vec![start(1_000), Asked::Credit(1)],
    ] {
        let mut tells = server.queues.work(worker(asked)).await.unwrap().into_inner();
        let end = tells.next().await.unwrap();
        assert_eq!(reason(end), (Code::InvalidArgument, "INVALID_FIELDS".to_owned()));
    }
}
