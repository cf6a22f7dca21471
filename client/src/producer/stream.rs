//! A stream of batches: sent without waiting, each answer matched to its batch, and all that is
//! unanswered sent again over a new connection when one breaks. Request ids make that safe.

use std::{
    collections::VecDeque,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use backon::BackoffBuilder;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot},
    task::{JoinHandle, JoinSet},
    time::sleep,
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Streaming};

use super::{Producer, job_ids};
use crate::{
    Error, Repeat,
    client::new_request_id,
    proto::{
        EnqueueRequest, EnqueueResponse, EnqueueStreamRequest, EnqueueStreamResponse, JobSpec,
        enqueue_stream_response::Outcome,
    },
    retry::lengthened,
};

/// Batches that may be on their way at a time, whatever is asked for: each may hold 4 MiB.
const MAX_IN_FLIGHT: usize = 1_024;

/// Sends batches one after another; see [`Producer`] for an example.
///
/// Batches are answered in order unless one is refused for the time being: that one is sent again by
/// itself and may land behind later ones. Dropping the stream abandons what is unanswered; call
/// [`EnqueueStream::close`] to see it through.
#[derive(Debug)]
pub struct EnqueueStream {
    producer: Producer,
    batches: mpsc::Sender<Batch>,
    permits: Arc<Semaphore>,
    carrier: JoinHandle<()>,
}

/// The answer to one batch, when it is there: the job ids in order, or with [`Receipt::response`] all of it.
#[derive(Debug)]
pub struct Receipt {
    answer: oneshot::Receiver<Result<EnqueueResponse, Error>>,
}

/// A batch, until it is answered. Its permit bounds what is on its way.
#[derive(Debug)]
struct Batch {
    request: EnqueueRequest,
    answer: oneshot::Sender<Result<EnqueueResponse, Error>>,
    _permit: OwnedSemaphorePermit,
}

impl EnqueueStream {
    pub(super) fn open(producer: Producer, in_flight: usize) -> EnqueueStream {
        let in_flight = in_flight.clamp(1, MAX_IN_FLIGHT);
        let (batches, incoming) = mpsc::channel(in_flight);
        let carrier = Carrier {
            producer: producer.clone(),
            incoming,
            in_flight,
            unanswered: VecDeque::new(),
            next_sequence: 0,
            refused: JoinSet::new(),
        };
        EnqueueStream {
            producer,
            batches,
            permits: Arc::new(Semaphore::new(in_flight)),
            carrier: tokio::spawn(carrier.run()),
        }
    }

    /// Sends a batch, once fewer than `in_flight` are unanswered and the pause that a flow hint asks for is over.
    /// What comes of it is in the receipt.
    ///
    /// # Errors
    /// When the stream has given up; the receipts of what was unanswered say why.
    pub async fn send<J>(&mut self, jobs: impl IntoIterator<Item = J>) -> Result<Receipt, Error>
    where
        J: Into<JobSpec>,
    {
        self.send_request(self.producer.request(jobs)).await
    }

    /// As [`EnqueueStream::send`], of a request with more than jobs, such as `batch_totals`; it goes to the
    /// producer's queue, and cannot ask to be kept waiting for room: the producer waits itself.
    ///
    /// # Errors
    /// When the stream has given up; the receipts of what was unanswered say why.
    pub async fn send_request(&mut self, mut request: EnqueueRequest) -> Result<Receipt, Error> {
        request.queue.clone_from(&self.producer.queue);
        request.wait_timeout = None;
        if request.request_id.is_empty() {
            request.request_id = new_request_id();
        }
        self.producer.flow.pause().await;
        let permit = Arc::clone(&self.permits).acquire_owned().await.map_err(|_| ended())?;
        let (answer, receipt) = oneshot::channel();
        self.batches.send(Batch { request, answer, _permit: permit }).await.map_err(|_| ended())?;
        Ok(Receipt { answer: receipt })
    }

    /// Ends the stream when everything sent is answered.
    pub async fn close(mut self) {
        let (nobody, _) = mpsc::channel(1);
        self.batches = nobody;
        // It panicked or it is done: the receipts tell either way.
        let _ = (&mut self.carrier).await;
    }
}

impl Drop for EnqueueStream {
    fn drop(&mut self) {
        self.carrier.abort();
    }
}

impl Receipt {
    /// All that the server answered: which jobs are duplicates, and which were dropped to make room.
    ///
    /// # Errors
    /// As when it is awaited.
    pub async fn response(self) -> Result<EnqueueResponse, Error> {
        self.answer.await.unwrap_or_else(|_| Err(ended()))
    }
}

impl Future for Receipt {
    type Output = Result<Vec<String>, Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let answer = ready!(Pin::new(&mut self.answer).poll(cx)).unwrap_or_else(|_| Err(ended()));
        Poll::Ready(answer.map(|response| job_ids(response.jobs)))
    }
}

fn ended() -> Error {
    Error::local(Code::Cancelled, "the stream has ended")
}

/// The task behind a stream: carries batches out and answers back.
struct Carrier {
    producer: Producer,
    incoming: mpsc::Receiver<Batch>,
    in_flight: usize,
    /// In the order of sending, with the numbers they were sent under.
    unanswered: VecDeque<(u64, Batch)>,
    next_sequence: u64,
    refused: JoinSet<()>,
}

