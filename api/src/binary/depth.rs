//! Books rebuilt from market data, order by order.
//!
//! They are built from messages alone, so the client library, the node's snapshots and its top of book share them.
//! Invariants: a level's quantity and order count are the sums over its orders, exact however large they are, and shown
//! as at most `WIRE_AMOUNT_MAX`; `rptSeq` has no gap from the instrument's definition on.

use crate::binary::market::*;
use crate::binary::orders::side_of;
use crate::instruments::{WIRE_AMOUNT_MAX, saturated_sum};
use crate::mutation::{Mutation, Planted};
use book::command::Side;
use std::collections::{BTreeMap, HashMap};
use thiserror::Error;

/// Why a message does not fit the book. The book is no longer correct: recover by a new snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum DepthError {
    #[error("instrument {instrument}: no InstrumentDefinition was received")]
    UnknownInstrument { instrument: u32 },
    #[error("instrument {instrument}: gap, received rptSeq {found}, expected {expected}")]
    Gap { instrument: u32, expected: u64, found: u64 },
    #[error("instrument {instrument}: order {order} is not in the book")]
    UnknownOrder { instrument: u32, order: u64 },
    #[error("instrument {instrument}: order {order} is in the book already")]
    DuplicateOrder { instrument: u32, order: u64 },
    #[error("instrument {instrument}: order {order} has quantity {open}e-8, which contradicts the message")]
    QtyMismatch { instrument: u32, order: u64, open: i64 },
    #[error("side {side}, expected 1 (buy) or 2 (sell)")]
    Side { side: u8 },
}

/// A resting order of the public book.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DepthOrder {
    pub order_id: u64,
    pub side: Side,
    pub price_e9: i64,
    /// `WIRE_AMOUNT_MAX` means that much or more.
    pub qty_e8: i64,
    /// Place in its queue: lower trades first.
    arrival: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Level {
    pub price_e9: i64,
    /// `WIRE_AMOUNT_MAX` means that much or more.
    pub qty_e8: i64,
    pub orders: u32,
}

/// Orders of one price by arrival: the first is the next to trade. A tree, because cancels remove orders anywhere in
/// it.
#[derive(Clone, Debug, Default)]
struct Queue {
    order_ids: BTreeMap<u64, u64>,
    /// The sum over the orders. Each is below 2^63 and there are fewer than the arrivals that 64 bits count, so that
    /// 127 bits hold it.
    qty_e8: i128,
}

/// The book of one instrument.
#[derive(Clone, Debug)]
pub struct DepthBook {
    definition: InstrumentDefinition,
    rpt_seq: u64,
    /// Looked up by id and never iterated, so the order of the hash map has no effect.
    orders: HashMap<u64, DepthOrder>,
    /// By price, ascending on both sides. Trees, because levels come and go anywhere and are iterated in order.
    buys: BTreeMap<i64, Queue>,
    sells: BTreeMap<i64, Queue>,
    arrivals: u64,
}

impl DepthBook {
    fn new(definition: InstrumentDefinition) -> Self {
        Self {
            definition,
            rpt_seq: definition.rpt_seq.get(),
            orders: HashMap::new(),
            buys: BTreeMap::new(),
            sells: BTreeMap::new(),
            arrivals: 0,
        }
    }

    pub fn instrument(&self) -> u32 {
        self.definition.instrument_id.get()
    }

    /// The latest definition, with the current trading state.
    pub fn definition(&self) -> &InstrumentDefinition {
        &self.definition
    }

    /// `rptSeq` of the last message that is applied.
    pub fn rpt_seq(&self) -> u64 {
        self.rpt_seq
    }

    pub fn order_count(&self) -> usize {
        self.orders.len()
    }

    pub fn order(&self, order_id: u64) -> Option<&DepthOrder> {
        self.orders.get(&order_id)
    }

