//! `pinion backup drill`: rehearses a restore. It fetches into a scratch directory, starts from there as a node does,
//! and measures how much would have been lost and how long a restore takes, with the past and without.
//!
//! Invariant: damage of any kind fails the drill, also where a restore would use an older snapshot instead.

use crate::archive::claim;
use crate::archive::destination::Destination;
use crate::archive::error::{BackupError, Result, file_error};
use crate::archive::fetch::{Fetched, Selection, fetch};
use crate::offline::as_of::{StateRange, StateReader};
use crate::offline::new_directory::ScratchDirectory;
use crate::terminal::clock::unix_ns;
use crate::verbs::restore::make::{self, Target};
use book::engine::{Capacity, Engine};
use book::state_hash::StateHash;
use book::units::Seq;
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
    /// What was fetched for the state alone.
    pub fetched: Fetched,
    pub state_hash: StateHash,
    pub with_past: WithPast,
    /// Of `pinion restore --without-past`: to a state from which a node would serve.
    pub without_past: Rto,
    pub rpo: Rpo,
    /// Commands applied after the snapshot.
    pub commands: u64,
}

/// How long a restore took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rto {
    /// From its beginning to a state from which a node would serve.
    pub all: Duration,
    /// The part of it until everything was fetched and proved.
    pub fetch: Duration,
}

/// The restore that an operator gets without options: the state, and the history computed from the log.
#[derive(Debug)]
pub enum WithPast {
    Restored {
        rto: Rto,
        commands: u64,
        history_rows: u64,
    },
    /// It is refused, because the backup lacks a part of the past.
    Refused(BackupError),
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
    let node = source.map(|source| open_node(source, destination)).transpose()?;
    // Read first, so that commands which arrive during the drill do not count as lost. The clock starts after it,
    // because in an emergency there is no node to read.
    let end = node.as_ref().map(node_end).transpose().map_err(BackupError::Other)?;
    let now_ns = unix_ns();
    let nearest = rehearse(destination, scratch.path(), Selection::state(None))?;
    let Rehearsal { fetched, state_hash, newest_ns, rto: without_past, .. } = nearest;
    if let Some(node) = &node {
        compare(node, &fetched, state_hash, destination)?;
    }
    // The same state, although the shipper may have stored more meanwhile.
    let selection = Selection { until: Some(fetched.tail.seq), ..Selection::everything() };
    let with_past = match rehearse(destination, scratch.path(), selection) {
        Err(refused @ (BackupError::PastMissing { .. } | BackupError::NewestUnreachable { .. })) => {
            WithPast::Refused(refused)
        }
        rehearsal => {
            let Rehearsal { state_hash: found, rto, commands, history_rows, .. } = rehearsal?;
            if found != state_hash {
                let object = format!("the state of {destination} at sequence {}", fetched.tail.seq);
                return Err(BackupError::HashDiffers {
                    object,
                    stated: state_hash.to_string(),
                    found: found.to_string(),
                });
            }
            WithPast::Restored { rto, commands, history_rows }
        }
    };
    let rpo = match end {
        Some((seq, time_ns)) => Rpo::OfNode {
            commands: seq.0.saturating_sub(fetched.tail.seq.0),
            lag: Duration::from_nanos(time_ns.saturating_sub(newest_ns)),
        },
        None => Rpo::AtMost(Duration::from_nanos(now_ns.saturating_sub(newest_ns))),
    };
    Ok(DrillReport { commands: nearest.commands, fetched, state_hash, with_past, without_past, rpo })
}

/// A restore that was made and deleted again.
struct Rehearsal {
    fetched: Fetched,
    state_hash: StateHash,
    /// The time of the last command.
    newest_ns: u64,
    rto: Rto,
    /// Commands applied.
    commands: u64,
    history_rows: u64,
}

/// Does what `pinion restore` does, and starts from the result as a node does before it serves.
fn rehearse(destination: &Destination, scratch: &Path, selection: Selection) -> Result<Rehearsal> {
    let (began, source, new) = (Instant::now(), scratch.join("fetched"), scratch.join("restored"));
    let fetched = fetch(destination, &source, selection)?;
    let (fetch, interrupt, seq) = (began.elapsed(), destination.interrupt(), Seq(fetched.tail.seq.0));
    let restored = StateReader::open(&source).and_then(|reader| {
        let reader = reader.interruptible(interrupt.clone()).with_name(&destination.to_string());
        let log = reader.scan()?;
        let target = Target { path: &new, seq, geometry: fetched.geometry, new_time: None };
        make::restore(&reader, &log, target, interrupt)
    });
    let history = restored.map_err(BackupError::Other)?.history;
    let engine = start(&new)?;
    let rto = Rto { all: began.elapsed(), fetch };
    let (state_hash, newest_ns) = (engine.state_hash(), engine.stamp().ts.0);
    for made in [&source, &new] {
        std::fs::remove_dir_all(made).map_err(|cause| file_error("deleting", made, cause))?;
    }
    let (commands, history_rows) = (seq.0 - history.begins.0, history.rows());
    Ok(Rehearsal { fetched, state_hash, newest_ns, rto, commands, history_rows })
}

fn open_node(source: &Path, destination: &Destination) -> Result<StateReader> {
    let reader = StateReader::open(source).map_err(BackupError::Other)?;
    Ok(reader.interruptible(destination.interrupt().clone()))
}

/// Does exactly what a node does before it serves.
fn start(data_dir: &Path) -> Result<Engine> {
    let directory = Directory::open(data_dir)?;
    let quarantine = Quarantine::read(data_dir)?;
    let (restored, _store) =
        restore(&directory, &quarantine, || Engine::new(Capacity::default()), RESEND_MAX, &Recovery::default())?;
    Ok(restored.engine)
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
    let live = node.engine_state(Some(Seq(shipped.0))).map_err(BackupError::Other)?;
    let live = live.replica.engine.state_hash();
    if live != found {
        let object = format!("sequence {shipped} of {source}");
        return Err(BackupError::HashDiffers { object, stated: live.to_string(), found: found.to_string() });
    }
    Ok(())
}
