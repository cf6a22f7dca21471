//! The whole stack around handlers that do as they are told.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use futures::FutureExt;
use http::HeaderMap;
use http_body_util::BodyExt;
use tokio::sync::{Notify, mpsc};
use tonic::Code;
use tonic_types::StatusExt;
use tower::service_fn;

use super::*;

const DAY: Duration = Duration::from_secs(86_400);

fn settings() -> LayerSettings {
    LayerSettings {
        max_in_flight: 100,
        max_calls_per_caller: 100,
        request_rate: None,
        max_call_time: Duration::from_secs(120),
    }
}

/// The stack of a server that does not stop.
fn stacked<S>(handlers: S, settings: &LayerSettings) -> GrpcService
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Clone + Send + Sync + 'static,
    S::Future: Send + 'static,
{
    stack(handlers, settings, Auth::open(), CancellationToken::new())
}

fn rate(burst: u32) -> Option<RequestRate> {
    let burst = NonZeroU32::new(burst).unwrap();
    RequestRate::new(burst, DAY, burst)
}

fn call(path: &str) -> Request<Body> {
    Request::builder().uri(path).body(Body::empty()).unwrap()
}

fn enqueue() -> Request<Body> {
    call("/sluice.v1.QueueService/Enqueue")
}

fn with(name: &'static str, value: &'static str) -> Request<Body> {
    let mut request = enqueue();
    request.headers_mut().insert(name, value.parse().unwrap());
    request
}

/// A handler that answers at once with an empty OK.
fn ready() -> impl Clone + Service<Request<Body>, Response = Response<Body>, Error = Infallible, Future: Send>
{
    service_fn(|_| async { Ok(Response::new(Body::empty())) })
}

fn status(response: &Response<Body>) -> Status {
    Status::from_header_map(response.headers()).unwrap_or_else(|| Status::ok(""))
}

fn reason(status: &Status) -> String {
    status.get_details_error_info().expect("every refusal has its reason").reason
}

/// A handler that says when it was called, and answers when it is let go.
#[derive(Clone)]
struct Gate {
    called: mpsc::UnboundedSender<Option<InFlight>>,
    open: Arc<Notify>,
}

impl Gate {
    fn new() -> (Gate, mpsc::UnboundedReceiver<Option<InFlight>>) {
        let (called, calls) = mpsc::unbounded_channel();
        (Gate { called, open: Arc::default() }, calls)
    }

    fn service(self, settings: &LayerSettings) -> GrpcService {
        let handler = move |request: Request<Body>| {
            let gate = self.clone();
            async move {
                let opened = gate.open.notified();
                gate.called.send(request.extensions().get::<InFlight>().cloned()).unwrap();
                opened.await;
                Ok(Response::new(Body::empty()))
            }
        };
        stacked(service_fn(handler), settings)
    }
}

#[tokio::test]
async fn call_beyond_the_limit_is_shed_with_its_reason() {
    let (gate, mut calls) = Gate::new();
    let open = Arc::clone(&gate.open);
    let service = gate.service(&LayerSettings { max_in_flight: 1, ..settings() });
    let first = tokio::spawn(service.clone().oneshot(enqueue()));
    calls.recv().await.unwrap();
    let shed = status(&service.clone().oneshot(enqueue()).await.unwrap());
    assert_eq!((shed.code(), &*reason(&shed)), (Code::Unavailable, "OVERLOADED"));
    assert!(shed.get_details_retry_info().unwrap().retry_delay.is_some());
    open.notify_waiters();
    assert_eq!(status(&first.await.unwrap().unwrap()).code(), Code::Ok);
    let third = tokio::spawn(service.oneshot(enqueue()));
    calls.recv().await.expect("the place is free again");
    third.abort();
}

#[tokio::test]
async fn call_that_is_dropped_leaves_its_place() {
    let (gate, mut calls) = Gate::new();
    let service = gate.service(&LayerSettings { max_in_flight: 1, ..settings() });
    let mut first = Box::pin(service.clone().oneshot(enqueue()));
    assert!(first.as_mut().now_or_never().is_none());
    let kept = calls.recv().await.unwrap();
    drop(first);
    let second = service.oneshot(enqueue()).now_or_never();
    assert!(second.is_none(), "it waits in the handler, it was not shed");
    drop(kept);
}

#[tokio::test]
async fn call_that_waits_hands_its_place_back() {
    let (gate, mut calls) = Gate::new();
    let service = gate.service(&LayerSettings { max_in_flight: 1, ..settings() });
    let mut first = Box::pin(service.clone().oneshot(enqueue()));
    assert!(first.as_mut().now_or_never().is_none());
    let in_flight = calls.recv().await.unwrap().unwrap();
    in_flight.hand_back();
    let mut second = Box::pin(service.oneshot(enqueue()));
    assert!(second.as_mut().now_or_never().is_none(), "it waits in the handler, it was not shed");
    assert!(in_flight.enter().is_err(), "the second has the only place");
    drop(second);
    assert!(in_flight.enter().is_ok());
}

