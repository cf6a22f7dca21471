//! One connection, and the calls of the benchmark over it: as they are on the wire.

use bytes::Bytes;
use prost::Message;
use tokio_stream::Stream;
use tonic::{Code, Request, Streaming, client::Grpc, codegen::http::uri::PathAndQuery, transport::Channel};

use super::{
    codec::RawCodec,
    message::{Acked, Acks, Enqueued, Leased},
};
use crate::{Client, Error, proto::LeaseRequest};

/// `HealthCheckResponse` with status SERVING.
const SERVING: &[u8] = &[0x08, 0x01];
/// The longest answer: gRPC's customary limit.
const MAX_RESPONSE_BYTES: usize = 4 << 20;

#[derive(Clone, Debug)]
pub(super) struct Wire {
    client: Client,
    channel: Channel,
}

impl Wire {
    pub(super) fn new(client: &Client, channel: &Channel) -> Wire {
        Wire { client: client.clone(), channel: channel.clone() }
    }

    /// A call that does nothing.
    pub(super) async fn check(&self) -> Result<(), Error> {
        let answer = self.call("/grpc.health.v1.Health/Check", Bytes::new()).await?;
        if answer == SERVING { Ok(()) } else { Err(Error::broken("the server is not serving")) }
    }

    /// Answers how many jobs are on disk.
    pub(super) async fn enqueue(&self, request: Bytes) -> Result<usize, Error> {
        let answer = self.call("/sluice.v1.QueueService/Enqueue", request).await?;
        Ok(decode::<Enqueued>(answer)?.jobs.len())
    }

    pub(super) async fn lease(&self, request: LeaseRequest) -> Result<Leased, Error> {
        decode(self.call("/sluice.v1.QueueService/Lease", request.encode_to_vec().into()).await?)
    }

    pub(super) async fn ack(&self, acks: Acks) -> Result<(), Error> {
        let answer = self.call("/sluice.v1.QueueService/Ack", acks.encode_to_vec().into()).await?;
        match decode::<Acked>(answer)?.results.into_iter().find_map(|result| result.error) {
            None => Ok(()),
            Some(error) => Err(error.into()),
        }
    }

    pub(super) async fn enqueue_stream(
        &self,
        requests: impl Stream<Item = Bytes> + Send + 'static,
    ) -> Result<Streaming<Bytes>, Error> {
        let path = PathAndQuery::from_static("/sluice.v1.QueueService/EnqueueStream");
        let mut grpc = self.ready().await?;
        let answers = grpc.streaming(self.client.request(requests), path, RawCodec).await?;
        Ok(answers.into_inner())
    }

    async fn call(&self, path: &'static str, message: Bytes) -> Result<Bytes, Error> {
        let mut grpc = self.ready().await?;
        let request: Request<Bytes> = self.client.request(message);
        let answer = grpc.unary(request, PathAndQuery::from_static(path), RawCodec).await?;
        Ok(answer.into_inner())
    }

    async fn ready(&self) -> Result<Grpc<Channel>, Error> {
        let mut grpc = Grpc::new(self.channel.clone()).max_decoding_message_size(MAX_RESPONSE_BYTES);
        grpc.ready().await.map_err(|error| tonic::Status::from_error(Box::new(error)))?;
        Ok(grpc)
    }
}

pub(super) fn decode<M: Message + Default>(answer: Bytes) -> Result<M, Error> {
    M::decode(answer)
        .map_err(|error| Error::local(Code::Internal, format!("an answer made no sense: {error}")))
}
