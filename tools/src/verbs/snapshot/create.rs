//! `pinion snapshot create`: by the running node, or, where none runs, by a shadow that is started for it.

use crate::client::ops_client::OpsAddress;
use crate::verbs::admin::refused;
use anyhow::{Context, Result, anyhow};
use book::engine::{Capacity, Engine};
use clap::Args;
use node::replica::questions::shadow_port;
use node::replica::recover::{Restored, restore};
use node::shadow::{Shadow, ShadowWiring};
use node::status::exit;
use node::status::recovery::Recovery;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use wal::directory::Directory;
use wal::quarantine::Quarantine;

#[derive(Args, Debug)]
pub(super) struct Create {
    #[command(flatten)]
    ops: OpsAddress,
    /// The data directory of a stopped node
    #[arg(long, value_name = "D", conflicts_with_all = ["url", "token_file"])]
    data_dir: Option<PathBuf>,
    /// Print one line of JSON
    #[arg(long)]
    json: bool,
    /// Ask whether a snapshot can be taken, and take none
    #[arg(long)]
    dry_run: bool,
}

impl Create {
    pub(super) fn run(&self) -> Result<u8> {
        let taken = match &self.data_dir {
            Some(data_dir) => self.offline(data_dir)?,
            None => self.online()?,
        };
        if self.json {
            println!("{taken}");
        } else {
            self.print(&taken);
        }
        Ok(exit::OK)
    }

    fn print(&self, taken: &Value) {
        let seq = taken["seq"].as_u64().unwrap_or_default();
        if self.dry_run {
            println!("a snapshot can be taken; none was taken");
        } else if taken["was_there"] == true {
            println!("the snapshot at sequence {seq} is still the newest: there is no command after it");
        } else {
            let (bytes, hash) = (&taken["bytes"], taken["state_hash"].as_str().unwrap_or("-"));
            println!("snapshot at sequence {seq}, {bytes} bytes, state hash {hash}");
        }
    }

    fn online(&self) -> Result<Value> {
        let client = self.ops.administrator()?;
        let path = if self.dry_run { "/admin/snapshot?dry_run=true" } else { "/admin/snapshot" };
        let answer = client.post(path, &Value::Null)?;
        if answer.status == 200 { Ok(answer.body) } else { Err(refused(&answer)) }
    }

    /// Does what a start does, and then what the shadow does at a clean stop.
    fn offline(&self, data_dir: &Path) -> Result<Value> {
        let directory = Arc::new(Directory::open(data_dir).with_context(
            || "taking a snapshot here: of a running node it is taken by the node; give --config or --url instead of --data-dir",
        )?);
        if self.dry_run {
            return Ok(json!({ "dry_run": true }));
        }
        let quarantine = Quarantine::read(directory.path())?;
        let engine = || Engine::new(Capacity::default());
        let (Restored { engine: live, snapshot, log, .. }, store) =
            restore(&directory, &quarantine, engine, 1, &Recovery::default())?;
        let newest = snapshot.as_ref().map_or(directory.identity().seq_base, |header| header.tail.seq);
        let hash_of =
            |header: &wal::snapshot::SnapshotHeader| book::state_hash::StateHash(header.state_hash).to_string();
        if newest == log.tail.seq {
            let hash = snapshot.as_ref().map(hash_of);
            return Ok(json!({ "seq": newest.0, "was_there": true, "state_hash": hash }));
        }
        let (_port, inlet) = shadow_port();
        let end = live.stamp().seq;
        let wiring = ShadowWiring::offline(Arc::clone(&directory), Arc::new(store), quarantine, inlet, end);
        let mut shadow = Shadow::begin(wiring, engine)?;
        let taken = shadow.snapshot_at_end(live.state_hash())?;
        let (header, bytes) = taken.map_err(|why| anyhow!("no snapshot was taken: {why}"))?;
        let file = node::replica::snapshots::list(&directory)?.into_iter().find(|file| file.seq == header.tail.seq);
        let path = file.context("the new snapshot was deleted by another process")?.path;
        Ok(json!({
            "seq": header.tail.seq.0, "ts_ns": header.time, "bytes": bytes, "state_hash": hash_of(&header), "path": path,
        }))
    }
}
