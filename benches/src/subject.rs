//! What a bench drives: a book that takes orders, cancels and amendments, and tells of every fill.

use crate::streams::{Cmd, Op, Side};

/// Hears every fill of a run, in order.
pub trait Fills {
    fn fill(&mut self, taker: u64, maker: u64, price: u32, qty: u32);
}

/// An order that left its place: by cancel, or on its way to a new price.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gone {
    pub side: Side,
    pub price: u32,
    pub qty: u32,
}

/// A book under test. Ids are whatever the stream names orders by.
pub trait Subject {
    const NAME: &'static str;

    /// Sees the commands to come, the next one first, before it runs: a batch is known as a whole when it is drained.
    #[inline(always)]
    fn look_ahead(&self, _coming: &[Cmd]) {}

    /// Trades what crosses, rests the remainder of a GTC order, and gives what was not traded.
    fn place<F: Fills>(&mut self, order: &Cmd, fills: &mut F) -> u32;

    /// `None` when no such order rests (any more).
    fn cancel(&mut self, id: u64) -> Option<Gone>;

    /// To the end of the queue of a new price, trading what crosses; `None` for the quantity keeps what is open.
    /// Gives the order as it was before.
    fn amend<F: Fills>(&mut self, order: &Cmd, qty: Option<u32>, fills: &mut F) -> Option<Gone>;

    /// Resting orders and their quantity, where the book can tell.
    fn resting(&self) -> Option<Resting>;
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Resting {
    pub orders: u64,
    pub qty: u64,
}

/// Commands that a subject may look at ahead of time.
const AHEAD_MAX: usize = 32;

/// The first command of what is left of a stream, the rest of which the subject may look at.
#[inline(always)]
pub fn drive_next<S: Subject, F: Fills>(subject: &mut S, rest: &[Cmd], fills: &mut F) {
    subject.look_ahead(&rest[..rest.len().min(AHEAD_MAX)]);
    drive(subject, &rest[0], fills);
}

/// One command of a stream.
#[inline(always)]
pub fn drive<S: Subject, F: Fills>(subject: &mut S, cmd: &Cmd, fills: &mut F) {
    match cmd.op {
        Op::New => {
            subject.place(cmd, fills);
        }
        Op::Cancel => {
            subject.cancel(cmd.id);
        }
        Op::Move => {
            subject.amend(cmd, None, fills);
        }
    }
}

pub const HASH_START: u64 = 0x9E37_79B9_7F4A_7C15;
const HASH_FACTOR: u64 = 0x0000_0100_0000_01B3;

/// Sums over all fills, and the order-sensitive hash that the streams carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tally {
    pub fills: u64,
    pub qty: u64,
    pub notional: u64,
    pub hash: u64,
}

impl Default for Tally {
    fn default() -> Self {
        Self { fills: 0, qty: 0, notional: 0, hash: HASH_START }
    }
}

impl Fills for Tally {
    #[inline(always)]
    fn fill(&mut self, taker: u64, maker: u64, price: u32, qty: u32) {
        self.fills += 1;
        self.qty += u64::from(qty);
        self.notional = self.notional.wrapping_add(u64::from(price) * u64::from(qty));
        for word in [taker, maker, u64::from(price), u64::from(qty)] {
            self.hash = (self.hash ^ word).wrapping_mul(HASH_FACTOR);
        }
    }
}
