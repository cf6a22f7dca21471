//! An HTTP server that jobs are delivered to, and that fails some of them on purpose.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Where jobs go. `POST /` with their id in `x-job-id` and their event in `x-event`.
pub struct Sink {
    address: SocketAddr,
    shared: Arc<Shared>,
    server: JoinHandle<()>,
}

/// What came in.
#[derive(Clone, Default)]
pub struct Received {
    /// Job ids in the order of their first arrival.
    pub order: Vec<String>,
    /// How often each job arrived.
    pub arrivals: BTreeMap<String, u32>,
    /// Every body that came for a job.
    pub bodies: BTreeMap<String, BTreeSet<Vec<u8>>>,
    /// Jobs that were answered 200.
    pub delivered: BTreeSet<String>,
    /// Jobs whose first delivery was answered 500 although it was not of the cursed event.
    pub tripped: BTreeSet<String>,
}

struct Shared {
    cursed: String,
    received: Mutex<Received>,
    delivered: watch::Sender<usize>,
}

impl Sink {
    /// Answers 500 to the first delivery of every seventh job, and to the event `cursed` always.
    pub async fn start(cursed: &str) -> Sink {
        let shared = Arc::new(Shared {
            cursed: cursed.to_owned(),
            received: Mutex::default(),
            delivered: watch::Sender::new(0),
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new().route("/", post(receive)).with_state(shared.clone());
        let server = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Sink { address, shared, server }
    }

    /// Where to post to.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}/", self.address)
    }

    /// Waits until so many jobs have been answered 200.
    pub async fn until_delivered(&self, count: usize) {
        self.shared.delivered.subscribe().wait_for(|delivered| *delivered >= count).await.unwrap();
    }

    /// What has come in so far.
    #[must_use]
    pub fn received(&self) -> Received {
        self.shared.received.lock().unwrap().clone()
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn receive(State(shared): State<Arc<Shared>>, headers: HeaderMap, body: Bytes) -> StatusCode {
    let header = |name: &str| headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default().to_owned();
    let job = header("x-job-id");
    let mut received = shared.received.lock().unwrap();
    let arrivals = received.arrivals.entry(job.clone()).or_default();
    *arrivals += 1;
    let is_first = *arrivals == 1;
    received.bodies.entry(job.clone()).or_default().insert(body.to_vec());
    if is_first {
        received.order.push(job.clone());
    }
    if header("x-event") == shared.cursed {
        return StatusCode::INTERNAL_SERVER_ERROR;
    }
    if is_first && received.order.len().is_multiple_of(7) {
        received.tripped.insert(job);
        return StatusCode::INTERNAL_SERVER_ERROR;
    }
    received.delivered.insert(job);
    shared.delivered.send_replace(received.delivered.len());
    StatusCode::OK
}
