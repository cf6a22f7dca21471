//! The gRPC contract of Sluice: messages, clients and servers generated from `proto/sluice/v1`.
//! Generated code, the descriptors it came from, and how its messages are written.

pub mod codec;

/// The package `sluice.v1`.
#[allow(missing_docs, unreachable_pub, clippy::all, rustdoc::all)]
pub mod v1 {
    tonic::include_proto!("sluice.v1");
}

/// The encoded `FileDescriptorSet` of the contract and all it imports.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/sluice_descriptor.bin"));
