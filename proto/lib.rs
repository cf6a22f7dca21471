//! The gRPC contract of Sluice: messages, clients and servers generated from `proto/sluice/v1`.
//! Generated code and the descriptors it came from, nothing else.

#![allow(missing_docs, unreachable_pub, clippy::all, rustdoc::all)]

/// The package `sluice.v1`.
pub mod v1 {
    tonic::include_proto!("sluice.v1");
}

/// The encoded `FileDescriptorSet` of the contract and all it imports.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/sluice_descriptor.bin"));
