//! Speaks HTTP/2 over the connections of a listener, with TLS or without, within bounds, and ends well.
//!
//! hyper is driven directly: tonic's server hides when a connection ends and how. Nothing here knows what
//! the service answers.

mod balance;
mod frames;
mod paced;
mod preface;

use std::convert::Infallible;
use std::pin::pin;
use std::time::Duration;

use http::{Request, Response};
use hyper::server::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::body::Body;
use tonic::transport::server::{Connected, TcpConnectInfo};
use tower::{Service, ServiceExt};
use tracing::debug;

use crate::auth::ClientCertificate;
use crate::bound::STREAM_WINDOW;
use crate::listener::{Connection, Listener};
use crate::tls::{Port, Secured, Tls};
use paced::Paced;

/// Streams of a connection that may be open: without it, one caller could open any number.
const MAX_STREAMS: u32 = 1_024;
/// Streams that were reset by a caller before we looked at them; over it the connection ends (the
/// "rapid reset" attack).
const MAX_PENDING_RESETS: usize = 64;
/// Streams that we reset for a caller's errors; over it the connection ends.
const MAX_LOCAL_RESETS: usize = 256;
/// What a caller may send ahead on a connection: one stream that nobody reads must not starve the others.
const CONNECTION_WINDOW: u32 = 16 << 20;
/// What we hold for a stream whose reader is slow.
const MAX_SEND_BUFFER: usize = 256 << 10;
/// Bytes of a call's headers: tokens and traces, no more.
const MAX_HEADER_BYTES: u32 = 16 << 10;
/// A silent connection is asked whether anybody is there,
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(30);
/// and has so long to answer.
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);
/// A connection must have said within this that it speaks HTTP/2, or it only holds a place.
const PREFACE_TIMEOUT: Duration = Duration::from_secs(10);

/// Serves until `stopping`, then takes nothing new, lets calls finish for `grace`, and cuts what is left.
pub async fn serve<S>(
    mut listener: Listener,
    tls: Option<Tls>,
    service: S,
    stopping: CancellationToken,
    grace: Duration,
) where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Clone + Send + Sync + 'static,
    S::Future: Send + 'static,
{
    let connections = TaskTracker::new();
    let cut = CancellationToken::new();
    loop {
        tokio::select! {
            biased;
            () = stopping.cancelled() => break,
            connection = listener.next() => {
                let speaking = speak(connection, tls.clone(), service.clone(), stopping.clone());
                let cut = cut.clone();
                connections.spawn(async move {
                    tokio::select! {
                        () = speaking => {}
                        () = cut.cancelled() => {}
                    }
                });
            }
        }
    }
    drop(listener);
    connections.close();
    if timeout(grace, connections.wait()).await.is_err() {
        debug!(connections = connections.len(), "calls did not finish in time: cutting them off");
        cut.cancel();
        connections.wait().await;
    }
}

/// Serves the calls of one connection.
async fn speak<S>(connection: Connection, tls: Option<Tls>, service: S, stopping: CancellationToken)
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Clone + Send + Sync + 'static,
    S::Future: Send + 'static,
{
    let peer = connection.peer();
    let mut origin = Origin { info: connection.connect_info(), certificate: None };
    let secured = tokio::select! {
        secured = Secured::accept(connection, tls.as_ref(), Port::Grpc) => secured,
        () = stopping.cancelled() => return,
    };
    let mut connection = match secured {
        Ok(secured) => secured,
        Err(error) => return debug!(%peer, %error, "no TLS"),
    };
    origin.certificate = connection.certificate();
    let begun = tokio::select! {
        begun = timeout(PREFACE_TIMEOUT, preface::read(&mut connection)) => begun,
        () = stopping.cancelled() => return,
    };
    match begun {
        Ok(Ok(())) => {}
        Ok(Err(error)) => return debug!(%peer, %error, "connection that said nothing to the purpose"),
        Err(_) => return debug!(%peer, "connection that did not begin in time"),
    }
    let service = service.map_request(move |request| arrived(request, &origin));
    let speaking =
        settings().serve_connection(TokioIo::new(Paced::new(connection)), TowerToHyperService::new(service));
    let mut speaking = pin!(speaking);
    let ended = tokio::select! {
        ended = speaking.as_mut() => ended,
        () = stopping.cancelled() => {
            speaking.as_mut().graceful_shutdown();
            speaking.await
        }
    };
    if let Err(error) = ended {
        debug!(%peer, %error, "connection broke");
    }
}

/// What is known of a connection's other end.
#[derive(Clone)]
struct Origin {
    info: TcpConnectInfo,
    certificate: Option<ClientCertificate>,
}

/// A request as the service expects it, with the address it came from where tonic looks for it.
fn arrived(request: Request<hyper::body::Incoming>, origin: &Origin) -> Request<Body> {
    let mut request = request.map(Body::new);
    request.extensions_mut().insert(origin.info.clone());
    if let Some(certificate) = &origin.certificate {
        request.extensions_mut().insert(certificate.clone());
    }
    request
}

