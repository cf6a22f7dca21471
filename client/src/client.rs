//! The client: connections, deadlines and repetitions for every call of the contract.
//! Knows nothing of what jobs are for.

mod admin;
mod builder;
mod connector;
mod job;
mod limit;
mod pool;
mod queue;

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, timeout_at};
use tonic::{
    Code, Request, Response, Status,
    metadata::{Ascii, MetadataValue},
    transport::Channel,
};

pub use self::builder::{BuildError, ClientBuilder};
use self::pool::Pool;
pub(crate) use self::{
    job::{MAX_CALL_WAIT, Waits},
    queue::new_request_id,
};
use crate::{
    Error, Producer, Repeat, RetryPolicy,
    proto::{admin_service_client::AdminServiceClient, queue_service_client::QueueServiceClient},
};

/// Speaks with one server over a few connections. Cheap to clone; clones share the connections.
///
/// Every call has a deadline, and is repeated where the contract allows it: see [`Repeat`].
#[derive(Clone, Debug)]
pub struct Client {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    pool: Pool,
    call_timeout: Duration,
    max_response_bytes: usize,
    retry: RetryPolicy,
    authorization: Option<MetadataValue<Ascii>>,
}

impl Client {
    /// Sets up a client for a server such as `http://127.0.0.1:7070`.
    #[must_use]
    pub fn builder(address: impl Into<String>) -> ClientBuilder {
        ClientBuilder::new(address.into())
    }

    /// Puts jobs into `queue`.
    #[must_use]
    pub fn producer(&self, queue: impl Into<String>) -> Producer {
        Producer::new(self.clone(), queue.into())
    }

    /// How calls are repeated.
    #[must_use]
    pub fn retry_policy(&self) -> RetryPolicy {
        self.shared.retry
    }

    /// The connections, for programs that speak the contract themselves, such as the benchmark.
    #[must_use]
    pub fn channels(&self) -> &[Channel] {
        self.shared.pool.all()
    }

    /// A message with what every call carries.
    pub fn request<M>(&self, message: M) -> Request<M> {
        let mut request = Request::new(message);
        if let Some(value) = &self.shared.authorization {
            request.metadata_mut().insert("authorization", value.clone());
        }
        request
    }

    /// One call: a deadline of the client's time and `extra`, and repetitions within it.
    async fn call<M, A, F>(
        &self,
        repeat: Repeat,
        extra: Duration,
        message: M,
        send: impl Fn(Channel, Request<M>) -> F,
    ) -> Result<A, Error>
    where
        M: Clone,
        F: Future<Output = Result<Response<A>, Status>>,
    {
        let deadline = Instant::now() + self.shared.call_timeout.saturating_add(extra);
        let attempt = || {
            let mut request = self.request(message.clone());
            request.set_timeout(deadline.saturating_duration_since(Instant::now()));
            let answer = send(self.shared.pool.next(), request);
            // The deadline in the header covers only the time to the answer's head.
            async move {
                match timeout_at(deadline, answer).await {
                    Ok(answer) => answer.map(Response::into_inner).map_err(Error::from),
                    Err(_) => Err(Error::local(Code::DeadlineExceeded, "no answer in time")),
                }
            }
        };
        self.shared.retry.run(repeat, deadline, attempt).await
    }

    fn queue_service(&self, channel: Channel) -> QueueServiceClient<Channel> {
        QueueServiceClient::new(channel).max_decoding_message_size(self.shared.max_response_bytes)
    }

    fn admin_service(&self, channel: Channel) -> AdminServiceClient<Channel> {
        AdminServiceClient::new(channel).max_decoding_message_size(self.shared.max_response_bytes)
    }
}
