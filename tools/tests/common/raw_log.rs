//! Records that are written into a directory's log without a node, which would refuse some of them.

use std::path::Path;
use wal::blocking::BlockingHead;
use wal::directory::Directory;
use wal::head::HeadConfig;
use wal::medium::Access;
use wal::recover::recover;
use wal::units::Lsn;

/// Writes a frame for each record and syncs it; the mark of acknowledged commands is not raised.
pub(crate) fn append(data_dir: &Path, records: &[&[u8]]) {
    let directory = Directory::open(data_dir).expect("no other process has it open");
    let store = directory.store().expect("intact");
    let recovered = recover(&directory, &store, Lsn(1), |_, _| Ok(())).expect("intact");
    let (timeline, geometry) = (directory.identity().timeline, directory.identity().geometry);
    let config = HeadConfig { timeline, geometry, frame_bytes_max: 8192, frames_in_flight_max: 1 };
    let segments = directory.segments(Access::ReadWrite).expect("intact");
    let mut head = BlockingHead::new(config, recovered.position, segments).expect("valid");
    for record in records {
        head.append(record).expect("written").expect("room");
        head.commit().expect("synced");
        head.release_durable();
    }
}
