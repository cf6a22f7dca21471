//! The handlers that run: a slot and a task for each delivery. Knows nothing of how deliveries come.

use std::{any::Any, panic::AssertUnwindSafe, sync::Arc, time::Duration};

use futures::FutureExt;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    task::JoinSet,
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use super::{
    delivery::{Delivery, Failure, Outcome},
    holding::{Holding, LeaseKey},
    settlement::{Settler, Verdict},
};
use crate::proto::LeasedJob;

/// How long handlers have to obey when they are told to give up.
const OBEY_GRACE: Duration = Duration::from_secs(1);

pub(super) struct Crew<H> {
    pub(super) holding: Arc<Holding>,
    pub(super) settler: Settler,
    handler: Arc<H>,
    slots: Arc<Semaphore>,
    running: JoinSet<()>,
    /// Ends handlers that did not finish in time.
    abandon: CancellationToken,
}

impl<H, F> Crew<H>
where
    H: Fn(Delivery) -> F + Send + Sync + 'static,
    F: Future<Output = Outcome> + Send + 'static,
{
    pub(super) fn new(holding: Arc<Holding>, settler: Settler, handler: H, concurrency: usize) -> Crew<H> {
        Crew {
            holding,
            settler,
            handler: Arc::new(handler),
            slots: Arc::new(Semaphore::new(concurrency)),
            running: JoinSet::new(),
            abandon: CancellationToken::new(),
        }
    }

    /// Up to `most` free slots, at least one; none when told to stop.
    pub(super) async fn free_slots(
        &self,
        most: usize,
        stop: &CancellationToken,
    ) -> Option<OwnedSemaphorePermit> {
        let mut slots = tokio::select! {
            biased;
            () = stop.cancelled() => return None,
            slot = Arc::clone(&self.slots).acquire_owned() => slot.ok()?,
        };
        while slots.num_permits() < most {
            match Arc::clone(&self.slots).try_acquire_owned() {
                Ok(slot) => slots.merge(slot),
                Err(_) => break,
            }
        }
        Some(slots)
    }

    /// A task for every job, with one of `slots` or with the next that is free. What has no slot when the worker
    /// is told to stop goes back untouched.
    pub(super) fn start(
        &mut self,
        jobs: Vec<LeasedJob>,
        mut slots: Option<OwnedSemaphorePermit>,
        stop: &CancellationToken,
    ) {
        while self.running.try_join_next().is_some() {}
        let jobs: Vec<_> = jobs.into_iter().filter_map(keyed).collect();
        let taken: Vec<_> = jobs.iter().map(|(key, leased)| (key.clone(), leased)).collect();
        let signals = self.holding.take(&taken);
        for ((key, leased), signal) in jobs.into_iter().zip(signals) {
            let slot = slots.as_mut().and_then(|slots| slots.split(1));
            let free = Arc::clone(&self.slots);
            let (handler, settler) = (Arc::clone(&self.handler), self.settler.clone());
            let (stop, abandon) = (stop.clone(), self.abandon.clone());
            self.running.spawn(async move {
                let slot = tokio::select! {
                    biased;
                    () = stop.cancelled() => None,
                    // What was cancelled or lost before it began need not begin.
                    () = signal.cancelled.cancelled() => None,
                    slot = async { match slot { Some(slot) => Some(slot), None => free.acquire_owned().await.ok() } } => slot,
                };
                let (Some(slot), Some(job)) = (slot, leased.job) else {
                    return settler.settle(key, Verdict::released(), None).await;
                };
                let delivery = Delivery {
                    job,
                    lease_token: key.lease_token,
                    lost: signal.lost,
                    cancelled: signal.cancelled,
                };
                let outcome = tokio::select! {
                    outcome = guarded(async move { handler(delivery).await }) => outcome,
                    () = abandon.cancelled() => Outcome::Failed(Failure::new("the worker had to stop").code("STOPPED")),
                };
                let (outcome, actual_cost) = outcome.into_parts();
                settler.settle(key, outcome.into(), actual_cost).await;
                drop(slot);
            });
        }
    }

    /// Whether no handler runs.
    pub(super) fn is_idle(&mut self) -> bool {
        while self.running.try_join_next().is_some() {}
        self.running.is_empty()
    }

    /// Lets what runs finish; what does not in time is told to, and then dropped.
    pub(super) async fn finish(&mut self, stop_timeout: Duration) {
        if timeout(stop_timeout, self.all_finished()).await.is_err() {
            self.holding.cancel_all();
            if timeout(OBEY_GRACE, self.all_finished()).await.is_err() {
                self.abandon.cancel();
                self.all_finished().await;
            }
        }
    }

    async fn all_finished(&mut self) {
        while self.running.join_next().await.is_some() {}
    }
}

/// A job under the name of its lease; one without a job is none.
pub(super) fn keyed(leased: LeasedJob) -> Option<(LeaseKey, LeasedJob)> {
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
