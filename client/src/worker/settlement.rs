//! Handing outcomes to the server: in batches that grow by themselves while a call is on its way, and
//! through restarts. Knows nothing of handlers.

use std::{sync::Arc, time::Duration};

use backon::BackoffBuilder;
use bytes::Bytes;
use futures::future::join;
use tokio::{
    sync::mpsc,
    task::JoinHandle,
    time::{Instant, sleep},
};

use super::{
    Summary,
    carrier::Carrier,
    delivery::{Failure, Outcome},
    holding::{Holding, LeaseKey},
};
use crate::{
    Error,
    proto::{Ack, AckRequest, ItemError, Nack, NackReason, NackRequest},
    retry::lengthened,
    span::span_to_proto,
};

/// Outcomes of one round.
const MAX_BATCH: usize = 1_000;
/// Bytes of results in one call: well under the 4 MiB of a request.
const MAX_BATCH_BYTES: usize = 2 << 20;
/// What a delivery may cost.
const MAX_COST: u32 = 1_000_000_000;
/// Bytes of a result that the server takes.
pub(crate) const MAX_RESULT_BYTES: usize = 64 << 10;
/// Bytes of an error that the server keeps.
const MAX_ERROR_BYTES: usize = 4 << 10;
/// Bytes of an error code that the server takes.
const MAX_CODE_BYTES: usize = 128;
/// How long an outcome is offered to a server that does not take it.
const MAX_OFFER: Duration = Duration::from_secs(600);

/// Takes outcomes; the task behind it settles them.
#[derive(Clone, Debug)]
pub(super) struct Settler {
    verdicts: mpsc::Sender<Settled>,
}

/// A delivery that ended, how, and what it cost.
type Settled = (LeaseKey, Verdict, Option<u32>);

/// What the server is told about a delivery.
#[derive(Clone, Debug)]
pub(super) enum Verdict {
    Done(Option<Bytes>),
    Back {
        reason: NackReason,
        failure: Failure,
    },
    /// It went back already, when its stream was closed.
    WentBack,
}

impl Settler {
    /// The task ends, with what it counted, when every clone is dropped and everything is settled.
    pub(super) fn spawn(
        carrier: Arc<Carrier>,
        holding: Arc<Holding>,
        capacity: usize,
    ) -> (Settler, JoinHandle<Summary>) {
        let (verdicts, incoming) = mpsc::channel(capacity);
        let settlement = Settlement { carrier, holding, summary: Summary::default() };
        (Settler { verdicts }, tokio::spawn(settlement.run(incoming)))
    }

    /// Waits only while as many outcomes as the worker has slots are not settled yet.
    pub(super) async fn settle(&self, key: LeaseKey, verdict: Verdict, actual_cost: Option<u32>) {
        // The task is gone only when the runtime is.
        // What is more than a job may cost would stop the whole batch.
        let actual_cost = actual_cost.map(|cost| cost.min(MAX_COST));
        let _ = self.verdicts.send((key, verdict, actual_cost)).await;
    }
}

impl Verdict {
    pub(super) fn released() -> Verdict {
        Verdict::Back { reason: NackReason::Released, failure: Failure::default() }
    }
}

impl From<Outcome> for Verdict {
    /// Brings an outcome within the server's bounds: one that it refuses would stop its whole batch.
    fn from(outcome: Outcome) -> Verdict {
        match outcome {
            Outcome::Done(Some(result)) if result.len() > MAX_RESULT_BYTES => {
                let error = format!("the result has {} bytes, {MAX_RESULT_BYTES} are possible", result.len());
                Outcome::Failed(Failure::new(error).code("RESULT_TOO_LARGE")).into()
            }
            Outcome::Done(result) => Verdict::Done(result),
            Outcome::Failed(failure) => Verdict::Back { reason: NackReason::Failed, failure },
            Outcome::Throttled { retry_after, failure } => {
                let failure = Failure { retry_after, ..failure };
                Verdict::Back { reason: NackReason::Throttled, failure }
            }
            // Whoever settles took it apart before.
            Outcome::Costing { outcome, .. } => Verdict::from(*outcome),
            Outcome::Rejected(failure) => {
                let failure = Failure { retry_after: None, ..failure };
                Verdict::Back { reason: NackReason::Rejected, failure }
            }
        }
    }
}

