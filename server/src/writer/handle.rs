//! How the rest of the server speaks to the writer thread.

use std::collections::BTreeMap;
use std::mem;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use sluice_engine::{
    Acquire, Answer, Command, Engine, Enqueue, FlowHintPolicy, JobId, Lease, LeaseToken, Now, QueueName,
    QueueStatus, Refusal, Span, Ticket, Timestamp,
};
use tokio::sync::oneshot::error::RecvError;
use tokio::sync::{oneshot, watch};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::delivery::Delivery;
use super::mailbox::Mailbox;
use super::many::ChangedQueues;
use super::message::{Message, Returned};
use super::post::Post;
use crate::bound::MAX_ENQUEUE_DELAY;
use crate::clock::{self, Clock};
use crate::store::{Body, BodyReader, Place, Pressure, Store, StoreError};

/// Speaks to the writer. Cheap to clone.
#[derive(Clone)]
pub struct Handle {
    shared: Arc<Shared>,
}

/// Why the writer did not take a call. Nothing was applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// The store is still being read.
    #[error("the server is starting")]
    Starting,
    /// The mailbox is full, in calls or in bytes.
    #[error("the server has more to do than it can queue")]
    Overloaded,
    /// The store has no room for this kind of call.
    #[error("the disk is nearly full")]
    StorageFull,
    /// The server is stopping.
    #[error("the server is stopping")]
    Stopping,
}

/// What the callers and the writer share.
pub(super) struct Shared {
    pub(super) mailbox: Mailbox,
    /// Set once, when the store has been read.
    pub(super) ready: OnceLock<Ready>,
    /// Published by the writer after each step.
    pub(super) pressure: watch::Sender<Pressure>,
    /// Whether the writer ended in good order. If an answer fails to come and this is not set, the
    /// process is about to end, and what became of the call is unknown.
    pub(super) stopped: AtomicBool,
    /// What callers of queues are asked to do; published by the writer when it changes.
    pub(super) hints: watch::Sender<Arc<BTreeMap<QueueName, FlowHintPolicy>>>,
    pub(super) post: Post,
    last_ticket: AtomicU64,
}

/// What there is once the store has been read.
pub(super) struct Ready {
    pub(super) clock: Clock,
    pub(super) reader: Arc<dyn BodyReader>,
}

impl Handle {
    pub(super) fn new(shared: Arc<Shared>) -> Handle {
        Handle { shared }
    }

    /// Has the engine do `command` (any but `Lease` and `Abandon`); answers when its group is durable.
    /// `bytes` is what it holds in memory, for the mailbox's bound.
    ///
    /// # Errors
    /// When the writer did not take it.
    pub async fn call(&self, command: Command, bytes: usize) -> Result<Answer, CallError> {
        self.begin(command, bytes).await?.await
    }

    /// As [`Handle::call`], but returns as soon as the writer has the call: what is begun first is done
    /// first. The answer is waited for with what it returns.
    ///
    /// # Errors
    /// When the writer did not take it.
    pub async fn begin(
        &self,
        command: Command,
        bytes: usize,
    ) -> Result<impl Future<Output = Result<Answer, CallError>> + Send + use<>, CallError> {
        if matches!(command, Command::Enqueue(_)) {
            self.room_for_enqueue().await?;
        }
        let ticket = self.shared.ticket();
        let (reply, answer) = oneshot::channel();
        self.post(Message::Call { ticket, command, reply }, bytes)?;
        let shared = Arc::clone(&self.shared);
        Ok(async move { shared.answer(answer).await })
    }

    /// Puts jobs in, waiting for room as `enqueue` says. Returns as soon as the writer has the call: what is begun
    /// first is done first. When the caller drops what it returns, or `stopping` comes, the wait is abandoned: the
    /// jobs are in, wholly, or they are not.
    ///
    /// # Errors
    /// When the writer did not take it.
    pub async fn begin_enqueue(
        &self,
        enqueue: Enqueue,
        bytes: usize,
        stopping: &CancellationToken,
    ) -> Result<impl Future<Output = Result<Answer, CallError>> + Send + use<>, CallError> {
        self.room_for_enqueue().await?;
        let waits = enqueue.wait > Span::ZERO;
        self.begin_waiting(Command::Enqueue(enqueue), waits, bytes, stopping)
    }

    /// Takes tokens without a job, waiting as `acquire` says. When the caller drops this future, or `stopping` comes,
    /// the wait is abandoned.
    ///
    /// # Errors
    /// When the writer did not take it.
    pub async fn acquire(&self, acquire: Acquire, stopping: &CancellationToken) -> Result<Answer, CallError> {
        let waits = acquire.wait > Span::ZERO;
        self.begin_waiting(Command::Acquire(acquire), waits, size_of::<Command>(), stopping)?.await
    }

