//! Generates the Rust side of the contract from `proto/`, without protoc.

use std::{env, fs, path::PathBuf};

use prost::Message;

const FILES: [&str; 5] = [
    "sluice/v1/job.proto",
    "sluice/v1/limit.proto",
    "sluice/v1/queue.proto",
    "sluice/v1/queue_service.proto",
    "sluice/v1/admin_service.proto",
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=proto/sluice");
    let descriptors = protox::compile(FILES, ["proto"])?;
    // For reflection, and for tests that walk every field of the contract.
    let out = PathBuf::from(env::var("OUT_DIR")?).join("sluice_descriptor.bin");
    fs::write(out, descriptors.encode_to_vec())?;
    tonic_prost_build::configure().bytes(".").codec_path("crate::codec::Codec").compile_fds(descriptors)?;
    Ok(())
}
