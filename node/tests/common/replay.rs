//! The state that a log gives, without a node.

use super::NodeDir;
use book::codec;
use book::command::Command;
use book::engine::{Capacity, Engine};
use book::event::NoSink;
use book::units::Seq;
use node::replica::apply_record;
use wal::directory::Directory;
use wal::quarantine::Quarantine;
use wal::recover::inspect;

/// Sequence and state hash at the end of the log, applied from its first record on.
pub(crate) fn replayed(node_dir: &NodeDir) -> (u64, String) {
    let directory = Directory::open_read_only(&node_dir.data_dir()).expect("it is a data directory");
    let quarantine = Quarantine::read(directory.path()).expect("the list is intact");
    let mut engine = Engine::new(Capacity::default());
    inspect(&directory, wal::units::Lsn(1), |seq, bytes| {
        apply_record(&mut engine, &quarantine, Seq(seq.0), bytes, &mut NoSink)?;
        Ok(())
    })
    .expect("the log is intact");
    assert!(engine.divergence().is_none(), "{:?}", engine.divergence());
    engine.verify().expect("the state verifies");
    (engine.stamp().seq.0, engine.state_hash().to_string())
}

/// The builds that have opened the log, as it says, the first one first.
pub(crate) fn opened(node_dir: &NodeDir) -> Vec<String> {
    let directory = Directory::open_read_only(&node_dir.data_dir()).expect("it is a data directory");
    let mut builds = Vec::new();
    inspect(&directory, wal::units::Lsn(1), |_, bytes| {
        if let Command::Opened(opened) = codec::decode(bytes)?.command {
            builds.push(opened.build);
        }
        Ok(())
    })
    .expect("the log is intact");
    builds
}