    /// A call whose answer may come in a later step.
    fn begin_waiting(
        &self,
        command: Command,
        waits: bool,
        bytes: usize,
        stopping: &CancellationToken,
    ) -> Result<impl Future<Output = Result<Answer, CallError>> + Send + use<>, CallError> {
        let ticket = self.shared.ticket();
        let (reply, mut answer) = oneshot::channel();
        self.post(Message::Call { ticket, command, reply }, bytes)?;
        let shared = Arc::clone(&self.shared);
        // Each copy of it takes a lock that all calls share.
        let stopping = waits.then(|| stopping.clone());
        Ok(async move {
            let Some(stopping) = stopping else { return shared.answer(answer).await };
            let waiting = Waiting { ticket, shared: &shared };
            let told = tokio::select! {
                biased;
                told = &mut answer => told,
                () = stopping.cancelled() => {
                    shared.mailbox.post_always(Message::Abandon(ticket));
                    // It may have been served meanwhile; if not, its reply is dropped unsent.
                    match answer.await {
                        Ok(answer) => Ok(answer),
                        Err(_) => return Err(CallError::Stopping),
                    }
                }
            };
            mem::forget(waiting);
            shared.told(told).await
        })
    }

    /// Waits until all of `jobs` are at rest or gone.
    ///
    /// # Errors
    /// When the writer did not take it.
    pub async fn at_rest(&self, jobs: Vec<JobId>) -> Result<(), CallError> {
        let ticket = self.shared.ticket();
        let (reply, answer) = oneshot::channel();
        let bytes = size_of_val(&*jobs);
        self.post(Message::AwaitRest { ticket, jobs, reply }, bytes)?;
        let waiting = Waiting { ticket, shared: &self.shared };
        let answer = self.shared.answer(answer).await;
        mem::forget(waiting);
        answer?
    }

    /// What callers of a queue are asked to do under load, if anything.
    #[must_use]
    pub fn flow_hint_policy(&self, queue: &QueueName) -> Option<FlowHintPolicy> {
        self.shared.hints.borrow().get(queue).copied()
    }

    /// Takes jobs, waiting as `lease` says. When the caller drops this future the wait is abandoned,
    /// and jobs already leased for it go back.
    ///
    /// # Errors
    /// When the writer did not take it; inside, when the engine refused.
    pub async fn lease(&self, lease: Lease) -> Result<Result<Delivery, Refusal>, CallError> {
        if *self.shared.pressure.borrow() == Pressure::NoLease {
            return Err(CallError::StorageFull);
        }
        let ticket = self.shared.ticket();
        let (reply, answer) = oneshot::channel();
        self.post(Message::Lease { ticket, lease, reply }, size_of::<Message>())?;
        let waiting = Waiting { ticket, shared: &self.shared };
        let answer = self.shared.answer(answer).await;
        mem::forget(waiting);
        answer
    }

