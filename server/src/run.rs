//! Puts the server together, and takes it apart again in good order.
//!
//! ```text
//! start: filter → settings → ports (NOT_SERVING) → store → SERVING → "listening on"
//! stop:  NOT_SERVING → nothing new, streams end → calls finish → store is closed
//! ```

use std::ffi::OsString;
use std::future::pending;
use std::io;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use sluice_engine::EngineConfig;
use tokio::runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::auth::{Auth, AuthFileError};
use crate::clock::wall_time;
use crate::config::{Config, ConfigError, Flags};
use crate::http::{self, Pages};
use crate::layer::RequestRate;
use crate::listener::{ConnectionLimit, Listener};
use crate::load::Load;
use crate::planted::{self, Bug};
use crate::reload::Reload;
use crate::rpc::{self, RpcSettings};
use crate::store::{Durable, DurableOptions, StoreError};
use crate::task::TaskError;
use crate::telemetry::TelemetryError;
use crate::tls::{Doorway, TlsError, TlsFiles};
use crate::writer::{MailboxLimit, StartError, Writer, exit_at_once};
use crate::{os, task, telemetry, transport};

/// Why the server did not run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A setting is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Nothing can be logged.
    #[error(transparent)]
    Telemetry(#[from] TelemetryError),
    /// sled would not sync for real.
    #[error(
        "sync_file_range cannot be refused in this process, so a power loss could cost acknowledged jobs: \
         allow seccomp filters, or say --insecure-no-sync-filter to go without"
    )]
    NoSyncFilter,
    /// The operating system said no.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// What it said.
        source: io::Error,
    },
    /// The store could not be opened.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The file of identities is no good.
    #[error("auth_file {}: {error}", .path.display())]
    Auth {
        /// Where it is.
        path: PathBuf,
        /// What is wrong with it.
        error: AuthFileError,
    },
    /// There can be no TLS.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// What was to be done instead of serving could not be.
    #[error(transparent)]
    Task(#[from] TaskError),
}

/// Connections of the HTTP port: probes and people.
const HTTP_CONNECTIONS: ConnectionLimit = ConnectionLimit { total: 256, per_address: 128 };
/// Files besides connections: the pages' connections, segments, sled.
const OTHER_FILES: u64 = 512;
/// Threads that read bodies: more would not make the disk faster.
const BLOCKING_THREADS: usize = 32;
/// How long threads that read bodies may take to end: nobody waits for them any more.
const RUNTIME_GRACE: Duration = Duration::from_secs(1);
/// How long a call may take until its answer begins, where its caller does not say less: longer than
/// the longest wait, for a call may wait and then work.
const MAX_CALL_TIME: Duration = Duration::from_secs(120);

impl RunError {
    /// What the process should exit with: 2 when it was called wrong, else 1.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            RunError::Config(_) | RunError::Telemetry(_) | RunError::Auth { .. } | RunError::Tls(_) => 2,
            RunError::NoSyncFilter | RunError::Io { .. } | RunError::Start(_) => 1,
            RunError::Task(error) => error.exit_code(),
        }
    }
}

/// Runs the server until it is told to stop, or does what is asked for instead; says what to exit with.
/// To be called before any thread starts. `ready` hears the address, once calls are served.
///
/// # Errors
/// When it could not start.
pub fn run(
    arguments: impl IntoIterator<Item = OsString>,
    ready: impl FnOnce(SocketAddr),
) -> Result<ExitCode, RunError> {
    // First of all: threads that run already would go without it.
    let filter = if planted::has(Bug::NoSyncFilter) { Ok(()) } else { os::refuse_sync_file_range() };
    let flags = Flags::parse_from(arguments);
    if let Some(task) = &flags.task {
        return Ok(task::run(task)?);
    }
    let loaded = Config::load(&flags)?;
    let config = loaded.config;
    telemetry::start(config.log_format, &config.log_level)?;
    if let Err(error) = filter {
        warn!(%error, "cannot refuse sync_file_range");
    }
    if !os::sync_file_range_is_refused() && !config.insecure_no_sync_filter {
        return Err(RunError::NoSyncFilter);
    }
    let files = os::raise_file_limit();
    if files < config.max_connections as u64 + OTHER_FILES {
        warn!(
            files,
            max_connections = config.max_connections,
            "fewer files may be open than there may be connections: raise the limit (ulimit -n, LimitNOFILE)"
        );
    }
    if !loaded.unknown_variables.is_empty() {
        warn!(variables = loaded.unknown_variables.join(" "), "variables that are no settings");
    }

    let mut runtime = runtime::Builder::new_multi_thread();
    if config.worker_threads > 0 {
        runtime.worker_threads(config.worker_threads);
    }
    let runtime = runtime.max_blocking_threads(BLOCKING_THREADS).enable_all().build();
    let runtime = runtime.map_err(io_error("start threads"))?;
    let result = runtime.block_on(serve(config, ready));
    runtime.shutdown_timeout(RUNTIME_GRACE);
    result.map(|()| ExitCode::SUCCESS)
}