#[tokio::test]
async fn health_is_answered_whatever_the_load() {
    let settings = LayerSettings { max_in_flight: 0, request_rate: rate(1), ..settings() };
    let service = stacked(ready(), &settings);
    for _ in 0..3 {
        let health = service.clone().oneshot(call("/grpc.health.v1.Health/Check")).await.unwrap();
        assert_eq!(status(&health).code(), Code::Ok);
    }
    let other = service.oneshot(call("/grpc.health.v1.Healthy/Check")).await.unwrap();
    assert_eq!(reason(&status(&other)), "OVERLOADED");
}

#[tokio::test]
async fn caller_over_its_rate_is_told_when_to_come_again() {
    let service = stacked(ready(), &LayerSettings { request_rate: rate(2), ..settings() });
    let from = |last: u8| {
        let mut request = enqueue();
        request.extensions_mut().insert(Caller::new([10, 0, 0, last].into()));
        service.clone().oneshot(request).map(|response| status(&response.unwrap()))
    };
    assert_eq!(from(1).await.code(), Code::Ok);
    assert_eq!(from(1).await.code(), Code::Ok);
    let refused = from(1).await;
    assert_eq!((refused.code(), &*reason(&refused)), (Code::ResourceExhausted, "REQUEST_RATE"));
    let wait = refused.get_details_retry_info().unwrap().retry_delay.unwrap();
    assert!(wait > Duration::ZERO && wait <= DAY / 2);
    assert_eq!(refused.get_details_quota_failure().unwrap().violations[0].subject, "10.0.0.1");
    let pushback: u128 =
        refused.metadata().get("grpc-retry-pushback-ms").unwrap().to_str().unwrap().parse().unwrap();
    assert_eq!(pushback, wait.as_nanos().div_ceil(1_000_000));
    assert_eq!(from(2).await.code(), Code::Ok);
}

#[tokio::test]
async fn handler_charges_the_jobs_that_a_call_brings() {
    let handler = |request: Request<Body>| async move {
        let charge = request.extensions().get::<Charge>().expect("there is a rate");
        Ok(charge.jobs_of_call(4).map_or_else(refuse, |()| Response::new(Body::empty())))
    };
    let service = stacked(service_fn(handler), &LayerSettings { request_rate: rate(10), ..settings() });
    let mut codes = Vec::new();
    for _ in 0..3 {
        codes.push(status(&service.clone().oneshot(enqueue()).await.unwrap()).code());
    }
    assert_eq!(codes, [Code::Ok, Code::Ok, Code::ResourceExhausted]);
}

#[tokio::test(start_paused = true)]
async fn call_ends_at_its_callers_deadline() {
    let (gate, mut calls) = Gate::new();
    let service = gate.service(&LayerSettings { max_in_flight: 1, ..settings() });
    let expired = service.clone().oneshot(with("grpc-timeout", "250m"));
    let start = tokio::time::Instant::now();
    let status = status(&expired.await.unwrap());
    assert_eq!((status.code(), &*reason(&status)), (Code::DeadlineExceeded, "DEADLINE_EXCEEDED"));
    assert_eq!(start.elapsed().as_millis(), 250);
    assert!(calls.recv().await.unwrap().unwrap().enter().is_ok(), "its place is free");
}

#[tokio::test(start_paused = true)]
async fn call_without_a_deadline_ends_at_the_servers() {
    let (gate, _calls) = Gate::new();
    let service = gate.service(&settings());
    let start = tokio::time::Instant::now();
    let unsaid = status(&service.clone().oneshot(enqueue()).await.unwrap());
    assert_eq!((unsaid.code(), start.elapsed().as_secs()), (Code::DeadlineExceeded, 120));
    let start = tokio::time::Instant::now();
    let long = status(&service.oneshot(with("grpc-timeout", "9H")).await.unwrap());
    assert_eq!((long.code(), start.elapsed().as_secs()), (Code::DeadlineExceeded, 120));
}

#[tokio::test(start_paused = true)]
async fn handler_knows_how_long_it_may_wait() {
    let waits = Arc::new(std::sync::Mutex::new(Vec::new()));
    let seen = Arc::clone(&waits);
    let handler = move |request: Request<Body>| {
        seen.lock().unwrap().push(request.extensions().get::<Deadline>().unwrap().wait());
        async { Ok(Response::new(Body::empty())) }
    };
    let service = stacked(service_fn(handler), &settings());
    for timeout in ["500m", "10S"] {
        service.clone().oneshot(with("grpc-timeout", timeout)).await.unwrap();
    }
    assert_eq!(*waits.lock().unwrap(), [Duration::from_millis(450), Duration::from_millis(9_900)]);
}

/// A handler whose stream never ends by itself.
fn endless()
-> impl Clone + Service<Request<Body>, Response = Response<Body>, Error = Infallible, Future: Send> {
    service_fn(|_| async {
        let pending = futures::stream::pending::<Result<http_body::Frame<bytes::Bytes>, Status>>();
        Ok(Response::new(Body::new(http_body_util::StreamBody::new(pending))))
    })
}

