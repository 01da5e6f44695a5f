//! The thread of the feed: the loop around [`MarketData`], and its next beginning after a panic.
//!
//! Invariant: after a panic nothing of the feed's state is used again. The shadow computes it from the log; items that
//! it contains already are taken from the ring and not published again, so the live stream continues with the number
//! after the last one. Readers are disconnected, as by a network fault. The engine finds room for its items meanwhile.

use crate::gateway::market_data::{MarketData, MarketLimits};
use crate::host::clock::Clock;
use crate::host::threads::Life;
use crate::reactor::ports::Wait;
use crate::reactor::uring::{Reactor, ReactorError};
use crate::replica::Replica;
use crate::replica::public_feed::PublicFeed;
use crate::replica::questions::ShadowPort;
use crate::status::Status;
use crate::status::exit;
use crate::status::lifecycle::Lifecycle;
use book::units::Seq;
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::sync::oneshot::error::TryRecvError;

/// Longest wait in the kernel, and so the longest time for which a new item goes unseen.
const IDLE: Duration = Duration::from_micros(200);
/// How long a stopping node waits for readers to receive what is published.
const DRAIN_NS: u64 = 2_000_000_000;
/// Pause between two looks whether the shadow has answered.
const PAUSE: Duration = Duration::from_millis(1);

/// What the thread keeps from one life of the feed to the next.
pub struct FeedThread {
    pub market: MarketData,
    pub listener: TcpListener,
    pub limits: MarketLimits,
    pub shadow: ShadowPort,
    pub clock: Clock,
    pub engine_done: Arc<AtomicBool>,
    pub lifecycle: Arc<Lifecycle>,
    pub status: Arc<Status>,
}

/// The state of the feed, and the command that it is as of.
type Answer = (PublicFeed, Seq);

impl FeedThread {
    /// Runs until the engine is done and everything that it released is published, or the process must end.
    pub fn run(&mut self, life: Life) {
        if life == Life::Another {
            let Some((state, upto)) = self.ask_shadow() else { return };
            self.market.begin_again(state, upto);
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

    /// Asks the shadow for the state of the feed, until it contains every item that was taken from the ring. `None`
    /// once the engine has ended.
    fn ask_shadow(&mut self) -> Option<Answer> {
        let mut taken = self.market.discard_released();
        while !self.engine_done.load(Ordering::Acquire) {
            let question = |replica: &Replica| {
                (PublicFeed::resume(&replica.engine, &replica.positions), replica.engine.stamp().seq)
            };
            let answer = match self.shadow.ask_later(taken, question) {
                Ok(receiver) => self.wait_for(receiver, &mut taken),
                // Too many requests wait, or the shadow is beginning again itself.
                Err(_) => None,
            };
            match answer {
                Some(answer) if taken <= answer.1 => return Some(answer),
                Some(_) => {}
                None => self.pause(),
            }
        }
        None
    }

    /// Waits for the answer, and makes room for the engine's items meanwhile. `None` if there will be no answer.
    fn wait_for(&mut self, mut receiver: oneshot::Receiver<Answer>, taken: &mut Seq) -> Option<Answer> {
        loop {
            match receiver.try_recv() {
                Ok(answer) => return Some(answer),
                Err(TryRecvError::Closed) => return None,
                Err(TryRecvError::Empty) if self.engine_done.load(Ordering::Acquire) => return None,
                Err(TryRecvError::Empty) => self.pause(),
            }
            if self.market.is_half_full() {
                *taken = self.market.discard_released();
            }
        }
    }

    #[expect(clippy::disallowed_methods, reason = "a thread of its own waits for an answer")]
    fn pause(&mut self) {
        self.tick();
        std::thread::sleep(PAUSE);
    }
}
