//! Jobs over the `Work` stream: they come by themselves as long as there is credit, one for each handler that
//! may run. Knows nothing of handlers.

use std::{sync::Arc, time::Duration};

use backon::BackoffBuilder;
use tokio::{
    sync::mpsc,
    time::{sleep, timeout},
};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Streaming};

use super::{
    Worker,
    carrier::{Answer, Carrier, Link},
    crew::{Crew, keyed},
    delivery::{Delivery, Outcome},
    is_empty, pause,
    settlement::Verdict,
};
use crate::{
    Error,
    proto::{
        LeasedJob, WorkNotice, WorkRequest, WorkResponse, WorkStart, work_request, work_response::Message,
    },
    retry::lengthened,
    span::span_to_proto,
};

/// Jobs that one stream may hold.
pub(super) const MAX_CREDIT: usize = 1_000;
/// Messages on their way out: one kind of each is, seldom two.
const MAX_OUTGOING: usize = 64;
/// When a stream broke its jobs go back within a second: after this one asks whose they are.
const DOUBT: Duration = Duration::from_millis(1_500);
/// How long the stream must be silent before a worker that is to stop at an empty queue looks.
const UNTIL_EMPTY_SILENCE: Duration = Duration::from_millis(200);
/// How long the server has to see our side closed.
const CLOSE_GRACE: Duration = Duration::from_secs(2);
/// The longest pause before the stream is opened again.
const MAX_PAUSE: Duration = Duration::from_secs(1);

/// How work over the stream ended.
pub(super) enum End {
    /// The worker was told to stop, or the queue is empty.
    Done,
    /// There is no such stream here: calls must do.
    NoStream(Error),
}

/// How one stream ended.
enum Break {
    Stop,
    /// Nothing is held any more, and the server goes.
    GoingAway,
    Error(Error),
}

pub(super) struct Stream<'a, H> {
    pub(super) worker: &'a Worker,
    pub(super) carrier: &'a Carrier,
    pub(super) crew: &'a mut Crew<H>,
}

