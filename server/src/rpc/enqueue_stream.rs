//! EnqueueStream: many Enqueues on one stream, answered in order without waiting for each other.

use futures::StreamExt;
use futures::stream;
use sluice_proto::v1;
use sluice_proto::v1::enqueue_stream_response::Outcome;
use tonic::{Request, Status, Streaming};

use super::Rpc;
use super::service::Messages;
use super::status::{Failure, adopt};
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
            charge: request.extensions().get::<Charge>().cloned(),
            in_flight: request.extensions().get::<InFlight>().cloned(),
        };
        let stopping = self.shutdown.clone();
        // Each request is begun in the order it came: `buffered` polls the new ones first in, first out,
        // and a call is in the writer's mailbox after its first poll.
        request
            .into_inner()
            .take_until(self.shutdown.clone().cancelled_owned())
            .map(move |message| answer(caller.clone(), message))
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
    charge: Option<Charge>,
    in_flight: Option<InFlight>,
}

async fn answer(
    caller: StreamCaller,
    message: Result<v1::EnqueueStreamRequest, Status>,
) -> Result<v1::EnqueueStreamResponse, Status> {
    // A message that cannot be read ends the stream: nobody knows where the next one begins.
    let message = message.map_err(|status| adopt(&status).map_or(status, Status::from))?;
    let outcome = match enqueue(&caller, message.request.unwrap_or_default()).await {
        Ok(response) => Outcome::Response(response),
        Err(failure) => Outcome::Error(failure.enqueue_error()),
    };
    Ok(v1::EnqueueStreamResponse { sequence: message.sequence, outcome: Some(outcome) })
}

async fn enqueue(caller: &StreamCaller, request: v1::EnqueueRequest) -> Result<v1::EnqueueResponse, Failure> {
    let _place = caller.in_flight.as_ref().map(InFlight::enter).transpose()?;
    let command = caller.rpc.checked_enqueue(request)?;
    if let Some(charge) = &caller.charge {
        charge.jobs(command.jobs.len())?;
    }
    caller.rpc.put_in(command).await
}
