//! Work: Lease, Ack, Nack and ExtendLease over one stream.
//!
//! A worker says how many jobs it may hold at a time, and gets them as they come. Whatever it sends is done in its
//! order, one message after another. What it holds goes back when it closes its side, and when the stream breaks.

mod holding;

use std::ops::ControlFlow;
use std::time::Duration;

use futures::future::{BoxFuture, OptionFuture};
use futures::{FutureExt, StreamExt, stream};
use sluice_engine::{JobId, JobState, Lease, LeaseToken, QueueName, Refusal};
use sluice_proto::v1;
use sluice_proto::v1::work_request::Message as Asked;
use sluice_proto::v1::work_response::Message as Told;
use tokio::time::{Instant, Interval, MissedTickBehavior};
use tonic::{Request, Status, Streaming};

use self::holding::Holding;
use super::lease::MAX_JOBS_BYTES;
use super::right::CONSUME;
use super::service::Messages;
use super::status::{Failure, adopt};
use super::{Rpc, validate};
use crate::auth::Access;
use crate::layer::{Charge, InFlight, Memory};
use crate::writer::{CallError, Delivery, Returned};

/// How often the server looks whether a worker still holds what it holds, and whether it is to give something up.
const LOOK: Duration = Duration::from_millis(500);
/// How long a stream goes on when the server stops, for its worker to settle what it holds.
const LAST_WORDS: Duration = Duration::from_secs(3);

impl Rpc {
    pub(super) fn do_work(&self, request: Request<Streaming<v1::WorkRequest>>) -> Messages<v1::WorkResponse> {
        let access = Access::of(request.extensions());
        let charge = request.extensions().get::<Charge>().cloned();
        let in_flight = request.extensions().get::<InFlight>().cloned();
        let memory = Memory::of(request.extensions());
        let mut looks = tokio::time::interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let work = Work {
            holding: Holding::new(self.handle.clone()),
            rpc: self.clone(),
            access,
            charge,
            in_flight,
            memory,
            asked: request.into_inner(),
            terms: None,
            leasing: None,
            looks,
            end: None,
        };
        stream::try_unfold(Some(work), |work| async {
            let Some(mut work) = work else { return Ok(None) };
            match work.next().await {
                Ok(Some(told)) => Ok(Some((v1::WorkResponse { message: Some(told) }, Some(work)))),
                Ok(None) => Ok(None),
                Err(failure) => {
                    // What a worker of a server that stops holds is still its: it may ack when we are back.
                    work.holding.end(if matches!(failure, Failure::Stopping) {
                        None
                    } else {
                        Some(Returned::Broken)
                    });
                    Err(Status::from(failure))
                }
            }
        })
        .boxed()
    }
}

type Leasing = BoxFuture<'static, Result<Result<Delivery, Refusal>, CallError>>;

/// One worker.
struct Work {
    rpc: Rpc,
    access: Access,
    charge: Option<Charge>,
    in_flight: Option<InFlight>,
    memory: Memory,
    asked: Streaming<v1::WorkRequest>,
    /// None until it said who it is.
    terms: Option<Terms>,
    /// The lease that waits for a job. Before what is held, which goes back next and must not come to it again.
    leasing: Option<Leasing>,
    holding: Holding,
    looks: Interval,
    /// When the stream ends, once the server stops.
    end: Option<Instant>,
}

/// What a worker said when it began.
struct Terms {
    queue: QueueName,
    lease: Lease,
    credit: usize,
}

/// What happens next.
enum Event {
    Asked(Option<Result<v1::WorkRequest, Status>>),
    Leased(Result<Result<Delivery, Refusal>, CallError>),
    Look,
    Stopping,
    End,
}

impl Work {
    /// The next message to the worker; none: the stream is over.
    async fn next(&mut self) -> Result<Option<Told>, Failure> {
        loop {
            self.lease_more();
            let event = self.event().await;
            let told = match event {
                Event::Asked(None) => {
                    self.holding.end(Some(Returned::Released));
                    return Ok(None);
                }
                Event::Asked(Some(Err(status))) => return Err(adopt(&status).unwrap_or(Failure::Internal)),
                Event::Asked(Some(Ok(asked))) => self.answer(asked).await?,
                Event::Leased(leased) => {
                    self.leasing = None;
                    self.deliver(leased).await?
                }
                Event::Look => self.look().await?,
                Event::Stopping => {
                    self.end = Some(Instant::now() + LAST_WORDS);
                    self.leasing = None;
                    Some(Told::Notice(v1::WorkNotice { going_away: true, ..Default::default() }))
                }
                Event::End => return Err(Failure::Stopping),
            };
            if let Some(told) = told {
                return Ok(Some(told));
            }
        }
    }

    async fn event(&mut self) -> Event {
        let is_stopping = self.end.is_some();
        let end = OptionFuture::from(self.end.map(tokio::time::sleep_until));
        let leasing = OptionFuture::from(self.leasing.as_mut());
        tokio::select! {
            biased;
            asked = self.asked.next() => Event::Asked(asked),
            Some(leased) = leasing => Event::Leased(leased),
            () = self.rpc.shutdown.cancelled(), if !is_stopping => Event::Stopping,
            Some(()) = end => Event::End,
            _ = self.looks.tick() => if is_stopping && self.holding.is_empty() { Event::End } else { Event::Look },
        }
    }

