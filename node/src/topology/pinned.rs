//! The pinned threads: gateway and engine loop on one core, or on a core each, connected by the same rings. A panic of
//! one of them ends the process.

use super::error::StartError;
use crate::config::{Config, Idle, Threads};
use crate::engine::engine_loop::EngineLoop;
use crate::engine::run::{EngineThread, GatewayThread, Idler, Single};
use crate::faults::fault::JournalFault;
use crate::gateway::order_entry::{Gateway, GatewayLimits, GatewayState, GatewayWiring};
use crate::host::clock::Clock;
use crate::host::threads::{pin_or_warn, spawn_pinned};
use crate::reactor::ports::ListenerIdx;
use crate::reactor::uring::Reactor;
use crate::status::Status;
use crate::status::exit;
use crate::status::lifecycle::Lifecycle;
use std::fs::File;
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use wal::directory::Directory;
use wal::error::WalError;
use wal::head::{Head, HeadPosition};
use wal::medium::Access;

/// Everything that the pinned threads are built from.
pub(super) struct PinnedThreads {
    pub(super) gateway_state: GatewayState,
    pub(super) gateway_wiring: GatewayWiring,
    pub(super) limits: GatewayLimits,
    pub(super) orders: TcpListener,
    pub(super) engine_loop: EngineLoop,
    pub(super) journal: JournalParts,
    pub(super) connections_max: u16,
    pub(super) clock: Clock,
    pub(super) lifecycle: Arc<Lifecycle>,
    pub(super) status: Arc<Status>,
    pub(super) idle: Idle,
    pub(super) core: usize,
    pub(super) engine_done: Arc<AtomicBool>,
}

impl PinnedThreads {
    pub(super) fn spawn(self, threads: Threads) -> Result<Vec<JoinHandle<()>>, StartError> {
        match threads {
            Threads::Single => self.single(),
            Threads::Pipeline => self.pipeline(),
        }
    }

    /// `threads = "single"`: one thread, one io_uring, one core.
    fn single(self) -> Result<Vec<JoinHandle<()>>, StartError> {
        let thread = spawn_pinned("core", move || {
            pin_or_warn(self.core);
            let mut clock = self.clock;
            let reactor = match Reactor::new(self.connections_max) {
                Ok(reactor) => reactor,
                Err(error) => return self.lifecycle.fail(exit::FAILED, error.to_string()),
            };
            let mut reactor = self.journal.drive(reactor);
            let listener = reactor.listen(self.orders);
            let gateway = Gateway::new(self.gateway_state, listener, self.gateway_wiring, self.limits, clock.now());
            let idler = Idler::new(self.idle);
            let (engine, lifecycle, status) = (self.engine_loop, self.lifecycle, self.status);
            Single { reactor, gateway, engine, clock, lifecycle, status, idler }.run();
            self.engine_done.store(true, Ordering::Release);
        })
        .map_err(StartError::Thread)?;
        Ok(vec![thread])
    }

    /// `threads = "pipeline"`: gateway and engine loop on a core each.
    fn pipeline(self) -> Result<Vec<JoinHandle<()>>, StartError> {
        let engine_stopped = Arc::new(AtomicBool::new(false));
        let gateway_closed = Arc::new(AtomicBool::new(false));
        let engine = spawn_pinned("engine", {
            let (lifecycle, status) = (Arc::clone(&self.lifecycle), Arc::clone(&self.status));
            let (mut clock, idle) = (self.clock.clone(), self.idle);
            let (journal, engine, core) = (self.journal, self.engine_loop, self.core);
            let (stopped, closed) = (Arc::clone(&engine_stopped), Arc::clone(&gateway_closed));
            let done = Arc::clone(&self.engine_done);
            move || {
                pin_or_warn(core);
                match Reactor::new(0) {
                    Ok(reactor) => {
                        let reactor = journal.drive(reactor);
                        clock.now();
                        EngineThread { reactor, engine, clock, lifecycle, status, idler: Idler::new(idle), closed }
                            .run();
                    }
                    Err(error) => lifecycle.fail(exit::FAILED, error.to_string()),
                }
                stopped.store(true, Ordering::Release);
                done.store(true, Ordering::Release);
            }
        })
        .map_err(StartError::Thread)?;
        let gateway = spawn_pinned("gateway", move || {
            pin_or_warn(self.core + 1);
            let mut clock = self.clock;
            let mut reactor = match Reactor::new(self.connections_max) {
                Ok(reactor) => reactor,
                Err(error) => return self.lifecycle.fail(exit::FAILED, error.to_string()),
            };
            let listener: ListenerIdx = reactor.listen(self.orders);
            let gateway = Gateway::new(self.gateway_state, listener, self.gateway_wiring, self.limits, clock.now());
            let idler = Idler::new(self.idle);
            let (lifecycle, status) = (self.lifecycle, self.status);
            GatewayThread { reactor, gateway, clock, lifecycle, status, idler, engine_stopped, closed: gateway_closed }
                .run();
        })
        .map_err(StartError::Thread)?;
        Ok(vec![engine, gateway])
    }
}

/// The journal, to be driven by the reactor of the thread that runs the engine loop.
pub(super) struct JournalParts {
    head: Head,
    files: Vec<File>,
    fault: JournalFault,
}

impl JournalParts {
    pub(super) fn open(
        config: &Config,
        directory: &Directory,
        position: HeadPosition,
        fault: JournalFault,
    ) -> Result<Self, StartError> {
        let identity = directory.identity();
        let head =
            Head::new(config.journal.head(identity.timeline, identity.geometry), position).map_err(WalError::Config)?;
        let files = directory.segments(Access::Direct)?.into_files();
        Ok(Self { head, files, fault })
    }

    fn drive(self, reactor: Reactor) -> Reactor {
        reactor.with_journal(self.head, self.files, self.fault)
    }
}
