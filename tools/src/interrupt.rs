//! Ctrl-C and SIGTERM as a question that long work asks: it ends at a place of its own choosing and tidies up.

use anyhow::{Result, bail};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::signal::unix::{SignalKind, signal};

#[derive(Clone, Debug)]
pub struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// Never interrupted, but by the default of the system.
    pub fn none() -> Self {
        Self(Arc::new(AtomicBool::new(false)))
    }

    /// From now on a signal is only noted; a second one ends the process as if nobody had listened.
    pub fn listen() -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (mut interrupt, mut terminate) = {
            let _entered = runtime.enter();
            (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?)
        };
        let noted = Self::none();
        let flag = Arc::clone(&noted.0);
        std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
            runtime.block_on(async {
                loop {
                    tokio::select! {
                        _ = interrupt.recv() => {}
                        _ = terminate.recv() => {}
                    }
                    if flag.swap(true, Ordering::AcqRel) {
                        // Work that does not ask any more is not waited for.
                        std::process::exit(i32::from(node::exit::FAILED));
                    }
                }
            });
        })?;
        Ok(noted)
    }

    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }

    /// An error once a signal came.
    pub fn check(&self) -> Result<()> {
        if self.is_set() {
            bail!("interrupted; nothing was changed");
        }
        Ok(())
    }
}
