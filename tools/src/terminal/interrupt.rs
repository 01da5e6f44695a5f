//! Ctrl-C and SIGTERM as a question that long work asks: it ends at a place of its own choosing and tidies up.

use anyhow::{Result, bail};
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// Whether somebody asked for the end.
#[derive(Clone, Debug)]
pub struct Interrupt(watch::Receiver<bool>);

/// Asks for the end in place of a signal.
#[derive(Debug)]
pub struct Interrupter(watch::Sender<bool>);

impl Interrupt {
    /// From now on a signal is only noted; a second one ends the process as if nobody had listened.
    pub fn listen() -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (mut interrupt, mut terminate) = {
            let _entered = runtime.enter();
            (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?)
        };
        let (interrupter, heard) = Self::by_hand();
        std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
            runtime.block_on(async {
                loop {
                    tokio::select! {
                        _ = interrupt.recv() => {}
                        _ = terminate.recv() => {}
                    }
                    if interrupter.0.send_replace(true) {
                        // Work that does not ask any more is not waited for.
                        std::process::exit(i32::from(node::status::exit::FAILED));
                    }
                }
            });
        })?;
        Ok(heard)
    }

    /// Set by whoever holds the other end; never when that is gone.
    pub fn by_hand() -> (Interrupter, Self) {
        let (sender, receiver) = watch::channel(false);
        (Interrupter(sender), Self(receiver))
    }

    /// For verbs that a signal may simply end.
    pub fn never() -> Self {
        Self::by_hand().1
    }

    pub fn is_set(&self) -> bool {
        *self.0.borrow()
    }

    /// An error once a signal came.
    pub fn check(&self) -> Result<()> {
        if self.is_set() {
            bail!("interrupted; nothing was changed");
        }
        Ok(())
    }

    /// Ends when it is set.
    pub async fn set(&self) {
        let mut heard = self.0.clone();
        if heard.wait_for(|set| *set).await.is_err() {
            // Nobody is left who could.
            std::future::pending::<()>().await;
        }
    }

    /// Ends when it is set or after `pause`, whichever comes first.
    pub async fn set_within(&self, pause: Duration) {
        // Both outcomes are the same to a caller that looks anyway.
        let _ = tokio::time::timeout(pause, self.set()).await;
    }
}

impl Interrupter {
    pub fn interrupt(&self) {
        self.0.send_replace(true);
    }
}
