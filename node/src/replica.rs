//! A replica: the exchange's state at some sequence, computed from the log alone, with everything that is needed to
//! continue from there. The shadow keeps one, a start begins with one, and tools build one to show the state at any
//! sequence of the past.
//!
//! Invariant: the same log gives the same state, the same answers and the same market data, byte for byte.

pub mod backup_mark;
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
use crate::faults::mutation::{Mutation, Planted};
use crate::replica::crash_guard::Applying;
use crate::replica::mass_cancels::Continuations;
use crate::replica::stream_positions::{StreamPositions, StreamPositionsLoader};
use crate::replica::translate::{Outlet, Translator};
use crate::rings::feed_items::FeedItem;
use crate::status::exit;
use api::binary::stream::SessionSeq;
use book::codec::{self, CodecError, PayloadVersion};
use book::command::{Check, Command};
use book::engine::Engine;
use book::event::{Event, Sink};
use book::ids::SessionId;
use book::rules::{Rules, RulesVersion};
use book::running_hash::Divergence;
use book::snapshot::{Loader, Section, SnapshotError};
use book::units::{Seq, Stamp, TsNs};
use std::path::PathBuf;
use wal::error::WalError;
use wal::quarantine::Quarantine;
use wal::snapshot::{SNAPSHOT_VERSION_OLDEST, SnapshotHeader, SnapshotReader};

const _: () = assert!(
    book::snapshot::PIECE_BYTES_MAX + wal::snapshot::SNAPSHOT_PREFIX_BYTES_MAX
        <= wal::snapshot::SNAPSHOT_PIECE_BYTES_MAX
);

/// Why a record of an intact log cannot be applied.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    #[error("sequence {seq}: {source}")]
    Undecodable { seq: u64, source: CodecError },
    #[error("sequence {seq} raises the rules to version {version}, and this build knows up to {newest}: use the build that wrote the log", newest = Rules::NEWEST)]
    UnknownRules { seq: u64, version: RulesVersion },
    #[error("sequence {seq}: its time {ts_ns} is earlier than that of the command before it")]
    TimeRunsBack { seq: u64, ts_ns: u64 },
    #[error("replaying the log with this build gives a different state than the build that wrote it: {0}")]
    HashDiffers(#[from] Divergence),
}

impl RecordError {
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Undecodable { .. } | Self::UnknownRules { .. } => exit::UNKNOWN_FORMAT,
            Self::TimeRunsBack { .. } => exit::DAMAGED,
            Self::HashDiffers(_) => exit::HASH_DIFFERS,
        }
    }
}

/// Applies one record as the live engine did, or skips it if an operator has quarantined it. Returns its stamp.
///
/// A check record whose hash differs is not an error here: the caller asks the engine for it (`Engine::divergence`).
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
        // A record that cannot even be decoded gets the time of the command before it.
        let stamp = Stamp { seq, ts: decoded.map_or(before, |record| record.ts.max(before)) };
        engine.skip(stamp);
        return Ok(stamp);
    }
    let record = decoded.map_err(|source| RecordError::Undecodable { seq: seq.0, source })?;
    if record.ts < before {
        return Err(RecordError::TimeRunsBack { seq: seq.0, ts_ns: record.ts.0 });
    }
    if let Some(version) = record.command.rules_unknown() {
        return Err(RecordError::UnknownRules { seq: seq.0, version });
    }
    let stamp = Stamp { seq, ts: record.ts };
    ApplyFault::strike(seq);
    if matches!(record.command, Command::Check(_)) && quarantine.is_overtaken(wal::units::Lsn(seq.0)) {
        // Recorded by an engine that had applied the record that is skipped now, so no replay can agree with it. The
        // replay's own hash is put in its place, so that later checks compare from here on.
        let hash = engine.check_hash();
        engine.apply(stamp, &Command::Check(Check { hash }), sink);
        return Ok(stamp);
    }
    engine.apply(stamp, &record.command, sink);
    Ok(stamp)
}

/// Why a snapshot file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error(transparent)]
    File(#[from] WalError),
    #[error("{path}: {source}")]
    State { path: PathBuf, source: SnapshotError },
    #[error("{path}: the loaded state has the hash {found}, the snapshot's header says {said}")]
    Hash { path: PathBuf, said: String, found: String },
    #[error("{path}: {why}")]
    Malformed { path: PathBuf, why: &'static str },
}

impl LoadError {
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::File(error) => exit::code_of(error),
            Self::State { source: SnapshotError::UnknownRules(_), .. } => exit::UNKNOWN_FORMAT,
            Self::State { .. } | Self::Malformed { .. } => exit::DAMAGED,
            Self::Hash { .. } => exit::HASH_DIFFERS,
        }
    }
}

/// Receives the messages that a replica's commands send to sessions and publish, each with its number in its stream.
pub trait StreamSink {
    fn message(&mut self, session: SessionId, number: SessionSeq, bytes: &[u8]);

    /// The session's next message does not follow the one before it.
    fn life_began(&mut self, _session: SessionId) {}
    /// A message of the live stream. Most sinks have no use for it.
    fn live(&mut self, _number: SessionSeq, _bytes: &[u8]) {}
}

