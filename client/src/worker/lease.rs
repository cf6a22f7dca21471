//! Jobs by Lease calls: a slot for every job it asks for. For servers without the stream, and for workers that
//! run more jobs at a time than one stream may hold. Knows nothing of handlers.

use std::time::Duration;

use backon::BackoffBuilder;
use tokio::{
    pin,
    time::{Instant, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{
    Worker,
    carrier::Carrier,
    crew::Crew,
    delivery::{Delivery, Outcome},
    is_empty, pause,
};
use crate::{
    Error,
    proto::{LeaseRequest, LeaseResponse},
    retry::lengthened,
    span::{span_from_proto, span_to_proto},
};

/// Jobs of one Lease.
const MAX_LEASE_JOBS: usize = 1_000;
/// How long an answer that may be on its way is awaited after the worker was told to stop: its jobs can
/// then be given back, where an answer that is cut off would hold them until their lease expires.
const STOP_GRACE: Duration = Duration::from_millis(500);
/// An answer without jobs that comes sooner than this was not a wait: ask again after a pause.
const HASTY: Duration = Duration::from_millis(500);
/// The longest pause before asking again, whatever the server thinks: new jobs may come any time.
const MAX_PAUSE: Duration = Duration::from_secs(1);
/// How long a Lease waits when the worker is to stop at an empty queue.
const UNTIL_EMPTY_POLL: Duration = Duration::from_millis(200);

pub(super) struct Leasing<'a, H> {
    pub(super) worker: &'a Worker,
    pub(super) carrier: &'a Carrier,
    pub(super) crew: &'a mut Crew<H>,
}

impl<H, F> Leasing<'_, H>
where
    H: Fn(Delivery) -> F + Send + Sync + 'static,
    F: Future<Output = Outcome> + Send + 'static,
{
    /// Leases and runs until told to stop; then lets what runs finish.
    pub(super) async fn run(&mut self, stop: &CancellationToken) -> Result<(), Error> {
        let end = self.lease_until(stop).await;
        self.crew.finish(self.worker.settings.stop_timeout).await;
        end
    }

    async fn lease_until(&mut self, stop: &CancellationToken) -> Result<(), Error> {
        let policy = self.worker.client.retry_policy();
        let new_waits = || policy.backoff().build();
        let mut waits = new_waits();
        loop {
            let most = self.carrier.flow.batch_size(MAX_LEASE_JOBS);
            let Some(slots) = self.crew.free_slots(most, stop).await else { return Ok(()) };
            tokio::select! {
                () = self.carrier.flow.pause() => {}
                () = stop.cancelled() => return Ok(()),
            }
            let begin = Instant::now();
            let Some(answer) = self.lease(slots.num_permits(), stop).await else { return Ok(()) };
            if let Ok(answer) = &answer {
                waits = new_waits();
                self.carrier.flow.learn(answer.flow_hint);
            }
            match answer {
                Ok(answer) if !answer.jobs.is_empty() => self.crew.start(answer.jobs, Some(slots), stop),
                Ok(answer) => {
                    drop(slots);
                    if self.worker.settings.until_empty && is_empty(self.worker).await {
                        return Ok(());
                    }
                    if begin.elapsed() < HASTY {
                        let retry_after = answer.retry_after.as_ref().map(span_from_proto);
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

    /// Asks for so many jobs; none when told to stop before an answer.
    async fn lease(&self, max_jobs: usize, stop: &CancellationToken) -> Option<Result<LeaseResponse, Error>> {
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
        tokio::select! {
            answer = &mut call => Some(answer),
            () = stop.cancelled() => timeout(STOP_GRACE, &mut call).await.ok(),
        }
    }
}
