//! Works on the queue `example` until Ctrl-C.
//!
//! ```text
//! cargo run --bin sluiced &
//! cargo run -p sluice-client --example work
//! ```

#![allow(clippy::print_stdout, reason = "a program")]

use std::time::Duration;

use sluice_client::{Client, Delivery, Failure, Outcome, Worker};
use tokio_util::sync::CancellationToken;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let addr = std::env::var("SLUICE_ADDR").unwrap_or_else(|_| "http://127.0.0.1:7070".to_owned());
    let client = Client::builder(addr).build()?;

    let stop = CancellationToken::new();
    let told = stop.clone();
    tokio::spawn(async move {
        // Without a signal handler there is no graceful stop, and no reason not to work.
        if tokio::signal::ctrl_c().await.is_ok() {
            told.cancel();
        }
    });

    let summary =
        Worker::new(client, "example").concurrency(4).worker_id("example").run(handle, stop).await?;
    println!("{summary:?}");
    Ok(())
}

async fn handle(delivery: Delivery) -> Outcome {
    match std::str::from_utf8(delivery.payload()) {
        Err(error) => Outcome::Rejected(Failure::new(error.to_string()).code("not_text")),
        Ok("busy") => Outcome::Throttled {
            retry_after: Some(Duration::from_secs(5)),
            failure: Failure::new("the downstream said 429").code("http_429"),
        },
        Ok(text) => {
            println!("{} (delivery {}): {text}", delivery.job.job_id, delivery.lease_token);
            Outcome::Done(Some(format!("{} bytes", text.len()).into()))
        }
    }
}
