//! Reads the frames of one timeline from the family `log`, each proved where it is read.
//!
//! RocksDB notices neither a missing key nor an old copy of its directory, so its own checksums are not enough.

use std::path::Path;

use crate::error::{Action, Damage, Result, WalError};
use crate::frame::{FRAME_VERSION, Frame, FrameFault};
use crate::store::fault::store_error;
use crate::store::keys::{log_key, split_log_key};
use crate::table::{Family, Table, Walk};
use crate::units::{Lsn, Tail, Timeline};

/// A cursor over the rows of `log`.
pub(super) struct LogReader<'s> {
    path: &'s Path,
    timeline: Timeline,
    rows: Box<dyn Walk + 's>,
}

impl<'s> LogReader<'s> {
    pub(super) fn new(table: &'s dyn Table, path: &'s Path, timeline: Timeline) -> LogReader<'s> {
        LogReader { path, timeline, rows: table.walk(Family::Log) }
    }

    /// Moves to the last frame of the timeline, and refuses a store that holds a later timeline.
    pub(super) fn seek_to_last(&mut self) -> Result<()> {
        self.rows.seek_to_last();
        self.check_rows(Lsn::ZERO)?;
        let last = self.rows.item().and_then(|(key, _)| split_log_key(key));
        if let Some((found, _)) = last.filter(|(found, _)| *found > self.timeline) {
            return Err(WalError::TimelineDiffers { path: self.path.to_owned(), have: self.timeline, found });
        }
        self.seek_at_or_before(Lsn(u64::MAX)).map(|_| ())
    }

    /// Moves to the first frame of the timeline whose key is at or after `seq`.
    pub(super) fn seek(&mut self, seq: Lsn) {
        self.rows.seek(&log_key(self.timeline, seq));
    }

    /// Moves to the last frame of the timeline whose key is at or before `seq`, and returns that key's sequence.
    pub(super) fn seek_at_or_before(&mut self, seq: Lsn) -> Result<Option<Lsn>> {
        self.rows.seek_for_prev(&log_key(self.timeline, seq));
        self.check_rows(seq)?;
        let key = self.rows.item().and_then(|(key, _)| split_log_key(key));
        Ok(key.filter(|(timeline, _)| *timeline == self.timeline).map(|(_, seq_first)| seq_first))
    }

    /// Moves to the next row.
    pub(super) fn step(&mut self) {
        self.rows.next();
    }

    /// The current frame, proved; `None` where the cursor is on no frame of the timeline. `seq` is for errors.
    pub(super) fn frame(&self, seq: Lsn) -> Result<Option<Frame<'_>>> {
        self.check_rows(seq)?;
        let Some((key, value)) = self.rows.item() else { return Ok(None) };
        let malformed =
            || WalError::damaged(self.path, 0, seq, Damage::Malformed("a key of the log has a wrong length"));
        let (timeline, seq_first) = split_log_key(key).ok_or_else(malformed)?;
        if timeline != self.timeline {
            return Ok(None);
        }
        let frame = prove(self.path, self.timeline, value, seq_first)?;
        if frame.seq_first() != seq_first || frame.bytes().len() != value.len() {
            return Err(WalError::damaged(self.path, 0, seq_first, Damage::KeyDiffers));
        }
        Ok(Some(frame))
    }

    /// The current frame, which [`LogReader::frame`] has proved already.
    pub(super) fn frame_again(&self) -> Option<Frame<'_>> {
        self.rows.item().map(|(_, value)| Frame::proved_before(value))
    }

    /// Refuses a frame that is not the next one after `tail`.
    pub(super) fn check_follows(&self, frame: &Frame<'_>, tail: Tail) -> Result<()> {
        check_follows(self.path, frame, tail)
    }

    fn check_rows(&self, seq: Lsn) -> Result<()> {
        self.rows.status().map_err(|fault| store_error(Action::Read, self.path, seq, fault))
    }
}

/// The frame in `bytes`, of this timeline. `seq` is for errors.
pub(super) fn prove<'f>(path: &Path, timeline: Timeline, bytes: &'f [u8], seq: Lsn) -> Result<Frame<'f>> {
    let frame = Frame::decode(bytes).map_err(|fault| match fault {
        FrameFault::VersionUnknown(version) => {
            let (found, known) = (u32::from(version), u32::from(FRAME_VERSION));
            WalError::UnknownFormat { path: path.to_owned(), found, known }
        }
        fault => WalError::damaged(path, 0, seq, Damage::Frame(fault)),
    })?;
    if frame.timeline() != timeline {
        return Err(WalError::TimelineDiffers { path: path.to_owned(), have: timeline, found: frame.timeline() });
    }
    Ok(frame)
}

/// Refuses a frame that is not the next one after `tail`, by its sequence or by its link.
pub(super) fn check_follows(path: &Path, frame: &Frame<'_>, tail: Tail) -> Result<()> {
    let seq = tail.seq.next();
    if frame.seq_first() != seq {
        return Err(WalError::damaged(path, 0, seq, Damage::SeqGap { found: frame.seq_first() }));
    }
    if frame.chain_prev() != tail.chain {
        return Err(WalError::damaged(path, 0, seq, Damage::ChainBroken));
    }
    Ok(())
}
