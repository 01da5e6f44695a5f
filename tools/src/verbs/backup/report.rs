//! Tells the node how far its backup has come, so that its `/health` can say when it is late.
//!
//! Invariant: shipping never waits for the node. A report that fails is said once, until one succeeds.

use crate::client::ops_client::{OpsAddress, OpsClient};
use anyhow::{Result, bail};
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use wal::units::Lsn;

/// Reports to one node, or to none where the command line names none.
pub struct Reporter {
    client: Option<OpsClient>,
    under_way: Option<JoinHandle<()>>,
    has_failed: Arc<AtomicBool>,
}

impl Reporter {
    /// Reports to no node.
    pub fn none() -> Self {
        Self { client: None, under_way: None, has_failed: Arc::default() }
    }

    /// To the node that the options name with its token.
    pub fn of(ops: &OpsAddress) -> Self {
        let is_named = ops.config.is_some() || ops.url.is_some();
        let client = is_named.then(|| ops.administrator());
        let client = client.and_then(|client| {
            client.inspect_err(|error| eprintln!("pinion: the backup is not reported to the node: {error:#}")).ok()
        });
        Self { client, under_way: None, has_failed: Arc::default() }
    }

    /// Sends a report, unless the one before is still under way.
    pub fn shipped(&mut self, seq: Lsn) {
        let Some(client) = self.client.clone() else { return };
        if self.under_way.as_ref().is_some_and(|thread| !thread.is_finished()) {
            return;
        }
        let has_failed = Arc::clone(&self.has_failed);
        self.under_way = Some(std::thread::spawn(move || match send(&client, seq) {
            Ok(()) => has_failed.store(false, Ordering::Relaxed),
            Err(error) if !has_failed.swap(true, Ordering::Relaxed) => {
                eprintln!("pinion: the backup is not reported to the node: {error:#}");
            }
            Err(_) => {}
        }));
    }
}

impl Drop for Reporter {
    /// The last report is waited for: with `--once` it is the only one.
    fn drop(&mut self) {
        if let Some(thread) = self.under_way.take() {
            // A panic has been printed, and the backup is complete without the report.
            let _ = thread.join();
        }
    }
}

fn send(client: &OpsClient, seq: Lsn) -> Result<()> {
    let answer = client.post("/admin/backup", &json!({ "seq": seq.0 }))?;
    if answer.status != 200 {
        bail!("POST {}/admin/backup: the node answered {} {}", client.url(), answer.status, answer.body);
    }
    Ok(())
}
