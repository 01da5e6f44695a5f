//! The loops of the pinned threads: what a cycle does, in which order, and how it ends.

use crate::config::Idle;
use crate::engine::engine_loop::EngineLoop;
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
use wal::head::Poisoned;

/// Idle cycles before a loop that may back off waits in the kernel.
const SPINS_BEFORE_BACKOFF: u32 = 2_000;
/// Longest such wait: what other threads hand over by ring is seen this late at most.
const BACKOFF: Duration = Duration::from_micros(500);
/// How long a stopping node waits for answers to leave through slow sockets.
const DRAIN_NS: u64 = 2_000_000_000;

/// Decides between spinning and waiting.
pub struct Idler {
    idle: Idle,
    spins: u32,
}

impl Idler {
    pub fn new(idle: Idle) -> Self {
        Self { idle, spins: 0 }
    }

    /// How to enter the kernel next, given what the last cycle did.
    fn wait(&mut self, work: usize) -> Wait {
        self.spins = if work > 0 { 0 } else { self.spins.saturating_add(1) };
        if self.idle == Idle::Spin || self.spins < SPINS_BEFORE_BACKOFF { Wait::Spin } else { Wait::Upto(BACKOFF) }
    }
}

/// Gateway and engine on one thread and one ring: the product's shape.
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
    /// Runs until the node has stopped or the journal failed.
    pub fn run(mut self) {
        let mut wait = Wait::Spin;
        let mut deadline = None;
        loop {
            if let Err(error) = self.reactor.poll(wait) {
                return self.lifecycle.fail(exit::FAILED, error.to_string());
            }
            let now = self.clock.now();
            let mut work = self.gateway.take_in(now, &mut self.reactor);
            work += self.engine.poll(now, &mut self.reactor);
            if let Some(poisoned) = self.reactor.poisoned() {
                // Nothing leaves any more: whether the failed frame is on disk only a restart can tell.
                return fail_poisoned(&self.lifecycle, poisoned);
            }
            work += self.gateway.give_out(now, &mut self.reactor);
            self.status.gateway.at_ns.set(now.0);
            self.status.gateway.cycles.add(1);
            self.status.ring_entries.set(self.reactor.enter_count());
            if self.lifecycle.is_stopping() {
                self.gateway.close_to_new();
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

/// A full disk has an exit code of its own, because it has a remedy of its own.
#[cold]
fn fail_poisoned(lifecycle: &Lifecycle, poisoned: &Poisoned) {
    let error = WalError::from(*poisoned);
    lifecycle.fail(exit::code_of(&error), error.to_string());
}

/// The engine's thread of a pipeline.
pub struct EngineSeat {
    pub reactor: Reactor,
    pub engine: EngineLoop,
    pub clock: Clock,
    pub lifecycle: Arc<Lifecycle>,
    pub status: Arc<Status>,
    pub idler: Idler,
    /// The gateway takes nothing in any more: what is in the ingress is all there will be.
    pub closed: Arc<AtomicBool>,
}

impl EngineSeat {
    pub fn run(mut self) {
        let mut wait = Wait::Spin;
        loop {
            if let Err(error) = self.reactor.poll(wait) {
                return self.lifecycle.fail(exit::FAILED, error.to_string());
            }
            let now = self.clock.now();
            let closed = self.closed.load(Ordering::Acquire);
            let work = self.engine.poll(now, &mut self.reactor);
            if let Some(poisoned) = self.reactor.poisoned() {
                return fail_poisoned(&self.lifecycle, poisoned);
            }
            self.status.ring_entries.set(self.reactor.enter_count());
            // After a failure the gateway may never have begun, and never close.
            let failed = self.lifecycle.is_stopping() && self.lifecycle.has_failed();
            if failed || closed && self.engine.is_drained(&self.reactor) {
                return;
            }
            wait = self.idler.wait(work + usize::from(self.reactor.head().frames_in_flight() > 0));
        }
    }
}

/// The gateway's thread of a pipeline.
pub struct GatewaySeat {
    pub reactor: Reactor,
    pub gateway: Gateway,
    pub clock: Clock,
    pub lifecycle: Arc<Lifecycle>,
    pub status: Arc<Status>,
    pub idler: Idler,
    pub engine_stopped: Arc<AtomicBool>,
    pub closed: Arc<AtomicBool>,
}

impl GatewaySeat {
    pub fn run(mut self) {
        let mut wait = Wait::Spin;
        let mut deadline = None;
        loop {
            if let Err(error) = self.reactor.poll(wait) {
                self.closed.store(true, Ordering::Release);
                return self.lifecycle.fail(exit::FAILED, error.to_string());
            }
            let now = self.clock.now();
            let mut work = self.gateway.take_in(now, &mut self.reactor);
            work += self.gateway.give_out(now, &mut self.reactor);
            self.status.gateway.at_ns.set(now.0);
            self.status.gateway.cycles.add(1);
            if self.lifecycle.is_stopping() {
                self.gateway.close_to_new();
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
