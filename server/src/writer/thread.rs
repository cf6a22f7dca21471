//! The writer thread: reads the store, then turns messages into steps until it is told to stop.

use std::collections::BTreeMap;
use std::mem::ManuallyDrop;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use sluice_engine::{Engine, EngineConfig, FlowHintPolicy, LoadError, Loader, QueueName};
use tokio::sync::oneshot;
use tracing::{error, info};

use super::handle::{Handle, Ready, Shared};
use super::mailbox::{Inbox, MailboxLimit, mailbox};
use super::message::Message;
use super::step::{Step, Wake};
use crate::clock::Clock;
use crate::os;
use crate::store::{Store, StoreError};

/// The writer thread, to wait for and to stop.
pub struct Writer {
    shared: Arc<Shared>,
    ready: Option<oneshot::Receiver<Result<(), StartError>>>,
    ended: oneshot::Receiver<()>,
}

/// Why the writer could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The store cannot be opened or read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What the store holds makes no queue.
    #[error("damaged store: {0}")]
    Load(#[from] LoadError),
    /// The operating system gave no thread.
    #[error("cannot start the writer thread: {0}")]
    Thread(#[from] std::io::Error),
    /// Opening the store panicked; the message is in the log.
    #[error("reading the store failed unexpectedly")]
    Panicked,
}

/// Why the writer cannot go on: memory and disk may disagree.
#[derive(Debug, thiserror::Error)]
pub enum Fatal {
    /// The store failed.
    #[error(transparent)]
    Store(StoreError),
    /// A bug.
    #[error("the writer thread panicked")]
    Panicked,
}

/// What ends the process when the writer cannot go on. Returns only in tests.
pub type OnFatal = Box<dyn FnOnce(Fatal) + Send>;

/// The exit code of a server whose store failed.
const EXIT_STORE_FAILED: i32 = 74;

impl Writer {
    /// Starts the thread. Calls are refused with `Starting` until [`Writer::ready`]. `open` runs on the
    /// thread: recovery may take its time.
    ///
    /// # Errors
    /// When there is no thread to be had.
    pub fn start(
        config: EngineConfig,
        limit: MailboxLimit,
        open: impl FnOnce() -> Result<Box<dyn Store>, StoreError> + Send + 'static,
        on_fatal: OnFatal,
    ) -> Result<(Handle, Writer), StartError> {
        let (mailbox, inbox) = mailbox(limit);
        let shared = Arc::new(Shared::new(mailbox));
        let (tell_ready, ready) = oneshot::channel();
        let (tell_ended, ended) = oneshot::channel();
        let thread = Thread { config, inbox, shared: shared.clone(), on_fatal };
        thread::Builder::new().name("writer".to_owned()).spawn(move || {
            thread.run(open, tell_ready);
            let _ = tell_ended.send(());
        })?;
        Ok((Handle::new(shared.clone()), Writer { shared, ready: Some(ready), ended }))
    }

    /// Waits until the store has been read.
    ///
    /// # Errors
    /// When it could not be; the thread has ended.
    pub async fn ready(&mut self) -> Result<(), StartError> {
        match self.ready.take() {
            Some(ready) => ready.await.unwrap_or(Err(StartError::Panicked)),
            None => Ok(()),
        }
    }

    /// Has the writer finish what it was given, close the store and end.
    pub async fn stop(self) {
        self.shared.mailbox.post_always(Message::Stop);
        let _ = self.ended.await;
    }
}

/// Ends the process at once, with nothing dropped: a store that is dropped may write.
pub fn exit_at_once(fatal: Fatal) {
    error!(error = %fatal, "the store failed: ending without an answer to anybody");
    os::exit_at_once(EXIT_STORE_FAILED);
}

struct Thread {
    config: EngineConfig,
    inbox: Inbox,
    shared: Arc<Shared>,
    on_fatal: OnFatal,
}

impl Thread {
    fn run(
        self,
        open: impl FnOnce() -> Result<Box<dyn Store>, StoreError>,
        tell_ready: oneshot::Sender<Result<(), StartError>>,
    ) {
        match self.load(open) {
            Ok((step, clock)) => {
                let _ = tell_ready.send(Ok(()));
                self.serve(step, clock);
            }
            Err(error) => {
                self.shared.stopped.store(true, Ordering::Release);
                let _ = tell_ready.send(Err(error));
            }
        }
    }

    fn load(
        &self,
        open: impl FnOnce() -> Result<Box<dyn Store>, StoreError>,
    ) -> Result<(Step, Clock), StartError> {
        let mut store = open()?;
        let mut loader = Loader::new(self.config);
        let last = store.load(&mut loader)?;
        let clock = Clock::after(last, store.clock_file().as_deref());
        let engine = loader.finish(clock.now())?;
        let reader = store.reader();
        // Set only here, so it cannot be set already.
        let _ = self.shared.ready.set(Ready { clock, reader });
        self.shared.hints.send_replace(Arc::new(flow_hints(&engine)));
        Ok((Step::new(engine, store, self.shared.clone()), clock))
    }

    fn serve(self, step: Step, clock: Clock) {
        // Never dropped unless it ends well: dropping replies would tell callers what we do not know,
        // and dropping a store that failed could write.
        let mut step = ManuallyDrop::new(step);
        let mut inbox = ManuallyDrop::new(self.inbox);
        let ended = catch_unwind(AssertUnwindSafe(|| turn(&mut step, &mut inbox, clock)));
        match ended {
            Ok(Ok(())) => {
                self.shared.stopped.store(true, Ordering::Release);
                drop(ManuallyDrop::into_inner(step));
                drop(ManuallyDrop::into_inner(inbox));
                info!("writer stopped");
            }
            Ok(Err(error)) => (self.on_fatal)(Fatal::Store(error)),
            Err(_) => (self.on_fatal)(Fatal::Panicked),
        }
    }
}

/// What callers of queues are asked to do.
fn flow_hints(engine: &Engine) -> BTreeMap<QueueName, FlowHintPolicy> {
    let queues = engine.queues(None, usize::MAX).into_iter();
    queues.filter_map(|queue| Some((queue.name, queue.settings.flow_hint?))).collect()
}

/// Steps until it is told to stop.
fn turn(step: &mut Step, inbox: &mut Inbox, clock: Clock) -> Result<(), StoreError> {
    let mut group = Vec::new();
    let mut wake = Wake(clock.now().engine);
    loop {
        let wait = wake.0.since(clock.now().engine);
        let taken = inbox.take(&mut group, Duration::from_nanos(wait.0));
        wake = step.step(group.drain(..), clock.now())?;
        if taken.stop {
            return step.close(clock.now());
        }
    }
}