/// How one connection's part of the stream ended.
enum End {
    /// Nobody sends any more, and everything is answered.
    Done,
    /// The connection or the server went away; `progress` says whether it answered anything.
    Broken { error: Error, progress: bool },
}

impl Carrier {
    async fn run(mut self) {
        let policy = self.producer.client.retry_policy();
        let waits = || policy.backoff().with_max_times(policy.max_attempts.saturating_sub(1)).build();
        let mut wait = waits();
        loop {
            let (error, progress) = match self.carry().await {
                End::Done => break,
                End::Broken { error, progress } => (error, progress),
            };
            if progress {
                wait = waits();
            }
            match wait.next() {
                Some(wait) if Repeat::Always.allows(&error) => {
                    let wait = lengthened(wait, error.retry_after());
                    tracing::warn!(%error, ?wait, "stream broke off, sending what is unanswered again");
                    sleep(wait).await;
                }
                _ => return self.give_up(&error),
            }
        }
        while self.refused.join_next().await.is_some() {}
    }

    /// Over one connection: first what is unanswered, then what comes.
    async fn carry(&mut self) -> End {
        // Room for everything that may be unanswered, so that sending never waits.
        let (out, requests) = mpsc::channel(self.in_flight);
        for (sequence, batch) in &self.unanswered {
            let sent = out.try_send(message(*sequence, batch));
            debug_assert!(sent.is_ok(), "the channel holds all that may be unanswered");
        }
        let mut progress = false;
        let opened = self.producer.client.enqueue_stream(ReceiverStream::new(requests)).await;
        let mut answers = match opened {
            Ok(answers) => answers,
            Err(error) => return End::Broken { error, progress },
        };
        let mut more = true;
        while more || !self.unanswered.is_empty() {
            tokio::select! {
                answer = answers.message() => match answer {
                    Ok(Some(answer)) => match self.settle(answer) {
                        Ok(()) => progress = true,
                        Err(error) => return End::Broken { error, progress },
                    },
                    Ok(None) => {
                        let error = Error::broken("the server ended the stream");
                        return End::Broken { error, progress };
                    }
                    Err(status) => return End::Broken { error: status.into(), progress },
                },
                batch = self.incoming.recv(), if more => match batch {
                    Some(batch) => {
                        let sequence = self.next_sequence;
                        self.next_sequence += 1;
                        // A stream that is gone is noticed by its answers.
                        let _ = out.try_send(message(sequence, &batch));
                        self.unanswered.push_back((sequence, batch));
                    }
                    None => more = false,
                },
            }
        }
        drop(out);
        drain(answers).await;
        End::Done
    }

    /// Gives one answer to the batch it belongs to.
    fn settle(&mut self, answer: EnqueueStreamResponse) -> Result<(), Error> {
        match self.unanswered.pop_front() {
            Some((sequence, batch)) if sequence == answer.sequence => {
                match answer.outcome {
                    Some(Outcome::Response(response)) => {
                        self.producer.flow.learn(response.flow_hint);
                        batch.answer(Ok(response));
                    }
                    Some(Outcome::Error(refusal)) => self.refuse(batch, refusal.into()),
                    None => batch.answer(Err(Error::local(Code::Internal, "an answer without an outcome"))),
                }
                Ok(())
            }
            expected => {
                let message = format!("answer {} came out of turn", answer.sequence);
                self.unanswered.extend(expected);
                self.unanswered.rotate_right(1);
                Err(Error::local(Code::Internal, message))
            }
        }
    }

    /// A batch that was refused for the time being goes again by itself, under its request id.
    fn refuse(&mut self, batch: Batch, error: Error) {
        while self.refused.try_join_next().is_some() {}
        if !Repeat::Always.allows(&error) {
            return batch.answer(Err(error));
        }
        let producer = self.producer.clone();
        self.refused.spawn(async move {
            let refusal = if error.is_full() {
                Some(error)
            } else {
                let backoff = producer.client.retry_policy().initial_backoff;
                sleep(lengthened(backoff, error.retry_after())).await;
                None
            };
            let answer = producer.send_until_room(batch.request.clone(), refusal).await;
            batch.answer(answer);
        });
    }

    fn give_up(&mut self, error: &Error) {
        for (_, batch) in self.unanswered.drain(..) {
            batch.answer(Err(error.clone()));
        }
        self.incoming.close();
        while let Ok(batch) = self.incoming.try_recv() {
            batch.answer(Err(error.clone()));
        }
    }
}

impl Batch {
    /// Whoever dropped the receipt did not want to know.
    fn answer(self, answer: Result<EnqueueResponse, Error>) {
        let _ = self.answer.send(answer);
    }
}

fn message(sequence: u64, batch: &Batch) -> EnqueueStreamRequest {
    EnqueueStreamRequest { sequence, request: Some(batch.request.clone()) }
}

/// Reads to the end, so that the server sees the stream closed and not reset.
async fn drain(mut answers: Streaming<EnqueueStreamResponse>) {
    while let Ok(Some(_)) = answers.message().await {}
}