    /// Levels of one side, best price first.
    pub fn levels(&self, side: Side) -> impl Iterator<Item = Level> + '_ {
        self.queues(side).map(|(price_e9, queue)| Level {
            price_e9,
            qty_e8: saturated_sum(queue.qty_e8),
            // The node has 2^24 order slots; the books of a feed that claims more stay bounded by memory.
            orders: u32::try_from(queue.order_ids.len()).unwrap_or(u32::MAX),
        })
    }

    /// The best `count` levels of a side.
    pub fn top(&self, side: Side, count: usize) -> impl Iterator<Item = Level> + '_ {
        self.levels(side).take(count)
    }

    /// Resting orders of one side in price-time priority.
    pub fn orders(&self, side: Side) -> impl Iterator<Item = &DepthOrder> + '_ {
        self.queues(side).flat_map(|(_, queue)| queue.order_ids.values()).map(|id| &self.orders[id])
    }

    fn queues(&self, side: Side) -> impl Iterator<Item = (i64, &Queue)> + '_ {
        // One of the two is empty: the chain gives both directions one type without allocating.
        let (up, down) = match side {
            Side::Sell => (Some(self.sells.iter()), None),
            Side::Buy => (None, Some(self.buys.iter().rev())),
        };
        up.into_iter().flatten().chain(down.into_iter().flatten()).map(|(price, queue)| (*price, queue))
    }

    fn side_mut(&mut self, side: Side) -> &mut BTreeMap<i64, Queue> {
        match side {
            Side::Buy => &mut self.buys,
            Side::Sell => &mut self.sells,
        }
    }

    fn add(&mut self, order_id: u64, side: Side, price_e9: i64, qty_e8: i64) -> Result<(), DepthError> {
        let instrument = self.instrument();
        if self.orders.contains_key(&order_id) {
            return Err(DepthError::DuplicateOrder { instrument, order: order_id });
        }
        if qty_e8 <= 0 {
            return Err(DepthError::QtyMismatch { instrument, order: order_id, open: qty_e8 });
        }
        let arrival = self.arrivals;
        let queue = self.side_mut(side).entry(price_e9).or_default();
        let sum = queue.qty_e8 + i128::from(qty_e8);
        queue.qty_e8 = sum.planted(Mutation::LevelTotalNarrow, |sum| i128::from(sum as i64));
        assert!(i128::from(qty_e8) <= queue.qty_e8, "a level sums its orders");
        queue.order_ids.insert(arrival, order_id);
        self.arrivals += 1;
        self.orders.insert(order_id, DepthOrder { order_id, side, price_e9, qty_e8, arrival });
        Ok(())
    }

    fn remove(&mut self, order_id: u64) -> Result<DepthOrder, DepthError> {
        let unknown = DepthError::UnknownOrder { instrument: self.instrument(), order: order_id };
        let order = self.orders.remove(&order_id).ok_or(unknown)?;
        let side = self.side_mut(order.side);
        let queue = side.get_mut(&order.price_e9).expect("an order's level exists");
        queue.qty_e8 -= i128::from(order.qty_e8);
        queue.order_ids.remove(&order.arrival);
        assert!(0 <= queue.qty_e8 && (queue.qty_e8 == 0) == queue.order_ids.is_empty(), "a level sums its orders");
        if queue.order_ids.is_empty() {
            side.remove(&order.price_e9);
        }
        Ok(order)
    }

    /// Takes a quantity off an order; an order with none left is removed.
    fn reduce(&mut self, order_id: u64, qty_e8: i64) -> Result<(), DepthError> {
        let open = self.open(order_id)?;
        if qty_e8 <= 0 || open < qty_e8 {
            return Err(DepthError::QtyMismatch { instrument: self.instrument(), order: order_id, open });
        }
        self.shrink(order_id, open - qty_e8)
    }

    fn executed(&mut self, m: &OrderExecuted) -> Result<(), DepthError> {
        let (order_id, qty, leaves) = (m.order_id.get(), m.qty_e8.get(), m.leaves_qty_e8.get());
        let open = self.open(order_id)?;
        // At least so much remains of an order that had `open` or more, and exactly so much of any other.
        let remains = open.saturating_sub(qty);
        let fits = leaves == remains || (open == WIRE_AMOUNT_MAX && remains < leaves);
        if qty <= 0 || !(0..=open).contains(&leaves) || !fits {
            return Err(DepthError::QtyMismatch { instrument: self.instrument(), order: order_id, open });
        }
        self.shrink(order_id, leaves)
    }

    fn open(&self, order_id: u64) -> Result<i64, DepthError> {
        let order = self.orders.get(&order_id);
        let open = order.map(|order| order.qty_e8);
        open.ok_or(DepthError::UnknownOrder { instrument: self.instrument(), order: order_id })
    }

    /// Leaves an order with less than it has, or with as much; an order with nothing left is removed.
    fn shrink(&mut self, order_id: u64, leaves_e8: i64) -> Result<(), DepthError> {
        if leaves_e8 == 0 {
            return self.remove(order_id).map(|_gone| ());
        }
        let order = self.orders.get_mut(&order_id).expect("its open quantity was found");
        let less = order.qty_e8 - leaves_e8;
        order.qty_e8 = leaves_e8;
        let order = *order;
        let queue = self.side_mut(order.side).get_mut(&order.price_e9).expect("an order's level exists");
        queue.qty_e8 -= i128::from(less);
        assert!(0 <= less && i128::from(order.qty_e8) <= queue.qty_e8, "a level sums its orders");
        Ok(())
    }

    fn replaced(&mut self, m: &OrderReplace) -> Result<(), DepthError> {
        let before = self.remove(m.order_id.get())?;
        self.add(m.new_order_id.get(), before.side, m.price_e9.get(), m.qty_e8.get())
    }

    /// Checks that the message follows the last one. All orders of a snapshot carry the same number.
    fn advance(&mut self, found: u64, flags: u8) -> Result<(), DepthError> {
        let step = u64::from(flags & FLAG_SNAPSHOT == 0);
        let expected = self.rpt_seq.saturating_add(step);
        if found != expected {
            return Err(DepthError::Gap { instrument: self.instrument(), expected, found });
        }
        self.rpt_seq = found;
        Ok(())
    }
}

