//! The worker's main loop: a slot for every job it asks for, a task for every job it gets.

use std::{any::Any, panic::AssertUnwindSafe, sync::Arc, time::Duration};

use backon::BackoffBuilder;
use futures::FutureExt;
use tokio::{
    pin,
    sync::{OwnedSemaphorePermit, Semaphore},
    task::JoinSet,
    time::{Instant, sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{
    Worker,
    delivery::{Delivery, Failure, Outcome},
    holding::{Holding, LeaseKey},
    settlement::{Settler, Verdict},
};
use crate::{
    Error,
    proto::{LeaseRequest, LeasedJob},
    retry::lengthened,
    span::{span_from_proto, span_to_proto},
};

/// Jobs of one Lease.
const MAX_LEASE_JOBS: usize = 1_000;
/// How long an answer that may be on its way is awaited after the worker was told to stop: its jobs can
/// then be given back, where an answer that is cut off would hold them until their lease expires.
const STOP_GRACE: Duration = Duration::from_millis(500);
/// How long handlers have to obey when they are told to give up.
const OBEY_GRACE: Duration = Duration::from_secs(1);
/// An answer without jobs that comes sooner than this was not a wait: ask again after a pause.
const HASTY: Duration = Duration::from_millis(500);
/// The longest pause before asking again, whatever the server thinks: new jobs may come any time.
const MAX_PAUSE: Duration = Duration::from_secs(1);
/// How long a Lease waits when the worker is to stop at an empty queue.
const UNTIL_EMPTY_POLL: Duration = Duration::from_millis(200);

pub(super) struct Leasing<H> {
    worker: Worker,
    holding: Arc<Holding>,
    settler: Settler,
    handler: Arc<H>,
    slots: Arc<Semaphore>,
    running: JoinSet<()>,
    /// Ends handlers that did not finish in time.
    abandon: CancellationToken,
}

impl<H, F> Leasing<H>
where
    H: Fn(Delivery) -> F + Send + Sync + 'static,
    F: Future<Output = Outcome> + Send + 'static,
{
    pub(super) fn new(worker: Worker, holding: Arc<Holding>, settler: Settler, handler: H) -> Leasing<H> {
        let slots = Arc::new(Semaphore::new(worker.settings.concurrency));
        Leasing {
            worker,
            holding,
            settler,
            handler: Arc::new(handler),
            slots,
            running: JoinSet::new(),
            abandon: CancellationToken::new(),
        }
    }

    /// Leases and runs until told to stop; then lets what runs finish.
    pub(super) async fn run(mut self, stop: &CancellationToken) -> Result<(), Error> {
        let end = self.lease_until(stop).await;
        if timeout(self.worker.settings.stop_timeout, self.all_finished()).await.is_err() {
            self.holding.cancel_all();
            if timeout(OBEY_GRACE, self.all_finished()).await.is_err() {
                self.abandon.cancel();
                self.all_finished().await;
            }
        }
        end
    }

    async fn all_finished(&mut self) {
        while self.running.join_next().await.is_some() {}
    }

    async fn lease_until(&mut self, stop: &CancellationToken) -> Result<(), Error> {
        let policy = self.worker.client.retry_policy();
        let new_waits = || policy.backoff().build();
        let mut waits = new_waits();
        loop {
            while self.running.try_join_next().is_some() {}
            let Some(slots) = self.free_slots(stop).await else { return Ok(()) };
            let begin = Instant::now();
            let Some(answer) = self.lease(slots.num_permits(), stop).await else { return Ok(()) };
            match answer {
                Ok(jobs) if !jobs.0.is_empty() => {
                    waits = new_waits();
                    self.start(jobs.0, slots, stop).await;
                }
                Ok((_, retry_after)) => {
                    waits = new_waits();
                    drop(slots);
                    if self.worker.settings.until_empty && self.is_empty().await {
                        return Ok(());
                    }
                    if begin.elapsed() < HASTY {
                        pause(retry_after.unwrap_or(HASTY).min(MAX_PAUSE), stop).await;
                    }
                }
                Err(error) if error.is_final() => return Err(error),
                Err(error) => {
                    let wait = lengthened(waits.next().unwrap_or(MAX_PAUSE), error.retry_after());
                    tracing::warn!(%error, ?wait, "no lease, trying again");
                    pause(wait, stop).await;
                }
            }
        }
    }

    /// Every slot that is free, at least one; none when told to stop.
    async fn free_slots(&self, stop: &CancellationToken) -> Option<OwnedSemaphorePermit> {
        let mut slots = tokio::select! {
            biased;
            () = stop.cancelled() => return None,
            slot = Arc::clone(&self.slots).acquire_owned() => slot.ok()?,
        };
        while slots.num_permits() < MAX_LEASE_JOBS {
            match Arc::clone(&self.slots).try_acquire_owned() {
                Ok(slot) => slots.merge(slot),
                Err(_) => break,
            }
        }
        Some(slots)
    }

    /// Asks for so many jobs; none when told to stop before an answer.
    async fn lease(
        &self,
        max_jobs: usize,
        stop: &CancellationToken,
    ) -> Option<Result<(Vec<LeasedJob>, Option<Duration>), Error>> {
        let settings = &self.worker.settings;
        let poll = if settings.until_empty { settings.poll.min(UNTIL_EMPTY_POLL) } else { settings.poll };
        let call = self.worker.client.lease(LeaseRequest {
            queue: self.worker.queue.clone(),
            max_jobs: u32::try_from(max_jobs).ok(),
            lease_duration: settings.lease_duration.map(span_to_proto),
            wait_timeout: Some(span_to_proto(poll)),
            worker_id: settings.worker_id.clone(),
        });
        pin!(call);
        let answer = tokio::select! {
            answer = &mut call => answer,
            () = stop.cancelled() => timeout(STOP_GRACE, &mut call).await.ok()?,
        };
        Some(answer.map(|answer| (answer.jobs, answer.retry_after.as_ref().map(span_from_proto))))
    }

    /// A task for every job; when told to stop meanwhile, the jobs go back untouched.
    async fn start(
        &mut self,
        jobs: Vec<LeasedJob>,
        mut slots: OwnedSemaphorePermit,
        stop: &CancellationToken,
    ) {
        let jobs: Vec<_> = jobs.into_iter().filter_map(keyed).collect();
        let taken: Vec<_> = jobs.iter().map(|(key, leased)| (key.clone(), leased)).collect();
        let lost = self.holding.take(&taken);
        for ((key, leased), lost) in jobs.into_iter().zip(lost) {
            // More jobs than were asked for find no slot.
            let (Some(slot), Some(job), false) = (slots.split(1), leased.job, stop.is_cancelled()) else {
                self.settler.settle(key, Verdict::released()).await;
                continue;
            };
            let delivery = Delivery { job, lease_token: key.lease_token, lost };
            let (handler, settler) = (Arc::clone(&self.handler), self.settler.clone());
            let abandon = self.abandon.clone();
            self.running.spawn(async move {
                let outcome = tokio::select! {
                    outcome = guarded(async move { handler(delivery).await }) => outcome,
                    () = abandon.cancelled() => Outcome::Failed(Failure::new("the worker had to stop").code("STOPPED")),
                };
                settler.settle(key, outcome.into()).await;
                drop(slot);
            });
        }
    }

    /// Whether nothing waits and nothing is leased, by us or others. Doubt counts as no.
    async fn is_empty(&self) -> bool {
        match self.worker.client.queue_status(&self.worker.queue).await {
            Ok(status) => status.jobs == 0,
            Err(_) => false,
        }
    }
}

fn keyed(leased: LeasedJob) -> Option<(LeaseKey, LeasedJob)> {
    let job_id = leased.job.as_ref()?.job_id.clone();
    Some((LeaseKey { job_id, lease_token: leased.lease_token }, leased))
}

/// A handler that panics has failed, and nothing else has.
async fn guarded(handler: impl Future<Output = Outcome>) -> Outcome {
    AssertUnwindSafe(handler).catch_unwind().await.unwrap_or_else(|panic| {
        let error = format!("the handler panicked: {}", words(panic.as_ref()));
        Outcome::Failed(Failure::new(error).code("PANIC"))
    })
}

fn words(panic: &(dyn Any + Send)) -> &str {
    match (panic.downcast_ref::<&str>(), panic.downcast_ref::<String>()) {
        (Some(words), _) => words,
        (_, Some(words)) => words,
        _ => "without words",
    }
}

async fn pause(wait: Duration, stop: &CancellationToken) {
    tokio::select! {
        () = sleep(wait) => {}
        () = stop.cancelled() => {}
    }
}
