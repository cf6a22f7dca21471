//! Segments to come and segments gone: the next file is made, filled with zeros and synced before it is
//! needed, and old ones are made new. On a thread of its own: the writer must not wait for either.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TryRecvError, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use super::segment::{SegmentFile, path_of};
use crate::store::StoreError;
use crate::store::disk::{Disk, DiskFile};

/// Files kept for a next life. One is in use soon; a second covers a burst.
const MAX_SPARES: usize = 2;
/// What comes after the number of a segment whose file waits for a next life.
pub(super) const SPARE_SUFFIX: &str = ".spare";
/// Orders that may wait for the thread: more than segments that are ever retired at once.
const MAX_ORDERS: usize = 1_024;
/// A new file is synced each time so much of it is filled: the writer's own syncs must not queue behind
/// a whole segment.
const FILL_BYTES: u64 = 8 << 20;
/// How long the writer waits for a segment: a disk that cannot write one in this time is not working.
const MAX_WAIT: Duration = Duration::from_secs(60);

/// Where the log gets its segments from, and leaves them to.
pub(super) struct Supply {
    worker: Worker,
    /// The number of the segment that was ordered or lies ready.
    next: u64,
    ready: Option<Result<Arc<SegmentFile>, StoreError>>,
}

enum Worker {
    /// Works when asked, on the caller's thread: for simulations, which need one order of things.
    Here(Workshop),
    Thread {
        orders: Option<SyncSender<Order>>,
        done: Receiver<Result<Arc<SegmentFile>, StoreError>>,
        thread: Option<JoinHandle<()>>,
    },
}

enum Order {
    Prepare(u64),
    Retire(Arc<SegmentFile>),
}

/// Does the work.
struct Workshop {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    segment_bytes: u64,
    spares: Vec<(PathBuf, Arc<dyn DiskFile>)>,
}

impl Supply {
    /// Orders segment `next` at once.
    pub(super) fn new(
        disk: Arc<dyn Disk>,
        dir: &Path,
        segment_bytes: u64,
        ahead: bool,
        next: u64,
    ) -> Result<Supply, StoreError> {
        let workshop = Workshop { disk, dir: dir.to_owned(), segment_bytes, spares: Vec::new() };
        let worker = if ahead { Worker::start(workshop)? } else { Worker::Here(workshop) };
        let mut supply = Supply { worker, next, ready: None };
        supply.order()?;
        Ok(supply)
    }

    /// The next segment, and orders the one after. Waits if it must.
    pub(super) fn take(&mut self) -> Result<Arc<SegmentFile>, StoreError> {
        if !self.is_ready() {
            if matches!(self.ready, Some(Err(_))) {
                // There may be room by now.
                self.order()?;
            }
            self.wait()?;
        }
        let file = self.ready.take().unwrap_or_else(|| Err(gone()))?;
        self.next += 1;
        self.order()?;
        Ok(file)
    }

    /// Whether the next segment is there.
    pub(super) fn is_ready(&mut self) -> bool {
        if let (None, Worker::Thread { done, .. }) = (&self.ready, &self.worker) {
            self.ready = match done.try_recv() {
                Ok(result) => Some(result),
                Err(TryRecvError::Empty) => None,
                Err(TryRecvError::Disconnected) => Some(Err(gone())),
            };
        }
        matches!(self.ready, Some(Ok(_)))
    }

    /// Takes back a segment that is needed no more: once nobody reads it, its file is used again or removed.
    pub(super) fn retire(&mut self, file: Arc<SegmentFile>) -> Result<(), StoreError> {
        match &mut self.worker {
            Worker::Here(workshop) => workshop.retire(file),
            Worker::Thread { orders, .. } => send(orders.as_ref(), Order::Retire(file))?,
        }
        if self.is_ready() || self.ready.is_none() {
            return Ok(());
        }
        // There was no room for the next: now there is.
        self.order()
    }

    fn order(&mut self) -> Result<(), StoreError> {
        self.ready = None;
        match &mut self.worker {
            Worker::Here(workshop) => {
                self.ready = Some(workshop.prepare(self.next));
                Ok(())
            }
            Worker::Thread { orders, .. } => send(orders.as_ref(), Order::Prepare(self.next)),
        }
    }

