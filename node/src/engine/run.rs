//! The loops of the pinned threads: what one cycle does, in which order, and how the loop ends.

use crate::config::Idle;
use crate::engine::engine_loop::EngineLoop;
use crate::faults::fault::PanicFault;
use crate::gateway::order_entry::Gateway;
use crate::host::clock::Clock;
use crate::reactor::ports::{Journaling, Wait};
use crate::reactor::uring::Reactor;
use crate::status::Status;
use crate::status::exit;
use crate::status::lifecycle::Lifecycle;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use wal::error::WalError;
use wal::poison::Poisoned;

/// Idle cycles after which a loop with `node.idle = "backoff"` waits in the kernel.
const SPINS_BEFORE_BACKOFF: u32 = 2_000;
/// Longest such wait, and so the longest time for which an item that another thread put into a ring goes unseen.
const BACKOFF: Duration = Duration::from_micros(500);
/// How long a stopping node waits for clients with slow connections to receive their answers.
const DRAIN_NS: u64 = 2_000_000_000;

/// Decides whether the next cycle spins or waits in the kernel.
pub struct Idler {
    idle: Idle,
    spins: u32,
}

impl Idler {
    pub fn new(idle: Idle) -> Self {
        Self { idle, spins: 0 }
    }

    /// How the next cycle enters the kernel, given the work that the last one did.
    fn wait(&mut self, work: usize) -> Wait {
        self.spins = if work > 0 { 0 } else { self.spins.saturating_add(1) };
        if self.idle == Idle::Spin || self.spins < SPINS_BEFORE_BACKOFF { Wait::Spin } else { Wait::Upto(BACKOFF) }
    }
}

/// `threads = "single"`: gateway and engine loop on one pinned thread with one io_uring. The default.
pub struct Single {
    pub reactor: Reactor,
    pub gateway: Gateway,
    pub engine: EngineLoop,
    pub clock: Clock,
    pub lifecycle: Arc<Lifecycle>,
    pub status: Arc<Status>,
    pub idler: Idler,
}

impl Single {
    /// Runs until the node has stopped or failed. A stop drains: every accepted command becomes durable and its answers
    /// are sent, or `DRAIN_NS` has passed.
    pub fn run(mut self) {
        let mut wait = Wait::Spin;
        let mut deadline = None;
        loop {
            if let Err(error) = self.reactor.poll(wait) {
                return self.lifecycle.fail(exit::FAILED, error.to_string());
            }
            let now = self.clock.now();
            let mut work = self.gateway.poll_inbound(now, &mut self.reactor);
            work += self.engine.poll(now, &mut self.reactor);
            PanicFault::strike("core");
            if let Some(poisoned) = self.reactor.poisoned() {
                // No answer leaves after this: only a restart can find out whether the failed frame is on disk.
                return fail_poisoned(&self.lifecycle, poisoned);
            }
            work += self.gateway.poll_outbound(now, &mut self.reactor);
            self.status.gateway.at_ns.set(now.0);
            self.status.gateway.cycles.add(1);
            self.status.ring_entries.set(self.reactor.enter_count());
            if self.lifecycle.is_stopping() {
                self.gateway.stop_inbound();
                let deadline = *deadline.get_or_insert(now.0 + DRAIN_NS);
                let drained = self.engine.is_drained(&self.reactor);
                let sent = self.gateway.is_drained(&self.reactor) || deadline <= now.0;
                if self.lifecycle.has_failed() || drained && sent {
                    return;
                }
                work = 1;
            }
            wait = self.idler.wait(work);
        }
    }
}

/// A full disk has its own exit code, because the operator's next step is a different one.
#[cold]
fn fail_poisoned(lifecycle: &Lifecycle, poisoned: &Poisoned) {
    let error = WalError::from(*poisoned);
    lifecycle.fail(exit::code_of(&error), error.to_string());
}

/// `threads = "pipeline"`: the pinned thread of the engine loop, with the journal on its io_uring.
pub struct EngineThread {
    pub reactor: Reactor,
    pub engine: EngineLoop,
    pub clock: Clock,
    pub lifecycle: Arc<Lifecycle>,
    pub status: Arc<Status>,
    pub idler: Idler,
    /// The gateway accepts no more commands: what the ingress holds now are the last ones.
    pub closed: Arc<AtomicBool>,
}

impl EngineThread {
    pub fn run(mut self) {
        let mut wait = Wait::Spin;
        loop {
            if let Err(error) = self.reactor.poll(wait) {
                return self.lifecycle.fail(exit::FAILED, error.to_string());
            }
            let now = self.clock.now();
            let closed = self.closed.load(Ordering::Acquire);
            let work = self.engine.poll(now, &mut self.reactor);
            PanicFault::strike("engine");
            if let Some(poisoned) = self.reactor.poisoned() {
                return fail_poisoned(&self.lifecycle, poisoned);
            }
            self.status.ring_entries.set(self.reactor.enter_count());
            // After a failure the gateway may never have started, and then it would never close.
            let failed = self.lifecycle.is_stopping() && self.lifecycle.has_failed();
            if failed || closed && self.engine.is_drained(&self.reactor) {
                return;
            }
            wait = self.idler.wait(work + usize::from(self.reactor.head().frames_in_flight() > 0));
        }
    }
}

/// `threads = "pipeline"`: the pinned thread of the gateway, with the sockets on its io_uring.
pub struct GatewayThread {
    pub reactor: Reactor,
    pub gateway: Gateway,
    pub clock: Clock,
    pub lifecycle: Arc<Lifecycle>,
    pub status: Arc<Status>,
    pub idler: Idler,
    pub engine_stopped: Arc<AtomicBool>,
    pub closed: Arc<AtomicBool>,
}

impl GatewayThread {
    pub fn run(mut self) {
        let mut wait = Wait::Spin;
        let mut deadline = None;
        loop {
            if let Err(error) = self.reactor.poll(wait) {
                self.closed.store(true, Ordering::Release);
                return self.lifecycle.fail(exit::FAILED, error.to_string());
            }
            let now = self.clock.now();
            let mut work = self.gateway.poll_inbound(now, &mut self.reactor);
            PanicFault::strike("gateway");
            work += self.gateway.poll_outbound(now, &mut self.reactor);
            self.status.gateway.at_ns.set(now.0);
            self.status.gateway.cycles.add(1);
            if self.lifecycle.is_stopping() {
                self.gateway.stop_inbound();
                self.closed.store(true, Ordering::Release);
                let deadline = *deadline.get_or_insert(now.0 + DRAIN_NS);
                let sent = self.gateway.is_drained(&self.reactor) || deadline <= now.0;
                if self.engine_stopped.load(Ordering::Acquire) && sent || self.lifecycle.has_failed() {
                    return;
                }
                work = 1;
            }
            wait = self.idler.wait(work);
        }
    }
}