impl<H, F> Stream<'_, H>
where
    H: Fn(Delivery) -> F + Send + Sync + 'static,
    F: Future<Output = Outcome> + Send + 'static,
{
    /// Works until told to stop, over as many streams as it takes.
    pub(super) async fn run(&mut self, stop: &CancellationToken) -> Result<End, Error> {
        let policy = self.worker.client.retry_policy();
        let new_waits = || policy.backoff().build();
        let mut waits = new_waits();
        loop {
            let mut progress = false;
            let end = self.follow(stop, &mut progress).await;
            if progress {
                waits = new_waits();
            }
            let (error, retry_after) = match end {
                Break::Stop => return Ok(End::Done),
                Break::GoingAway => (Error::broken("the server goes away"), None),
                // What is no Sluice, or an old one, or a proxy between that cannot do this.
                Break::Error(error) if !progress && is_no_stream(error.code()) => {
                    return Ok(End::NoStream(error));
                }
                Break::Error(error) if error.is_final() => return Err(error),
                Break::Error(error) => {
                    let retry_after = error.retry_after();
                    (error, retry_after)
                }
            };
            let wait = lengthened(waits.next().unwrap_or(MAX_PAUSE), retry_after);
            tracing::warn!(%error, ?wait, "the stream of jobs ended, opening another");
            pause(wait, stop).await;
            if stop.is_cancelled() {
                return Ok(End::Done);
            }
        }
    }

    /// Over one stream.
    async fn follow(&mut self, stop: &CancellationToken, progress: &mut bool) -> Break {
        let (out, requests) = mpsc::channel(MAX_OUTGOING);
        // There is room: it is the first.
        let _ = out.try_send(WorkRequest { message: Some(self.start()) });
        let opened = tokio::select! {
            opened = self.worker.client.work_stream(ReceiverStream::new(requests)) => opened,
            () = stop.cancelled() => return Break::Stop,
        };
        let mut answers = match opened {
            Ok(answers) => answers,
            Err(error) => return Break::Error(error),
        };
        let link = Link::new(out);
        self.carrier.attach(Arc::clone(&link));
        let end = self.read(&mut answers, &link, stop, progress).await;
        self.carrier.detach();
        if let Break::Stop = end {
            self.finish(&mut answers, &link).await;
        }
        link.close();
        match end {
            Break::Error(_) => self.crew.holding.doubt(DOUBT),
            // Read to the end, so that the server sees the stream closed and not reset.
            Break::Stop | Break::GoingAway => {
                let _ =
                    timeout(CLOSE_GRACE, async { while let Ok(Some(_)) = answers.message().await {} }).await;
                self.give_up_idle().await;
            }
        }
        end
    }

    fn start(&self) -> work_request::Message {
        let settings = &self.worker.settings;
        work_request::Message::Start(WorkStart {
            queue: self.worker.queue.clone(),
            worker_id: settings.worker_id.clone(),
            lease_duration: settings.lease_duration.map(span_to_proto),
            credit: u32::try_from(settings.concurrency.min(MAX_CREDIT)).unwrap_or(1),
        })
    }

    async fn read(
        &mut self,
        answers: &mut Streaming<WorkResponse>,
        link: &Link,
        stop: &CancellationToken,
        progress: &mut bool,
    ) -> Break {
        let until_empty = self.worker.settings.until_empty;
        let mut going_away = false;
        loop {
            if going_away && self.crew.holding.is_settled() {
                return Break::GoingAway;
            }
            let message = tokio::select! {
                biased;
                () = stop.cancelled() => return Break::Stop,
                message = answers.message() => message,
                () = self.crew.holding.until_settled(), if going_away => continue,
                () = sleep(UNTIL_EMPTY_SILENCE), if until_empty => {
                    if self.crew.is_idle() && is_empty(self.worker).await {
                        return Break::Stop;
                    }
                    continue;
                }
            };
            let message = match message {
                Ok(Some(WorkResponse { message })) => message,
                Ok(None) => return Break::Error(Error::broken("the server ended the stream")),
                Err(status) => return Break::Error(status.into()),
            };
            *progress = true;
            let answered = match message {
                Some(Message::Jobs(jobs)) => {
                    self.carrier.flow.learn(jobs.flow_hint);
                    self.crew.start(jobs.jobs, None, stop);
                    Ok(())
                }
                Some(Message::Notice(notice)) => {
                    going_away |= notice.going_away;
                    self.notice(notice);
                    Ok(())
                }
                message => answer(link, message),
            };
            if let Err(error) = answered {
                return Break::Error(error);
            }
        }
    }

    fn notice(&self, notice: WorkNotice) {
        for job_id in &notice.cancelled {
            self.crew.holding.cancel(job_id);
        }
        for job_id in &notice.lost {
            tracing::warn!(job_id, "lease is lost");
            self.crew.holding.lose(job_id);
        }
        if notice.going_away {
            tracing::info!("the server goes away: finishing what is held");
        }
    }

    /// Lets handlers finish. What they say goes as calls from now on: over the stream it would make room for new
    /// jobs. Those that come all the same are kept, unbegun, and go back when our side is closed.
    async fn finish(&mut self, answers: &mut Streaming<WorkResponse>, link: &Link) {
        let holding = Arc::clone(&self.crew.holding);
        let stop_timeout = self.worker.settings.stop_timeout;
        let finished = async {
            self.crew.finish(stop_timeout).await;
            holding.until_settled().await;
        };
        let reading = async {
            while let Ok(Some(WorkResponse { message })) = answers.message().await {
                match message {
                    Some(Message::Jobs(jobs)) => keep(&holding, jobs.jobs),
                    Some(Message::Notice(notice)) => {
                        notice.cancelled.iter().for_each(|job_id| holding.cancel(job_id));
                        notice.lost.iter().for_each(|job_id| holding.lose(job_id));
                    }
                    message => {
                        if answer(link, message).is_err() {
                            break;
                        }
                    }
                }
            }
            // The stream is gone: the rest is done without it.
            link.close();
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = finished => {}
            () = reading => {}
        }
    }

    /// Counts what went back because our side was closed.
    async fn give_up_idle(&self) {
        for key in self.crew.holding.idle() {
            self.crew.settler.settle(key, Verdict::WentBack, None).await;
        }
    }
}

fn keep(holding: &super::holding::Holding, jobs: Vec<LeasedJob>) {
    let jobs: Vec<_> = jobs.into_iter().filter_map(keyed).collect();
    let taken: Vec<_> = jobs.iter().map(|(key, leased)| (key.clone(), leased)).collect();
    holding.keep(&taken);
}

fn answer(link: &Link, message: Option<Message>) -> Result<(), Error> {
    match message {
        Some(Message::Acks(acks)) => link.answer(Answer::Acks(acks)),
        Some(Message::Nacks(nacks)) => link.answer(Answer::Nacks(nacks)),
        Some(Message::Extends(extends)) => link.answer(Answer::Extends(extends)),
        // A kind of message that is newer than this client says nothing to it.
        Some(Message::Jobs(_) | Message::Notice(_)) | None => Ok(()),
    }
}

/// What a server or a proxy says that does not know the stream.
fn is_no_stream(code: Code) -> bool {
    matches!(code, Code::Unimplemented | Code::Unknown | Code::Internal)
}
