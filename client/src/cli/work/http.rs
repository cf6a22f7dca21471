//! A job as a request to an HTTP service. Knows nothing of leases but that one can be lost.

mod answer;
mod body;
mod cost;
mod failure;
mod header;
mod option;
mod request;
mod retry_after;
mod scope;
mod status;

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, Request, header::RETRY_AFTER};
use http_body_util::Full;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use tokio::time::{Instant, timeout_at};

pub(super) use self::option::HttpOptions;
use self::{answer::Answer, body::Beginning, request::Target, status::Meanings};
use crate::{Delivery, Failure, Outcome, worker::MAX_RESULT_BYTES};

/// How long a connection may lie idle before it is closed from our side. Many services close theirs after five
/// seconds: a request that crosses such an end on its way is lost, and counts as failed.
const MAX_IDLE: Duration = Duration::from_secs(4);

pub(super) struct Http {
    client: Client<HttpConnector, Full<Bytes>>,
    target: Target,
    meanings: Meanings,
    timeout: Duration,
    /// What of an answer says what the request cost.
    cost_header: Option<HeaderName>,
    /// Where a service says which level it was too much for.
    scope_header: Option<HeaderName>,
}

impl Http {
    /// Posts to `url`, over at most as many kept connections as there are requests at a time.
    pub(super) fn new(url: &str, options: &HttpOptions, concurrency: usize) -> Result<Http, String> {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        // Heads of answers have hyper's bounds: 100 headers, 400 KiB. What goes beyond is no answer.
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(MAX_IDLE)
            .pool_max_idle_per_host(concurrency)
            .build(connector);
        Ok(Http {
            client,
            target: Target::new(url, options.own_headers()?)?,
            meanings: options.meanings()?,
            timeout: options.request_timeout,
            cost_header: options.cost_header.clone(),
            scope_header: options.throttle_scope_header.clone(),
        })
    }

    pub(super) async fn run(&self, delivery: Delivery) -> Outcome {
        let (outcome, cost) = tokio::select! {
            biased;
            // An answer that is there counts, as that of a command that ended in time.
            answered = self.post(&delivery) => answered,
            // With the request its connection ends, which is how a service learns of it.
            () = delivery.cancelled.cancelled() => (Outcome::Failed(failure::given_up()), None),
        };
        let job_id = &delivery.job.job_id;
        match &outcome {
            Outcome::Done(_) | Outcome::Costing { .. } => {}
            Outcome::Throttled { retry_after, failure: Failure { error, code, throttle_scope, .. } } => {
                tracing::info!(job_id, code, error, ?retry_after, throttle_scope, "throttled");
            }
            Outcome::Failed(Failure { error, code, .. }) => {
                tracing::warn!(job_id, code, error, "failed");
            }
            Outcome::Rejected(Failure { error, code, .. }) => {
                tracing::warn!(job_id, code, error, "rejected");
            }
        }
        match cost {
            Some(cost) => outcome.costing(cost),
            None => outcome,
        }
    }

    /// What came of it, and what it cost if the service says so.
    async fn post(&self, delivery: &Delivery) -> (Outcome, Option<u32>) {
        match self.ask(self.target.request(&delivery.job)).await {
            Ok(answer) => {
                if answer.body.is_cut && answer.status.is_success() {
                    let job_id = &delivery.job.job_id;
                    tracing::warn!(
                        job_id,
                        "the answer is longer than {MAX_RESULT_BYTES} bytes: the result is cut"
                    );
                }
                let cost = answer.cost;
                (answer.into_outcome(&self.meanings), cost)
            }
            Err(failure) => (Outcome::Failed(failure), None),
        }
    }

    /// One request, with one deadline for the head and the body of its answer.
    async fn ask(&self, request: Request<Full<Bytes>>) -> Result<Answer, Failure> {
        let deadline = Instant::now() + self.timeout;
        let response = match timeout_at(deadline, self.client.request(request)).await {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => return Err(failure::no_answer(&error)),
            Err(_) => return Err(failure::timed_out(self.timeout)),
        };
        let (head, body) = response.into_parts();
        let retry_after = wait(&head.headers);
        let cost = self.cost_header.as_ref().and_then(|name| cost::of(&head.headers, name));
        let throttle_scope = scope::throttle_scope(&head.headers, self.scope_header.as_ref());
        let mut beginning = Beginning::default();
        let broken = match timeout_at(deadline, beginning.read(body)).await {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(failure::broken_body(&error)),
            Err(_) => Some(failure::timed_out(self.timeout)),
        };
        Ok(Answer { status: head.status, retry_after, cost, throttle_scope, body: beginning, broken })
    }
}

/// The clock is read where the answer comes in.
#[expect(clippy::disallowed_methods, reason = "the edge: a date of HTTP is of the wall's clock")]
fn wait(headers: &HeaderMap) -> Option<Duration> {
    let value = headers.get(RETRY_AFTER)?.to_str().ok()?;
    retry_after::retry_after(value, SystemTime::now())
}
