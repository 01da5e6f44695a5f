//! What a bench of the book drives: a book that accepts orders, cancels and amendments and reports every fill.
//!
//! Invariant: fills are reported in the order in which they happen, because the hash over them depends on it.

use crate::streams::{Cmd, Op, Resting, Side, Tally};

/// Receives every fill of a run, in order.
pub trait Fills {
    fn fill(&mut self, taker: u64, maker: u64, price: u32, qty: u32);
}

/// An order as it was before a cancel removed it or an amendment moved it to another price.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Removed {
    pub side: Side,
    pub price: u32,
    pub qty: u32,
}

/// A book under test. Ids are those by which the stream names orders.
pub trait Subject {
    const NAME: &'static str;

    /// Shows the commands to come, the next one first, before that one runs. A real gateway knows them too, because it
    /// drains its sockets in batches.
    #[inline(always)]
    fn look_ahead(&self, _coming: &[Cmd]) {}

    /// Trades what crosses and rests the remainder of a GTC order; returns the quantity that was not traded.
    fn place<F: Fills>(&mut self, order: &Cmd, fills: &mut F) -> u32;

    /// Returns `None` when no such order rests, or no longer.
    fn cancel(&mut self, id: u64) -> Option<Removed>;

    /// Moves the order to the end of the queue at a new price and trades what crosses; without a quantity the open one
    /// stays. Returns the order as it was before.
    fn amend<F: Fills>(&mut self, order: &Cmd, qty: Option<u32>, fills: &mut F) -> Option<Removed>;

    /// Returns `None` where the book offers no way to count its resting orders.
    fn resting(&self) -> Option<Resting>;
}

/// Longest look ahead, in commands: the batch that a gateway drains from its sockets at once.
const AHEAD_MAX: usize = 32;

/// Runs the first of `rest`; the subject may look ahead at the others.
#[inline(always)]
pub fn drive_next<S: Subject, F: Fills>(subject: &mut S, rest: &[Cmd], fills: &mut F) {
    subject.look_ahead(&rest[..rest.len().min(AHEAD_MAX)]);
    drive(subject, &rest[0], fills);
}

/// Runs one command of a stream.
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

impl Fills for Tally {
    #[inline(always)]
    fn fill(&mut self, taker: u64, maker: u64, price: u32, qty: u32) {
        self.add(taker, maker, price, qty);
    }
}
