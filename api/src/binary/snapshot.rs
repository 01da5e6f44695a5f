//! Snapshots of all books as messages: the starting point of a reader that then follows the live stream.
//!
//! ```text
//! SnapshotBegin(asOfSeq) | InstrumentDefinition x n | OrderAdd x m, in price-time priority | SnapshotEnd(checksum)
//! ```
//! The reader joins the live stream at `asOfSeq + 1`. The checksum is the CRC-32C of all messages between the first and
//! the last, without their packet headers. Invariant: a snapshot is returned only when its counts and checksum agree.

use crate::binary::depth::{Depth, DepthBook, DepthError, DepthOrder};
use crate::binary::market::{FLAG_SNAPSHOT, InstrumentDefinition, MarketMessage, OrderAdd, SnapshotBegin, SnapshotEnd};
use crate::binary::orders::side_code;
use crate::binary::sbe::{Framed, SbeError};
use crate::binary::stream::SessionSeq;
use book::command::Side;
use book::units::TsNs;
use thiserror::Error;
use zerocopy::IntoBytes;
use zerocopy::little_endian::{I64, U32, U64};

/// Writes the snapshot of `depth`, to which the live stream is applied up to and including `as_of`.
pub fn write_snapshot(depth: &Depth, as_of: SessionSeq, ts: TsNs, out: &mut impl FnMut(&[u8])) {
    let time = U64::new(ts.0);
    let instruments = U32::new(depth.books().count() as u32);
    let begin = SnapshotBegin { event_time_ns: time, as_of_seq: U64::new(as_of.0), instruments, pad: [0; 4] };
    out(Framed::new(begin).as_bytes());
    let mut checksum = 0;
    let mut summed = |message: &[u8]| {
        checksum = crc32c::crc32c_append(checksum, message);
        out(message);
    };
    for book in depth.books() {
        let rpt_seq = U64::new(book.rpt_seq());
        let definition =
            InstrumentDefinition { event_time_ns: time, flags: FLAG_SNAPSHOT, rpt_seq, ..*book.definition() };
        summed(Framed::new(definition).as_bytes());
    }
    let mut orders = 0;
    for book in depth.books() {
        for order in book.orders(Side::Buy).chain(book.orders(Side::Sell)) {
            summed(Framed::new(order_add(book, order, time)).as_bytes());
            orders += 1;
        }
    }
    let end = SnapshotEnd {
        event_time_ns: time,
        as_of_seq: U64::new(as_of.0),
        orders: U32::new(orders),
        checksum: U32::new(checksum),
    };
    out(Framed::new(end).as_bytes());
}

fn order_add(book: &DepthBook, order: &DepthOrder, time: U64) -> OrderAdd {
    OrderAdd {
        event_time_ns: time,
        order_id: U64::new(order.order_id),
        price_e9: I64::new(order.price_e9),
        qty_e8: I64::new(order.qty_e8),
        rpt_seq: U64::new(book.rpt_seq()),
        instrument_id: U32::new(book.instrument()),
        side: side_code(order.side),
        flags: FLAG_SNAPSHOT,
        pad: [0; 2],
    }
}

/// Why the messages received are not a complete snapshot. Request a new one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum SnapshotError {
    #[error("{0}")]
    Message(#[from] SbeError),
    #[error("{0}")]
    Depth(#[from] DepthError),
    #[error("the first message is not SnapshotBegin")]
    NotBegun,
    #[error("received {found} orders, SnapshotEnd announces {expected}")]
    OrderCount { expected: u32, found: u32 },
    #[error("received {found} instruments, SnapshotBegin announces {expected}")]
    InstrumentCount { expected: u32, found: u32 },
    #[error("SnapshotEnd carries checksum {found:#010x}, the messages received have {expected:#010x}")]
    Checksum { expected: u32, found: u32 },
    #[error("SnapshotBegin is as of message {begin}, SnapshotEnd as of {end}")]
    AsOf { begin: u64, end: u64 },
}

/// A complete snapshot: the books, and the number of the last live message that is applied to them.
#[derive(Clone, Debug)]
pub struct Snapshot {
    pub depth: Depth,
    pub as_of: SessionSeq,
}

/// Assembles a snapshot from its messages.
#[derive(Debug, Default)]
pub struct SnapshotReader {
    begin: Option<SnapshotBegin>,
    depth: Depth,
    orders: u32,
    checksum: u32,
}

impl SnapshotReader {
    /// Applies the next message. Returns the snapshot after the last one, when its counts and checksum agree.
    pub fn read(&mut self, message: &[u8]) -> Result<Option<Snapshot>, SnapshotError> {
        let decoded = MarketMessage::read(message)?;
        let Some(begin) = self.begin else {
            let MarketMessage::SnapshotBegin(begin) = decoded else { return Err(SnapshotError::NotBegun) };
            self.begin = Some(begin);
            return Ok(None);
        };
        if let MarketMessage::SnapshotEnd(end) = decoded {
            self.check(&begin, &end)?;
            let depth = std::mem::take(self).depth;
            return Ok(Some(Snapshot { depth, as_of: SessionSeq(end.as_of_seq.get()) }));
        }
        self.checksum = crc32c::crc32c_append(self.checksum, message);
        self.orders += u32::from(matches!(decoded, MarketMessage::OrderAdd(_)));
        self.depth.apply(&decoded)?;
        Ok(None)
    }

    fn check(&self, begin: &SnapshotBegin, end: &SnapshotEnd) -> Result<(), SnapshotError> {
        let (begin_seq, end_seq) = (begin.as_of_seq.get(), end.as_of_seq.get());
        if begin_seq != end_seq {
            return Err(SnapshotError::AsOf { begin: begin_seq, end: end_seq });
        }
        if self.orders != end.orders.get() {
            return Err(SnapshotError::OrderCount { expected: end.orders.get(), found: self.orders });
        }
        let found = self.depth.books().count() as u32;
        if found != begin.instruments.get() {
            return Err(SnapshotError::InstrumentCount { expected: begin.instruments.get(), found });
        }
        if self.checksum != end.checksum.get() {
            return Err(SnapshotError::Checksum { expected: self.checksum, found: end.checksum.get() });
        }
        Ok(())
    }
}
