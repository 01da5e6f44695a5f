//! The snapshot files of a data directory: written under a temporary name until complete, loaded newest first.

use crate::faults::mutation::{Mutation, Planted};
use crate::replica::{LoadError, Replica};
use crate::status::version::{COMMIT, VERSION};
use book::codec::PayloadVersion;
use book::engine::Engine;
use std::path::PathBuf;
use std::sync::Arc;
use wal::directory::Directory;
use wal::error::Result;
use wal::snapshot::{
    self, SNAPSHOT_VERSION_NEWEST, SNAPSHOT_VERSION_OLDEST, SnapshotFile, SnapshotHeader, SnapshotReader,
    SnapshotWriter,
};
use wal::units::{Lsn, Tail};

/// Writes a snapshot of the replica, whose log ends at `tail`. The file is durable under its own name when this
/// returns.
///
/// `pause` is called after about every millisecond of work: a serving node sleeps there, to leave the processor to the
/// trading loops; a tool passes a function that does nothing.
pub fn take(
    directory: &Directory,
    replica: &Replica,
    tail: Tail,
    pause: &mut impl FnMut(),
) -> Result<(SnapshotFile, SnapshotHeader)> {
    let stamp = replica.engine.stamp();
    assert!(stamp.seq.0 == tail.seq.0, "a snapshot stands at the end of a frame");
    assert!(replica.engine.divergence().is_none(), "a state that differs from the live one is not kept");
    let format = directory.identity().format;
    let header = SnapshotHeader {
        version: snapshot_version(format),
        node_id: directory.identity().node_id,
        timeline: directory.identity().timeline,
        tail: tail.planted(Mutation::SnapshotOffByOne, |_| Tail { seq: tail.seq.prev(), ..tail }),
        time: stamp.ts.0,
        log_bytes: replica.positions.log_bytes(),
        state_hash: replica.engine.state_hash_paced(pause).0,
        build: format!("pinion {VERSION} {COMMIT}"),
    };
    // The folder may have been removed under a running node.
    directory.restore_snapshots_dir()?;
    let mut writer =
        SnapshotWriter::create_on(Arc::clone(directory.medium()), &directory.snapshots_dir(), header.clone())?;
    replica.save(PayloadVersion::of_format(format), &mut |tag, piece| {
        pause();
        writer.piece(tag, piece)
    })?;
    Ok((writer.finish()?, header))
}

/// The version of a snapshot file in a directory of this format.
fn snapshot_version(format: u32) -> u16 {
    match PayloadVersion::of_format(format) {
        PayloadVersion::One => SNAPSHOT_VERSION_OLDEST,
        PayloadVersion::Two => SNAPSHOT_VERSION_NEWEST,
    }
}

/// A snapshot that was passed over, and why.
#[derive(Debug)]
pub struct PassedOver {
    pub path: PathBuf,
    pub why: LoadError,
}

/// The result of a search for the newest usable snapshot.
pub struct Found {
    pub newest: Option<(Replica, SnapshotHeader)>,
    /// Newer snapshots that cannot be used, newest first.
    pub passed_over: Vec<PassedOver>,
}

/// Loads the newest intact snapshot of this directory at or before `until` into an engine that `engine` makes.
pub fn newest(directory: &Directory, until: Lsn, engine: &mut impl FnMut() -> Engine) -> Result<Found> {
    let mut passed_over = Vec::new();
    for file in list(directory)?.into_iter().rev().filter(|file| file.seq <= until) {
        match load(directory, &file, engine()) {
            Ok(found) => return Ok(Found { newest: Some(found), passed_over }),
            Err(why) => passed_over.push(PassedOver { path: file.path, why }),
        }
    }
    Ok(Found { newest: None, passed_over })
}

/// Loads one snapshot; it is accepted only if it belongs to this directory's log.
pub fn load(
    directory: &Directory,
    file: &SnapshotFile,
    engine: Engine,
) -> std::result::Result<(Replica, SnapshotHeader), LoadError> {
    Replica::load(open(directory, file)?, file.path.clone(), engine)
}

/// Opens a snapshot and verifies its header against the directory's identity and the file's name.
pub fn open(directory: &Directory, file: &SnapshotFile) -> std::result::Result<SnapshotReader, LoadError> {
    let reader = SnapshotReader::open_on(&**directory.medium(), &file.path)?;
    let (identity, header) = (directory.identity(), reader.header());
    let path = file.path.clone();
    if header.node_id != identity.node_id || header.timeline != identity.timeline {
        return Err(LoadError::Malformed { path, why: "the snapshot belongs to another node or another timeline" });
    }
    if header.tail.seq != file.seq {
        return Err(LoadError::Malformed { path, why: "the sequence in the file's name is not the one in its header" });
    }
    Ok(reader)
}

/// The snapshot files of this directory's timeline, oldest first.
pub fn list(directory: &Directory) -> Result<Vec<SnapshotFile>> {
    let timeline = directory.identity().timeline;
    let files = snapshot::list_on(&**directory.medium(), &directory.snapshots_dir())?;
    Ok(files.into_iter().filter(|file| file.timeline == timeline).collect())
}
