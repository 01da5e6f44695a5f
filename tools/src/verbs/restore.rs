//! `pinion restore`: a new data directory with the state that another one had at a sequence or a time.
//!
//! ```text
//!  backup --fetch--> (scratch, a source)
//!  source   | snapshot --load--> | records ..N --apply--> state --snapshot--> |      the source is only read
//!           | history rows, entries ..N -------------------------------copy--> | D    timeline + 1, new node id
//!           | quarantine entries ..N ---------------------------------------> |      the log begins behind N
//! ```

mod source;

use crate::offline::as_of::{Look, Moment, Past, Witness, tell_passed_over};
use crate::offline::new_directory::{self, NewPlace};
use crate::terminal::clock::unix_ns;
use crate::terminal::failure::Failure;
use crate::terminal::interrupt::Interrupt;
use crate::terminal::output::say;
use crate::terminal::progress::Progress;
use crate::terminal::time_text;
use crate::verbs::backup::Access;
use anyhow::{Context, Result, ensure};
use book::engine::{Capacity, Engine};
use book::event::{Event, Sink};
use book::state_hash::StateHash;
use book::units::{Seq, Stamp, TsNs};
use clap::Args;
use node::history::{Copied, History, HistoryWriter, copy_until};
use node::replica::Replica;
use node::replica::snapshots;
use node::status::exit;
use serde_json::json;
use source::{Source, Wanted};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;
use wal::directory::Directory;
use wal::identity::Identity;
use wal::lineage::{Ancestor, Lineage};
use wal::quarantine::{Quarantine, Quarantined};
use wal::store::Store;
use wal::units::{NodeId, Timeline};

/// Make a data directory with the state that another one had at some sequence or time.
///
/// The source, the data directory of a stopped or a running node or a backup, is only read and keeps everything. The new
/// directory begins a timeline of its own behind that sequence; a node starts on it and sessions find the same messages
/// up to there.
#[derive(Args, Debug)]
pub struct Restore {
    /// A data directory, or a backup: its path, file:///path or s3://bucket/prefix
    #[arg(long, value_name = "X")]
    from: String,
    /// The data directory to make: empty or not there
    #[arg(long, value_name = "D")]
    data_dir: PathBuf,
    /// The last sequence to take over [default: the end of the log]
    #[arg(long, value_name = "N", conflicts_with = "to_time")]
    to_seq: Option<u64>,
    /// Everything up to this time: 2026-11-25T12:56:53Z, or nanoseconds since 1970
    #[arg(long, value_name = "T", value_parser = time_text::parse)]
    to_time: Option<TsNs>,
    /// Of a backup, fetch no more than the state needs: sessions cannot ask again for what they were told before its
    /// snapshot
    #[arg(long, conflicts_with = "to_time")]
    without_past: bool,
    #[command(flatten)]
    access: Access,
    /// One line of JSON
    #[arg(long)]
    json: bool,
    /// Only prove the source's log up to there and say what would be made
    #[arg(long)]
    dry_run: bool,
}

/// What a restore came to.
#[derive(Debug)]
pub struct Restored {
    pub seq: Seq,
    pub ts: TsNs,
    pub identity: Identity,
    pub state_hash: StateHash,
    pub history: Copied,
}

impl Restore {
    pub fn run(&self) -> Result<u8> {
        let started = Instant::now();
        let leftover = new_directory::check(&self.data_dir)?;
        let interrupt = Interrupt::listen()?;
        let wanted = Wanted {
            until: self.to_seq.map(Seq),
            time: self.to_time,
            without_past: self.without_past,
            secrets_file: self.access.secrets_file.as_deref(),
        };
        let source = Source::open(&self.from, wanted, &self.data_dir, &interrupt)?;
        let past = &source.past;
        let look = past.look()?;
        let seq = self.target(&look)?;
        let left_behind = source.left_behind(seq, Seq(look.reach.end.seq.0));
        if self.dry_run {
            return self.describe(past, &look, seq, left_behind, leftover.as_deref());
        }
        let restored = restore(past, &look, seq, &self.data_dir, &interrupt)?;
        self.report(&restored, left_behind, started.elapsed().as_secs_f64())?;
        Ok(exit::OK)
    }

