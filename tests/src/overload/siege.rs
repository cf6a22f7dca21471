//! Those who behave, while others flood the server with frames.

use std::time::Duration;

use super::Latency;
use crate::flood::Flood;
use crate::{Setup, Sluiced};

/// Peers that flood at a time.
const PEERS: usize = 3;
/// What they lower themselves to: it is the server's work that is measured, not theirs on the same processors.
const NICENESS: i32 = 10;

/// How those who behave are served at rest, and under each flood.
pub async fn run(span: Duration) -> (Latency, Vec<(Flood, Latency)>) {
    let mut server = Setup::default().start().await;
    // To be warm.
    Latency::measure(&server, span.min(Duration::from_secs(2))).await;
    let at_rest = Latency::measure(&server, span).await;
    let mut under = Vec::new();
    for flood in Flood::ALL {
        under.push((flood, under_flood(&server, flood, span).await));
        assert!(server.is_running(), "{flood:?}");
    }
    (at_rest, under)
}

async fn under_flood(server: &Sluiced, flood: Flood, span: Duration) -> Latency {
    let address = server.address();
    let flooding = std::thread::spawn(move || {
        let _ = rustix::process::setpriority_process(None, NICENESS);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let peers = (0..PEERS).map(|peer| again_and_again(flood, address, peer > 0, span));
            futures::future::join_all(peers).await;
        });
    });
    let latency = Latency::measure(server, span).await;
    flooding.join().unwrap();
    latency
}

/// Whoever is hung up on comes back.
async fn again_and_again(flood: Flood, server: std::net::SocketAddr, reads: bool, span: Duration) {
    let end = tokio::time::Instant::now() + span;
    loop {
        let left = end.saturating_duration_since(tokio::time::Instant::now());
        if left.is_zero() {
            return;
        }
        flood.run(server, reads, left).await;
    }
}
