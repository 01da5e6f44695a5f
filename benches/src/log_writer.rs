//! Writes commands into the log of a data directory without a node, through the journal's head and the store as a node
//! does.
//!
//! ```text
//! command -> record -> head: frame (crc, chain) -> head's files -> store, flushed when a quarter of the head is full
//! ```
//! No write waits for the disk: nothing is acknowledged before `finish`, which syncs all of it.

use anyhow::{Context, Result, bail};
use book::codec::{PayloadVersion, RECORD_BYTES_MAX, encode};
use book::command::Command;
use book::units::TsNs;
use std::fs::File;
use std::os::unix::fs::FileExt;
use wal::directory::Directory;
use wal::frame::FRAME_BYTES_MAX;
use wal::head::{FRAMES_IN_FLIGHT_DEFAULT, Head, HeadConfig, HeadPosition};
use wal::mark::Mark;
use wal::medium::Access;
use wal::store::Store;

/// Flushes of the store while the head's files are filled once, as many as the node makes.
const FLUSHES_PER_HEAD: u64 = 4;

/// Totals of a written log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Written {
    pub records: u64,
    pub frames: u64,
    /// Bytes of headers, records and their lengths, without padding.
    pub bytes: u64,
}

pub struct LogWriter {
    head: Head,
    files: Vec<File>,
    store: Store,
    mark: Mark,
    record: Vec<u8>,
    records_per_frame: u32,
    /// Records in the open frame.
    staged: u32,
    /// Bytes in the head's files that were written since the store was last flushed.
    unflushed_bytes: u64,
    flush_bytes: u64,
    written: Written,
}

impl LogWriter {
    /// For a new directory. A frame holds `records_per_frame` records, or fewer where they do not fit.
    pub fn new(directory: &Directory, records_per_frame: u32) -> Result<Self> {
        let identity = directory.identity();
        let geometry = identity.geometry;
        let config = HeadConfig {
            timeline: identity.timeline,
            geometry,
            frame_bytes_max: FRAME_BYTES_MAX.min(geometry.segment_bytes as usize / 4),
            frames_in_flight_max: FRAMES_IN_FLIGHT_DEFAULT,
        };
        let at = HeadPosition::fresh(identity.node_id, identity.timeline, identity.seq_base);
        let head = Head::new(config, at).context("making the head")?;
        let files = directory.segments(Access::ReadWrite)?.into_files();
        let (store, mark) = (directory.store()?, directory.mark()?);
        Ok(Self {
            head,
            files,
            store,
            mark,
            record: vec![0; RECORD_BYTES_MAX],
            records_per_frame,
            staged: 0,
            unflushed_bytes: 0,
            flush_bytes: geometry.segment_bytes * u64::from(geometry.segment_count) / FLUSHES_PER_HEAD,
            written: Written::default(),
        })
    }

    pub fn append(&mut self, ts: TsNs, command: &Command) -> Result<()> {
        let len = encode(PayloadVersion::default(), ts, command, &mut self.record)?;
        if !self.head.has_room(len) {
            self.write_frame()?;
        }
        if !self.head.has_room(len) {
            self.flush()?;
        }
        if !self.head.has_room(len) {
            bail!("the head has no room for record {} of {len} bytes after a flush", self.head.seq_next());
        }
        let seq = self.head.seq_next();
        self.head.append(seq, &self.record[..len]);
        self.staged += 1;
        self.written.records += 1;
        if self.staged == self.records_per_frame { self.write_frame() } else { Ok(()) }
    }

    /// Closes the open frame and moves it through the head into the store.
    fn write_frame(&mut self) -> Result<()> {
        let Some(op) = self.head.next_write() else { return Ok(()) };
        self.staged = 0;
        let bytes = self.head.bytes(op.ticket);
        self.files[op.place.segment.0 as usize]
            .write_all_at(bytes, op.place.offset)
            .context("writing a frame to the head's file")?;
        self.head.complete_write(op.ticket, Ok(op.bytes_len))?;
        // Reported without a sync: nothing depends on it before `finish` syncs the files.
        self.head.complete_sync(op.ticket, Ok(()))?;
        while let Some(frame) = self.head.durable_frame() {
            self.store.append_frames([frame])?;
            self.written.frames += 1;
            self.written.bytes += frame.len() as u64;
            self.head.release_durable_frame();
        }
        self.unflushed_bytes += op.bytes_len as u64;
        if self.unflushed_bytes >= self.flush_bytes { self.flush() } else { Ok(()) }
    }

    /// Flushes the store, so that the head's files may be written again.
    fn flush(&mut self) -> Result<()> {
        let stored = self.store.flush()?;
        self.head.advance_stored(stored);
        self.unflushed_bytes = 0;
        Ok(())
    }

    /// Ends the log as a clean stop of a node does: everything is in the store and synced, and the mark is set.
    pub fn finish(mut self) -> Result<Written> {
        self.write_frame()?;
        for file in &self.files {
            file.sync_data().context("syncing the head's files")?;
        }
        self.flush()?;
        self.mark.advance(self.head.seq_durable())?;
        Ok(self.written)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use book::engine::{Capacity, Engine};
    use book::testing::workload::{Profile, Workload};
    use book::units::Stamp;
    use wal::identity::{FORMAT_NEWEST, Identity};
    use wal::segment::Geometry;
    use wal::units::{Lsn, NodeId, Timeline};

    #[test]
    fn a_written_log_is_restored() {
        let dir = tempfile::tempdir().expect("a directory");
        // Two small segments, so that the log overwrites each several times.
        let geometry = Geometry { segment_count: 2, segment_bytes: 128 << 10 };
        let identity = Identity {
            format: FORMAT_NEWEST,
            node_id: NodeId([7; 16]),
            timeline: Timeline(1),
            seq_base: Lsn(0),
            geometry,
        };
        let path = dir.path().join("data");
        Directory::create(&path, &identity, 0).expect("the path is new");
        let directory = Directory::open(&path).expect("the directory was just made");
        let mut writer = LogWriter::new(&directory, 40).expect("a new directory");
        let (mut engine, mut workload) = (Engine::new(Capacity::default()), Workload::new(Profile::Maker, 3));
        let mut seq = 0;
        let setup = workload.setup();
        let mut run = |command: Command, workload: &mut Workload| {
            seq += 1;
            writer.append(workload.now(), &command).expect("room in the log");
            engine.apply(Stamp { seq: book::units::Seq(seq), ts: workload.now() }, &command, workload);
        };
        setup.into_iter().for_each(|command| run(command, &mut workload));
        for _ in 0..10_000 {
            let command = workload.next_command();
            run(command, &mut workload);
        }
        let written = writer.finish().expect("a disk that works");
        assert!(written.records == seq && written.bytes > 300_000, "{written:?}");
        let (restored, _) = node::replica::recover::restore(
            &directory,
            &wal::quarantine::Quarantine::default(),
            || Engine::new(Capacity::default()),
            64,
            &node::status::recovery::Recovery::default(),
        )
        .expect("the log is intact");
        assert_eq!(restored.engine.state_hash(), engine.state_hash());
        assert_eq!((restored.log.records, restored.log.frames_from_head), (seq, 0));
    }
}
