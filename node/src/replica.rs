//! A second pair of hands on the log: the state, what translating it needs, and how far every stream is numbered. The
//! shadow is one, a start begins with one, tools travel in time with one.

pub mod crash_guard;
pub mod mass_cancels;
pub mod public_feed;
pub mod questions;
pub mod recover;
pub mod session_streams;
pub mod snapshots;
pub mod stream_positions;
pub mod translate;

use crate::faults::fault::ApplyFault;
use crate::replica::crash_guard::Applying;
use crate::replica::mass_cancels::Unfinished;
use crate::replica::stream_positions::{Numbers, NumbersLoader};
use crate::replica::translate::{Outlet, Translator};
use crate::rings::feed_items::FeedItem;
use crate::status::exit;
use api::binary::stream::SessionSeq;
use book::check::Parted;
use book::codec::{self, CodecError};
use book::command::{Check, Command};
use book::engine::Engine;
use book::event::{Event, Sink};
use book::ids::SessionId;
use book::snapshot::{Loader, Section, SnapshotError};
use book::units::{Seq, Stamp};
use std::path::PathBuf;
use wal::error::WalError;
use wal::quarantine::Quarantine;
use wal::snapshot::{SnapshotHeader, SnapshotReader};

const _: () = assert!(book::snapshot::PIECE_BYTES_MAX <= wal::snapshot::SNAPSHOT_PIECE_BYTES_MAX);

/// Why a record of a proved log cannot be applied.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    #[error("sequence {seq}: {source}")]
    Undecodable { seq: u64, source: CodecError },
    #[error("sequence {seq}: its time {ts_ns} is before the time of the command before it")]
    TimeRunsBack { seq: u64, ts_ns: u64 },
    #[error("this build gives another state than the one that wrote the log: {0}")]
    HashDiffers(#[from] Parted),
}

impl RecordError {
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Undecodable { .. } => exit::UNKNOWN_FORMAT,
            Self::TimeRunsBack { .. } => exit::DAMAGED,
            Self::HashDiffers(_) => exit::HASH_DIFFERS,
        }
    }
}

/// Applies one record as the live engine did, or leaves it out if an operator said so.
///
/// Returns its stamp. A check that does not agree is the caller's to look for (`Engine::parted`).
#[inline]
pub fn apply_record<S: Sink>(
    engine: &mut Engine,
    quarantine: &Quarantine,
    seq: Seq,
    bytes: &[u8],
    sink: &mut S,
) -> Result<Stamp, RecordError> {
    let _applying = Applying::of(seq.0);
    let before = engine.stamp().ts;
    let decoded = codec::decode(bytes);
    if quarantine.contains(wal::units::Lsn(seq.0)) {
        // What cannot even be read keeps the time of the command before it.
        let stamp = Stamp { seq, ts: decoded.map_or(before, |record| record.ts.max(before)) };
        engine.skip(stamp);
        return Ok(stamp);
    }
    let record = decoded.map_err(|source| RecordError::Undecodable { seq: seq.0, source })?;
    if record.ts < before {
        return Err(RecordError::TimeRunsBack { seq: seq.0, ts_ns: record.ts.0 });
    }
    let stamp = Stamp { seq, ts: record.ts };
    ApplyFault::strike(seq);
    if matches!(record.command, Command::Check(_)) && quarantine.is_overtaken(wal::units::Lsn(seq.0)) {
        // Recorded by an engine that had applied what is left out now: nobody can agree with it any more.
        let hash = engine.check_hash();
        engine.apply(stamp, &Command::Check(Check { hash }), sink);
        return Ok(stamp);
    }
    engine.apply(stamp, &record.command, sink);
    Ok(stamp)
}

/// Why a snapshot file is of no use.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error(transparent)]
    File(#[from] WalError),
    #[error("{path}: {source}")]
    State { path: PathBuf, source: SnapshotError },
    #[error("{path}: the state in it hashes to {found}, its header says {said}")]
    Hash { path: PathBuf, said: String, found: String },
    #[error("{path}: {why}")]
    Malformed { path: PathBuf, why: &'static str },
}

impl LoadError {
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::File(error) => exit::code_of(error),
            Self::State { .. } | Self::Malformed { .. } => exit::DAMAGED,
            Self::Hash { .. } => exit::HASH_DIFFERS,
        }
    }
}

