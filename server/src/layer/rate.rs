//! How often one caller may ask. Off unless set.
//!
//! A call costs one cell; one that brings n jobs costs n in all. Only its handler knows n, so the layer
//! charges the first cell and hands the charge on.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use futures::future::Either;
use governor::clock::{Clock, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use http::{Request, Response};
use tonic::body::Body;
use tower::Service;

use super::caller::Caller;
use super::is_health;
use super::notice::Notice;
use super::refusal::Refusal;
use crate::rpc::status::Failure;

/// A rate and how much of it may come at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestRate {
    quota: Quota,
}

impl RequestRate {
    /// `amount` calls or jobs a `period`, at most `burst` at once; none when that is no rate.
    #[must_use]
    pub fn new(amount: NonZeroU32, period: Duration, burst: NonZeroU32) -> Option<RequestRate> {
        let quota = Quota::with_period(period / amount.get())?;
        Some(RequestRate { quota: quota.allow_burst(burst) })
    }
}

/// The rates of all callers.
pub(crate) struct RequestLimit {
    callers: DefaultKeyedRateLimiter<Option<Caller>>,
    clock: DefaultClock,
    charges: AtomicU32,
    full: AtomicBool,
    refused: Notice,
}

/// Callers whose rates are kept apart: a few MiB. While there are more, they all share one rate.
const MAX_CALLERS: usize = 65_536;
/// Charges between two looks at how many callers there are: so many may come in beyond the bound.
const CHARGES_PER_LOOK: u32 = 1_024;

impl RequestLimit {
    pub(crate) fn new(rate: RequestRate) -> Arc<RequestLimit> {
        Arc::new(RequestLimit {
            callers: RateLimiter::keyed(rate.quota),
            clock: DefaultClock::default(),
            charges: AtomicU32::new(0),
            full: AtomicBool::new(false),
            refused: Notice::new(),
        })
    }

    fn charge(&self, caller: &Caller, cells: NonZeroU32) -> Result<(), Failure> {
        self.forget_the_quiet();
        let key = (!self.full.load(Ordering::Relaxed)).then(|| caller.clone());
        let retry_after = match self.callers.check_key_n(&key, cells) {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(not_until)) => Some(not_until.wait_time_from(self.clock.now())),
            // More at once than the burst.
            Err(_) => None,
        };
        if let Some(left_out) = self.refused.take() {
            let retry_after_ms = retry_after.map(|wait| wait.as_millis());
            tracing::info!(%caller, cells, retry_after_ms, left_out, "caller over its request rate");
        }
        Err(Failure::RequestRate { caller: caller.to_string(), retry_after })
    }

    /// Now and then forgets the callers whose rate is whole again.
    fn forget_the_quiet(&self) {
        if !self.charges.fetch_add(1, Ordering::Relaxed).is_multiple_of(CHARGES_PER_LOOK) {
            return;
        }
        if self.callers.len() > MAX_CALLERS / 2 {
            self.callers.retain_recent();
        }
        self.full.store(self.callers.len() >= MAX_CALLERS, Ordering::Relaxed);
    }
}

/// Lets a handler charge its caller: in the request's extensions when there is a rate.
#[derive(Clone)]
pub(crate) struct Charge {
    limit: Arc<RequestLimit>,
    caller: Caller,
}

impl Charge {
    /// Charges all `jobs` of a message.
    pub(crate) fn jobs(&self, jobs: usize) -> Result<(), Failure> {
        let jobs = u32::try_from(jobs).unwrap_or(u32::MAX);
        NonZeroU32::new(jobs).map_or(Ok(()), |cells| self.limit.charge(&self.caller, cells))
    }

    /// Charges the `jobs` of a call, whose first cell the layer has charged.
    pub(crate) fn jobs_of_call(&self, jobs: usize) -> Result<(), Failure> {
        self.jobs(jobs.saturating_sub(1))
    }
}

/// Refuses who is over its rate.
#[derive(Clone)]
pub(super) struct RateService<S> {
    inner: S,
    limit: Option<Arc<RequestLimit>>,
}

impl<S> RateService<S> {
    pub(super) fn new(inner: S, limit: Option<Arc<RequestLimit>>) -> RateService<S> {
        RateService { inner, limit }
    }
}

impl<S> Service<Request<Body>> for RateService<S>
where
    S: Service<Request<Body>, Response = Response<Body>>,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = Either<S::Future, Refusal<S::Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        if let Some(limit) = &self.limit
            && !is_health(&request)
        {
            let caller = Caller::of(request.extensions());
            let charge = Charge { limit: Arc::clone(limit), caller };
            if let Err(failure) = charge.jobs(1) {
                return Either::Right(Refusal::of(request, failure));
            }
            request.extensions_mut().insert(charge);
        }
        Either::Left(self.inner.call(request))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_secs(86_400);

    fn charge(burst: u32, address: [u8; 4]) -> Charge {
        let burst = NonZeroU32::new(burst).unwrap();
        let limit = RequestLimit::new(RequestRate::new(burst, DAY, burst).unwrap());
        Charge { limit, caller: Caller::new(address.into()) }
    }

    #[test]
    fn rate_of_nothing_is_no_rate() {
        let one = NonZeroU32::MIN;
        assert_eq!(RequestRate::new(one, Duration::ZERO, one), None);
        assert_eq!(RequestRate::new(NonZeroU32::MAX, Duration::from_nanos(1), one), None);
        assert!(RequestRate::new(NonZeroU32::MAX, Duration::from_secs(60), NonZeroU32::MAX).is_some());
    }

    #[test]
    fn jobs_cost_as_many_cells() {
        let charge = charge(10, [10, 0, 0, 1]);
        assert!(charge.jobs(1).is_ok() && charge.jobs_of_call(4).is_ok());
        assert!(charge.jobs(7).is_err());
        assert!(charge.jobs(6).is_ok());
        assert!(charge.jobs_of_call(1).is_ok() && charge.jobs(0).is_ok());
        let Err(Failure::RequestRate { retry_after, .. }) = charge.jobs(1) else { panic!("must be refused") };
        assert!(retry_after.unwrap() <= DAY / 10);
    }

    #[test]
    fn more_than_the_burst_is_refused_for_good() {
        let refused = charge(10, [10, 0, 0, 1]).jobs(11);
        assert!(matches!(refused, Err(Failure::RequestRate { retry_after: None, .. })));
    }

    #[test]
    fn callers_do_not_share_a_rate() {
        let first = charge(1, [10, 0, 0, 1]);
        let second = Charge { caller: Caller::new([10, 0, 0, 2].into()), ..first.clone() };
        assert!(first.jobs(1).is_ok() && first.jobs(1).is_err());
        assert!(second.jobs(1).is_ok());
    }

    #[test]
    fn number_of_callers_that_are_kept_apart_is_bounded() {
        let first = charge(1, [10, 0, 0, 1]);
        let mut shared = 0;
        for number in 0..2 * MAX_CALLERS as u32 {
            let caller = Caller::new(number.to_be_bytes().into());
            shared += u32::from(Charge { caller, ..first.clone() }.jobs(1).is_err());
        }
        assert!(first.limit.callers.len() <= MAX_CALLERS + CHARGES_PER_LOOK as usize);
        assert!(shared > 0);
    }
}
