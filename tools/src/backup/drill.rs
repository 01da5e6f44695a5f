//! `pinion backup drill`: the emergency, rehearsed. Fetches into scratch, starts from there as a node would, and says
//! how much would have been lost and how long it would have taken.
//!
//! Damage of any kind fails the drill, also where a restore would have found a way around it.

use super::claim;
use super::destination::Destination;
use super::error::{BackupError, Result};
use super::fetch::{Fetched, fetch};
use crate::clock::unix_ns;
use crate::new_place::Scratch;
use book::engine::{Capacity, Engine};
use book::event::{Event, Sink};
use book::state_hash::StateHash;
use node::recover::{Beginning, begin, restore};
use node::replica::apply_record;
use std::path::Path;
use std::time::{Duration, Instant};
use wal::directory::Directory;
use wal::error::WalError;
use wal::quarantine::Quarantine;
use wal::recover::Inspection;
use wal::units::Seq;

/// Messages of a session that a drill's node keeps in memory: none of them is ever asked for.
const RESEND_MAX: usize = 1;

/// What a drill measured.
#[derive(Debug)]
pub struct Drilled {
    pub fetched: Fetched,
    pub state_hash: StateHash,
    /// From the beginning of the fetch to a state that could go on.
    pub rto: Duration,
    /// Of that, until the data directory was there.
    pub fetch: Duration,
    pub rpo: Rpo,
    /// Commands applied behind the snapshot.
    pub commands: u64,
}

/// How much would have been lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rpo {
    /// Against the node: commands that it has and the backup had not, and the time between the two newest ones.
    Node { commands: u64, behind: Duration },
    /// Without the node: the age of the newest command. On a node that idles that is more than would be lost.
    Age(Duration),
}

/// Drills in `scratch`, which is left with nothing of it. With `source`, the state is held against the one that the
/// node's own log makes.
pub fn drill(destination: &Destination, scratch: &Path, source: Option<&Path>) -> Result<Drilled> {
    // One name for each node, so that the next drill sweeps what one that was killed has left.
    let name = format!("pinion-drill-{}", claim::read(destination)?);
    let place = Scratch::begin(&scratch.join(name)).map_err(BackupError::Place)?;
    let into = place.path().join("data");
    // Looked at first: what the node gets from here on is not held against the backup, but what it has is.
    let (began, now_ns) = (Instant::now(), unix_ns());
    let end = source.map(source_end).transpose()?;
    let fetched = fetch(destination, &into, None)?;
    let fetch = began.elapsed();
    let (engine, commands) = start(&into)?;
    let rto = began.elapsed();
    let state_hash = engine.state_hash();
    if let Some(source) = source {
        compare(source, &fetched, state_hash, destination)?;
    }
    let newest_ns = engine.stamp().ts.0;
    let rpo = match end {
        Some((seq, time_ns)) => Rpo::Node {
            commands: seq.0.saturating_sub(fetched.tail.seq.0),
            behind: Duration::from_nanos(time_ns.saturating_sub(newest_ns)),
        },
        None => Rpo::Age(Duration::from_nanos(now_ns.saturating_sub(newest_ns))),
    };
    Ok(Drilled { fetched, state_hash, rto, fetch, rpo, commands })
}

/// Exactly what a node does before it serves.
fn start(data_dir: &Path) -> Result<(Engine, u64)> {
    let directory = Directory::open(data_dir)?;
    let quarantine = Quarantine::read(data_dir)?;
    let (restored, _store) = restore(&directory, &quarantine, || Engine::new(Capacity::default()), RESEND_MAX)?;
    Ok((restored.engine, restored.log.records))
}

/// Sequence and time of the newest command that the node has.
fn source_end(data_dir: &Path) -> Result<(Seq, u64)> {
    let directory = Directory::open_read_only(data_dir)?;
    let inspection = Inspection::open(&directory)?;
    let (tail, base) = (inspection.tail(), inspection.base()?);
    if tail.seq <= base.seq {
        return Ok((tail.seq, 0));
    }
    let mut walk = inspection.frames(tail.seq)?;
    let mut time_ns = 0;
    while let Some((frame, _)) = walk.next_frame()? {
        let newest = frame.records().filter_map(|(_, record)| book::codec::decode(record).ok()).last();
        time_ns = newest.map_or(time_ns, |record| record.ts.0);
    }
    Ok((tail.seq, time_ns))
}

/// The state that the node's own log makes must be the fetched one.
fn compare(source: &Path, fetched: &Fetched, found: StateHash, destination: &Destination) -> Result<()> {
    let directory = Directory::open_read_only(source)?;
    if directory.identity().node_id != fetched.node_id {
        let (have, found) = (directory.identity().node_id, fetched.node_id);
        return Err(BackupError::OtherNode { place: destination.to_string(), have, found });
    }
    let live = state_hash_at(&directory, fetched.tail.seq)?;
    if live != found {
        let object = format!("sequence {} of {}", fetched.tail.seq, source.display());
        return Err(BackupError::HashDiffers { object, said: live.to_string(), found: found.to_string() });
    }
    Ok(())
}

/// The state at a sequence, from a directory's own snapshots and log.
pub fn state_hash_at(directory: &Directory, until: Seq) -> Result<StateHash> {
    let quarantine = Quarantine::read(directory.path())?;
    let inspection = Inspection::open(directory)?;
    let mut new_engine = || Engine::new(Capacity::default());
    let Beginning { replica, tail, .. } = begin(directory, inspection.base()?, until, &mut new_engine)?;
    let mut engine = replica.engine;
    let mut walk = inspection.frames(tail)?;
    while let Some((frame, _)) = walk.next_frame()? {
        for (seq, record) in frame.records().filter(|(seq, _)| *seq <= until) {
            apply_record(&mut engine, &quarantine, book::units::Seq(seq.0), record, &mut Nobody)
                .map_err(|cause| BackupError::Record { object: directory.path().display().to_string(), cause })?;
        }
        if until <= frame.seq_last() {
            break;
        }
    }
    if engine.stamp().seq.0 < until.0 {
        let (path, have) = (directory.mark_path(), Seq(engine.stamp().seq.0));
        return Err(WalError::ShorterThanAcknowledged { path, have, mark: until }.into());
    }
    Ok(engine.state_hash())
}

/// Nobody is told.
struct Nobody;

impl Sink for Nobody {
    const LEDGER: bool = false;

    fn push(&mut self, _event: Event) {}
}
