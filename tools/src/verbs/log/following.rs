//! What `pinion log tail --follow` does beside a running node: frame by frame, as they come, without reading the head anew.

use crate::offline::as_of::Past;
use crate::terminal::output::Output;
use anyhow::Result;
use book::units;
use wal::follow::Follower;
use wal::units::Lsn;
use wal::walk::Start;

/// Frames are shown before they are durable, as everything at the end of the log is.
const NEWEST: Lsn = Lsn(u64::MAX);

pub struct Following<'f> {
    past: &'f Past,
    out: &'f mut Output,
    json: bool,
    /// The last one that was shown.
    last: Lsn,
    follower: Option<Follower>,
}

impl<'f> Following<'f> {
    /// Goes on behind `last`.
    pub fn new(past: &'f Past, last: Lsn, out: &'f mut Output, json: bool) -> Self {
        Self { past, out, json, last, follower: None }
    }

    /// Shows what has come. Where the node was a whole head faster, that takes a look at the whole log.
    pub fn go_on(&mut self) -> Result<()> {
        let acknowledged = self.past.directory().mark_seq()?;
        if let Some(follower) = &mut self.follower {
            while let Some(frame) = follower.next_frame(NEWEST)? {
                for (seq, bytes) in frame.records() {
                    let seq = units::Seq(seq.0);
                    self.out.command(seq, &self.past.read(seq, bytes)?, self.json)?;
                }
                self.last = frame.seq_last();
            }
        }
        if self.follower.is_none() || self.last < acknowledged {
            self.look()?;
        }
        self.out.flush()
    }

    fn look(&mut self) -> Result<()> {
        let look = self.past.look()?;
        if self.last < look.reach.end.seq {
            look.records(Start::At(self.last.next()), |seq, bytes| {
                self.out.command(seq, &self.past.read(seq, bytes)?, self.json)?;
                self.last = Lsn(seq.0);
                Ok(true)
            })?;
        }
        // A walk that looked again may have come further than this look.
        let follower = look.inspection().follow(look.reach.end)?;
        self.follower = follower.filter(|follower| follower.tail().seq == self.last);
        Ok(())
    }
}