/// How an answer ends within 1,000 seconds.
async fn end(answer: Response<Body>) -> Option<Status> {
    let frame = tokio::time::timeout(Duration::from_secs(1_000), answer.into_body().frame()).await;
    let trailers = frame.ok()?.unwrap().unwrap().into_trailers().unwrap();
    Status::from_header_map(&trailers)
}

#[tokio::test(start_paused = true)]
async fn stream_ends_at_its_callers_deadline_and_not_at_the_servers() {
    let service = stacked(endless(), &settings());
    let start = tokio::time::Instant::now();
    let status = end(service.clone().oneshot(with("grpc-timeout", "300S")).await.unwrap()).await.unwrap();
    assert_eq!((status.code(), &*reason(&status)), (Code::DeadlineExceeded, "DEADLINE_EXCEEDED"));
    assert_eq!(start.elapsed().as_secs(), 300);
    assert!(end(service.oneshot(enqueue()).await.unwrap()).await.is_none());
}

#[tokio::test(start_paused = true)]
async fn foreign_stream_ends_when_the_server_stops() {
    let shutdown = CancellationToken::new();
    let service = stack(endless(), &settings(), Auth::open(), shutdown.clone());
    let health = service.clone().oneshot(call("/grpc.health.v1.Health/Watch")).await.unwrap();
    let ours = service.oneshot(call("/sluice.v1.QueueService/WatchQueue")).await.unwrap();
    shutdown.cancel();
    let status = end(health).await.expect("it ended");
    assert_eq!((status.code(), &*reason(&status)), (Code::Unavailable, "STOPPING"));
    assert!(end(ours).await.is_none(), "its handler ends it");
}

#[tokio::test]
async fn request_id_is_taken_over_or_made() {
    let id = |request: Request<Body>| async {
        let response = stacked(ready(), &settings()).oneshot(request).await.unwrap();
        response.headers()["x-request-id"].to_str().unwrap().to_owned()
    };
    assert_eq!(id(with("x-request-id", "abc")).await, "abc");
    assert_eq!(id(enqueue()).await.len(), 36);
    let long: &'static str = "x".repeat(129).leak();
    assert_eq!(id(with("x-request-id", long)).await.len(), 36);
    let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let response = stacked(ready(), &settings()).oneshot(with("traceparent", parent)).await.unwrap();
    assert_eq!(response.headers()["traceparent"], parent);
}

#[tokio::test]
async fn refusal_has_its_request_id_too() {
    let service = stacked(ready(), &LayerSettings { max_in_flight: 0, ..settings() });
    let response = service.oneshot(with("x-request-id", "abc")).await.unwrap();
    assert_eq!(response.headers()["x-request-id"], "abc");
}

#[tokio::test]
async fn refusal_that_tonic_made_is_said_in_our_words() {
    let handler = |_| async { Ok(Status::out_of_range("message length too large").into_http()) };
    let response = stacked(service_fn(handler), &settings()).oneshot(enqueue()).await.unwrap();
    let status = status(&response);
    assert_eq!((status.code(), &*reason(&status)), (Code::InvalidArgument, "REQUEST_TOO_LARGE"));
}

/// A stack whose handler counts the answers that were handed over.
fn counted() -> (GrpcService, Arc<AtomicU32>) {
    let count = Arc::new(AtomicU32::new(0));
    let counter = Arc::clone(&count);
    let handler = move |_| {
        let counter = Arc::clone(&counter);
        let handover = Handover::new(move || {
            counter.fetch_add(1, Ordering::Relaxed);
        });
        let body = http_body_util::Full::new(bytes::Bytes::from_static(b"jobs"))
            .with_trailers(std::future::ready(Some(Ok(HeaderMap::new()))));
        let mut response = Response::new(Body::new(body));
        response.extensions_mut().insert(handover);
        async { Ok(response) }
    };
    (stacked(service_fn(handler), &settings()), count)
}

#[tokio::test]
async fn answer_is_handed_over_when_its_trailers_are_asked_for() {
    let (service, count) = counted();
    let mut body = service.oneshot(enqueue()).await.unwrap().into_body();
    assert!(body.frame().await.unwrap().unwrap().is_data());
    assert_eq!(count.load(Ordering::Relaxed), 0);
    assert!(body.frame().await.unwrap().unwrap().is_trailers());
    assert_eq!(count.load(Ordering::Relaxed), 1);
    drop(body);
    assert_eq!(count.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn answer_that_nobody_took_is_not_handed_over() {
    let (service, count) = counted();
    drop(service.clone().oneshot(enqueue()).await.unwrap());
    let mut body = service.oneshot(enqueue()).await.unwrap().into_body();
    body.frame().await;
    drop(body);
    assert_eq!(count.load(Ordering::Relaxed), 0);
}
