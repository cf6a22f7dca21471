//! The leases a worker holds, and their renewal: at a third of their time, so that two more tries fit
//! before they end. Knows nothing of handlers.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::Notify,
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;

use super::carrier::Carrier;
use crate::{
    Error,
    proto::{ExtendLeaseRequest, ExtendLeaseResult, LeaseExtension, LeasedJob},
    span::{span_from_proto, span_to_proto},
};

/// What part of a lease passes before it is extended.
const RENEWALS_PER_LEASE: u32 = 3;
/// What part of a lease passes between tries when the server cannot be reached.
const TRIES_PER_LEASE: u32 = 12;
/// Taken for the length of a lease when the server does not say: its least.
const MIN_LEASE: Duration = Duration::from_secs(1);
/// Leases of one call.
const MAX_EXTENSIONS: usize = 1_000;

/// One delivery: a job and the token of its lease.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct LeaseKey {
    pub(super) job_id: String,
    pub(super) lease_token: u64,
}

/// Every lease that is not settled yet.
#[derive(Debug, Default)]
pub(super) struct Holding {
    leases: Mutex<HashMap<LeaseKey, Held>>,
    taken: Notify,
    settled: Notify,
}

/// By what a handler learns that it may stop.
#[derive(Clone, Debug)]
pub(super) struct Signal {
    /// The lease is lost.
    pub(super) lost: CancellationToken,
    /// The job is to be given up, for whatever reason.
    pub(super) cancelled: CancellationToken,
}

#[derive(Debug)]
struct Held {
    duration: Duration,
    renew_time: Instant,
    expire_time: Instant,
    signal: Signal,
    /// It came too late to begin: no handler has it.
    idle: bool,
    /// The server said so: settling is of no use. When only time passed, it may still succeed.
    gone: bool,
}

impl Holding {
    /// Takes leases over as of now; answers the signals by which each handler learns of its end.
    pub(super) fn take(&self, jobs: &[(LeaseKey, &LeasedJob)]) -> Vec<Signal> {
        self.hold(jobs, false)
    }

    /// Takes leases over that no handler will have.
    pub(super) fn keep(&self, jobs: &[(LeaseKey, &LeasedJob)]) {
        self.hold(jobs, true);
    }

    fn hold(&self, jobs: &[(LeaseKey, &LeasedJob)], idle: bool) -> Vec<Signal> {
        let now = Instant::now();
        let mut leases = self.lock();
        let take = |(key, leased): &(LeaseKey, &LeasedJob)| {
            let duration = leased.lease_duration.as_ref().map_or(MIN_LEASE, span_from_proto).max(MIN_LEASE);
            let lost = CancellationToken::new();
            // Whatever is lost is to be given up too.
            let signal = Signal { cancelled: lost.child_token(), lost };
            let held = Held {
                duration,
                renew_time: now + duration / RENEWALS_PER_LEASE,
                expire_time: now + duration,
                signal: signal.clone(),
                idle,
                gone: false,
            };
            leases.insert(key.clone(), held);
            signal
        };
        let signals = jobs.iter().map(take).collect();
        drop(leases);
        self.taken.notify_one();
        signals
    }

    /// Whether the server said that the lease is lost.
    pub(super) fn is_gone(&self, key: &LeaseKey) -> bool {
        self.lock().get(key).is_some_and(|held| held.gone)
    }

    /// Forgets a lease that is settled.
    pub(super) fn forget(&self, key: &LeaseKey) {
        self.lock().remove(key);
        self.settled.notify_waiters();
    }

    /// Whether every lease that a handler had is settled.
    pub(super) fn is_settled(&self) -> bool {
        self.lock().values().all(|held| held.idle)
    }

    /// Waits until every lease that a handler had is settled.
    pub(super) async fn until_settled(&self) {
        loop {
            let settled = self.settled.notified();
            if self.is_settled() {
                return;
            }
            settled.await;
        }
    }

    /// The leases that no handler had.
    pub(super) fn idle(&self) -> Vec<LeaseKey> {
        self.lock().iter().filter(|(_, held)| held.idle).map(|(key, _)| key.clone()).collect()
    }

    /// Tells every handler to give up.
    pub(super) fn cancel_all(&self) {
        for held in self.lock().values() {
            held.signal.lost.cancel();
        }
    }

