//! `pinion backup drill`: rehearses a restore. It fetches into a scratch directory, starts from there as a node does,
//! and measures how much would have been lost and how long the restore takes.
//!
//! Invariant: damage of any kind fails the drill, also where a restore would use an older snapshot instead.

use crate::archive::catalog::StartPoint;
use crate::archive::claim;
use crate::archive::destination::Destination;
use crate::archive::error::{BackupError, Result};
use crate::archive::fetch::{Fetched, fetch};
use crate::offline::as_of::{StateRange, StateReader};
use crate::offline::new_directory::ScratchDirectory;
use crate::terminal::clock::unix_ns;
use book::engine::{Capacity, Engine};
use book::state_hash::StateHash;
use node::replica::recover::restore;
use node::status::recovery::Recovery;
use std::path::Path;
use std::time::{Duration, Instant};
use wal::directory::Directory;
use wal::quarantine::Quarantine;
use wal::units::Lsn;
use wal::walk::Start;

/// Messages kept in memory for each session, of which a drill never reads any.
const RESEND_MAX: usize = 1;

/// Commands at the end of the node's log of which the newest readable time is taken.
const NEWEST_COMMANDS: u64 = 256;

/// The measurements of a drill.
#[derive(Debug)]
pub struct DrillReport {
    pub fetched: Fetched,
    pub state_hash: StateHash,
    /// From the beginning of the fetch to a state from which a node would serve.
    pub rto: Duration,
    /// The part of `rto` until the data directory was complete.
    pub fetch: Duration,
    pub rpo: Rpo,
    /// Commands applied after the snapshot.
    pub commands: u64,
}

/// The loss that a restore at this time would have meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rpo {
    /// Measured against the node: commands that it has and the backup has not, and the time between the newest command
    /// of each.
    OfNode { commands: u64, lag: Duration },
    /// Without the node: the age of the newest command shipped, which is an upper bound. It grows on an idle node.
    AtMost(Duration),
}

/// Drills in the directory `scratch`, and deletes what it makes there. With `source`, the node's data directory, the
/// state is compared with the one that the node's own log gives.
pub fn drill(destination: &Destination, scratch: &Path, source: Option<&Path>) -> Result<DrillReport> {
    // Each drill of a node uses the same name, so that it deletes the directory that a killed one left.
    let name = format!("pinion-drill-{}", claim::read(destination)?);
    let scratch = ScratchDirectory::begin(&scratch.join(name)).map_err(BackupError::Other)?;
    let into = scratch.path().join("data");
    let node = source.map(|source| open_node(source, destination)).transpose()?;
    // Read first, so that commands which arrive during the drill do not count as lost. The clock starts after it,
    // because in an emergency there is no node to read.
    let end = node.as_ref().map(node_end).transpose().map_err(BackupError::Other)?;
    let (began, now_ns) = (Instant::now(), unix_ns());
    let fetched = fetch(destination, &into, None, StartPoint::Nearest)?;
    let fetch = began.elapsed();
    let (engine, commands) = start(&into)?;
    let rto = began.elapsed();
    let state_hash = engine.state_hash();
    if let Some(node) = &node {
        compare(node, &fetched, state_hash, destination)?;
    }
    let newest_ns = engine.stamp().ts.0;
    let rpo = match end {
        Some((seq, time_ns)) => Rpo::OfNode {
            commands: seq.0.saturating_sub(fetched.tail.seq.0),
            lag: Duration::from_nanos(time_ns.saturating_sub(newest_ns)),
        },
        None => Rpo::AtMost(Duration::from_nanos(now_ns.saturating_sub(newest_ns))),
    };
    Ok(DrillReport { fetched, state_hash, rto, fetch, rpo, commands })
}

fn open_node(source: &Path, destination: &Destination) -> Result<StateReader> {
    let reader = StateReader::open(source).map_err(BackupError::Other)?;
    Ok(reader.interruptible(destination.interrupt().clone()))
}

/// Does exactly what a node does before it serves. Returns the engine and the number of commands applied.
fn start(data_dir: &Path) -> Result<(Engine, u64)> {
    let directory = Directory::open(data_dir)?;
    let quarantine = Quarantine::read(data_dir)?;
    let (restored, _store) =
        restore(&directory, &quarantine, || Engine::new(Capacity::default()), RESEND_MAX, &Recovery::default())?;
    Ok((restored.engine, restored.log.records))
}

/// The sequence and time of the newest command that the node has.
fn node_end(node: &StateReader) -> anyhow::Result<(Lsn, u64)> {
    let log = node.scan()?;
    let StateRange { base, end, .. } = log.range;
    if end.seq <= base.seq {
        return Ok((end.seq, 0));
    }
    // The last command may be one that cannot be decoded.
    let begin = Lsn(end.seq.0.saturating_sub(NEWEST_COMMANDS)).max(base.seq).next();
    let mut time_ns = 0;
    log.for_each_record(Start::At(begin), |_, bytes| {
        time_ns = book::codec::decode(bytes).map_or(time_ns, |record| record.ts.0);
        Ok(true)
    })?;
    Ok((end.seq, time_ns))
}

/// Fails unless the node's own log gives the fetched state.
fn compare(node: &StateReader, fetched: &Fetched, found: StateHash, destination: &Destination) -> Result<()> {
    let (place, source) = (destination.to_string(), node.directory().path().display());
    if node.directory().identity().node_id != fetched.node_id {
        let (have, found) = (node.directory().identity().node_id, fetched.node_id);
        return Err(BackupError::OtherNode { place, have, found });
    }
    let (log, shipped) = (node.scan().map_err(BackupError::Other)?, fetched.tail.seq);
    let have = log.range.end.seq;
    if have < shipped {
        return Err(BackupError::Shorter { place, have, shipped });
    }
    let live = node.engine_state(Some(book::units::Seq(shipped.0))).map_err(BackupError::Other)?;
    let live = live.replica.engine.state_hash();
    if live != found {
        let object = format!("sequence {shipped} of {source}");
        return Err(BackupError::HashDiffers { object, stated: live.to_string(), found: found.to_string() });
    }
    Ok(())
}
