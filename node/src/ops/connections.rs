//! The connections of the ops listener: operators always find a place.
//!
//! ```text
//!  accepted --> a place is free ----------------------------------------------> served
//!          \--> all are taken --> the oldest without a request in progress ends --^
//! ```
//! Invariant: a connection that sends complete requests is served, however many others are silent or slow. A
//! connection has a request in progress from the end of the request's head until its answer is computed. One without
//! is closed when all places are taken, the one with the oldest accept or answer first. While every connection has a
//! request in progress, the next one waits, and only one is accepted beyond the limit.

use super::refusal::Refusal;
use crate::host::threads::message_of;
use crate::status::Status;
use crate::status::listeners::{Episodes, Limit, ListenerStatus};
use crate::status::restarts::Worker;
use axum::Router;
use axum::response::IntoResponse;
use futures_util::FutureExt;
use hyper::server::conn::http1;
use hyper::service::Service;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::net::TcpStream;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, watch};

/// How long open requests may take to finish once the listener is asked to stop.
const DRAIN: Duration = Duration::from_secs(2);
/// Pause after a failed accept, which usually means that the process has no descriptor left.
const PAUSE_AFTER_ACCEPT_ERROR: Duration = Duration::from_millis(50);

#[derive(Clone, Copy, Debug)]
pub struct ConnectionLimits {
    pub connections_max: usize,
    pub header_bytes_max: usize,
    pub header_timeout: Duration,
}

/// The open connections, shared by the accepting loop and the tasks that serve them.
pub struct Connections {
    open: Mutex<Open>,
    /// A connection has ended, or has no request in progress any more.
    changed: Notify,
    status: Arc<Status>,
    episodes: Mutex<Episodes>,
    started: Instant,
}

#[derive(Default)]
struct Open {
    /// Those without a request in progress. The number grows with every accept and every answer, so the first is the
    /// oldest.
    idle: BTreeMap<u64, Arc<Notify>>,
    next_number: u64,
}

impl Open {
    /// Adds a connection without a request in progress; returns its number.
    fn add(&mut self, close: &Arc<Notify>) -> u64 {
        let number = self.next_number;
        self.next_number += 1;
        self.idle.insert(number, Arc::clone(close));
        number
    }
}

impl Connections {
    pub fn new(connections_max: usize, status: Arc<Status>) -> Self {
        Self {
            open: Mutex::default(),
            changed: Notify::new(),
            status,
            episodes: Mutex::new(Episodes::new("ops", "limits.ops_connections_max", connections_max)),
            started: Instant::now(),
        }
    }

    /// To be called now and then: an episode in which the listener was at its limit may be over.
    pub fn tick(&self) {
        self.episodes().tick(self.now_ns(), self.status());
    }

    fn now_ns(&self) -> u64 {
        self.started.elapsed().as_nanos() as u64
    }

    fn status(&self) -> &ListenerStatus {
        &self.status.listeners.ops
    }

    fn episodes(&self) -> MutexGuard<'_, Episodes> {
        self.episodes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records that no connection can be accepted, and closes the oldest one without a request in progress.
    fn make_room(&self, limit: Limit, detail: &str) {
        self.episodes().stopped(self.now_ns(), limit, detail, self.status());
        if let Some((_, close)) = self.open().idle.pop_first() {
            self.status().displaced.add(1);
            close.notify_one();
        }
    }

    /// Waits for the place of an accepted connection, which one without a request in progress has to leave.
    async fn place(&self, places: &Arc<Semaphore>) -> OwnedSemaphorePermit {
        loop {
            if let Ok(place) = Arc::clone(places).try_acquire_owned() {
                return place;
            }
            self.make_room(Limit::Connections, "");
            self.changed.notified().await;
        }
    }
}

/// One connection among the open ones; it leaves them when it is dropped.
struct Member {
    connections: Arc<Connections>,
    address: SocketAddr,
    /// Wakes the task that serves it, to end it.
    close: Arc<Notify>,
    /// Its number among the idle connections; `None` while a request is in progress.
    number: Mutex<Option<u64>>,
}

impl Member {
    fn new(connections: &Arc<Connections>, address: SocketAddr) -> Self {
        let member =
            Self { connections: Arc::clone(connections), address, close: Arc::default(), number: Mutex::default() };
        member.idle();
        member
    }