    fn target(&self, look: &Look<'_>) -> Result<Seq> {
        let seq = match self.to_time {
            Some(time) => {
                if unix_ns() < time.0 {
                    let message = format!("--to-time {} lies in the future", time_text::show(time.0));
                    return Err(Failure::of(exit::OUTSIDE_LOG, message));
                }
                Some(look.resolve_time(time)?)
            }
            None => self.to_seq.map(Seq),
        };
        let seq = look.resolve(seq)?;
        if seq.0 == 0 {
            let message = "there is nothing at sequence 0: `pinion init` makes an empty exchange";
            return Err(Failure::of(exit::OUTSIDE_LOG, message));
        }
        Ok(seq)
    }

    fn describe(
        &self,
        past: &Past,
        look: &Look<'_>,
        seq: Seq,
        left_behind: u64,
        leftover: Option<&Path>,
    ) -> Result<u8> {
        let moment = look.walk(seq, seq, &mut book::event::NoSink)?;
        tell_passed_over(&moment.passed_over);
        let (hash, stamp) = (moment.replica.engine.state_hash(), moment.replica.engine.stamp());
        let timeline = past.directory().identity().timeline.0 + 1;
        if self.json {
            let line = json!({
                "dry_run": true, "data_dir": self.data_dir, "from": self.from, "seq": seq.0, "ts_ns": stamp.ts.0,
                "timeline": timeline, "state_hash": hash.to_string(), "left_behind": left_behind, "swept": leftover,
            });
            return say(format_args!("{line}\n")).map(|()| exit::OK);
        }
        let swept = leftover.map_or(String::new(), |leftover| format!("would sweep  {}\n", leftover.display()));
        say(format_args!(
            "would make   {}\n\
             as of        sequence {}, {}\n\
             timeline     {timeline}\n\
             state hash   {hash}\n\
             left behind  {left_behind} commands, which stay in {}\n{swept}",
            self.data_dir.display(),
            seq.0,
            time_text::show(stamp.ts.0),
            self.from
        ))?;
        Ok(exit::OK)
    }

    fn report(&self, restored: &Restored, left_behind: u64, seconds: f64) -> Result<()> {
        let Restored { seq, ts, identity, state_hash, history } = restored;
        if self.json {
            let line = json!({
                "data_dir": self.data_dir, "from": self.from, "seq": seq.0, "ts_ns": ts.0,
                "timeline": identity.timeline.0, "node_id": identity.node_id.to_string(),
                "state_hash": state_hash.to_string(), "left_behind": left_behind, "history_rows": history.rows,
                "history_rows_cut": history.rows_cut, "seconds": seconds,
            });
            return say(format_args!("{line}\n"));
        }
        say(format_args!(
            "data directory  {}\n\
             as of           sequence {}, {}\n\
             node            {}, timeline {}\n\
             state hash      {state_hash}\n\
             history         {} rows, {} of them cut at that sequence\n\
             left behind     {left_behind} commands, which stay in {}\n\
             took            {seconds:.2} s\n\
             next            set node.data_dir to it and start pinion-node; of the two directories let only one trade\n",
            self.data_dir.display(),
            seq.0,
            time_text::show(ts.0),
            identity.node_id,
            identity.timeline,
            history.rows,
            history.rows_cut,
            self.from
        ))
    }
}

/// Makes `place` with the state that `past` had at `seq`.
pub fn restore(past: &Past, look: &Look<'_>, seq: Seq, place: &Path, interrupt: &Interrupt) -> Result<Restored> {
    let source = past.directory();
    let identity = successor(source.identity(), seq)?;
    let new = NewPlace::begin(place)?;
    Directory::create(new.path(), &identity, ballast_bytes(source))?;
    let directory = Directory::open(new.path())?;
    let store = Arc::new(directory.store()?);
    let history = copy_history(look.inspection().store(), &store, seq, interrupt)?;
    let moment = state_and_history(look, Arc::clone(&store), seq)?;
    tell_passed_over(&moment.passed_over);
    interrupt.check()?;
    let stamp = moment.replica.engine.stamp();
    let (file, header) = snapshots::take(&directory, &moment.replica, identity.origin().tail(), &mut || {})?;
    let quarantine = keep_quarantine(past.quarantine(), seq);
    if !quarantine.is_empty() {
        quarantine.write(new.path())?;
    }
    descend(source, seq)?.write_new(new.path())?;
    drop(moment);
    let (read, _) = snapshots::load(&directory, &file, Engine::new(Capacity::default()))?;
    let state_hash = read.engine.state_hash();
    ensure!(state_hash.0 == header.state_hash, "what was written hashes to {state_hash}: the disk gave something else");
    ensure!(store.seq_stored().0 == seq.0, "the store is flushed");
    drop((store, directory));
    interrupt.check()?;
    new.finish()?;
    Ok(Restored { seq, ts: stamp.ts, identity, state_hash, history })
}