struct Settlement {
    carrier: Arc<Carrier>,
    holding: Arc<Holding>,
    summary: Summary,
}

impl Settlement {
    async fn run(mut self, mut incoming: mpsc::Receiver<Settled>) -> Summary {
        let mut round = Vec::with_capacity(MAX_BATCH);
        loop {
            // Over the stream new jobs come as outcomes go: to slow these down is to obey a flow hint.
            let streaming = self.carrier.is_attached();
            let most = if streaming { self.carrier.flow.batch_size(MAX_BATCH) } else { MAX_BATCH };
            if incoming.recv_many(&mut round, most).await == 0 {
                return self.summary;
            }
            if streaming {
                self.carrier.flow.pause().await;
            }
            let (mut acks, mut nacks) = (Vec::new(), Vec::new());
            for (key, verdict, actual_cost) in round.drain(..) {
                if self.holding.is_gone(&key) {
                    self.holding.forget(&key);
                    self.summary.lost += 1;
                    continue;
                }
                match verdict {
                    Verdict::Done(result) => acks.push(Ack { actual_cost, ..ack(key, result) }),
                    Verdict::Back { reason, failure } => {
                        nacks.push(Nack { actual_cost, ..nack(key, reason, failure) });
                    }
                    Verdict::WentBack => {
                        self.holding.forget(&key);
                        self.summary.released += 1;
                    }
                }
            }
            let (acked, nacked) = join(
                settle_all(&self.carrier, &acks, |ack| ack.result.as_ref().map_or(0, Bytes::len)),
                settle_all(&self.carrier, &nacks, |nack| nack.error.len()),
            )
            .await;
            for (ack, error) in acks.into_iter().zip(acked) {
                self.count(ack.job_id, ack.lease_token, None, error);
            }
            for (nack, error) in nacks.into_iter().zip(nacked) {
                let reason = nack.reason();
                self.count(nack.job_id, nack.lease_token, Some(reason), error);
            }
        }
    }

    fn count(&mut self, job_id: String, lease_token: u64, reason: Option<NackReason>, error: Option<Error>) {
        if let Some(error) = error {
            tracing::warn!(job_id, %error, "outcome did not count");
            self.summary.lost += 1;
        } else {
            let counter = match reason {
                None => &mut self.summary.done,
                Some(NackReason::Throttled) => &mut self.summary.throttled,
                Some(NackReason::Rejected) => &mut self.summary.rejected,
                Some(NackReason::Released) => &mut self.summary.released,
                Some(NackReason::Failed | NackReason::Unspecified) => &mut self.summary.failed,
            };
            *counter += 1;
        }
        self.holding.forget(&LeaseKey { job_id, lease_token });
    }
}

/// One kind of item that settles a lease.
trait Settle: Clone {
    async fn send(carrier: &Carrier, items: &[Self]) -> Result<Vec<Option<ItemError>>, Error>;
}

impl Settle for Ack {
    async fn send(carrier: &Carrier, items: &[Ack]) -> Result<Vec<Option<ItemError>>, Error> {
        let answer = carrier.ack(AckRequest { acks: items.to_vec() }).await?;
        Ok(answer.results.into_iter().map(|result| result.error).collect())
    }
}

impl Settle for Nack {
    async fn send(carrier: &Carrier, items: &[Nack]) -> Result<Vec<Option<ItemError>>, Error> {
        let answer = carrier.nack(NackRequest { nacks: items.to_vec() }).await?;
        Ok(answer.results.into_iter().map(|result| result.error).collect())
    }
}