/// Books of all instruments of the feed.
#[derive(Clone, Debug, Default)]
pub struct Depth {
    /// By instrument id. A tree, because a snapshot lists instruments in order.
    books: BTreeMap<u32, DepthBook>,
}

impl Depth {
    /// Forgets the book of an instrument that was removed. No message says so: it was closed before that.
    pub fn remove(&mut self, instrument: u32) {
        self.books.remove(&instrument);
    }

    pub fn book(&self, instrument: u32) -> Option<&DepthBook> {
        self.books.get(&instrument)
    }

    /// In the order of instrument ids.
    pub fn books(&self) -> impl Iterator<Item = &DepthBook> {
        self.books.values()
    }

    /// Applies one message of the live stream or of a snapshot. After an error the instrument's book is not correct.
    pub fn apply(&mut self, message: &MarketMessage) -> Result<(), DepthError> {
        match message {
            MarketMessage::InstrumentDefinition(m) => self.define(m),
            MarketMessage::TradingStatus(m) => {
                self.book_mut(m.instrument_id.get())?.definition.state = m.state;
                Ok(())
            }
            MarketMessage::OrderAdd(m) => {
                let side = side_of(m.side).ok_or(DepthError::Side { side: m.side })?;
                let book = self.advanced(m.instrument_id.get(), m.rpt_seq.get(), m.flags)?;
                book.add(m.order_id.get(), side, m.price_e9.get(), m.qty_e8.get())
            }
            MarketMessage::OrderReduce(m) => {
                let book = self.advanced(m.instrument_id.get(), m.rpt_seq.get(), m.flags)?;
                book.reduce(m.order_id.get(), m.canceled_qty_e8.get())
            }
            MarketMessage::OrderDelete(m) => {
                let book = self.advanced(m.instrument_id.get(), m.rpt_seq.get(), m.flags)?;
                book.remove(m.order_id.get()).map(|_gone| ())
            }
            MarketMessage::OrderReplace(m) => {
                self.advanced(m.instrument_id.get(), m.rpt_seq.get(), m.flags)?.replaced(m)
            }
            MarketMessage::OrderExecuted(m) => {
                self.advanced(m.instrument_id.get(), m.rpt_seq.get(), m.flags)?.executed(m)
            }
            // The frame of a snapshot, and the messages of TOP, which do not concern single orders.
            MarketMessage::SnapshotBegin(_)
            | MarketMessage::SnapshotEnd(_)
            | MarketMessage::Bbo(_)
            | MarketMessage::LevelUpdate(_) => Ok(()),
        }
    }

    /// Adds an instrument, or replaces the rules of a known one, whose messages must have no gap.
    fn define(&mut self, m: &InstrumentDefinition) -> Result<(), DepthError> {
        let instrument = m.instrument_id.get();
        let Some(book) = self.books.get_mut(&instrument) else {
            self.books.insert(instrument, DepthBook::new(*m));
            return Ok(());
        };
        if book.rpt_seq != m.rpt_seq.get() {
            return Err(DepthError::Gap { instrument, expected: book.rpt_seq, found: m.rpt_seq.get() });
        }
        book.definition = *m;
        Ok(())
    }

    fn advanced(&mut self, instrument: u32, rpt_seq: u64, flags: u8) -> Result<&mut DepthBook, DepthError> {
        let book = self.book_mut(instrument)?;
        book.advance(rpt_seq, flags)?;
        Ok(book)
    }

    fn book_mut(&mut self, instrument: u32) -> Result<&mut DepthBook, DepthError> {
        self.books.get_mut(&instrument).ok_or(DepthError::UnknownInstrument { instrument })
    }
}