/// Takes what a replica tells, with the number it has.
pub trait Listener {
    fn told(&mut self, session: SessionId, number: SessionSeq, bytes: &[u8]);
}

/// Nobody: for following the numbers alone.
impl Listener for () {
    fn told(&mut self, _session: SessionId, _number: SessionSeq, _bytes: &[u8]) {}
}

/// The state after some record of the log, with everything that follows from the log alone.
pub struct Replica {
    pub engine: Engine,
    pub translator: Translator,
    pub numbers: Numbers,
    pub unfinished: Unfinished,
    /// Public events of the command at hand; empty between commands.
    public: Vec<FeedItem>,
}

impl Replica {
    /// Before the first record.
    pub fn new(engine: Engine) -> Self {
        let (translator, numbers, unfinished) = (Translator::default(), Numbers::default(), Unfinished::default());
        Self { engine, translator, numbers, unfinished, public: Vec::new() }
    }

    /// Gives everything to `put`, piece by piece with its tag.
    pub fn save<E>(&self, put: &mut impl FnMut(u8, &[u8]) -> Result<(), E>) -> Result<(), E> {
        self.engine.save(&mut |section, piece| put(section as u8, piece))?;
        self.numbers.save(put)?;
        self.unfinished.save(put)
    }

    /// Reads a snapshot to its end and believes it only if the state has the hash that the header names.
    pub fn load(
        mut reader: SnapshotReader,
        path: PathBuf,
        engine: Engine,
    ) -> Result<(Self, SnapshotHeader), LoadError> {
        let header = reader.header().clone();
        let (mut loader, mut numbers, mut unfinished) =
            (Loader::new(engine), NumbersLoader::default(), Unfinished::default());
        while let Some((tag, piece)) = reader.next_piece()? {
            match Section::of(tag) {
                Some(section) => {
                    loader.take(section, piece).map_err(|source| LoadError::State { path: path.clone(), source })?;
                }
                None if numbers.take(tag, piece) || unfinished.take(tag, piece) => {}
                None => {
                    return Err(LoadError::Malformed { path, why: "a piece of a kind that this build does not know" });
                }
            }
        }
        let engine = loader.finish().map_err(|source| LoadError::State { path: path.clone(), source })?;
        let found = engine.state_hash();
        if found.0 != header.state_hash || engine.stamp().seq.0 != header.tail.seq.0 {
            let said = book::state_hash::StateHash(header.state_hash).to_string();
            return Err(LoadError::Hash { path, said, found: found.to_string() });
        }
        let why = "the numbers of the streams are not whole";
        let numbers = numbers.finish().ok_or(LoadError::Malformed { path, why })?;
        let translator = Translator::of(&engine);
        Ok((Self { engine, translator, numbers, unfinished, public: Vec::new() }, header))
    }

    /// Translates the events of a command that was just applied, and counts what is told.
    pub fn tell(&mut self, stamp: Stamp, events: &[Event], listener: &mut impl Listener) {
        let Self { translator, numbers, public, .. } = self;
        translator.translate(stamp, events, &mut Counting { numbers, listener, public });
        // The instruments are the translator's, so public events follow when it is done.
        for item in public.drain(..) {
            numbers.publish(&item, translator.instruments());
        }
    }
}

struct Counting<'a, L> {
    numbers: &'a mut Numbers,
    listener: &'a mut L,
    public: &'a mut Vec<FeedItem>,
}

impl<L: Listener> Outlet for Counting<'_, L> {
    #[inline]
    fn answer(&mut self, session: SessionId, bytes: &[u8]) {
        let number = self.numbers.take(session);
        self.listener.told(session, number, bytes);
    }

    #[inline]
    fn public(&mut self, item: FeedItem) {
        self.public.push(item);
    }
}