async fn serve(config: Config, ready: impl FnOnce(SocketAddr)) -> Result<(), RunError> {
    info!(version = env!("CARGO_PKG_VERSION"), data_dir = %config.data_dir.display(), "starting");
    let mut signals = Signals::new()?;
    let mut reload = Reload::default();
    let auth = auth(&config, &mut reload)?;
    let tls = match tls_files(&config) {
        Some(files) => Some(reload.tls(files)?),
        None => None,
    };
    if tls.is_none()
        && !auth.is_open()
        && !(config.listen.ip().is_loopback() && config.http.ip().is_loopback())
    {
        warn!(
            "tokens can be read on their way: set tls_cert and tls_key, or have TLS end right before this server"
        );
    }
    let listener = bind("listen", config.listen, connection_limit(&config)).await?;
    let pages = bind("http", config.http, HTTP_CONNECTIONS).await?;
    let address = listener.address().map_err(io_error("ask for the address"))?;
    let http_address = pages.address().map_err(io_error("ask for the address"))?;

    let (handle, mut writer) = Writer::start(
        EngineConfig {
            strict_queues: config.strict_queues,
            max_idempotency_keys: config.max_idempotency_keys,
        },
        MailboxLimit { calls: config.mailbox_calls, bytes: config.mailbox_bytes },
        {
            let config = config.clone();
            move || open(&config)
        },
        Box::new(exit_at_once),
    )?;

    let stopping = CancellationToken::new();
    let grace = Duration::from_secs(config.stop_grace_seconds);
    let reloading = follow(reload, &stopping)?;
    let load = Load::default();
    let following = tokio::spawn(load.clone().follow(stopping.clone()));
    let settings = rpc_settings(&config);
    let (service, health) =
        rpc::service(handle.clone(), settings, auth.clone(), load, stopping.clone()).await;
    let mut grpc = tokio::spawn(transport::serve(listener, tls.clone(), service, stopping.clone(), grace));
    let pages = tokio::spawn(http::serve(
        Doorway::new(pages, tls),
        Pages { handle, auth, stopping: stopping.clone() },
    ));

    let started = tokio::select! {
        started = writer.ready() => started.map(|()| true),
        () = signals.next() => Ok(false),
    };
    if let Ok(true) = started {
        health.set_serving(true).await;
        info!(%address, %http_address, "listening");
        ready(address);
        tokio::select! {
            () = signals.next() => {}
            // It ends only when it is told to, or by a bug.
            _ = &mut grpc => error!("the gRPC port is served no more"),
        }
    }

    info!("stopping");
    health.set_serving(false).await;
    stopping.cancel();
    if !grpc.is_finished() {
        tokio::select! {
            _ = &mut grpc => {}
            // Whoever asks twice does not want to wait.
            () = signals.next() => warn!("stopping at once"),
        }
    }
    pages.abort();
    // It ends as soon as the server stops.
    drop(following.await);
    if let Some(reloading) = reloading {
        drop(reloading.await);
    }
    // What was taken is finished whatever happens. Only a store that is still being read is not waited for.
    match started {
        Ok(true) => writer.stop().await,
        Ok(false) => drop(timeout(grace, writer.stop()).await),
        Err(_) => {}
    }
    started?;
    info!("stopped");
    Ok(())
}

fn open(config: &Config) -> Result<Box<dyn crate::store::Store>, StoreError> {
    let options = DurableOptions {
        log_segment_bytes: config.log_segment_bytes,
        log_budget_bytes: (config.log_budget_bytes > 0).then_some(config.log_budget_bytes),
        trust_sync_file_range: config.insecure_no_sync_filter,
        ..DurableOptions::default()
    };
    Ok(Box::new(Durable::open(&config.data_dir, options)?))
}

/// Where there is nothing to read again, a SIGHUP is what it is for every program.
fn follow(reload: Reload, stopping: &CancellationToken) -> Result<Option<JoinHandle<()>>, RunError> {
    if reload.is_empty() {
        return Ok(None);
    }
    let hangup = signal(SignalKind::hangup()).map_err(io_error("listen for signals"))?;
    Ok(Some(tokio::spawn(reload.follow(hangup, stopping.clone()))))
}

fn auth(config: &Config, reload: &mut Reload) -> Result<Auth, RunError> {
    let Some(path) = &config.auth_file else { return Ok(Auth::open()) };
    reload.auth(path).map_err(|error| RunError::Auth { path: path.clone(), error })
}

fn tls_files(config: &Config) -> Option<TlsFiles> {
    let (cert, key) = (config.tls_cert.clone()?, config.tls_key.clone()?);
    Some(TlsFiles { cert, key, client_ca: config.tls_client_ca.clone() })
}

fn rpc_settings(config: &Config) -> RpcSettings {
    let burst = if config.request_burst > 0 { config.request_burst } else { config.request_rate };
    let request_rate = NonZeroU32::new(config.request_rate).zip(NonZeroU32::new(burst));
    RpcSettings {
        max_payload_bytes: config.max_payload_bytes,
        strict_queues: config.strict_queues,
        max_in_flight: config.max_in_flight,
        max_calls_per_caller: config.max_calls_per_caller,
        request_rate: request_rate
            .and_then(|(rate, burst)| RequestRate::new(rate, Duration::from_secs(1), burst)),
        max_idempotency_keys: config.max_idempotency_keys,
        max_call_time: MAX_CALL_TIME,
        start_time: wall_time(),
    }
}

fn connection_limit(config: &Config) -> ConnectionLimit {
    ConnectionLimit { total: config.max_connections, per_address: config.max_connections_per_address }
}

async fn bind(setting: &str, address: SocketAddr, limit: ConnectionLimit) -> Result<Listener, RunError> {
    Listener::bind(address, limit).await.map_err(io_error(&format!("{setting} on {address}")))
}

fn io_error(what: &str) -> impl FnOnce(io::Error) -> RunError {
    let what = what.to_owned();
    move |source| RunError::Io { what, source }
}

/// What tells a server to stop.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> Result<Signals, RunError> {
        let listen = |kind| signal(kind).map_err(io_error("listen for signals"));
        Ok(Signals {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
        })
    }

    async fn next(&mut self) {
        let told = tokio::select! {
            told = self.terminate.recv() => told,
            told = self.interrupt.recv() => told,
        };
        if told.is_none() {
            // No signal can come any more.
            pending::<()>().await;
        }
    }
}
