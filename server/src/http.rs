//! The HTTP port: is it alive, is it ready, how do the queues stand.
//!
//! Knows the writer's handle and nothing of gRPC.

mod stats;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use tokio_util::sync::CancellationToken;

use crate::writer::Handle;

/// What the pages look at.
#[derive(Clone)]
pub struct Pages {
    /// How the queues stand.
    pub handle: Handle,
    /// Whether the server is on its way out.
    pub stopping: CancellationToken,
}

/// The pages.
pub fn router(pages: Pages) -> Router {
    Router::new()
        .route("/healthz", get(alive))
        .route("/readyz", get(ready))
        .route("/stats", get(stats::stats))
        .with_state(pages)
}

/// Whoever answers is alive.
async fn alive() -> &'static str {
    "alive\n"
}

/// Whether calls should be sent here.
async fn ready(State(pages): State<Pages>) -> (StatusCode, &'static str) {
    if pages.stopping.is_cancelled() {
        (StatusCode::SERVICE_UNAVAILABLE, "stopping\n")
    } else if pages.handle.is_serving() {
        (StatusCode::OK, "ready\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "starting\n")
    }
}