/// Discards the messages, for a replica that only needs to count them.
impl StreamSink for () {
    fn message(&mut self, _session: SessionId, _number: SessionSeq, _bytes: &[u8]) {}
}

/// The state after some record of the log: the engine, the translator from events to messages, how far every stream is
/// numbered, and which mass cancels are unfinished.
pub struct Replica {
    pub engine: Engine,
    pub translator: Translator,
    pub positions: StreamPositions,
    pub continuations: Continuations,
    /// Public events of the command being translated; empty between commands.
    public: Vec<FeedItem>,
}

impl Replica {
    /// The state before the first record; `engine` is empty.
    pub fn new(engine: Engine) -> Self {
        Self {
            engine,
            translator: Translator::default(),
            positions: StreamPositions::default(),
            continuations: Continuations::default(),
            public: Vec::new(),
        }
    }

    /// Writes the replica as the pieces of a snapshot of this version, each with its tag.
    pub fn save<E>(&self, version: PayloadVersion, put: &mut impl FnMut(u8, &[u8]) -> Result<(), E>) -> Result<(), E> {
        let mut buffer = Vec::new();
        let put = &mut |tag: u8, piece: &[u8]| {
            if version == PayloadVersion::One {
                return put(tag, piece);
            }
            buffer.clear();
            buffer.extend_from_slice(version.prefix());
            buffer.extend_from_slice(piece);
            put(tag, &buffer)
        };
        self.engine.save(&mut |section, piece| put(section as u8, piece))?;
        self.positions.save(put)?;
        self.continuations.save(put)
    }

    /// Loads a snapshot. It is accepted only if all of it can be read and the loaded state has the hash in its header.
    pub fn load(
        mut reader: SnapshotReader,
        path: PathBuf,
        engine: Engine,
    ) -> Result<(Self, SnapshotHeader), LoadError> {
        let header = reader.header().clone();
        let (mut loader, mut positions, mut continuations) =
            (Loader::new(engine), StreamPositionsLoader::default(), Continuations::default());
        while let Some((tag, piece)) = reader.next_piece()? {
            let piece = body_of(header.version, piece)
                .ok_or(LoadError::Malformed { path: path.clone(), why: "a piece is not of the version of its file" })?;
            match Section::of(tag) {
                Some(section) => {
                    loader.take(section, piece).map_err(|source| LoadError::State { path: path.clone(), source })?;
                }
                // Continuations first: their pieces have the tag of a life, whose number never reads as one of them.
                None if continuations.take(tag, piece) || positions.take(tag, piece) => {}
                None => {
                    return Err(LoadError::Malformed { path, why: "a piece of a kind that this build does not know" });
                }
            }
        }
        let engine = loader.finish().map_err(|source| LoadError::State { path: path.clone(), source })?;
        let found = engine.state_hash();
        if engine.stamp().seq.0.planted(Mutation::StateSeqUnchecked, |_| header.tail.seq.0) != header.tail.seq.0 {
            let why = "the loaded state is of another sequence than its header says";
            return Err(LoadError::Malformed { path, why });
        }
        if (found.0 != header.state_hash).planted(Mutation::StateHashUnchecked, |_| false) {
            let said = book::state_hash::StateHash(header.state_hash).to_string();
            return Err(LoadError::Hash { path, said, found: found.to_string() });
        }
        let why = "the pieces with the positions of the streams are missing or incomplete";
        let positions = positions.finish().ok_or(LoadError::Malformed { path, why })?;
        let translator = Translator::of(&engine);
        Ok((Self { engine, translator, positions, continuations, public: Vec::new() }, header))
    }

    /// Translates the events of the command that was just applied into messages, and numbers them. `record` is the
    /// command as the log has it.
    pub fn translate(&mut self, stamp: Stamp, record: &[u8], events: &[Event], sink: &mut impl StreamSink) {
        self.translate_received(stamp, codec::received(record, stamp.ts), events, sink);
    }

    /// The same for a command of which only the time is known at which its request was received.
    pub fn translate_received(&mut self, stamp: Stamp, received: TsNs, events: &[Event], sink: &mut impl StreamSink) {
        let Self { translator, positions, public, .. } = self;
        translator.translate(stamp, received, events, &mut Counting { positions, sink, public });
        // Encoding public events needs the translator's instruments, so it starts after the translator is done.
        for item in public.drain(..) {
            positions.count_public(&item, translator.instruments(), &mut |number, bytes| sink.live(number, bytes));
        }
    }
}

/// A piece without its prefix; `None` when its prefix is not that of the file's version.
fn body_of(version: u16, piece: &[u8]) -> Option<&[u8]> {
    if version == SNAPSHOT_VERSION_OLDEST {
        return Some(piece);
    }
    let (found, body) = PayloadVersion::split(piece).ok()?;
    (found == PayloadVersion::Two && !body.is_empty()).then_some(body)
}

struct Counting<'a, S> {
    positions: &'a mut StreamPositions,
    sink: &'a mut S,
    public: &'a mut Vec<FeedItem>,
}

