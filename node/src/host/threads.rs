//! Starting the node's threads: which cores they may run on, and what happens when one of them panics.
//!
//! A panic is always a fault of ours. A pinned thread that panics ends the process, because the state of the exchange
//! may be half changed: the next start computes it from the log. Every other thread has a supervisor, which starts its
//! loop again with its state rebuilt, and no order waits for that.

use crate::config::{Idle, NodeConfig};
use crate::host::pin::{KeptOff, pin_to};
use crate::status::Status;
use crate::status::exit;
use crate::status::lifecycle::Lifecycle;
use crate::status::logging;
use crate::status::restarts::Worker;
use std::any::Any;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

/// Pause of a thread that panics often, so that it leaves the processor to others. Between two steps it looks whether
/// the node stops.
const PAUSE_STEPS: u32 = 100;
const PAUSE_STEP: Duration = Duration::from_millis(10);

/// With `node.idle = "spin"` a pinned core belongs to its thread alone: every other thread of the process, RocksDB's
/// among them, is started from a thread that stays off that core, and inherits its affinity. A core that backs off is
/// shared.
pub fn leave_cores(node: &NodeConfig) -> Option<KeptOff> {
    if node.idle != Idle::Spin {
        return None;
    }
    let cores = node.pinned_cores();
    let kept_off = KeptOff::from(&cores);
    if kept_off.is_none() {
        tracing::warn!(?cores, "the machine has no core besides the pinned ones: every other thread shares them");
    }
    kept_off
}

/// Pins the calling thread, or reports that it runs unpinned.
pub fn pin_or_warn(core: usize) {
    if pin_to(core) {
        tracing::info!(core, "pinned");
    } else {
        tracing::warn!(core, "the machine has no such core to pin to; the thread runs unpinned");
    }
}

/// Starts a pinned thread. If it panics, the process ends at once, as if it were killed.
pub fn spawn_pinned(name: &'static str, run: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
    let run = move || {
        let _guard = AbortGuard { name };
        run();
    };
    std::thread::Builder::new().name(name.to_owned()).spawn(run)
}

/// Ends the process if its thread panics.
struct AbortGuard {
    name: &'static str,
}

impl Drop for AbortGuard {
    #[expect(clippy::disallowed_methods, reason = "the panic has been reported, and nothing may use the state again")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            tracing::error!(thread = self.name, "a pinned thread panicked: the process ends; restart it");
            // A moment, and the state stays as it is: only this thread, which no longer runs, changes it.
            logging::flush();
            std::process::abort();
        }
    }
}

/// Which beginning of its loop a supervised thread is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    First,
    /// The life before ended with a panic: the loop must not rely on what that one was changing.
    Another,
}

/// Starts a supervised thread: `run` is called again after each panic, until it returns. A thread that panics often
/// pauses before, and one that does so while the node stops ends the stop with a failure.
pub fn spawn_supervised(
    worker: Worker,
    lifecycle: &Arc<Lifecycle>,
    status: &Arc<Status>,
    run: impl FnMut(Life) + Send + 'static,
) -> io::Result<JoinHandle<()>> {
    let (lifecycle, status) = (Arc::clone(lifecycle), Arc::clone(status));
    let supervise = move || supervise(worker, &lifecycle, &status, run);
    std::thread::Builder::new().name(worker.name().to_owned()).spawn(supervise)
}

fn supervise(worker: Worker, lifecycle: &Lifecycle, status: &Status, mut run: impl FnMut(Life)) {
    let mut life = Life::First;
    while let Err(panic) = catch_unwind(AssertUnwindSafe(|| run(life))) {
        life = Life::Another;
        let is_often = status.restarts.note(worker, message_of(&*panic));
        if is_often && lifecycle.is_stopping() {
            let name = worker.name();
            return lifecycle.fail(exit::FAILED, format!("the thread {name:?} panics again and again during the stop"));
        }
        if is_often {
            pause(lifecycle);
        }
    }
}

/// What a panic said.
pub fn message_of(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("a panic without a message")
}

#[expect(clippy::disallowed_methods, reason = "a thread of its own waits before it begins again")]
fn pause(lifecycle: &Lifecycle) {
    for _ in 0..PAUSE_STEPS {
        if lifecycle.is_stopping() {
            return;
        }
        std::thread::sleep(PAUSE_STEP);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::watermarks::watermarks;
    use book::units::Seq;

    fn new_status() -> Arc<Status> {
        Arc::new(Status::new(watermarks(Seq(0)).1))
    }

    #[test]
    fn a_loop_begins_again_after_a_panic_and_ends_when_it_returns() {
        let (lifecycle, status) = (Arc::new(Lifecycle::default()), new_status());
        let (sender, lives) = std::sync::mpsc::channel();
        let thread = spawn_supervised(Worker::Resend, &lifecycle, &status, move |life| {
            sender.send(life).expect("the test waits");
            assert!(life == Life::Another, "a fault of the first life");
        });
        thread.expect("a thread").join().expect("a supervised thread does not panic");
        assert_eq!(lives.into_iter().collect::<Vec<_>>(), [Life::First, Life::Another]);
        let (_, restarts) = status.restarts.all().find(|(worker, _)| *worker == Worker::Resend).expect("listed");
        assert_eq!((restarts.count.get(), restarts.message().as_deref()), (1, Some("a fault of the first life")));
        assert!(lifecycle.failure().is_none() && status.restarts.degraded_reason().is_none());
    }

    #[test]
    fn a_stop_ends_although_a_thread_panics_each_time() {
        let (lifecycle, status) = (Arc::new(Lifecycle::default()), new_status());
        lifecycle.stop();
        let thread = spawn_supervised(Worker::Shadow, &lifecycle, &status, |life| panic!("again, at {life:?}"));
        thread.expect("a thread").join().expect("a supervised thread does not panic");
        let failure = lifecycle.failure().expect("the stop is not a clean one");
        assert!(failure.exit_code == exit::FAILED && failure.message.contains("shadow"), "{failure:?}");
    }
}
