//! The ops listener: health, metrics and the admin API over HTTP/1.1, on a thread of its own.
//!
//! ```text
//!  ops socket -> accept -> hyper -> /live /ready /health /metrics /version      reads `Status` and stage times only
//!                                -> /admin/...  -> command_queue -> admin port -> engine -> answer once released
//! ```
//! Invariant: no trading loop ever waits for this thread. Commands and answers pass through rings.

pub mod admin;
pub mod answer;
pub mod command_queue;
pub mod health;

pub mod metrics;
pub mod refusal;
pub mod registry;
pub mod to_acts;

use crate::config::Config;
use crate::config::secrets::{Secret, SecretError};
use crate::host::listen;
use crate::ops::registry::Registry;
use crate::replica::questions::ShadowPort;
use crate::rings::admin_port::AdminPort;
use crate::rings::stages::StageTotals;
use crate::status::Status;
use crate::status::lifecycle::Lifecycle;
use crate::status::watermarks::Watermark;
use admin::{AdminState, PeerAddress, is_bearer};
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Extension, Json, Router};
use book::units::Seq;
use command_queue::CommandQueue;
use health::Health;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use refusal::Refusal;
use serde_json::json;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;
use thiserror::Error;
use tokio::sync::{Semaphore, watch};

/// How often answers are delivered, ticks observed and stage times collected.
const POLL_EVERY: Duration = Duration::from_millis(1);
/// How long open requests may take to finish once the listener is asked to stop.
const DRAIN: Duration = Duration::from_secs(2);
/// Pause after a failed accept, which usually means that the process has no file descriptor left.
const PAUSE_AFTER_ACCEPT_ERROR: Duration = Duration::from_millis(50);

#[derive(Debug, Error)]
pub enum OpsError {
    #[error("binding listen.ops to {address}: {source}")]
    Bind { address: SocketAddr, source: io::Error },
    #[error("reading the token that {key} names, {path}: {source}")]
    Token { key: &'static str, path: PathBuf, source: SecretError },
    #[error("starting the ops thread: {0}")]
    Thread(io::Error),
}

/// What the ops listener shares with the loops.
#[derive(Clone)]
pub struct OpsHandles {
    pub lifecycle: Arc<Lifecycle>,
    pub status: Arc<Status>,
    pub admin: Arc<AdminPort>,
    pub stages: Arc<StageTotals>,
    pub shadow: ShadowPort,
}

/// The running ops listener.
pub struct OpsServer {
    address: SocketAddr,
    stop: watch::Sender<bool>,
    thread: JoinHandle<()>,
}

/// Binds `listen.ops`, so that an address in use is reported before a long recovery and not after it.
pub fn bind(config: &Config) -> Result<TcpListener, OpsError> {
    let address = config.listen.ops;
    let failed = |source| OpsError::Bind { address, source };
    let listener = listen::patiently(address).map_err(failed)?;
    listener.set_nonblocking(true).map_err(failed)?;
    Ok(listener)
}

impl OpsServer {
    /// Starts to serve. `registry` holds the names that the recovered engine knows.
    pub fn spawn(
        config: &Config,
        listener: TcpListener,
        ends: OpsHandles,
        registry: Registry,
    ) -> Result<Self, OpsError> {
        let address = listener.local_addr().map_err(OpsError::Thread)?;
        let OpsHandles { lifecycle, status, admin, stages, shadow } = ends;
        let command_queue = Arc::new(CommandQueue::new(admin, registry));
        let released = status.watermarks.released.clone();
        let health = Arc::new(Health::new(config, lifecycle, status));
        let ops = OpsState {
            health: Arc::clone(&health),
            stages: Arc::clone(&stages),
            metrics_token: metrics_token(config)?,
        };
        let router = router(config, ops, Arc::clone(&command_queue), shadow, released)?;
        let limits = ConnectionLimits {
            connections_max: config.limits.ops_connections_max,
            header_bytes_max: config.limits.header_bytes_max,
            header_timeout: config.limits.header_timeout,
        };
        let (stop, stopped) = watch::channel(false);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(OpsError::Thread)?;
        let run = move || {
            runtime.block_on(async move {
                let polling = tokio::spawn(poll(command_queue, health, stages));
                serve(listener, router, limits, stopped).await;
                polling.abort();
            });
            // A password hash in progress finishes within tens of milliseconds.
            runtime.shutdown_timeout(DRAIN);
        };
        let thread = std::thread::Builder::new().name("ops".to_owned()).spawn(run).map_err(OpsError::Thread)?;
        Ok(Self { address, stop, thread })
    }