    /// Tells a job's handler that it was cancelled.
    pub(super) fn cancel(&self, job_id: &str) {
        for (_, held) in self.lock().iter().filter(|(key, _)| key.job_id == job_id) {
            held.signal.cancelled.cancel();
        }
    }

    /// The server said that a job is not ours any more.
    pub(super) fn lose(&self, job_id: &str) {
        for (_, held) in self.lock().iter_mut().filter(|(key, _)| key.job_id == job_id) {
            held.gone = true;
            held.signal.lost.cancel();
        }
    }

    /// Asks soon whose the leases are: their stream broke.
    pub(super) fn doubt(&self, after: Duration) {
        let time = Instant::now() + after;
        for held in self.lock().values_mut() {
            held.renew_time = held.renew_time.min(time);
        }
        self.taken.notify_one();
    }

    /// Extends leases when it is time, until it is dropped.
    pub(super) async fn renew(self: Arc<Self>, carrier: Arc<Carrier>) {
        loop {
            match self.next_time() {
                Some(time) => tokio::select! {
                    () = sleep_until(time) => {}
                    // It may be due sooner than all others.
                    () = self.taken.notified() => continue,
                },
                None => {
                    self.taken.notified().await;
                    continue;
                }
            }
            let due = self.due(Instant::now());
            for due in due.chunks(MAX_EXTENSIONS) {
                let begin = Instant::now();
                match carrier.extend(extensions(due)).await {
                    Ok(answer) => self.extended(due, &answer.results, begin),
                    Err(error) => self.not_extended(due, &error),
                }
            }
        }
    }

    fn next_time(&self) -> Option<Instant> {
        let time = |held: &Held| {
            // One that ran out was told; it waits for its handler or for the server's word.
            if held.signal.lost.is_cancelled() {
                held.renew_time
            } else {
                held.renew_time.min(held.expire_time)
            }
        };
        self.lock().values().filter(|held| !held.gone).map(time).min()
    }

    /// The leases to extend now. Handlers whose lease has run out meanwhile are told.
    fn due(&self, now: Instant) -> Vec<(LeaseKey, Duration)> {
        let mut due = Vec::new();
        for (key, held) in self.lock().iter().filter(|(_, held)| !held.gone) {
            if held.expire_time <= now && !held.signal.lost.is_cancelled() {
                tracing::warn!(job_id = key.job_id, "lease ran out before it could be extended");
                held.signal.lost.cancel();
            }
            // What is due soon goes along: one call in place of many.
            if held.renew_time <= now + held.duration / TRIES_PER_LEASE {
                due.push((key.clone(), held.duration));
            }
        }
        due
    }

    fn extended(&self, due: &[(LeaseKey, Duration)], results: &[ExtendLeaseResult], begin: Instant) {
        let mut leases = self.lock();
        for ((key, duration), result) in due.iter().zip(results) {
            let Some(held) = leases.get_mut(key) else { continue };
            match &result.error {
                None => {
                    held.renew_time = begin + *duration / RENEWALS_PER_LEASE;
                    held.expire_time = begin + *duration;
                    if result.cancel_requested {
                        held.signal.cancelled.cancel();
                    }
                }
                Some(error) => {
                    tracing::warn!(job_id = key.job_id, reason = error.reason, "lease is lost");
                    held.gone = true;
                    held.signal.lost.cancel();
                }
            }
        }
    }

    fn not_extended(&self, due: &[(LeaseKey, Duration)], error: &Error) {
        tracing::warn!(%error, leases = due.len(), "leases could not be extended, trying again");
        let now = Instant::now();
        let mut leases = self.lock();
        for (key, duration) in due {
            if let Some(held) = leases.get_mut(key) {
                held.renew_time = now + *duration / TRIES_PER_LEASE;
            }
        }
    }

    /// A panic elsewhere leaves the map as whole as it was.
    fn lock(&self) -> MutexGuard<'_, HashMap<LeaseKey, Held>> {
        self.leases.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn extensions(due: &[(LeaseKey, Duration)]) -> ExtendLeaseRequest {
    let extension = |(key, duration): &(LeaseKey, Duration)| LeaseExtension {
        job_id: key.job_id.clone(),
        lease_token: key.lease_token,
        lease_duration: Some(span_to_proto(*duration)),
    };
    ExtendLeaseRequest { leases: due.iter().map(extension).collect() }
}
