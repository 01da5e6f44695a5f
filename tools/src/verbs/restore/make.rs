//! Makes the new data directory of a restore: history, state, snapshot, quarantine and lineage, in that order.
//!
//! Invariant: the directory gets its name when everything in it is durable and was read back.

use super::history_builder::HistoryBuilder;
use crate::archive::fetch::{CONFIG_FROM_BACKUP, write_private};
use crate::offline::as_of::{ScannedLog, StateAt, StateReader};
use crate::offline::new_directory::NewDirectory;
use crate::terminal::clock::unix_ns;
use crate::terminal::interrupt::Interrupt;
use crate::terminal::progress::Progress;
use anyhow::{Context, Result, ensure};
use book::engine::{Capacity, Engine};
use book::new_time::SetBack;
use book::state_hash::StateHash;
use book::units::{Seq, TsNs};
use node::history::{Copied, History, HistoryWriter, copy_until};
use node::replica::snapshots;
use std::path::Path;
use std::sync::Arc;
use wal::directory::Directory;
use wal::error::WalError;
use wal::identity::Identity;
use wal::lineage::{Ancestor, Lineage};
use wal::quarantine::{Quarantine, Quarantined};
use wal::segment::Geometry;
use wal::store::Store;
use wal::units::{Lsn, NodeId, Timeline};

/// The result of a restore.
#[derive(Debug)]
pub struct Restored {
    pub seq: Seq,
    pub ts: TsNs,
    pub identity: Identity,
    pub state_hash: StateHash,
    pub history: HistoryRows,
    /// What setting log time back has changed, where that was asked for.
    pub set_back: Option<SetBack>,
}

/// What the new directory's history consists of.
#[derive(Clone, Copy, Debug, Default)]
pub struct HistoryRows {
    /// Copied from the source's history.
    pub copied: Copied,
    /// Rows that were computed from the log, where the source's history does not reach.
    pub computed: u64,
    /// The history has every command after this sequence.
    pub begins: Seq,
}

impl HistoryRows {
    pub fn rows(&self) -> u64 {
        self.copied.rows + self.computed
    }
}

/// The directory to make.
#[derive(Clone, Copy, Debug)]
pub struct Target<'t> {
    pub path: &'t Path,
    /// Its last sequence.
    pub seq: Seq,
    /// Its journal.
    pub geometry: Geometry,
    /// Where set, log time begins again there.
    pub new_time: Option<TsNs>,
}

/// Makes the directory with the state that `reader` has at the target's sequence.
pub fn restore(
    reader: &StateReader,
    log: &ScannedLog<'_>,
    target: Target<'_>,
    interrupt: &Interrupt,
) -> Result<Restored> {
    let (source, Target { path, seq, geometry, new_time }) = (reader.directory(), target);
    let identity = successor(&Identity { geometry, ..*source.identity() }, seq)?;
    let new = NewDirectory::begin(path)?;
    Directory::create(new.path(), &identity, ballast_bytes(source))?;
    let directory = Directory::open(new.path())?;
    let store = Arc::new(directory.store()?);
    let copied = copy_history(log.inspection().store(), &store, seq, interrupt)?;
    let (mut state, computed) = build_state_and_history(log, Arc::clone(&store), seq)?;
    let history = HistoryRows { copied, computed, begins: History::of(&store).begins()? };
    state.report_skipped_snapshots();
    interrupt.check()?;
    let set_back = new_time.map(|now| state.replica.engine.set_time_back(now));
    let stamp = state.replica.engine.stamp();
    let (file, header) = snapshots::take(&directory, &state.replica, identity.origin().tail(), &mut || {})?;
    let quarantine = quarantine_until(reader.quarantine(), seq);
    if !quarantine.is_empty() {
        quarantine.write(new.path())?;
    }
    lineage_of(source, seq)?.write_new(new.path())?;
    drop(state);
    let (read, _) = snapshots::load(&directory, &file, Engine::new(Capacity::default()))?;
    let state_hash = read.engine.state_hash();
    ensure!(
        state_hash.0 == header.state_hash,
        "reading back the new snapshot: its state has the hash {state_hash}, another one was written; check the disk"
    );
    ensure!(store.seq_stored().0 == seq.0, "the new store is not flushed up to sequence {}", seq.0);
    copy_config(source.path(), new.path())?;
    drop((store, directory));
    interrupt.check()?;
    new.finish()?;
    Ok(Restored { seq, ts: stamp.ts, identity, state_hash, history, set_back })
}

