//! Backup: slices are taken between groups as fast as the caller reads, and written beside the writer.

use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt, stream};
use sluice_engine::{Command, Outcome};
use sluice_proto::v1;
use tokio::time::{sleep, timeout};

use super::Rpc;
use super::right::ADMIN;
use super::service::Messages;
use super::status::Failure;
use crate::auth::Access;
use crate::store::{Backup, Slice, StoreError};
use crate::writer::CallError;

/// Bytes of a message at most.
const CHUNK_BYTES: usize = 1 << 20;
/// A writer that has too much to do is asked again after this,
const OVERLOADED_PAUSE: Duration = Duration::from_millis(50);
/// and for so long.
const MAX_OVERLOADED: Duration = Duration::from_secs(30);

impl Rpc {
    pub(super) async fn do_backup(&self, access: &Access) -> Result<Messages<v1::BackupResponse>, Failure> {
        access.check_everywhere(ADMIN)?;
        let begun =
            self.handle.read_store(|engine, store, now| Backup::begin(engine.ledger(), store, now)).await?;
        let (backup, out) = begun.map_err(too_many)?;
        self.restate_nodes().await?;
        let work = Arc::new(Mutex::new(Work { backup, slice: None, out }));
        let taker = Taker { rpc: self.clone(), work, written: Bytes::new(), more: true };
        // Made one message at a time, when the connection has room for it.
        let chunks = stream::try_unfold(taker, |taker| async {
            let shutdown = taker.rpc.shutdown.clone();
            tokio::select! {
                biased;
                () = shutdown.cancelled() => Err(Failure::Stopping.into()),
                chunk = taker.chunk() => Ok(chunk?),
            }
        });
        Ok(chunks.boxed())
    }
}

impl Rpc {
    /// Has what limits know said again, in groups of the backup that has begun: it is in no record.
    async fn restate_nodes(&self) -> Result<(), Failure> {
        let mut next = Some(0);
        while let Some(first) = next {
            next = match self.handle.call(Command::RestateNodes(first), size_of::<Command>()).await? {
                Ok(Outcome::NodesRestated(next)) => next,
                _ => return Err(Failure::Internal),
            };
        }
        Ok(())
    }
}

/// Somebody who takes a backup.
struct Taker {
    rpc: Rpc,
    work: Arc<Mutex<Work>>,
    /// What was written and is not sent.
    written: Bytes,
    /// Whether there is more to write.
    more: bool,
}

/// Goes to the writer and back.
struct Work {
    backup: Backup,
    /// What was taken and is not written.
    slice: Option<Slice>,
    out: Vec<u8>,
}

impl Taker {
    /// The next message, and the taker for the one after it; none: that was the last.
    async fn chunk(mut self) -> Result<Option<(v1::BackupResponse, Taker)>, Failure> {
        while self.written.is_empty() && self.more {
            if !lock(&self.work).is_full() {
                self.take().await?;
                self.more = self.write().await?;
            }
            if lock(&self.work).is_full() || !self.more {
                self.written = mem::take(&mut lock(&self.work).out).into();
            }
        }
        if self.written.is_empty() {
            return Ok(None);
        }
        let chunk = self.written.split_to(self.written.len().min(CHUNK_BYTES));
        Ok(Some((v1::BackupResponse { chunk }, self)))
    }

    /// Takes a slice between two groups, if the last one is written.
    async fn take(&self) -> Result<(), Failure> {
        let taking = async {
            loop {
                let work = self.work.clone();
                let taken = self.rpc.handle.read_store(move |engine, store, now| {
                    let mut work = lock(&work);
                    if work.slice.is_none() {
                        work.slice = Some(work.backup.take(engine.ledger(), store, now)?);
                    }
                    Ok::<(), StoreError>(())
                });
                match taken.await {
                    Err(CallError::Overloaded) => sleep(OVERLOADED_PAUSE).await,
                    Err(error) => return Err(error.into()),
                    Ok(Err(error)) => return Err(too_slow(error)),
                    Ok(Ok(())) => return Ok(()),
                }
            }
        };
        if lock(&self.work).slice.is_some() {
            return Ok(());
        }
        timeout(MAX_OVERLOADED, taking).await.unwrap_or(Err(Failure::Overloaded))
    }

    /// Writes some of the slice, beside the writer; says whether anything is left to take or to write.
    async fn write(&self) -> Result<bool, Failure> {
        let work = self.work.clone();
        let more = self.rpc.handle.beside(move |reader| {
            let Work { backup, slice, out } = &mut *lock(&work);
            if let Some(taken) = slice
                && !backup.write(taken, reader, out)?
            {
                *slice = None;
            }
            Ok(slice.is_some() || !backup.is_ended())
        });
        Ok(more.await?)
    }
}

impl Work {
    fn is_full(&self) -> bool {
        self.out.len() >= CHUNK_BYTES
    }
}

fn lock(work: &Mutex<Work>) -> MutexGuard<'_, Work> {
    work.lock().unwrap_or_else(PoisonError::into_inner)
}

fn too_many(error: StoreError) -> Failure {
    tracing::warn!(%error, "no backup");
    Failure::Overloaded
}

fn too_slow(error: StoreError) -> Failure {
    tracing::warn!(%error, "a backup ends");
    Failure::BackupTooSlow
}
