//! EnqueueStream: many Enqueues on one stream, answered in order without waiting for each other.

use futures::future::{BoxFuture, ready};
use futures::{FutureExt, StreamExt, stream};
use sluice_proto::v1;
use sluice_proto::v1::enqueue_stream_response::Outcome;
use tonic::{Request, Status, Streaming};

use super::service::Messages;
use super::status::{Failure, adopt};
use super::{Rpc, validate};
use crate::auth::Access;
use crate::layer::{Charge, InFlight};

/// Requests of one stream that wait for their answers: enough to keep the disk busy over a slow network.
const MAX_IN_FLIGHT: usize = 64;

impl Rpc {
    pub(super) fn do_enqueue_stream(
        &self,
        request: Request<Streaming<v1::EnqueueStreamRequest>>,
    ) -> Messages<v1::EnqueueStreamResponse> {
        let caller = StreamCaller {
            rpc: self.clone(),
            access: Access::of(request.extensions()),
            charge: request.extensions().get::<Charge>().cloned(),
            in_flight: request.extensions().get::<InFlight>().cloned(),
        };
        let stopping = self.shutdown.clone();
        request
            .into_inner()
            .take_until(self.shutdown.clone().cancelled_owned())
            // One after the other into the writer's mailbox, so that jobs are in the order of the stream;
            .then(move |message| begin(caller.clone(), message))
            // the answers are waited for together.
            .buffered(MAX_IN_FLIGHT)
            // What came before the stop has its answer; then the client is to go elsewhere.
            .chain(
                stream::once(async move { stopping.is_cancelled() })
                    .filter_map(|stopped| async move { stopped.then(|| Err(Failure::Stopping.into())) }),
            )
            .boxed()
    }
}

/// What answering a message takes.
#[derive(Clone)]
struct StreamCaller {
    rpc: Rpc,
    access: Access,
    charge: Option<Charge>,
    in_flight: Option<InFlight>,
}

type Answer = BoxFuture<'static, Result<v1::EnqueueStreamResponse, Status>>;

/// Hands a message to the writer; returns when that has it, or it was refused.
async fn begin(caller: StreamCaller, message: Result<v1::EnqueueStreamRequest, Status>) -> Answer {
    let message = match message {
        Ok(message) => message,
        // A message that cannot be read ends the stream: nobody knows where the next one begins.
        Err(status) => return ready(Err(adopt(&status).map_or(status, Status::from))).boxed(),
    };
    let sequence = message.sequence;
    let begun = begin_enqueue(&caller, message.request.unwrap_or_default()).await;
    async move {
        let outcome = match begun {
            Ok(begun) => begun.await,
            Err(failure) => Err(failure),
        };
        let outcome = match outcome {
            Ok(response) => Outcome::Response(response),
            Err(failure) => Outcome::Error(failure.enqueue_error()),
        };
        Ok(v1::EnqueueStreamResponse { sequence, outcome: Some(outcome) })
    }
    .boxed()
}

async fn begin_enqueue(
    caller: &StreamCaller,
    request: v1::EnqueueRequest,
) -> Result<impl Future<Output = Result<v1::EnqueueResponse, Failure>> + Send + use<>, Failure> {
    let place = caller.in_flight.as_ref().map(InFlight::enter).transpose()?;
    // A wait of one request would hold up all behind it.
    validate::no_wait(&request)?;
    let command = caller.rpc.checked_enqueue(&caller.access, request)?;
    if let Some(charge) = &caller.charge {
        charge.jobs(command.jobs.len())?;
    }
    let begun = caller.rpc.begin_put_in(command).await?;
    Ok(async move {
        let answer = begun.await;
        drop(place);
        answer
    })
}