    /// Where it listens; with port 0 in the configuration, the port that the system gave.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Accepts no more connections, lets open requests finish within `DRAIN`, and waits for that. To be called after
    /// the engine has stopped, because until then this thread delivers the engine's last answers.
    pub fn stop(self) {
        // Fails only if the thread has already ended.
        let _ = self.stop.send(true);
        if self.thread.join().is_err() {
            tracing::error!("the ops thread panicked");
        }
    }
}

async fn poll(command_queue: Arc<CommandQueue>, health: Arc<Health>, stages: Arc<StageTotals>) {
    let mut interval = tokio::time::interval(POLL_EVERY);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        interval.tick().await;
        command_queue.poll();
        health.observe();
        stages.collect();
    }
}

struct OpsState {
    health: Arc<Health>,
    stages: Arc<StageTotals>,
    metrics_token: Option<Secret>,
}

fn router(
    config: &Config,
    ops: OpsState,
    command_queue: Arc<CommandQueue>,
    shadow: ShadowPort,
    released: Watermark<Seq>,
) -> Result<Router, OpsError> {
    let listen = &config.listen;
    let admin = AdminState {
        command_queue,
        shadow,
        released,
        token: read_token("listen.ops_token_file", listen.ops_token_file.as_deref())?,
        cancel_on_disconnect: config.session.cancel_on_disconnect,
        cancel_window_ms: u32::try_from(config.session.cancel_window.as_millis()).unwrap_or(u32::MAX),
        body_timeout: config.limits.header_timeout,
    };
    let ops = Router::new()
        .route("/live", get(async || Json(json!({ "live": true }))))
        .route("/ready", get(async |State(ops): State<Arc<OpsState>>| ops.health.ready_response()))
        .route("/health", get(async |State(ops): State<Arc<OpsState>>| ops.health.report()))
        .route("/metrics", get(show_metrics))
        .route("/version", get(async || health::version()))
        .with_state(Arc::new(ops));
    Ok(ops
        .nest(admin::MOUNT, admin::routes(Arc::new(admin)))
        .fallback(async || Refusal::no_such_endpoint())
        .layer(DefaultBodyLimit::max(config.limits.body_bytes_max)))
}

fn metrics_token(config: &Config) -> Result<Option<Secret>, OpsError> {
    read_token("listen.metrics_token_file", config.listen.metrics_token_file.as_deref())
}

fn read_token(key: &'static str, path: Option<&Path>) -> Result<Option<Secret>, OpsError> {
    let Some(path) = path else { return Ok(None) };
    let token = Secret::read(path).map_err(|source| OpsError::Token { key, path: path.to_owned(), source })?;
    Ok(Some(token))
}

async fn show_metrics(State(ops): State<Arc<OpsState>>, headers: HeaderMap) -> Response {
    match &ops.metrics_token {
        Some(token) if !is_bearer(&headers, token) => {
            Refusal::unauthorized("send the token of listen.metrics_token_file").into_response()
        }
        _ => {
            ([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], metrics::render(&ops.health, &ops.stages)).into_response()
        }
    }
}

struct ConnectionLimits {
    /// A connection beyond this number is closed at once.
    connections_max: usize,
    header_bytes_max: usize,
    header_timeout: Duration,
}

async fn serve(listener: TcpListener, router: Router, limits: ConnectionLimits, mut stopped: watch::Receiver<bool>) {
    let listener = match tokio::net::TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => return tracing::error!("listen.ops: {error}"),
    };
    let slots = Arc::new(Semaphore::new(limits.connections_max));
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(limits.header_timeout).max_buf_size(limits.header_bytes_max);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stopped.wait_for(|stop| *stop) => break,
        };
        let Ok((stream, address)) = accepted else {
            tokio::time::sleep(PAUSE_AFTER_ACCEPT_ERROR).await;
            continue;
        };
        let Ok(slot) = Arc::clone(&slots).try_acquire_owned() else { continue };
        let service = router.clone().layer(Extension(PeerAddress(address)));
        // Answers are small, and a client waits for each: send them at once. A failure only delays them.
        let _ = stream.set_nodelay(true);
        let connection = http.serve_connection(TokioIo::new(stream), TowerToHyperService::new(service));
        let mut stopped = stopped.clone();
        tokio::spawn(async move {
            let mut connection = std::pin::pin!(connection);
            let stopping = tokio::select! {
                // How a connection ended is not logged: malformed bytes, a timeout or a reset are the client's.
                _ = connection.as_mut() => false,
                _ = stopped.wait_for(|stop| *stop) => true,
            };
            if stopping {
                connection.as_mut().graceful_shutdown();
                let _ = connection.await;
            }
            drop(slot);
        });
    }
    let all = u32::try_from(limits.connections_max).unwrap_or(u32::MAX);
    // Requests that are not finished by then are cut off.
    let _ = tokio::time::timeout(DRAIN, slots.acquire_many(all)).await;
}