    fn number(&self) -> MutexGuard<'_, Option<u64>> {
        self.number.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn idle(&self) {
        let number = self.connections.open().add(&self.close);
        *self.number() = Some(number);
        self.connections.changed.notify_one();
    }

    fn busy(&self) {
        let number = self.number().take();
        if let Some(number) = number {
            self.connections.open().idle.remove(&number);
        }
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.busy();
        self.connections.changed.notify_one();
    }
}

/// The router, for one connection.
struct Watched {
    router: TowerToHyperService<Router>,
    member: Arc<Member>,
}

/// The address of the client of a connection, which each of its requests carries.
#[derive(Clone, Copy, Debug)]
pub struct PeerAddress(pub SocketAddr);

type Request = hyper::Request<hyper::body::Incoming>;
type Outcome = Result<
    <TowerToHyperService<Router> as Service<Request>>::Response,
    <TowerToHyperService<Router> as Service<Request>>::Error,
>;

impl Service<Request> for Watched {
    type Response = <TowerToHyperService<Router> as Service<Request>>::Response;
    type Error = <TowerToHyperService<Router> as Service<Request>>::Error;
    type Future = Pin<Box<dyn Future<Output = Outcome> + Send>>;

    fn call(&self, mut request: Request) -> Self::Future {
        self.member.busy();
        request.extensions_mut().insert(PeerAddress(self.member.address));
        let (answer, member) = (self.router.call(request), Arc::clone(&self.member));
        Box::pin(async move {
            let answer = AssertUnwindSafe(answer).catch_unwind().await;
            member.idle();
            answer.unwrap_or_else(|panic| {
                let message = message_of(&*panic);
                member.connections.status.restarts.note_request(Worker::Ops, message);
                Ok(Refusal::internal(message.to_owned()).into_response())
            })
        })
    }
}

/// Accepts and serves until it is stopped.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    limits: ConnectionLimits,
    connections: Arc<Connections>,
    mut stopped: watch::Receiver<bool>,
) {
    let listener = match tokio::net::TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => return tracing::error!("listen.ops: {error}"),
    };
    let places = Arc::new(Semaphore::new(limits.connections_max));
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(limits.header_timeout).max_buf_size(limits.header_bytes_max);
    loop {
        let accepted = async {
            let (stream, address) = match listener.accept().await {
                Ok(accepted) => accepted,
                Err(error) => {
                    connections.make_room(Limit::Accept, &error.to_string());
                    tokio::time::sleep(PAUSE_AFTER_ACCEPT_ERROR).await;
                    return None;
                }
            };
            Some((stream, address, connections.place(&places).await))
        };
        let accepted = tokio::select! {
            accepted = accepted => accepted,
            _ = stopped.wait_for(|stop| *stop) => break,
        };
        let Some((stream, address, place)) = accepted else { continue };
        let member = Arc::new(Member::new(&connections, address));
        let connection = serve_one(stream, &http, router.clone(), member, stopped.clone());
        tokio::spawn(async move {
            connection.await;
            drop(place);
        });
    }
    let all = u32::try_from(limits.connections_max).unwrap_or(u32::MAX);
    // Requests that are not finished by then are cut off.
    let _ = tokio::time::timeout(DRAIN, places.acquire_many(all)).await;
}

/// Serves one connection until it ends, another one takes its place, or the listener stops.
fn serve_one(
    stream: TcpStream,
    http: &http1::Builder,
    router: Router,
    member: Arc<Member>,
    mut stopped: watch::Receiver<bool>,
) -> impl Future<Output = ()> + Send + 'static {
    // Answers are small, and a client waits for each: send them at once. A failure only delays them.
    let _ = stream.set_nodelay(true);
    let close = Arc::clone(&member.close);
    let watched = Watched { router: TowerToHyperService::new(router), member };
    let connection = http.serve_connection(TokioIo::new(stream), watched);
    async move {
        let mut connection = std::pin::pin!(connection);
        let stopping = tokio::select! {
            // How a connection ended is not logged: malformed bytes, a timeout or a reset are the client's.
            _ = connection.as_mut() => false,
            () = close.notified() => false,
            _ = stopped.wait_for(|stop| *stop) => true,
        };
        if stopping {
            connection.as_mut().graceful_shutdown();
            let _ = connection.await;
        }
    }
}
