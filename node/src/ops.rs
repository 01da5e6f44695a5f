//! The ops listener: health, metrics and the admin API over HTTP/1.1, on a thread of its own.
//!
//! ```text
//!  ops socket -> accept -> hyper -> /live /ready /health /metrics /version      reads `Status` and stage times only
//!                                -> /admin/...  -> command_queue -> admin port -> engine -> answer once released
//! ```
//! It serves from the first second of a start: health and metrics show how far the log is recovered, and the admin API
//! is answered once the node serves. Invariant: no trading loop ever waits for this thread. Commands and answers pass
//! through rings. Operators always find a place among its connections (`connections`).

pub mod admin;
pub mod answer;
pub mod command_queue;
pub mod connections;
pub mod disk_watch;
pub mod health;

pub mod metrics;
pub mod refusal;
pub mod registry;
pub mod resources;
pub mod to_acts;
pub mod write_wait;

use crate::config::Config;
use crate::config::secrets::{Secret, SecretError};
use crate::faults::fault::PanicFault;
use crate::host::listen;
use crate::host::threads::{Life, spawn_supervised};
use crate::ops::registry::Registry;
use crate::replica::questions::ShadowPort;
use crate::rings::admin_port::AdminPort;
use crate::rings::stages::StageTotals;
use crate::status::Status;
use crate::status::exit;
use crate::status::lifecycle::Lifecycle;
use crate::status::restarts::Worker;
use admin::{AdminState, is_bearer};
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get};
use axum::{Json, Router};
use command_queue::CommandQueue;
use connections::{ConnectionLimits, Connections};
use disk_watch::DiskWatch;
use health::Health;
use hyper::service::Service;
use hyper_util::service::TowerToHyperService;
use refusal::Refusal;
use serde_json::json;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock, Weak};
use std::thread::JoinHandle;
use std::time::Duration;
use thiserror::Error;
use tokio::sync::watch;
use wal::store::Store;

/// How often answers are delivered, ticks observed and stage times collected.
const POLL_EVERY: Duration = Duration::from_millis(1);
/// How long work beside the connections may take to finish once the listener has stopped.
const DRAIN: Duration = Duration::from_secs(2);

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
    /// Only its figures are read here; weak, so that a stopped node's store is closed whatever requests are open.
    pub store: Weak<Store>,
}

/// What is there once the node serves.
struct Serving {
    command_queue: Arc<CommandQueue>,
    stages: Arc<StageTotals>,
    admin: Router,
}

/// Set once, when the node serves.
type OnceServing = Arc<OnceLock<Serving>>;

/// The running ops listener.
pub struct OpsServer {
    address: SocketAddr,
    stop: watch::Sender<bool>,
    thread: JoinHandle<()>,
    config: Config,
    admin_token: Option<Secret>,
    health: Arc<Health>,
    serving: OnceServing,
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
    /// Starts to answer about a node that is being started.
    pub fn begin(
        config: &Config,
        listener: TcpListener,
        lifecycle: Arc<Lifecycle>,
        status: Arc<Status>,
    ) -> Result<Self, OpsError> {
        let address = listener.local_addr().map_err(OpsError::Thread)?;
        let health = Arc::new(Health::new(config, Arc::clone(&lifecycle), Arc::clone(&status)));
        let serving = OnceServing::default();
        let admin_token = read_token("listen.ops_token_file", config.listen.ops_token_file.as_deref())?;
        let metrics_token = read_token("listen.metrics_token_file", config.listen.metrics_token_file.as_deref())?;
        let ops = OpsState { health: Arc::clone(&health), serving: Arc::clone(&serving), metrics_token };
        let router = router(config, ops);
        let limits = ConnectionLimits {
            connections_max: config.limits.ops_connections_max,
            header_bytes_max: config.limits.header_bytes_max,
            header_timeout: config.limits.header_timeout,
        };
        let (stop, stopped) = watch::channel(false);
        let (to_thread, thread_status) = (Arc::clone(&lifecycle), Arc::clone(&status));
        let (to_health, to_serving) = (Arc::clone(&health), Arc::clone(&serving));
        let ops = OpsThread { listener, router, limits, health: to_health, serving: to_serving, status, stopped };
        let run = move |life| {
            if let Err(error) = ops.run(life) {
                lifecycle.fail(exit::FAILED, format!("the ops thread: {error}"));
            }
        };
        let thread = spawn_supervised(Worker::Ops, &to_thread, &thread_status, run).map_err(OpsError::Thread)?;
        Ok(Self { address, stop, thread, config: config.clone(), admin_token, health, serving })
    }

