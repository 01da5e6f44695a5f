//! `pinion log tail --follow`: prints frames of a running node as they are written, without reading the journal again.

use crate::offline::as_of::StateReader;
use crate::terminal::output::Output;
use anyhow::Result;
use book::units::Seq;
use wal::follow::Follower;
use wal::units::Lsn;
use wal::walk::Start;

/// Frames are printed before they are durable, as all frames at the end of the log are.
const NEWEST: Lsn = Lsn(u64::MAX);

pub(super) struct LogFollower<'f> {
    reader: &'f StateReader,
    out: &'f mut Output,
    json: bool,
    /// The last sequence printed.
    last: Lsn,
    follower: Option<Follower>,
}

impl<'f> LogFollower<'f> {
    /// Continues after `last`.
    pub(super) fn new(reader: &'f StateReader, last: Lsn, out: &'f mut Output, json: bool) -> Self {
        Self { reader, out, json, last, follower: None }
    }

    /// Prints what is new. Where the node has overwritten the journal since the last call, the complete log is scanned.
    pub(super) fn poll(&mut self) -> Result<()> {
        let acknowledged = self.reader.directory().mark_seq()?;
        if let Some(follower) = &mut self.follower {
            while let Some(frame) = follower.next_frame(NEWEST)? {
                for (seq, bytes) in frame.records() {
                    let seq = Seq(seq.0);
                    self.out.command(seq, &self.reader.decode(seq, bytes)?, self.json)?;
                }
                self.last = frame.seq_last();
            }
        }
        if self.follower.is_none() || self.last < acknowledged {
            self.scan()?;
        }
        self.out.flush()
    }

    fn scan(&mut self) -> Result<()> {
        let log = self.reader.scan()?;
        if self.last < log.range.end.seq {
            log.for_each_record(Start::At(self.last.next()), |seq, bytes| {
                self.out.command(seq, &self.reader.decode(seq, bytes)?, self.json)?;
                self.last = Lsn(seq.0);
                Ok(true)
            })?;
        }
        // A scan that opened the log again may have read past the end that it began with.
        let follower = log.inspection().follow(log.range.end)?;
        self.follower = follower.filter(|follower| follower.tail().seq == self.last);
        Ok(())
    }
}
