//! The Rust client of Sluice: a [`Client`] over a few connections, a [`Producer`] and a [`Worker`].
//!
//! ```no_run
//! use sluice_client::{Client, JobBuilder, Outcome, Worker};
//! use tokio_util::sync::CancellationToken;
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let client = Client::builder("http://127.0.0.1:7070").build()?;
//! let job_id = client.producer("mail").enqueue(JobBuilder::new("hello").priority(7)).await?;
//! println!("on disk as {job_id}");
//!
//! Worker::new(client, "mail")
//!     .concurrency(8)
//!     .run(|delivery| async move {
//!         println!("{:?}", delivery.job.payload);
//!         Outcome::Done(None)
//!     }, CancellationToken::new())
//!     .await?;
//! # Ok(())
//! # }
//! ```
//!
//! # Where to find what
//! - `client`: connections, deadlines and every call; `retry`: what may be repeated, and when.
//! - `error`: what the server says when it refuses; `job`: how a job is described.
//! - `flow`: what a queue's flow hint asks of producers and workers.
//! - `producer`, `worker`, `drain`: the three things programs do with a queue.
//! - `cli`, `bench`: the program `sluice`. They use what is public here and nothing else.

#![cfg_attr(test, allow(clippy::unwrap_used))]

#[doc(hidden)]
pub mod bench;
#[doc(hidden)]
pub mod cli;
mod client;
mod drain;
mod error;
mod flow;
mod job;
mod producer;
mod retry;
mod span;
mod worker;

pub use client::{BuildError, Client, ClientBuilder};
pub use drain::DrainReader;
pub use error::{Error, FieldViolation};
pub use job::{JobBuilder, is_at_rest};
pub use producer::{BackPressure, BackPressureError, EnqueueStream, Producer, Receipt, Statistics};
pub use retry::{Repeat, RetryPolicy};
/// The messages of the contract, as generated.
pub use sluice_proto::v1 as proto;
pub use span::{span_from_proto, span_to_proto};
pub use tonic::Code;
pub use worker::{Delivery, Failure, Outcome, Summary, Worker};
