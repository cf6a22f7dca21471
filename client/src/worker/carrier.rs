//! How a worker's acks, nacks and extensions travel: over its stream while it has one, else as calls. Knows
//! nothing of when they are due.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};

use crate::{
    Client, Error,
    flow::Flow,
    proto::{
        AckRequest, AckResponse, ExtendLeaseRequest, ExtendLeaseResponse, NackRequest, NackResponse,
        WorkRequest, work_request::Message,
    },
};

/// How long an answer over the stream is awaited; then the same is sent as a call, which does no harm twice.
const MAX_ANSWER: Duration = Duration::from_secs(30);

/// Shared by all who send for one worker.
#[derive(Debug)]
pub(super) struct Carrier {
    client: Client,
    /// What the queue asks of the worker.
    pub(super) flow: Flow,
    link: Mutex<Option<Arc<Link>>>,
}

/// One open stream: what was sent and is not answered, in order.
#[derive(Debug)]
pub(super) struct Link {
    state: Mutex<LinkState>,
}

#[derive(Debug)]
struct LinkState {
    /// None when the stream has ended.
    out: Option<mpsc::Sender<WorkRequest>>,
    pending: VecDeque<Pending>,
}

#[derive(Debug)]
enum Pending {
    Acks(oneshot::Sender<AckResponse>),
    Nacks(oneshot::Sender<NackResponse>),
    Extends(oneshot::Sender<ExtendLeaseResponse>),
}

/// An answer that came over the stream.
pub(super) enum Answer {
    Acks(AckResponse),
    Nacks(NackResponse),
    Extends(ExtendLeaseResponse),
}

impl Carrier {
    pub(super) fn new(client: Client) -> Carrier {
        Carrier { client, flow: Flow::default(), link: Mutex::new(None) }
    }

    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    /// From now on what is sent goes over this stream.
    pub(super) fn attach(&self, link: Arc<Link>) {
        *self.lock() = Some(link);
    }

    /// From now on what is sent goes as calls; what is on its way over a stream is still answered there.
    pub(super) fn detach(&self) {
        *self.lock() = None;
    }

    /// Whether there is a stream.
    pub(super) fn is_attached(&self) -> bool {
        self.lock().is_some()
    }

    pub(super) async fn ack(&self, request: AckRequest) -> Result<AckResponse, Error> {
        match self.over_stream(|| Message::Acks(request.clone()), Pending::Acks).await {
            Some(answer) => Ok(answer),
            None => self.client.ack(request).await,
        }
    }

    pub(super) async fn nack(&self, request: NackRequest) -> Result<NackResponse, Error> {
        match self.over_stream(|| Message::Nacks(request.clone()), Pending::Nacks).await {
            Some(answer) => Ok(answer),
            None => self.client.nack(request).await,
        }
    }

    pub(super) async fn extend(&self, request: ExtendLeaseRequest) -> Result<ExtendLeaseResponse, Error> {
        match self.over_stream(|| Message::Extends(request.clone()), Pending::Extends).await {
            Some(answer) => Ok(answer),
            None => self.client.extend_lease(request).await,
        }
    }

    /// None when there is no stream, or it ended before its answer.
    async fn over_stream<A>(
        &self,
        message: impl FnOnce() -> Message,
        pending: impl FnOnce(oneshot::Sender<A>) -> Pending,
    ) -> Option<A> {
        let link = self.lock().clone()?;
        let (answer, answered) = oneshot::channel();
        link.send(message(), pending(answer))?;
        timeout(MAX_ANSWER, answered).await.ok()?.ok()
    }

    /// A panic elsewhere leaves the link as whole as it was.
    fn lock(&self) -> MutexGuard<'_, Option<Arc<Link>>> {
        self.link.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Link {
    pub(super) fn new(out: mpsc::Sender<WorkRequest>) -> Arc<Link> {
        Arc::new(Link { state: Mutex::new(LinkState { out: Some(out), pending: VecDeque::new() }) })
    }

    /// Under one lock, so that answers are awaited in the order of sending.
    fn send(&self, message: Message, pending: Pending) -> Option<()> {
        let mut state = self.lock();
        state.out.as_ref()?.try_send(WorkRequest { message: Some(message) }).ok()?;
        state.pending.push_back(pending);
        Some(())
    }

    /// Gives an answer to whoever waits for it.
    pub(super) fn answer(&self, answer: Answer) -> Result<(), Error> {
        // Whoever stopped waiting did not want to know.
        match (self.lock().pending.pop_front(), answer) {
            (Some(Pending::Acks(waiting)), Answer::Acks(answer)) => drop(waiting.send(answer)),
            (Some(Pending::Nacks(waiting)), Answer::Nacks(answer)) => drop(waiting.send(answer)),
            (Some(Pending::Extends(waiting)), Answer::Extends(answer)) => drop(waiting.send(answer)),
            _ => return Err(Error::broken("an answer came out of turn")),
        }
        Ok(())
    }

    /// The stream has ended, or our side of it: who still waits for an answer sends it as a call.
    pub(super) fn close(&self) {
        let mut state = self.lock();
        state.out = None;
        state.pending.clear();
    }

    fn lock(&self) -> MutexGuard<'_, LinkState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