    /// Reads the engine, after everything that was answered before. `read` must be quick.
    ///
    /// # Errors
    /// When the writer did not take it.
    pub async fn read<T, F>(&self, read: F) -> Result<T, CallError>
    where
        T: Send + 'static,
        F: FnOnce(&Engine, Now) -> T + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        self.post(
            Message::Read(Box::new(move |engine, _, now| {
                if !reply.is_closed() {
                    let _ = reply.send(read(engine, now));
                }
            })),
            size_of::<F>(),
        )?;
        self.shared.answer(answer).await
    }

    /// As [`Handle::read`], and finds where the bodies of the ids it returns lie.
    ///
    /// # Errors
    /// When the writer did not take it.
    pub async fn read_and_locate<T, F>(&self, read: F) -> Result<(T, Vec<Option<Place>>), CallError>
    where
        T: Send + 'static,
        F: FnOnce(&Engine, Now) -> (T, Vec<JobId>) + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        self.post(
            Message::Read(Box::new(move |engine, store, now| {
                if !reply.is_closed() {
                    let (value, ids) = read(engine, now);
                    let _ = reply.send((value, store.locate(&ids)));
                }
            })),
            size_of::<F>(),
        )?;
        self.shared.answer(answer).await
    }

    /// As [`Handle::read`], and shows the store too.
    ///
    /// # Errors
    /// When the writer did not take it.
    pub async fn read_store<T, F>(&self, read: F) -> Result<T, CallError>
    where
        T: Send + 'static,
        F: FnOnce(&Engine, &dyn Store, Now) -> T + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        self.post(
            Message::Read(Box::new(move |engine, store, now| {
                if !reply.is_closed() {
                    let _ = reply.send(read(engine, store, now));
                }
            })),
            size_of::<F>(),
        )?;
        self.shared.answer(answer).await
    }

    /// Does what blocks on the disk, off the writer thread.
    ///
    /// # Errors
    /// What `work` says.
    pub async fn beside<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&dyn BodyReader) -> Result<T, StoreError> + Send + 'static,
    {
        let Some(ready) = self.shared.ready.get() else {
            return Err(StoreError::Unusable("the store is still being read".to_owned()));
        };
        let reader = ready.reader.clone();
        match tokio::task::spawn_blocking(move || work(&*reader)).await {
            Ok(done) => done,
            Err(error) => Err(StoreError::Damaged(format!("reading the store failed: {error}"))),
        }
    }

    /// The bodies at `places`, read off the writer thread.
    ///
    /// # Errors
    /// When one cannot be read or is damaged.
    pub async fn bodies(&self, places: Vec<Place>) -> Result<Vec<Body>, StoreError> {
        if places.is_empty() {
            return Ok(Vec::new());
        }
        self.beside(move |reader| reader.read(&places)).await
    }

    /// How a queue stands, now and after every change (at most every 50 ms); `None` while it does not exist.
    ///
    /// # Errors
    /// When the writer did not take it.
    pub async fn watch(
        &self,
        queue: QueueName,
    ) -> Result<watch::Receiver<Option<Arc<QueueStatus>>>, CallError> {
        let (reply, answer) = oneshot::channel();
        self.post(Message::Watch { queue, reply }, size_of::<Message>())?;
        self.shared.answer(answer).await
    }

    /// The number of the last change of any queue, now and after every change (at most every 50 ms).
    ///
    /// # Errors
    /// When the writer did not take it.
    pub async fn watch_many(&self) -> Result<watch::Receiver<u64>, CallError> {
        let (reply, answer) = oneshot::channel();
        self.post(Message::WatchMany { reply }, size_of::<Message>())?;
        self.shared.answer(answer).await
    }

    /// How queues stand that changed after a change, at most `limit` of them. Whoever asks holds what
    /// [`Handle::watch_many`] gave.
    ///
    /// # Errors
    /// When the writer did not take it.
    pub async fn changed(&self, after: u64, limit: usize) -> Result<ChangedQueues, CallError> {
        let (reply, answer) = oneshot::channel();
        self.post(Message::Changed { after, limit, reply }, size_of::<Message>())?;
        self.shared.answer(answer).await
    }

    /// Gives back jobs whose worker is gone; nobody hears of what became of it.
    pub fn give_back(&self, jobs: Vec<(JobId, LeaseToken)>, how: Returned) {
        if !jobs.is_empty() {
            let ticket = self.shared.ticket();
            self.shared.mailbox.post_always(Message::Return { ticket, jobs, how });
        }
    }

    /// What the clocks show.
    #[must_use]
    pub fn now(&self) -> Now {
        match self.shared.ready.get() {
            Some(ready) => ready.clock.now(),
            None => Now { engine: Timestamp::default(), wall: clock::wall_time() },
        }
    }

    /// Whether the writer takes calls: the store has been read, and it has not stopped.
    #[must_use]
    pub fn is_serving(&self) -> bool {
        self.shared.ready.get().is_some() && !self.shared.stopped.load(Ordering::Acquire)
    }

    fn post(&self, message: Message, bytes: usize) -> Result<(), CallError> {
        if self.shared.ready.get().is_none() {
            return Err(CallError::Starting);
        }
        self.shared.mailbox.post(message, bytes)
    }

    /// Refuses when the store has no room, and waits a little when it asks for time.
    async fn room_for_enqueue(&self) -> Result<(), CallError> {
        // Copied out: a borrow is a lock, and must not live over an await.
        let mut pressure = *self.shared.pressure.borrow();
        if pressure == Pressure::Slow {
            let mut changes = self.shared.pressure.subscribe();
            let relief = changes.wait_for(|pressure| *pressure != Pressure::Slow);
            if let Ok(Ok(relieved)) = timeout(MAX_ENQUEUE_DELAY, relief).await {
                pressure = *relieved;
            }
        }
        match pressure {
            Pressure::None | Pressure::Slow => Ok(()),
            Pressure::NoEnqueue | Pressure::NoLease => Err(CallError::StorageFull),
        }
    }
}

impl Shared {
    pub(super) fn new(mailbox: Mailbox) -> Shared {
        Shared {
            mailbox,
            ready: OnceLock::new(),
            pressure: watch::Sender::new(Pressure::None),
            stopped: AtomicBool::new(false),
            hints: watch::Sender::new(Arc::default()),
            post: Post::here(),
            last_ticket: AtomicU64::new(0),
        }
    }

    /// A ticket that was never given before.
    pub(super) fn ticket(&self) -> Ticket {
        Ticket(self.last_ticket.fetch_add(1, Ordering::Relaxed) + 1)
    }

    async fn answer<T>(&self, answer: oneshot::Receiver<T>) -> Result<T, CallError> {
        self.told(answer.await).await
    }

    async fn told<T>(&self, answer: Result<T, RecvError>) -> Result<T, CallError> {
        match answer {
            Ok(answer) => Ok(answer),
            Err(_) if self.stopped.load(Ordering::Acquire) => Err(CallError::Stopping),
            // The store failed, perhaps after this call's group was on disk: whatever we said could
            // be wrong. The process ends now, and the caller sees a broken connection.
            Err(_) => std::future::pending().await,
        }
    }
}

/// Says that nobody waits under the ticket any more, when it is dropped.
struct Waiting<'a> {
    ticket: Ticket,
    shared: &'a Shared,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.shared.mailbox.post_always(Message::Abandon(self.ticket));
    }
}
