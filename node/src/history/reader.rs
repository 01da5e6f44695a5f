//! Reads the history: events of an account between two times, messages of a session between two numbers.

use super::rows::{Entry, Kind, entries, live_key, number_of, prefix, stream_key, timed_key, unpack};
use super::writer::{read_begins, read_watermark};
use crate::replica::public_feed::ShowMessage;
use api::binary::stream::SessionSeq;
use book::codec;
use book::event::Event;
use book::ids::{AccountId, SessionId};
use book::units::{Seq, Stamp, TsNs};
use std::ops::{ControlFlow, Range};
use wal::error::{Damage, Result, WalError};
use wal::store::Store;

/// A reader of the history. Any number of readers may read while the shadow writes.
pub struct History<'s> {
    store: &'s Store,
}

impl<'s> History<'s> {
    pub fn of(store: &'s Store) -> Self {
        Self { store }
    }

    /// The history is complete after this sequence, up to the watermark; zero if it is complete from the beginning.
    pub fn begins(&self) -> Result<Seq> {
        read_begins(self.store)
    }

    /// The history is complete up to and including this sequence.
    pub fn watermark(&self) -> Result<Seq> {
        read_watermark(self.store)
    }

    /// Events of an account with `times.start <= ts < times.end`, oldest first, until `show` breaks.
    pub fn events(
        &self,
        kind: Kind,
        account: AccountId,
        times: Range<TsNs>,
        mut show: impl FnMut(Stamp, Event) -> ControlFlow<()>,
    ) -> Result<()> {
        assert!(!matches!(kind, Kind::Stream | Kind::Live), "a stream is read by numbers");
        let key = timed_key(kind, account.0, Stamp { seq: Seq(0), ts: times.start });
        self.walk(&prefix(kind, account.0), &key, |_, entry| {
            if times.end <= entry.stamp.ts {
                return Ok(ControlFlow::Break(()));
            }
            if entry.stamp.ts < times.start {
                return Ok(ControlFlow::Continue(()));
            }
            let event = codec::decode_event(entry.bytes).map_err(|_| self.malformed("an event of a row"))?;
            Ok(show(entry.stamp, event))
        })
    }

    /// Messages of a session with numbers in the range, in order, until `show` breaks.
    pub fn messages(
        &self,
        session: SessionId,
        numbers: Range<SessionSeq>,
        mut show: impl FnMut(SessionSeq, Stamp, &[u8]) -> ControlFlow<()>,
    ) -> Result<()> {
        let (prefix, key) = (prefix(Kind::Stream, session.0), stream_key(session.0, numbers.start.0));
        self.numbered(&prefix, &key, numbers, |number, entry| Ok(show(number, entry.stamp, entry.bytes)))
    }

    /// Messages of the live stream with numbers in the range, in order. Numbers may be missing: what is there of the
    /// past ends where a life of the streams or a gap of the history does. An error of `show` ends the walk.
    pub fn live(&self, numbers: Range<SessionSeq>, show: &mut ShowMessage<'_>) -> Result<()> {
        let (prefix, key) = (prefix(Kind::Live, 0), live_key(numbers.start.0));
        self.numbered(&prefix, &key, numbers, |number, entry| match show(number, entry.bytes) {
            Ok(()) => Ok(ControlFlow::Continue(())),
            Err(what) => Err(self.malformed(what)),
        })
    }

    /// Entries of a stream's rows, each with its number.
    fn numbered(
        &self,
        prefix: &[u8],
        key: &[u8],
        numbers: Range<SessionSeq>,
        mut show: impl FnMut(SessionSeq, Entry<'_>) -> Result<ControlFlow<()>>,
    ) -> Result<()> {
        let mut at = (Vec::new(), 0);
        self.walk(prefix, key, |key, entry| {
            if at.0 != key {
                at = (key.to_vec(), number_of(key).ok_or_else(|| self.malformed("a stream's key"))?);
            }
            let number = SessionSeq(at.1);
            at.1 += 1;
            if numbers.end <= number {
                return Ok(ControlFlow::Break(()));
            }
            if number < numbers.start { Ok(ControlFlow::Continue(())) } else { show(number, entry) }
        })
    }

    /// Shows every entry from the row on that may hold `key`.
    fn walk(
        &self,
        prefix: &[u8],
        key: &[u8],
        mut show: impl FnMut(&[u8], Entry<'_>) -> Result<ControlFlow<()>>,
    ) -> Result<()> {
        let from = self.store.history_floor(prefix, key)?.unwrap_or_else(|| key.to_vec());
        let mut outcome = Ok(());
        self.store.history_scan(prefix, &from, |key, value| {
            let shown = self.show_row(key, value, &mut show);
            match shown {
                Ok(flow) => flow,
                Err(error) => {
                    outcome = Err(error);
                    ControlFlow::Break(())
                }
            }
        })?;
        outcome
    }

    fn show_row(
        &self,
        key: &[u8],
        value: &[u8],
        show: &mut impl FnMut(&[u8], Entry<'_>) -> Result<ControlFlow<()>>,
    ) -> Result<ControlFlow<()>> {
        let raw = unpack(value).ok_or_else(|| self.malformed("a row of the history"))?;
        for entry in entries(&raw) {
            let entry = entry.ok_or_else(|| self.malformed("an entry of a row"))?;
            if show(key, entry)?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    fn malformed(&self, what: &'static str) -> WalError {
        WalError::damaged(self.store.path(), 0, wal::units::Lsn::ZERO, Damage::Malformed(what))
    }
}
