//! The HTTP port: is it alive, is it ready, how do the queues stand.
//!
//! Knows the writer's handle and nothing of gRPC.

mod gate;
mod stats;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::middleware;
use axum::routing::get;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::auth::Auth;
use crate::tls::Doorway;
use crate::writer::Handle;

/// What the pages look at.
#[derive(Clone)]
pub struct Pages {
    /// How the queues stand.
    pub handle: Handle,
    /// Who may look.
    pub auth: Auth,
    /// Whether the server is on its way out.
    pub stopping: CancellationToken,
}

/// The pages, behind the gate.
pub fn router(pages: Pages) -> Router {
    let gate = middleware::from_fn_with_state(pages.auth.clone(), gate::guard);
    Router::new()
        .route("/healthz", get(alive))
        .route("/readyz", get(ready))
        .route("/stats", get(stats::stats))
        .with_state(pages)
        .layer(gate)
}

/// Serves the pages until nobody needs them any more.
pub async fn serve(listener: Doorway, pages: Pages) {
    if let Err(error) = axum::serve(listener, router(pages)).await {
        warn!(%error, "the HTTP port is served no more");
    }
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

#[cfg(test)]
mod tests {
    use axum::body::{Body, to_bytes};
    use axum::http::Request;
    use serde_json::{Value, json};
    use sluice_engine::{Command, EngineConfig, Enqueue, JobSpec, Priority, QueueName, Span};
    use tower::ServiceExt;

    use super::*;
    use crate::store::Memory;
    use crate::writer::{MailboxLimit, Writer};

    async fn serving() -> (Pages, Writer) {
        let (handle, mut writer) = Writer::start(
            EngineConfig::default(),
            MailboxLimit::default(),
            || Ok(Box::new(Memory::new())),
            Box::new(|fatal| panic!("{fatal}")),
        )
        .unwrap();
        writer.ready().await.unwrap();
        (Pages { handle, auth: Auth::open(), stopping: CancellationToken::new() }, writer)
    }

    async fn get(pages: &Pages, path: &str) -> (StatusCode, String) {
        let request = Request::get(path).body(Body::empty()).unwrap();
        let answer = router(pages.clone()).oneshot(request).await.unwrap();
        let code = answer.status();
        let body = to_bytes(answer.into_body(), 1 << 20).await.unwrap();
        (code, String::from_utf8(body.to_vec()).unwrap())
    }

    async fn stats(pages: &Pages, query: &str) -> Value {
        let (code, body) = get(pages, &format!("/stats{query}")).await;
        assert_eq!(code, StatusCode::OK, "{body}");
        serde_json::from_str(&body).unwrap()
    }

    async fn enqueue(pages: &Pages, queue: &str, priorities: &[u32]) {
        let spec = |p: &u32| JobSpec { priority: Priority::new(*p).unwrap(), ..JobSpec::default() };
        let jobs = priorities.iter().map(spec).collect();
        let enqueue = Enqueue {
            queue: QueueName::new(queue).unwrap(),
            jobs,
            request: None,
            batch_totals: Vec::new(),
            wait: Span::ZERO,
        };
        pages.handle.call(Command::Enqueue(enqueue), 1).await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn server_is_alive_always_and_ready_only_between_start_and_stop() {
        let (pages, writer) = serving().await;
        assert_eq!(get(&pages, "/readyz").await.0, StatusCode::OK);
        pages.stopping.cancel();
        assert_eq!(get(&pages, "/readyz").await.0, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(get(&pages, "/healthz").await.0, StatusCode::OK);
        writer.stop().await;
        assert_eq!(get(&pages, "/healthz").await.0, StatusCode::OK);
        assert_eq!(get(&pages, "/stats").await.0, StatusCode::SERVICE_UNAVAILABLE);
    }

    #[tokio::test]
    async fn statistics_of_every_queue_come_by_name_and_in_pages() {
        let (pages, writer) = serving().await;
        for number in 0..150 {
            enqueue(&pages, &format!("q{number:03}"), &[9, 4, 4, 0]).await;
        }
        let all = stats(&pages, "").await;
        assert_eq!(all["queues"].as_array().unwrap().len(), 150);
        assert_eq!(all["next"], Value::Null);
        let first = &all["queues"][0];
        assert_eq!(first["queue"], "q000");
        let levels = (&first["high"], &first["normal"], &first["low"]);
        assert_eq!(levels, (&json!(1), &json!(2), &json!(1)));
        assert_eq!(first["states"]["READY"], 4);

        let mut names = Vec::new();
        let mut page = stats(&pages, "?limit=70").await;
        while let Some(next) = page["next"].as_str() {
            names.extend(page["queues"].as_array().unwrap().iter().map(|queue| queue["queue"].clone()));
            page = stats(&pages, &format!("?limit=70&after={next}")).await;
        }
        names.extend(page["queues"].as_array().unwrap().iter().map(|queue| queue["queue"].clone()));
        let expected: Vec<Value> = (0..150).map(|number| json!(format!("q{number:03}"))).collect();
        assert_eq!(names, expected);
        writer.stop().await;
    }

    #[tokio::test]
    async fn statistics_of_an_unused_name_are_those_of_an_empty_queue() {
        let (pages, writer) = serving().await;
        let page = stats(&pages, "?queue=nothing").await;
        assert_eq!(page["queues"][0]["total_queued"], 0);
        assert_eq!(get(&pages, "/stats?queue=a%20b").await.0, StatusCode::BAD_REQUEST);
        assert_eq!(get(&pages, "/stats?limit=many").await.0, StatusCode::BAD_REQUEST);
        writer.stop().await;
    }
}
