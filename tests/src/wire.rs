//! Calls by name, with messages built from the descriptor: for tests that must cover whatever the
//! contract holds, today and later.

use std::sync::LazyLock;

use bytes::{Buf, BufMut, Bytes};
use futures::StreamExt;
use prost::Message;
use prost_reflect::{DescriptorPool, DynamicMessage, MethodDescriptor};
use tonic::client::Grpc;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::Channel;
use tonic::{Request, Status};

/// What a call that was answered without a message is said to have failed with.
pub const NO_MESSAGE: &str = "the answer held no message";

/// The contract, as the generated code carries it.
#[must_use]
pub fn contract() -> &'static DescriptorPool {
    static CONTRACT: LazyLock<DescriptorPool> = LazyLock::new(|| {
        DescriptorPool::decode(sluice_proto::FILE_DESCRIPTOR_SET).expect("the contract's own descriptors")
    });
    &CONTRACT
}

/// Every rpc of the contract.
#[must_use]
pub fn methods() -> Vec<MethodDescriptor> {
    contract().services().flat_map(|service| service.methods().collect::<Vec<_>>()).collect()
}

/// Sends one message and gives the first answer.
///
/// # Errors
/// What the server answered.
pub async fn call(
    channel: Channel,
    method: &MethodDescriptor,
    request: &DynamicMessage,
) -> Result<DynamicMessage, Status> {
    let bytes = send(channel, method, request.encode_to_vec().into()).await?;
    Ok(DynamicMessage::decode(method.output(), bytes).expect("answers are what the contract says"))
}

/// Sends bytes as one message and gives the first answer. On the wire a unary call is a stream of one
/// message each way, so that this serves every kind of rpc.
///
/// # Errors
/// What the server answered.
pub async fn send(channel: Channel, method: &MethodDescriptor, message: Bytes) -> Result<Bytes, Status> {
    let messages = Request::new(futures::stream::once(std::future::ready(message)));
    first_answer(channel, method, messages).await
}

/// Sends messages over a stream that stays open, and gives the first answer.
///
/// # Errors
/// What the server answered.
pub async fn converse(
    channel: Channel,
    method: &MethodDescriptor,
    messages: &[DynamicMessage],
) -> Result<DynamicMessage, Status> {
    let messages: Vec<Bytes> = messages.iter().map(|message| message.encode_to_vec().into()).collect();
    let messages = futures::stream::iter(messages).chain(futures::stream::pending());
    let bytes = first_answer(channel, method, Request::new(messages)).await?;
    Ok(DynamicMessage::decode(method.output(), bytes).expect("answers are what the contract says"))
}

async fn first_answer(
    channel: Channel,
    method: &MethodDescriptor,
    messages: Request<impl futures::Stream<Item = Bytes> + Send + 'static>,
) -> Result<Bytes, Status> {
    let path = format!("/{}/{}", method.parent_service().full_name(), method.name());
    let path = PathAndQuery::try_from(path).expect("names of services and methods fit a path");
    let mut grpc = Grpc::new(channel);
    grpc.ready().await.map_err(|error| Status::unknown(error.to_string()))?;
    let mut answers = grpc.streaming(messages, path, Verbatim).await?.into_inner();
    answers.next().await.unwrap_or_else(|| Err(Status::unknown(NO_MESSAGE)))
}

/// Takes messages as the bytes they are.
#[derive(Clone, Copy)]
struct Verbatim;

impl Codec for Verbatim {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Verbatim;
    type Decoder = Verbatim;
    fn encoder(&mut self) -> Verbatim {
        Verbatim
    }
    fn decoder(&mut self) -> Verbatim {
        Verbatim
    }
}

impl Encoder for Verbatim {
    type Item = Bytes;
    type Error = Status;
    fn encode(&mut self, item: Bytes, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put(item);
        Ok(())
    }
}

impl Decoder for Verbatim {
    type Item = Bytes;
    type Error = Status;
    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(buffer.copy_to_bytes(buffer.remaining())))
    }
}
