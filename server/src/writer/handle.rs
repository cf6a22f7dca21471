//! How the rest of the server speaks to the writer thread.

use std::sync::Arc;

use sluice_engine::{
    Answer, Command, Engine, JobId, Lease, LeasedJob, Now, QueueName, QueueStatus, Refusal, Span,
};
use tokio::sync::watch;

use crate::store::{Body, Place, StoreError};

/// Speaks to the writer. Cheap to clone.
#[derive(Clone)]
pub struct Handle {}

/// Why the writer did not take a call. Nothing was applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
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

/// Jobs on their way to a worker. Unless [`LeaseGuard::deliver`] is called they go back, untouched, when it is dropped.
pub struct Delivery {
    /// In order of dispatch.
    pub jobs: Vec<LeasedJob>,
    /// Where the body of each lies.
    pub places: Vec<Option<Place>>,
    /// When there are none: when asking again makes sense.
    pub retry_after: Option<Span>,
    /// Gives them back.
    pub guard: LeaseGuard,
}

/// Gives jobs back when their answer cannot be handed over.
pub struct LeaseGuard {}

impl LeaseGuard {
    /// The answer is on its way: keep nothing back.
    pub fn deliver(self) {
        todo!()
    }
}

impl Handle {
    /// Has the engine do `command` (any but `Lease` and `Abandon`); answers when its group is durable.
    /// `bytes` is what it holds in memory, for the mailbox's bound.
    ///
    /// # Errors
    /// When the writer did not take it.
    pub async fn call(&self, _command: Command, _bytes: usize) -> Result<Answer, CallError> {
        todo!()
    }

    /// Takes jobs, waiting as `lease` says. When the caller drops this future the wait is abandoned,
    /// and jobs already leased for it go back.
    ///
    /// # Errors
    /// When the writer did not take it; inside, when the engine refused.
    pub async fn lease(&self, _lease: Lease) -> Result<Result<Delivery, Refusal>, CallError> {
        todo!()
    }

    /// Reads the engine, after everything that was answered before. `read` must be quick.
    ///
    /// # Errors
    /// When the writer did not take it.
    pub async fn read<T, F>(&self, _read: F) -> Result<T, CallError>
    where
        T: Send + 'static,
        F: FnOnce(&Engine, Now) -> T + Send + 'static,
    {
        todo!()
    }

    /// As [`Handle::read`], and finds where the bodies of the ids it returns lie.
    ///
    /// # Errors
    /// When the writer did not take it.
    pub async fn read_and_locate<T, F>(&self, _read: F) -> Result<(T, Vec<Option<Place>>), CallError>
    where
        T: Send + 'static,
        F: FnOnce(&Engine, Now) -> (T, Vec<JobId>) + Send + 'static,
    {
        todo!()
    }

    /// The bodies at `places`, read off the writer thread.
    ///
    /// # Errors
    /// When one cannot be read or is damaged.
    pub async fn bodies(&self, _places: Vec<Place>) -> Result<Vec<Body>, StoreError> {
        todo!()
    }

    /// How a queue stands, now and after every change (at most every 50 ms); `None` while it does not exist.
    ///
    /// # Errors
    /// When the writer did not take it.
    pub async fn watch(
        &self,
        _queue: QueueName,
    ) -> Result<watch::Receiver<Option<Arc<QueueStatus>>>, CallError> {
        todo!()
    }

    /// What the clocks show.
    #[must_use]
    pub fn now(&self) -> Now {
        todo!()
    }
}