/// Settles items in calls of bounded size; answers an error or none for each.
async fn settle_all<I: Settle>(
    carrier: &Carrier,
    items: &[I],
    bytes: impl Fn(&I) -> usize,
) -> Vec<Option<Error>> {
    let mut errors = Vec::with_capacity(items.len());
    let mut rest = items;
    while !rest.is_empty() {
        let mut sum = 0;
        let fits = |item: &I| {
            sum += bytes(item);
            sum <= MAX_BATCH_BYTES
        };
        let count = rest.iter().map(fits).take_while(|fits| *fits).count().max(1);
        let (batch, after) = rest.split_at(count);
        match offer(carrier, batch).await {
            Ok(found) => errors.extend(found),
            // One bad item stops its batch: alone, it stops only itself.
            Err(_) if count > 1 => {
                for item in batch {
                    match offer(carrier, std::slice::from_ref(item)).await {
                        Ok(found) => errors.extend(found),
                        Err(error) => errors.push(Some(error)),
                    }
                }
            }
            Err(error) => errors.push(Some(error)),
        }
        rest = after;
    }
    errors
}

/// Offers a batch until the server answers, refuses for good, or too much time has passed. Repeating is
/// safe: the same token settles the same way.
async fn offer<I: Settle>(carrier: &Carrier, batch: &[I]) -> Result<Vec<Option<Error>>, Error> {
    let deadline = Instant::now() + MAX_OFFER;
    let mut waits = carrier.client().retry_policy().backoff().build();
    loop {
        let error = match I::send(carrier, batch).await {
            Ok(results) if results.len() == batch.len() => {
                return Ok(results.into_iter().map(|error| error.map(Error::from)).collect());
            }
            Ok(_) => Error::broken("not as many results as items"),
            Err(error) => error,
        };
        match waits.next() {
            Some(wait) if !error.is_final() && Instant::now() < deadline => {
                sleep(lengthened(wait, error.retry_after())).await;
            }
            _ => return Err(error),
        }
    }
}

fn ack(key: LeaseKey, result: Option<Bytes>) -> Ack {
    Ack { job_id: key.job_id, lease_token: key.lease_token, result, ..Ack::default() }
}

fn nack(key: LeaseKey, reason: NackReason, failure: Failure) -> Nack {
    Nack {
        job_id: key.job_id,
        lease_token: key.lease_token,
        reason: reason.into(),
        error: cut(failure.error, MAX_ERROR_BYTES),
        error_code: cut(failure.code, MAX_CODE_BYTES),
        retry_after: failure.retry_after.map(span_to_proto),
        throttle_scope: if reason == NackReason::Throttled { failure.throttle_scope } else { String::new() },
        ..Nack::default()
    }
}

fn cut(mut text: String, max_bytes: usize) -> String {
    text.truncate(text.floor_char_boundary(max_bytes));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn oversize_result_is_a_failure_and_not_a_poisoned_batch() {
        let verdict = Verdict::from(Outcome::Done(Some(vec![0; MAX_RESULT_BYTES + 1].into())));
        let Verdict::Back { reason, failure } = verdict else { panic!("{verdict:?}") };
        assert_eq!((reason, failure.code.as_str()), (NackReason::Failed, "RESULT_TOO_LARGE"));
        assert!(matches!(
            Outcome::Done(Some(vec![0; MAX_RESULT_BYTES].into())).into(),
            Verdict::Done(Some(_))
        ));
    }

    #[test]
    fn texts_are_cut_between_characters() {
        assert_eq!(cut("aé".to_owned(), 2), "a");
        assert_eq!(cut("aé".to_owned(), 3), "aé");
    }

    #[test]
    fn rejection_carries_no_wait() {
        let failure = Failure::new("never").retry_after(Duration::from_secs(1));
        let Verdict::Back { failure, .. } = Outcome::Rejected(failure).into() else { panic!() };
        assert_eq!(failure.retry_after, None);
    }
}
