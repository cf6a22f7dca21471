//! A worker over the `Work` stream, message by message.

use std::time::Duration;

use sluice_proto::v1::work_request::Message as Asked;
use sluice_proto::v1::work_response::Message as Told;
use sluice_proto::v1::{
    Ack, AckRequest, AckResult, ExtendLeaseRequest, ExtendLeaseResult, LeaseExtension, LeasedJob, Nack,
    NackRequest, NackResult, WorkNotice, WorkRequest, WorkResponse, WorkStart,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::{Status, Streaming};

use crate::Queue;

/// How long a message may take that has to come: far more than it ever needs.
const PATIENCE: Duration = Duration::from_secs(30);

/// One stream.
pub struct Worker {
    asks: mpsc::UnboundedSender<WorkRequest>,
    tells: Streaming<WorkResponse>,
}

impl Worker {
    /// A stream over which nothing was said yet.
    pub async fn open(queue: &Queue) -> Worker {
        let (asks, asked) = mpsc::unbounded_channel();
        let tells = queue.rpc.clone().work(UnboundedReceiverStream::new(asked)).await.unwrap().into_inner();
        Worker { asks, tells }
    }

    /// A worker that may hold `credit` jobs of the queue.
    pub async fn start(queue: &Queue, credit: u32) -> Worker {
        Worker::start_as(queue, WorkStart { credit, ..WorkStart::default() }).await
    }

    /// The same, with more to say; the queue is filled in.
    pub async fn start_as(queue: &Queue, start: WorkStart) -> Worker {
        let worker = Worker::open(queue).await;
        worker.ask(Asked::Start(WorkStart { queue: queue.name().to_owned(), ..start }));
        worker
    }

    /// Says something.
    pub fn ask(&self, message: Asked) {
        self.say(WorkRequest { message: Some(message) });
    }

    /// Says something, be it nothing. Into a stream that has ended it is said in vain.
    pub fn say(&self, request: WorkRequest) {
        let _ = self.asks.send(request);
    }

    /// Says what is done.
    pub fn ask_acks(&self, acks: Vec<Ack>) {
        self.ask(Asked::Acks(AckRequest { acks }));
    }

    /// Says what is given back.
    pub fn ask_nacks(&self, nacks: Vec<Nack>) {
        self.ask(Asked::Nacks(NackRequest { nacks }));
    }

    /// Says what it needs longer for.
    pub fn ask_extends(&self, leases: Vec<LeaseExtension>) {
        self.ask(Asked::Extends(ExtendLeaseRequest { leases }));
    }

    /// The next message, or how the stream ended.
    ///
    /// # Errors
    /// What the server ended it with.
    pub async fn try_told(&mut self) -> Result<Option<Told>, Status> {
        let told = tokio::time::timeout(PATIENCE, self.tells.message()).await;
        let told = told.expect("a message comes")?;
        Ok(told.map(|told| told.message.expect("a message says something")))
    }

    /// The next message.
    pub async fn told(&mut self) -> Told {
        self.try_told().await.unwrap().expect("the stream goes on")
    }

    /// Just so many jobs, and nothing else meanwhile; in as many messages as it takes.
    pub async fn jobs(&mut self, count: usize) -> Vec<LeasedJob> {
        let mut jobs = Vec::new();
        while jobs.len() < count {
            match self.told().await {
                Told::Jobs(response) => jobs.extend(response.jobs),
                other => panic!("not jobs: {other:?}"),
            }
        }
        assert_eq!(jobs.len(), count, "more came than there was credit for");
        jobs
    }

    /// Acks; what came of each is the next message.
    pub async fn try_ack(&mut self, acks: Vec<Ack>) -> Vec<AckResult> {
        self.ask_acks(acks);
        match self.told().await {
            Told::Acks(answer) => answer.results,
            other => panic!("not what came of acks: {other:?}"),
        }
    }

    /// Nacks one job; what came of it is the next message.
    pub async fn try_nack(&mut self, nack: Nack) -> NackResult {
        self.ask_nacks(vec![nack]);
        match self.told().await {
            Told::Nacks(mut answer) => answer.results.remove(0),
            other => panic!("not what came of nacks: {other:?}"),
        }
    }

    /// Extends one lease; what came of it is the next message.
    pub async fn extend(&mut self, lease: LeaseExtension) -> ExtendLeaseResult {
        self.ask_extends(vec![lease]);
        match self.told().await {
            Told::Extends(mut answer) => answer.results.remove(0),
            other => panic!("not what came of extensions: {other:?}"),
        }
    }

    /// The next message, which is something to know.
    pub async fn notice(&mut self) -> WorkNotice {
        match self.told().await {
            Told::Notice(notice) => notice,
            other => panic!("not a notice: {other:?}"),
        }
    }

    /// Lets the server do all that it has to, several times over. Nothing else comes meanwhile: what would come of
    /// itself, such as a job, would come before.
    pub async fn nothing_more_comes(&mut self) {
        for _ in 0..5 {
            let nobody = LeaseExtension { job_id: "1".repeat(20), ..LeaseExtension::default() };
            assert!(self.extend(nobody).await.error.is_some(), "there is no such job");
        }
    }

    /// Closes its side; waits until the server has closed its own, and that well.
    pub async fn close(self) {
        let Worker { asks, mut tells } = self;
        drop(asks);
        let end = tokio::time::timeout(PATIENCE, tells.message()).await.expect("the stream ends");
        assert!(end.unwrap().is_none(), "nothing more is said");
    }

    /// Closes its side; what the server still has to say.
    #[must_use]
    pub fn close_side(self) -> Streaming<WorkResponse> {
        self.tells
    }
}
