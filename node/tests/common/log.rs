//! The log of a node that does not run.

use super::NodeDir;
use book::codec::{self, PayloadVersion};
use book::command::Command;
use book::units::TsNs;
use wal::blocking::BlockingHead;
use wal::directory::Directory;
use wal::head::HeadConfig;
use wal::medium::Access;
use wal::units::Lsn;

/// So few that they fit into a frame; one by one, each would wait for the disk.
const COMMANDS_PER_FRAME: usize = 50;

/// Appends commands, all at the time of the last one there is.
pub(crate) fn append(node_dir: &NodeDir, commands: impl Iterator<Item = Command>) {
    let directory = Directory::open(&node_dir.data_dir()).expect("no node runs on the directory");
    let store = directory.store().expect("the store opens");
    let mut ts = TsNs(0);
    let found = wal::recover::recover(&directory, &store, Lsn(1), |_, bytes| {
        ts = codec::decode(bytes)?.ts;
        Ok(())
    });
    let (timeline, geometry) = (directory.identity().timeline, directory.identity().geometry);
    let config = HeadConfig { timeline, geometry, frame_bytes_max: 1 << 16, frames_in_flight_max: 1 };
    let segments = directory.segments(Access::ReadWrite).expect("the segments open");
    let mut head =
        BlockingHead::new(config, found.expect("the log is intact").position, segments).expect("a valid head");
    let mut record = vec![0; codec::RECORD_BYTES_MAX];
    for (idx, command) in commands.enumerate() {
        let len = codec::encode(PayloadVersion::default(), ts, &command, &mut record).expect("the record fits");
        assert!(head.append(&record[..len]).expect("the head is writable").is_some(), "the head has room");
        if idx % COMMANDS_PER_FRAME == COMMANDS_PER_FRAME - 1 {
            head.commit().expect("the frame was synced");
            head.release_durable();
        }
    }
    head.commit().expect("the frame was synced");
    head.release_durable();
}