fn settings() -> http2::Builder<TokioExecutor> {
    let mut settings = http2::Builder::new(TokioExecutor::new());
    settings
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_STREAMS)
        .max_pending_accept_reset_streams(MAX_PENDING_RESETS)
        .max_local_error_reset_streams(MAX_LOCAL_RESETS)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .adaptive_window(false)
        .max_send_buf_size(MAX_SEND_BUFFER)
        .max_header_list_size(MAX_HEADER_BYTES)
        .keep_alive_interval(KEEPALIVE_INTERVAL)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT);
    settings
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::sync::Arc;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;
    use tokio::sync::Notify;
    use tonic::transport::Endpoint;
    use tonic::{Code, Status};
    use tower::service_fn;

    use super::*;
    use crate::listener::ConnectionLimit;

    const LONG: Duration = Duration::from_secs(60);

    async fn listener() -> (Listener, SocketAddr) {
        let limit = ConnectionLimit { total: 10, per_address: 10 };
        let listener = Listener::bind("127.0.0.1:0".parse().unwrap(), limit).await.unwrap();
        let address = listener.address().unwrap();
        (listener, address)
    }

    async fn call(address: SocketAddr) -> Result<Response<Body>, tonic::transport::Error> {
        let channel = Endpoint::from_shared(format!("http://{address}")).unwrap().connect().await?;
        channel.oneshot(Request::new(Body::empty())).await
    }

    #[tokio::test]
    async fn service_sees_where_a_call_comes_from() {
        let (listener, address) = listener().await;
        let stopping = CancellationToken::new();
        let service = service_fn(|request: Request<Body>| async move {
            let peer = request.extensions().get::<TcpConnectInfo>().and_then(TcpConnectInfo::remote_addr);
            let local = peer.is_some_and(|peer| peer.ip().is_loopback());
            let status = if local { Status::new(Code::Ok, "") } else { Status::new(Code::Internal, "") };
            Ok(status.into_http())
        });
        let server = tokio::spawn(serve(listener, None, service, stopping.clone(), LONG));
        let answer = call(address).await.unwrap();
        assert_eq!(answer.headers()["grpc-status"], "0");
        stopping.cancel();
        server.await.unwrap();
    }

    #[tokio::test]
    async fn call_under_way_is_finished_when_the_server_stops() {
        let (listener, address) = listener().await;
        let stopping = CancellationToken::new();
        let (entered, leave) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let service = {
            let (entered, leave) = (entered.clone(), leave.clone());
            service_fn(move |_| {
                let (entered, leave) = (entered.clone(), leave.clone());
                async move {
                    entered.notify_one();
                    leave.notified().await;
                    Ok(Status::new(Code::Ok, "").into_http())
                }
            })
        };
        let server = tokio::spawn(serve(listener, None, service, stopping.clone(), LONG));
        let calling = tokio::spawn(call(address));
        entered.notified().await;
        stopping.cancel();
        assert!(!server.is_finished());
        leave.notify_one();
        assert_eq!(calling.await.unwrap().unwrap().headers()["grpc-status"], "0");
        server.await.unwrap();
    }

    #[tokio::test]
    async fn call_that_never_ends_is_cut_off_after_the_grace() {
        let (listener, address) = listener().await;
        let stopping = CancellationToken::new();
        let entered = Arc::new(Notify::new());
        let service = {
            let entered = entered.clone();
            service_fn(move |_| {
                entered.notify_one();
                std::future::pending::<Result<Response<Body>, Infallible>>()
            })
        };
        let server =
            tokio::spawn(serve(listener, None, service, stopping.clone(), Duration::from_millis(10)));
        let calling = tokio::spawn(call(address));
        entered.notified().await;
        stopping.cancel();
        server.await.unwrap();
        assert!(calling.await.unwrap().is_err());
    }

    #[tokio::test]
    async fn stranger_who_does_not_speak_http2_is_hung_up_on() {
        let (listener, address) = listener().await;
        let stopping = CancellationToken::new();
        let service = service_fn(|_| async { Ok(Status::new(Code::Ok, "").into_http()) });
        let server = tokio::spawn(serve(listener, None, service, stopping.clone(), LONG));
        let mut stranger = TcpStream::connect(address).await.unwrap();
        stranger.write_all(b"GET / HTTP/1.1\r\nhost: sluice\r\n\r\n").await.unwrap();
        let mut answer = Vec::new();
        // Whether it ends or is reset: it ends.
        let _ = stranger.read_to_end(&mut answer).await;
        assert!(!answer.starts_with(b"HTTP/1.1 200"));
        stopping.cancel();
        server.await.unwrap();
    }

    #[tokio::test]
    async fn silent_connection_does_not_hold_up_a_stop() {
        let (listener, address) = listener().await;
        let stopping = CancellationToken::new();
        let service = service_fn(|_| async { Ok(Status::new(Code::Ok, "").into_http()) });
        let server = tokio::spawn(serve(listener, None, service, stopping.clone(), LONG));
        let mut silent = TcpStream::connect(address).await.unwrap();
        // A call over another connection shows that the silent one, which came first, was taken.
        call(address).await.unwrap();
        stopping.cancel();
        assert_eq!(silent.read(&mut [0]).await.unwrap(), 0);
        server.await.unwrap();
    }
}