/// The next timeline, with a node id of its own: the files of two restores of one source can never be mixed up.
fn successor(source: &Identity, seq: Seq) -> Result<Identity> {
    let mut node_id = [0; 16];
    getrandom::fill(&mut node_id).context("drawing a node id: the system gives no randomness")?;
    Ok(Identity {
        format: source.format,
        node_id: NodeId(node_id),
        timeline: Timeline(source.timeline.0 + 1),
        seq_base: Lsn(seq.0),
        geometry: source.geometry,
    })
}

/// The source's ballast. A start corrects it where the configuration says otherwise.
fn ballast_bytes(source: &Directory) -> u64 {
    std::fs::metadata(source.path().join("BALLAST")).map_or(0, |found| found.len())
}

fn copy_history(from: &Store, into: &Store, seq: Seq, interrupt: &Interrupt) -> Result<Copied> {
    let mut progress = Progress::new("copying the history", seq.0 as usize);
    copy_until(from, into, seq, |copied| -> Result<(), CopyError> {
        // The number of rows is not known before, so the bar shows only that the copy advances.
        progress.at(copied.rows as usize);
        interrupt.check().map_err(CopyError::Interrupted)
    })
    .map_err(|error| match error {
        CopyError::Log(error) => error.into(),
        CopyError::Interrupted(error) => error,
    })
}

enum CopyError {
    Log(WalError),
    Interrupted(anyhow::Error),
}

impl From<WalError> for CopyError {
    fn from(error: WalError) -> Self {
        Self::Log(error)
    }
}

/// Copies the configuration that came with a backup.
fn copy_config(from: &Path, into: &Path) -> Result<()> {
    let (from, into) = (from.join(CONFIG_FROM_BACKUP), into.join(CONFIG_FROM_BACKUP));
    match std::fs::read_to_string(&from) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        text => write_private(&into, &text.with_context(|| format!("reading {}", from.display()))?).map_err(Into::into),
    }
}

/// Builds the state, and on the way the history that the source lacks, whose rows it counts. The history is durable in
/// `store` then.
fn build_state_and_history(log: &ScannedLog<'_>, store: Arc<Store>, seq: Seq) -> Result<(StateAt, u64)> {
    let mut history = HistoryWriter::open(Arc::clone(&store))?;
    // The replay begins at a state that the history reaches, so that the history continues without a gap.
    let reached = History::of(log.inspection().store()).watermark()?.max(log.range.first);
    let begin = reached.min(seq);
    if history.watermark() < begin {
        history.begin_after(begin)?;
    }
    let mut builder = HistoryBuilder::new(history, Arc::clone(&store));
    let mut state = log.replay(begin, seq, &mut builder)?;
    let history = builder.finish(&mut state.replica)?;
    ensure!(history.watermark() == seq, "the new history is not written up to sequence {}", seq.0);
    store.flush()?;
    Ok((state, history.rows()))
}

fn quarantine_until(source: &Quarantine, until: Seq) -> Quarantine {
    let mut list = Quarantine::default();
    for (seq, entry) in source.entries().filter(|(seq, _)| seq.0 <= until.0) {
        // The hashes that the new timeline records after `until` are those of a state without the quarantined commands.
        let until = entry.until.min(Lsn(until.0));
        list.add(seq, Quarantined { until, ..entry.clone() });
    }
    list
}

/// The source's ancestors, and the source itself.
fn lineage_of(source: &Directory, seq: Seq) -> Result<Lineage> {
    let mut lineage = Lineage::read(source.path())?;
    let Identity { node_id, timeline, .. } = *source.identity();
    lineage.0.push(Ancestor { node_id, timeline, seq: Lsn(seq.0), time_ns: unix_ns() });
    Ok(lineage)
}