impl<S: StreamSink> Outlet for Counting<'_, S> {
    #[inline]
    fn answer(&mut self, session: SessionId, bytes: &[u8]) {
        let number = self.positions.assign(session);
        self.sink.message(session, number, bytes);
    }

    #[inline]
    fn public(&mut self, item: FeedItem) {
        self.public.push(item);
    }

    fn life_began(&mut self, session: SessionId, skipped: u64) {
        self.positions.begin_session_life(session, skipped);
        self.sink.life_began(session);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use book::command::{AfterLife, LifeEnd, Rest, Unfinished};
    use book::engine::Capacity;
    use book::ids::OrderId;
    use book::run::LifeTag;
    use book::units::TsNs;
    use std::path::Path;
    use wal::snapshot::{SNAPSHOT_VERSION_NEWEST, SnapshotWriter};
    use wal::units::{ChainHash, Lsn, NodeId, Tail, Timeline};

    fn engine() -> Engine {
        Engine::new(Capacity { orders: 16, leaves: 16, markets: 1, names: 1 })
    }

    /// Writes the state after one command under a header with this sequence and hash, and loads it again.
    fn reload(dir: &Path, seq: u64, hash: impl Fn([u8; 32]) -> [u8; 32]) -> Result<SnapshotHeader, LoadError> {
        reload_with(dir, seq, hash, &[]).map(|(_, header)| header)
    }

    /// The same with a command that is unfinished.
    fn reload_with(
        dir: &Path,
        seq: u64,
        hash: impl Fn([u8; 32]) -> [u8; 32],
        unfinished: &[u8],
    ) -> Result<(Replica, SnapshotHeader), LoadError> {
        let mut replica = Replica::new(engine());
        replica.positions.begin_session_life(SessionId(2), 1 << 34);
        assert_eq!(replica.continuations.take(66, unfinished), !unfinished.is_empty());
        let check = Command::Check(Check { hash: replica.engine.check_hash() });
        replica.engine.apply(Stamp { seq: Seq(1), ts: TsNs(1) }, &check, &mut Vec::new());
        let header = SnapshotHeader {
            version: SNAPSHOT_VERSION_NEWEST,
            node_id: NodeId([1; 16]),
            timeline: Timeline(1),
            tail: Tail { seq: Lsn(seq), chain: ChainHash([2; 32]) },
            time: 1,
            log_bytes: 0,
            state_hash: hash(replica.engine.state_hash().0),
            build: String::new(),
        };
        let mut writer = SnapshotWriter::create(dir, header).expect("the directory is writable");
        replica.save(PayloadVersion::Two, &mut |tag, piece| writer.piece(tag, piece)).expect("written");
        let path = writer.finish().expect("written").path;
        let reader = SnapshotReader::open(&path).expect("every byte is as it was written");
        Replica::load(reader, path, engine())
    }

    /// Its piece has the tag of the first number of a life, and is as long as one.
    #[test]
    fn an_unfinished_command_is_no_life_of_the_streams() {
        let dir = tempfile::tempdir().expect("a directory");
        let end = LifeEnd { session: SessionId(2), then: AfterLife::Begins(LifeTag(300)) };
        let rest = Command::Continue(Rest { of: Unfinished::EndLife(end), at: OrderId(9), count: 4 });
        let mut bytes = [0; 64];
        let len = codec::encode(PayloadVersion::One, TsNs(0), &rest, &mut bytes).expect("it fits");
        assert!(8 <= len, "{len} bytes");
        let (loaded, _) = reload_with(dir.path(), 1, |hash| hash, &bytes[..len]).expect("the snapshot is intact");
        assert_eq!(loaded.positions.first(), SessionSeq::FIRST);
        let own = loaded.positions.own_firsts().iter().map(|(session, first)| (session.0, first.0));
        assert_eq!(own.collect::<Vec<_>>(), [(2, (1 << 34) + 1)]);
        assert_eq!(loaded.continuations.into_commands(), [rest]);
    }

    /// Every checksum of the file is right: only loading shows that the header is of another state.
    #[test]
    fn a_snapshot_of_another_state_is_refused() {
        let dir = tempfile::tempdir().expect("a directory");
        let loaded = reload(dir.path(), 1, |hash| hash).expect("header and state agree");
        assert_eq!(loaded.tail.seq, Lsn(1));
        let mut error = reload(dir.path(), 1, |mut hash| {
            hash[31] ^= 1;
            hash
        });
        assert!(matches!(error, Err(LoadError::Hash { .. })), "{:?}", error.map(|header| header.tail));
        error = reload(dir.path(), 2, |hash| hash);
        let Err(LoadError::Malformed { why, .. }) = error else { panic!("accepted, or refused for its hash") };
        assert!(why.contains("another sequence"), "{why}");
    }

    #[cfg(feature = "mutation")]
    #[test]
    fn states_that_are_not_compared_are_noticed() {
        for fault in [Mutation::StateHashUnchecked, Mutation::StateSeqUnchecked] {
            crate::faults::mutation::assert_noticed(fault, a_snapshot_of_another_state_is_refused);
        }
    }
}