/// The next timeline, under an id of its own: of two restores of one source neither takes the other's files for its own.
fn successor(source: &Identity, seq: Seq) -> Result<Identity> {
    let mut node_id = [0; 16];
    getrandom::fill(&mut node_id).context("the system gives no randomness")?;
    Ok(Identity {
        node_id: NodeId(node_id),
        timeline: Timeline(source.timeline.0 + 1),
        seq_base: wal::units::Lsn(seq.0),
        geometry: source.geometry,
    })
}

/// As much as the source has to give away; a start puts it right where the configuration says otherwise.
fn ballast_bytes(source: &Directory) -> u64 {
    std::fs::metadata(source.path().join("BALLAST")).map_or(0, |found| found.len())
}

fn copy_history(from: &Store, into: &Store, seq: Seq, interrupt: &Interrupt) -> Result<Copied> {
    let mut progress = Progress::new("history", seq.0 as usize);
    copy_until(from, into, seq, |copied| -> Result<(), CopyEnd> {
        // How far it is shows in no figure that is known before; that something moves is enough.
        progress.at(copied.rows as usize);
        interrupt.check().map_err(CopyEnd::Interrupted)
    })
    .map_err(|end| match end {
        CopyEnd::Log(error) => error.into(),
        CopyEnd::Interrupted(error) => error,
    })
}

enum CopyEnd {
    Log(wal::error::WalError),
    Interrupted(anyhow::Error),
}

impl From<wal::error::WalError> for CopyEnd {
    fn from(error: wal::error::WalError) -> Self {
        Self::Log(error)
    }
}

/// Builds the state, and on the way the history that the source had not written yet. Both are durable in `store`.
fn state_and_history(look: &Look<'_>, store: Arc<Store>, seq: Seq) -> Result<Moment> {
    let mut history = HistoryWriter::open(Arc::clone(&store))?;
    // From a state that the history has reached, so that it goes on without a gap.
    let reached = History::of(look.inspection().store()).watermark()?.max(look.reach.first);
    let begin = reached.min(seq);
    if history.watermark() < begin {
        history.begin_after(begin)?;
    }
    let mut scribe = Scribe { history, events: Vec::new() };
    let moment = look.walk(begin, seq, &mut scribe)?;
    scribe.history.commit()?;
    ensure!(scribe.history.watermark() == seq, "the history is written up to the restored sequence");
    store.flush()?;
    Ok(moment)
}

/// Writes the history of what is applied, as the shadow does.
struct Scribe {
    history: HistoryWriter,
    events: Vec<Event>,
}

impl Sink for Scribe {
    const LEDGER: bool = true;

    fn push(&mut self, event: Event) {
        self.events.push(event);
    }
}

impl Witness for Scribe {
    fn applied(&mut self, replica: &mut Replica, stamp: Stamp, bytes: &[u8]) -> Result<()> {
        let Self { history, events } = self;
        history.gather(stamp, events);
        replica.translate(stamp, events, &mut history.stream_rows(stamp));
        // A restore to between two parts of a mass cancel owes the second one, as a start behind a crash there does.
        replica.continuations.follow(bytes, events);
        // Frames are not seen here: near enough for what it is used for, how much log to keep.
        replica.positions.count_frame(bytes.len());
        events.clear();
        if history.is_full() { Ok(history.commit()?) } else { Ok(()) }
    }
}

fn keep_quarantine(of: &Quarantine, until: Seq) -> Quarantine {
    let mut kept = Quarantine::default();
    for (seq, entry) in of.entries().filter(|(seq, _)| seq.0 <= until.0) {
        // Behind the cut begins another life, whose checks were made without what is left out here.
        let until = entry.until.min(wal::units::Lsn(until.0));
        kept.add(seq, Quarantined { until, ..entry.clone() });
    }
    kept
}

fn descend(source: &Directory, seq: Seq) -> Result<Lineage> {
    let mut lineage = Lineage::read(source.path())?;
    let Identity { node_id, timeline, .. } = *source.identity();
    lineage.0.push(Ancestor { node_id, timeline, seq: wal::units::Lsn(seq.0), time_ns: unix_ns() });
    Ok(lineage)
}
