//! Starting the node's threads: which cores they may run on, and what happens when one of them panics.

use crate::config::{Idle, NodeConfig};
use crate::host::pin::{KeptOff, pin_to};
use crate::status::exit;
use crate::status::lifecycle::Lifecycle;
use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;

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

/// Starts a thread. If it panics, the process fails as after any other error: a node that has lost one of its loops
/// must not go on serving.
pub fn spawn(
    lifecycle: &Arc<Lifecycle>,
    name: &'static str,
    run: impl FnOnce() + Send + 'static,
) -> io::Result<JoinHandle<()>> {
    let watch = PanicWatch { lifecycle: Arc::clone(lifecycle), name };
    let run = move || {
        let _watch = watch;
        run();
    };
    std::thread::Builder::new().name(name.to_owned()).spawn(run)
}

/// Dropped when its thread ends; records a failure if the thread panicked.
struct PanicWatch {
    lifecycle: Arc<Lifecycle>,
    name: &'static str,
}

impl Drop for PanicWatch {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.lifecycle.fail(exit::FAILED, format!("the thread {:?} panicked", self.name));
        }
    }
}
