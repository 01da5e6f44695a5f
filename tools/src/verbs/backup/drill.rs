//! `pinion backup drill`: the emergency, rehearsed. Fetches into scratch, starts from there as a node would, and says
//! how much would have been lost and how long it would have taken.
//!
//! Damage of any kind fails the drill, also where a restore would have found a way around it.

use crate::archive::claim;
use crate::archive::destination::Destination;
use crate::archive::error::{BackupError, Result};
use crate::archive::fetch::{Fetched, fetch};
use crate::offline::as_of::{Past, Reach};
use crate::offline::new_directory::Scratch;
use crate::terminal::clock::unix_ns;
use book::engine::{Capacity, Engine};
use book::state_hash::StateHash;
use node::replica::recover::restore;
use std::path::Path;
use std::time::{Duration, Instant};
use wal::directory::Directory;
use wal::quarantine::Quarantine;
use wal::units::Lsn;
use wal::walk::Start;

/// Messages of a session that a drill's node keeps in memory: none of them is ever asked for.
const RESEND_MAX: usize = 1;

/// Commands at the end of the node's log that are looked at for a time.
const NEWEST_LOOKED_AT: u64 = 256;

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
    let place = Scratch::begin(&scratch.join(name)).map_err(BackupError::Tool)?;
    let into = place.path().join("data");
    let past = source.map(|source| open_past(source, destination)).transpose()?;
    // Looked at first: what the node gets from here on is not held against the backup, but what it has is. In an
    // emergency there is no node to look at, so the clock starts behind it.
    let end = past.as_ref().map(source_end).transpose().map_err(BackupError::Tool)?;
    let (began, now_ns) = (Instant::now(), unix_ns());
    let fetched = fetch(destination, &into, None)?;
    let fetch = began.elapsed();
    let (engine, commands) = start(&into)?;
    let rto = began.elapsed();
    let state_hash = engine.state_hash();
    if let Some(past) = &past {
        compare(past, &fetched, state_hash, destination)?;
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

fn open_past(source: &Path, destination: &Destination) -> Result<Past> {
    let past = Past::open(source).map_err(BackupError::Tool)?;
    Ok(past.until_interrupted(destination.interrupt().clone()))
}

/// Exactly what a node does before it serves.
fn start(data_dir: &Path) -> Result<(Engine, u64)> {
    let directory = Directory::open(data_dir)?;
    let quarantine = Quarantine::read(data_dir)?;
    let (restored, _store) = restore(&directory, &quarantine, || Engine::new(Capacity::default()), RESEND_MAX)?;
    Ok((restored.engine, restored.log.records))
}

/// Sequence and time of the newest command that the node has.
fn source_end(past: &Past) -> anyhow::Result<(Lsn, u64)> {
    let look = past.look()?;
    let Reach { base, end, .. } = look.reach;
    if end.seq <= base.seq {
        return Ok((end.seq, 0));
    }
    // The very last one may be one that cannot be read.
    let begin = Lsn(end.seq.0.saturating_sub(NEWEST_LOOKED_AT)).max(base.seq).next();
    let mut time_ns = 0;
    look.records(Start::At(begin), |_, bytes| {
        time_ns = book::codec::decode(bytes).map_or(time_ns, |record| record.ts.0);
        Ok(true)
    })?;
    Ok((end.seq, time_ns))
}

/// The state that the node's own log makes must be the fetched one.
fn compare(past: &Past, fetched: &Fetched, found: StateHash, destination: &Destination) -> Result<()> {
    let (place, source) = (destination.to_string(), past.directory().path().display());
    if past.directory().identity().node_id != fetched.node_id {
        let (have, found) = (past.directory().identity().node_id, fetched.node_id);
        return Err(BackupError::OtherNode { place, have, found });
    }
    let (look, shipped) = (past.look().map_err(BackupError::Tool)?, fetched.tail.seq);
    let have = look.reach.end.seq;
    if have < shipped {
        return Err(BackupError::Shorter { place, have, shipped });
    }
    let live = past.engine_state(Some(book::units::Seq(shipped.0))).map_err(BackupError::Tool)?;
    let live = live.replica.engine.state_hash();
    if live != found {
        let object = format!("sequence {shipped} of {source}");
        return Err(BackupError::HashDiffers { object, said: live.to_string(), found: found.to_string() });
    }
    Ok(())
}