    fn wait(&mut self) -> Result<(), StoreError> {
        if let (None, Worker::Thread { done, .. }) = (&self.ready, &self.worker) {
            self.ready = Some(done.recv_timeout(MAX_WAIT).unwrap_or_else(|error| {
                Err(match error {
                    RecvTimeoutError::Timeout => {
                        StoreError::Unusable(format!("segment {} of the log was not made in time", self.next))
                    }
                    RecvTimeoutError::Disconnected => gone(),
                })
            }));
        }
        Ok(())
    }
}

impl Drop for Supply {
    fn drop(&mut self) {
        if let Worker::Thread { orders, thread, .. } = &mut self.worker {
            drop(orders.take());
            if let Some(thread) = thread.take() {
                // It has reported its own failures already; a panic there is told by the panic hook.
                let _ = thread.join();
            }
        }
    }
}

impl Worker {
    fn start(mut workshop: Workshop) -> Result<Worker, StoreError> {
        let (orders, inbox) = sync_channel(MAX_ORDERS);
        // One segment at most is ordered at a time, and the answer to one that failed may still lie there.
        let (report, done) = sync_channel(2);
        let work = move || {
            for order in inbox {
                match order {
                    Order::Prepare(number) => {
                        if report.send(workshop.prepare(number)).is_err() {
                            return;
                        }
                    }
                    Order::Retire(file) => workshop.retire(file),
                }
            }
        };
        let thread =
            std::thread::Builder::new().name("log-supply".to_owned()).spawn(work).map_err(|source| {
                StoreError::Io { what: "start the thread that makes segments".to_owned(), source }
            })?;
        Ok(Worker::Thread { orders: Some(orders), done, thread: Some(thread) })
    }
}

impl Workshop {
    fn prepare(&mut self, number: u64) -> Result<Arc<SegmentFile>, StoreError> {
        let path = path_of(&self.dir, number);
        let made = match self.spares.pop() {
            Some((spare, file)) => self.disk.rename(&spare, &path).map(|()| file),
            None => self.make(&path),
        };
        let file = made.and_then(|file| self.disk.sync_dir(&self.dir).map(|()| file));
        match file {
            Ok(file) => Ok(Arc::new(SegmentFile { number, path, file })),
            Err(source) => {
                // Half a file is of no use, and its room may be what acks need. Best effort: it is
                // removed when the log is opened, too.
                let _ = self.disk.remove(&path);
                Err(StoreError::Io { what: format!("make {}", path.display()), source })
            }
        }
    }

    fn make(&self, path: &Path) -> std::io::Result<Arc<dyn DiskFile>> {
        let file = self.disk.create(path)?;
        let mut filled = 0;
        while filled < self.segment_bytes {
            let end = self.segment_bytes.min(filled + FILL_BYTES);
            file.zero(filled..end)?;
            file.sync_data()?;
            filled = end;
        }
        Ok(file)
    }

    fn retire(&mut self, file: Arc<SegmentFile>) {
        let path = file.path.clone();
        let again = Arc::into_inner(file)
            .filter(|file| file.file.bytes().is_ok_and(|bytes| bytes == self.segment_bytes))
            .filter(|_| self.spares.len() < MAX_SPARES);
        let result = match again {
            Some(file) => {
                let spare = path.with_extension(&SPARE_SUFFIX[1..]);
                self.disk.rename(&path, &spare).map(|()| self.spares.push((spare, file.file)))
            }
            // Who reads it can go on: only the name goes.
            None => self.disk.remove(&path),
        };
        if let Err(error) = result {
            // It is removed when the log is opened next.
            tracing::warn!(path = %path.display(), %error, "cannot retire a segment");
        }
    }
}

fn send(orders: Option<&SyncSender<Order>>, order: Order) -> Result<(), StoreError> {
    orders.and_then(|orders| orders.send(order).ok()).ok_or_else(gone)
}

fn gone() -> StoreError {
    StoreError::Unusable("the thread that makes segments of the log is gone".to_owned())
}
