//! Peers that are there and do nothing, and watchers that read nothing, while a few work.

use std::time::Duration;

use sluice_proto::v1::{Queue as Settings, WatchQueueRequest, WatchQueueResponse};
use tokio::task::JoinSet;
use tonic::Streaming;

use super::latency::QUEUE;
use super::{Latency, raise_file_limit};
use crate::{Setup, Sluiced, peer};

/// How many there are, and for how long it is measured.
#[derive(Clone, Copy, Debug)]
pub struct Crowd {
    /// Connections over which nothing is said.
    pub idle: usize,
    /// Watchers that read nothing.
    pub watchers: usize,
    /// How long those who work are watched, before and with the crowd.
    pub span: Duration,
}

/// What came of it.
#[derive(Debug)]
pub struct Figures {
    /// Memory that the crowd took.
    pub growth_bytes: u64,
    /// Idle peers that the server hung up on.
    pub hung_up: usize,
    /// How those who work were served before.
    pub before: Latency,
    /// How with the crowd.
    pub with: Latency,
}

/// Connections of one address: fewer than the server takes by itself.
const PER_ADDRESS: usize = 1_000;
/// Watchers of one connection.
const PER_CONNECTION: usize = 50;
/// Files besides: this process has the crowd's ends, the server has its own.
const OTHER_FILES: usize = 500;

impl Crowd {
    /// Measures it.
    pub async fn run(self) -> Figures {
        raise_file_limit((self.idle + OTHER_FILES) as u64);
        // Of one address as many as ever; of all together as many as there are.
        let setup = Setup::default().environment("SLUICED_MAX_CONNECTIONS", &(self.idle + 200).to_string());
        let server = setup.start().await;
        server.queue(QUEUE).put(Settings { retention_bytes: Some(0), ..Settings::default() }).await;
        let before = Latency::measure(&server, self.span).await;
        let memory = server.resident_bytes();
        let mut idle = self.gather(&server).await;
        let _watches = self.watch(&server).await;
        let with = Latency::measure(&server, self.span).await;
        let growth_bytes = server.resident_bytes().saturating_sub(memory);
        let mut hung_up = 0;
        while idle.try_join_next().is_some() {
            hung_up += 1;
        }
        Figures { growth_bytes, hung_up, before, with }
    }

    async fn gather(self, server: &Sluiced) -> JoinSet<std::io::Result<()>> {
        let mut idle = JoinSet::new();
        for number in 0..self.idle {
            let last = u8::try_from(1 + number / PER_ADDRESS).expect("a few addresses");
            let stream = peer::connect(server.address(), [127, 0, 1, last], &[]).await.unwrap();
            idle.spawn(peer::keep(stream));
        }
        idle
    }

    async fn watch(self, server: &Sluiced) -> Vec<Streaming<WatchQueueResponse>> {
        let mut watches = Vec::new();
        while watches.len() < self.watchers {
            let channel = server.narrow_channel();
            for _ in 0..PER_CONNECTION.min(self.watchers - watches.len()) {
                let mut client =
                    sluice_proto::v1::queue_service_client::QueueServiceClient::new(channel.clone());
                let request = WatchQueueRequest { queue: QUEUE.to_owned(), min_interval: None };
                watches.push(client.watch_queue(request).await.unwrap().into_inner());
            }
        }
        watches
    }
}