    /// Opens the admin API of a node that serves, and watches its disk. `registry` holds the names that the recovered
    /// engine knows. To be called once.
    pub fn serve(&self, ends: OpsHandles, registry: Registry) -> Result<(), OpsError> {
        let OpsHandles { lifecycle, status, admin, stages, shadow, store } = ends;
        let mut disk_watch = DiskWatch::new(&self.config, Arc::clone(&admin), Arc::clone(&status));
        let run = {
            let lifecycle = Arc::clone(&lifecycle);
            move |_| disk_watch.run(&lifecycle)
        };
        // Nothing waits for its end: a disk that hangs may hold it.
        spawn_supervised(Worker::Disk, &lifecycle, &status, run).map_err(OpsError::Thread)?;
        let command_queue = Arc::new(CommandQueue::new(admin, registry, shadow.clone(), Arc::clone(&status)));
        let state = AdminState {
            command_queue: Arc::clone(&command_queue),
            shadow,
            released: status.watermarks.released.clone(),
            status: Arc::clone(&status),
            token: self.admin_token.clone(),
            cancel_on_disconnect: self.config.session.cancel_on_disconnect,
            cancel_window_ms: u32::try_from(self.config.session.cancel_window.as_millis()).unwrap_or(u32::MAX),
            body_timeout: self.config.limits.header_timeout,
        };
        let admin = Router::new().nest(admin::MOUNT, admin::routes(Arc::new(state)));
        self.health.serve(store);
        let is_first = self.serving.set(Serving { command_queue, stages, admin }).is_ok();
        assert!(is_first, "a node begins to serve once");
        Ok(())
    }

    /// Both at once, for a node that serves already.
    pub fn spawn(
        config: &Config,
        listener: TcpListener,
        ends: OpsHandles,
        registry: Registry,
    ) -> Result<Self, OpsError> {
        let server = Self::begin(config, listener, Arc::clone(&ends.lifecycle), Arc::clone(&ends.status))?;
        server.serve(ends, registry)?;
        Ok(server)
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
        let _ = self.thread.join();
    }
}

/// What the thread keeps from one life of its runtime to the next.
struct OpsThread {
    listener: TcpListener,
    router: Router,
    limits: ConnectionLimits,
    health: Arc<Health>,
    serving: OnceServing,
    status: Arc<Status>,
    stopped: watch::Receiver<bool>,
}

impl OpsThread {
    /// Serves until it is stopped. After a panic the connections are closed, and the registry is read again before the
    /// first request.
    fn run(&self, life: Life) -> io::Result<()> {
        let connections = Arc::new(Connections::new(self.limits.connections_max, Arc::clone(&self.status)));
        let listener = self.listener.try_clone()?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let (serving, health) = (Arc::clone(&self.serving), Arc::clone(&self.health));
            let mut polling = tokio::spawn(poll(serving, health, Arc::clone(&connections)));
            let serving = async {
                if life == Life::Another
                    && let Some(serving) = self.serving.get()
                {
                    serving.command_queue.begin_again().await;
                }
                let (router, stopped) = (self.router.clone(), self.stopped.clone());
                connections::serve(listener, router, self.limits, connections, stopped).await;
            };
            tokio::select! {
                () = serving => polling.abort(),
                // It ends only by a panic, which becomes one of this thread.
                ended = &mut polling => if let Err(error) = ended {
                    std::panic::resume_unwind(error.into_panic());
                },
            }
        });
        // A password hash in progress finishes within tens of milliseconds.
        runtime.shutdown_timeout(DRAIN);
        Ok(())
    }
}

async fn poll(serving: OnceServing, health: Arc<Health>, connections: Arc<Connections>) {
    let mut interval = tokio::time::interval(POLL_EVERY);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        interval.tick().await;
        PanicFault::strike("ops");
        if let Some(Serving { command_queue, stages, .. }) = serving.get() {
            command_queue.poll();
            stages.collect();
        }
        health.observe();
        connections.tick();
    }
}

struct OpsState {
    health: Arc<Health>,
    serving: OnceServing,
    metrics_token: Option<Secret>,
}

fn router(config: &Config, ops: OpsState) -> Router {
    Router::new()
        .route("/live", get(async || Json(json!({ "live": true }))))
        .route("/ready", get(async |State(ops): State<Arc<OpsState>>| ops.health.ready_response()))
        .route("/health", get(async |State(ops): State<Arc<OpsState>>| ops.health.report()))
        .route("/metrics", get(show_metrics))
        .route("/version", get(async || health::version()))
        .route(&format!("{}/{{*rest}}", admin::MOUNT), any(administer))
        .with_state(Arc::new(ops))
        .fallback(async || Refusal::no_such_endpoint())
        .layer(DefaultBodyLimit::max(config.limits.body_bytes_max))
}

/// Passes a request on to the admin API, which is there once the node serves.
async fn administer(State(ops): State<Arc<OpsState>>, request: Request) -> Response {
    let Some(serving) = ops.serving.get() else {
        return Refusal::recovering(ops.health.status().recovery.describe()).into_response();
    };
    let Ok(response) = TowerToHyperService::new(serving.admin.clone()).call(request).await;
    response
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
            let stages = ops.serving.get().map(|serving| &*serving.stages);
            ([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], metrics::render(&ops.health, stages)).into_response()
        }
    }
}
