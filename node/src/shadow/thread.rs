//! The shadow's thread: the loop around its `poll`, and its next beginning after a panic.
//!
//! Invariant: after a panic nothing of the shadow's state is used again. It is loaded as at a start, from a snapshot
//! and the watermark of the history, so history and snapshots continue as if the thread had never stopped. Requests
//! that were waiting are answered with `ShadowPortError::Gone`; later ones wait for the next life.

use super::{Shadow, ShadowError, ShadowWiring};
use crate::host::clock::Clock;
use crate::replica::crash_guard;
use book::engine::{Capacity, Engine};
use book::hash_key::HashKey;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

const IDLE: Duration = Duration::from_millis(1);
/// With a lag of more commands than this the shadow no longer pauses: questions and checks wait for it to catch up.
const LAG_MAX: u64 = 1 << 21;
/// Niceness of the thread: lower priority than every loop that serves clients.
const NICE: i32 = 10;

/// What the thread keeps from one life of the shadow to the next.
pub struct ShadowThread {
    capacity: Capacity,
    key: HashKey,
    /// `None` while the shadow has it.
    wiring: Option<ShadowWiring>,
    shadow: Option<Shadow>,
}

impl ShadowThread {
    pub fn new(wiring: ShadowWiring, capacity: Capacity, key: HashKey) -> Self {
        Self { capacity, key, wiring: Some(wiring), shadow: None }
    }

    /// Loads the state and runs until the store writer has stored the last frame and it is applied, or the shadow has
    /// failed. To be called again after a panic.
    pub fn run(&mut self, store_writer_done: &AtomicBool, clock: &mut Clock) {
        crash_guard::exempt_this_thread();
        // If the system refuses, the thread keeps its usual priority.
        let _ = rustix::process::setpriority_process(None, NICE);
        if let Some(panicked) = self.shadow.take() {
            self.wiring = Some(panicked.wiring);
        }
        let Some(wiring) = &mut self.wiring else { return };
        let (capacity, key, lifecycle) = (self.capacity, self.key, Arc::clone(&wiring.lifecycle));
        let outcome = wiring.load(|| Engine::keyed(capacity, key)).and_then(|loaded| {
            self.shadow = self.wiring.take().map(|wiring| Shadow::with(loaded, wiring));
            self.shadow.as_mut().map_or(Ok(()), |shadow| shadow.follow_to_the_end(store_writer_done, clock))
        });
        if let Err(error) = outcome {
            lifecycle.fail(error.exit_code(), error.to_string());
        }
    }
}

impl Shadow {
    #[expect(clippy::disallowed_methods, reason = "a thread of its own pauses when there is nothing to follow")]
    fn follow_to_the_end(&mut self, store_writer_done: &AtomicBool, clock: &mut Clock) -> Result<(), ShadowError> {
        loop {
            let now = clock.now();
            self.pacer.set_active(self.lag() < LAG_MAX && !self.wiring.lifecycle.is_stopping());
            if store_writer_done.load(Ordering::Acquire) {
                return self.finish(now);
            }
            if self.poll(now)? == 0 {
                std::thread::sleep(IDLE);
            }
        }
    }
}
