//! Ctrl-C and SIGTERM as a flag that long work polls, so that it ends where it can clean up.

use anyhow::{Result, bail};
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// Whether the user has asked the verb to end.
#[derive(Clone, Debug)]
pub struct Interrupt(watch::Receiver<bool>);

/// Sets the flag in place of a signal.
#[derive(Debug)]
pub struct Interrupter(watch::Sender<bool>);

impl Interrupt {
    /// From now on the first signal sets the flag, and the second one ends the process.
    #[expect(clippy::disallowed_methods, reason = "a second interrupt ends the tool at once")]
    pub fn on_signals() -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (mut interrupt, mut terminate) = {
            let _entered = runtime.enter();
            (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?)
        };
        let (interrupter, flag) = Self::manual();
        std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
            runtime.block_on(async {
                loop {
                    tokio::select! {
                        _ = interrupt.recv() => {}
                        _ = terminate.recv() => {}
                    }
                    if interrupter.0.send_replace(true) {
                        // Work that no longer polls the flag is not waited for.
                        std::process::exit(i32::from(node::status::exit::FAILED));
                    }
                }
            });
        })?;
        Ok(flag)
    }

    /// A flag that is set by the `Interrupter`, and never once that is dropped.
    pub fn manual() -> (Interrupter, Self) {
        let (sender, receiver) = watch::channel(false);
        (Interrupter(sender), Self(receiver))
    }

    /// A flag that is never set, for verbs that a signal may end at once.
    pub fn never() -> Self {
        Self::manual().1
    }

    pub fn is_set(&self) -> bool {
        *self.0.borrow()
    }

    /// Fails once the flag is set.
    pub fn check(&self) -> Result<()> {
        if self.is_set() {
            bail!("interrupted; nothing was changed");
        }
        Ok(())
    }

    /// Waits until the flag is set.
    pub async fn wait(&self) {
        let mut flag = self.0.clone();
        if flag.wait_for(|set| *set).await.is_err() {
            // The `Interrupter` is gone, so the flag is never set.
            std::future::pending::<()>().await;
        }
    }

    /// Waits until the flag is set, at most for `pause`.
    pub async fn wait_at_most(&self, pause: Duration) {
        // A caller polls the flag afterwards, so it need not know which of the two ended the wait.
        let _ = tokio::time::timeout(pause, self.wait()).await;
    }
}

impl Interrupter {
    pub fn interrupt(&self) {
        self.0.send_replace(true);
    }
}