    /// Waits for jobs as long as there is credit for them.
    fn lease_more(&mut self) {
        let Some(terms) = self.terms.as_ref().filter(|_| self.leasing.is_none() && self.end.is_none()) else {
            return;
        };
        let free = terms.credit.saturating_sub(self.holding.len());
        if let Some(max_jobs) = u32::try_from(free).ok().filter(|free| *free > 0) {
            let lease = Lease { max_jobs, ..terms.lease.clone() };
            let handle = self.rpc.handle.clone();
            self.leasing = Some(async move { handle.lease(lease).await }.boxed());
        }
    }

    async fn deliver(
        &mut self,
        leased: Result<Result<Delivery, Refusal>, CallError>,
    ) -> Result<Option<Told>, Failure> {
        let terms = self.terms.as_ref().ok_or(Failure::Internal)?;
        let delivery = match leased {
            Ok(Ok(delivery)) => delivery,
            Ok(Err(refusal)) => return Err(Failure::refused(refusal, &terms.queue)),
            Err(error) => return Err(error.into()),
        };
        let hint = self.rpc.flow_hint(&terms.queue);
        let (mut response, guard) = self.rpc.with_payloads(&self.memory, delivery).await?;
        if response.jobs.is_empty() {
            // The longest wait is over: the next one begins.
            return Ok(None);
        }
        response.flow_hint = hint;
        self.holding.take(&response.jobs);
        // From here on they go back when the worker does.
        guard.deliver();
        Ok(Some(Told::Jobs(response)))
    }

    async fn answer(&mut self, asked: v1::WorkRequest) -> Result<Option<Told>, Failure> {
        let _place = self.in_flight.as_ref().map(InFlight::enter).transpose()?;
        if let Some(charge) = &self.charge {
            charge.jobs(1)?;
        }
        let is_begun = self.terms.is_some();
        match asked.message {
            Some(Asked::Start(start)) if !is_begun => {
                self.start(start).await?;
                Ok(None)
            }
            _ if !is_begun => Err(validate::out_of_turn("start", "must be said first")),
            Some(Asked::Start(_)) => Err(validate::out_of_turn("start", "must be said only once")),
            Some(Asked::Credit(more)) => {
                let credit = self.terms.as_ref().map_or(0, |terms| terms.credit);
                let credit = validate::credit(credit, more)?;
                if let Some(terms) = &mut self.terms {
                    terms.credit = credit;
                }
                Ok(None)
            }
            Some(Asked::Acks(acks)) => {
                let leases = leases(acks.acks.iter().map(|ack| (&ack.job_id, ack.lease_token)));
                let answer = self.rpc.do_ack(&self.access, acks).await?;
                self.holding.settle(&leases);
                Ok(Some(Told::Acks(answer)))
            }
            Some(Asked::Nacks(nacks)) => {
                let leases = leases(nacks.nacks.iter().map(|nack| (&nack.job_id, nack.lease_token)));
                let answer = self.rpc.do_nack(&self.access, nacks).await?;
                self.holding.settle(&leases);
                Ok(Some(Told::Nacks(answer)))
            }
            Some(Asked::Extends(extends)) => {
                Ok(Some(Told::Extends(self.rpc.do_extend_lease(&self.access, extends).await?)))
            }
            None => Err(validate::out_of_turn("message", "must be said")),
        }
    }

    async fn start(&mut self, start: v1::WorkStart) -> Result<(), Failure> {
        let (lease, credit) = validate::work_start(start, MAX_JOBS_BYTES)?;
        let queue = lease.queue.clone();
        self.access.check(CONSUME, &queue)?;
        if self.rpc.settings.strict_queues && self.rpc.status_now(&queue).await?.is_none() {
            return Err(Failure::QueueNotFound(queue.to_string()));
        }
        self.terms = Some(Terms { queue, lease, credit });
        Ok(())
    }

    /// Whether the worker still holds what it holds, and is to give something up.
    async fn look(&mut self) -> Result<Option<Told>, Failure> {
        let held = self.holding.tokens();
        if held.is_empty() {
            return Ok(None);
        }
        let seen = self
            .rpc
            .handle
            .read(move |engine, now| {
                let look = |(id, token): (_, LeaseToken)| {
                    let job = engine.job(id, now);
                    let holds = |job: &sluice_engine::JobView| {
                        job.state == JobState::Leased && u64::from(job.deliveries) == token.0
                    };
                    match job.filter(holds) {
                        Some(job) if job.cancel_requested => (id, ControlFlow::Continue(true)),
                        Some(_) => (id, ControlFlow::Continue(false)),
                        None => (id, ControlFlow::Break(())),
                    }
                };
                held.into_iter().map(look).collect::<Vec<_>>()
            })
            .await?;
        let mut notice = v1::WorkNotice::default();
        for (id, holds) in seen {
            match holds {
                ControlFlow::Continue(true) if self.holding.note_cancelled(id) => {
                    notice.cancelled.push(id.to_string());
                }
                ControlFlow::Continue(_) => {}
                ControlFlow::Break(()) => {
                    self.holding.lose(id);
                    notice.lost.push(id.to_string());
                }
            }
        }
        let is_news = !notice.cancelled.is_empty() || !notice.lost.is_empty();
        Ok(is_news.then_some(Told::Notice(notice)))
    }
}

/// The leases that a worker names; what is no job's id is none.
fn leases<'a>(named: impl Iterator<Item = (&'a String, u64)>) -> Vec<(JobId, LeaseToken)> {
    named.filter_map(|(id, token)| Some((JobId(id.parse().ok()?), LeaseToken(token)))).collect()
}
