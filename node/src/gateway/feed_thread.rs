//! The thread of the feed: the loop around [`MarketData`], and its next beginning after a panic.
//!
//! Invariant: after a panic nothing of the feed's state is used again, because the shadow computes it anew
//! (`market_data::renewal`). Readers are disconnected, as by a network fault.

use crate::gateway::market_data::{MarketData, MarketLimits};
use crate::host::clock::Clock;
use crate::host::threads::Life;
use crate::reactor::ports::Wait;
use crate::reactor::uring::{Reactor, ReactorError};
use crate::status::Status;
use crate::status::exit;
use crate::status::lifecycle::Lifecycle;
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use wal::store::Store;

/// Longest wait in the kernel, and so the longest time for which a new item goes unseen.
const IDLE: Duration = Duration::from_micros(200);
/// How long a stopping node waits for readers to receive what is published.
const DRAIN_NS: u64 = 2_000_000_000;
/// Pause between two looks whether the shadow has answered.
const PAUSE: Duration = Duration::from_millis(1);

/// What the thread keeps from one life of the feed to the next.
pub struct FeedThread {
    pub market: MarketData,
    pub store: Arc<Store>,
    pub listener: TcpListener,
    pub limits: MarketLimits,
    pub clock: Clock,
    pub engine_done: Arc<AtomicBool>,
    pub lifecycle: Arc<Lifecycle>,
    pub status: Arc<Status>,
}

impl FeedThread {
    /// Runs until the engine is done and everything that it released is published, or the process must end.
    pub fn run(&mut self, life: Life) {
        match life {
            // Before the first reader is accepted. The start does not wait for it.
            Life::First => self.market.remember(&self.store),
            Life::Another if !self.renew() => return,
            Life::Another => {}
        }
        if let Err(error) = self.reactor().and_then(|reactor| self.publish(reactor)) {
            self.lifecycle.fail(exit::FAILED, error.to_string());
        }
    }

    fn reactor(&self) -> Result<Reactor, ReactorError> {
        let listener = self.listener.try_clone().map_err(ReactorError::Listener)?;
        let mut reactor = Reactor::new(self.limits.connections_max as u16)?;
        reactor.listen(listener);
        Ok(reactor)
    }

    fn publish(&mut self, mut reactor: Reactor) -> Result<(), ReactorError> {
        let mut wait = Wait::Spin;
        let mut deadline = None;
        loop {
            reactor.poll(wait)?;
            let now = self.clock.now();
            let work = self.market.poll(now, &mut reactor);
            self.tick();
            if self.engine_done.load(Ordering::Acquire) {
                // The deadline bounds the stop when readers always have more to receive.
                let deadline = *deadline.get_or_insert(now.0 + DRAIN_NS);
                let is_published = self.market.is_drained() || self.lifecycle.has_failed();
                if is_published && work == 0 || deadline <= now.0 {
                    return Ok(());
                }
            }
            wait = if work > 0 { Wait::Spin } else { Wait::Upto(IDLE) };
        }
    }

    fn tick(&mut self) {
        self.status.feed.at_ns.set(self.clock.now().0);
        self.status.feed.cycles.add(1);
    }

    /// Waits until the shadow has given the feed its state. False if the engine ends before.
    #[expect(clippy::disallowed_methods, reason = "a thread of its own waits for an answer")]
    fn renew(&mut self) -> bool {
        self.market.begin_again();
        while self.market.is_renewing() {
            if self.engine_done.load(Ordering::Acquire) {
                return false;
            }
            self.market.poll_items();
            self.tick();
            std::thread::sleep(PAUSE);
        }
        true
    }
}
