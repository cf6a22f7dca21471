//! Puts a hundred jobs into the queue `example`: one by one, as a batch, and through a stream.
//!
//! ```text
//! cargo run --bin sluiced &
//! cargo run -p sluice-client --example produce
//! ```

#![allow(clippy::print_stdout, reason = "a program")]

use std::time::Duration;

use sluice_client::{Client, JobBuilder};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let addr = std::env::var("SLUICE_ADDR").unwrap_or_else(|_| "http://127.0.0.1:7070".to_owned());
    let producer = Client::builder(addr).build()?.producer("example");

    let urgent = JobBuilder::new("first").key("ann").priority(9).label("kind", "greeting");
    println!("{} is on disk", producer.enqueue(urgent).await?);

    let later = (0..9).map(|n| JobBuilder::new(format!("later {n}")).delay(Duration::from_secs(5)));
    println!("{} more are on disk", producer.enqueue_batch(later).await?.len());

    let mut stream = producer.stream(4);
    let mut receipts = Vec::new();
    for batch in 0..9 {
        let jobs = (0..10).map(|n| JobBuilder::new(format!("job {n} of batch {batch}")));
        receipts.push(stream.send(jobs).await?);
    }
    for receipt in receipts {
        println!("and {} more", receipt.await?.len());
    }
    stream.close().await;
    Ok(())
}
