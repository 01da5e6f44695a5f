//! All open orders in one array, a cache line each, named by their slot in it.
//!
//! An order never moves while it is open, so queues link slots, and an order id finds its order without a hash. The
//! slot freed last is reused first, which keeps the working set small. Invariant: the order of the free list is part of
//! the state, because it decides the ids to come.

use crate::array::Array;
use crate::command::{Side, StpMode};
use crate::extent::Extent;
use crate::ids::{AccountId, ClOrdId, MarketId, ORDER_NUMBER_MAX, ORDER_SLOTS_MAX, OrderId, SessionId};
use crate::mutation::{Mutation, Planted};
use crate::units::{PriceTicks, QtyLots};

/// No slot, in links.
pub const NIL: u32 = u32::MAX;

/// One open order: exactly one cache line.
///
/// Invariant: an open order has an id that names its slot, and between two commands it has `leaves > 0`; a free slot
/// has id 0 and links the next free slot in `next`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C, align(64))]
pub struct Order {
    pub id: OrderId,
    pub leaves: QtyLots,
    pub cum: QtyLots,
    pub cl_ord_id: ClOrdId,
    /// The older and the younger neighbour in the queue of its price level.
    pub prev: u32,
    pub next: u32,
    /// The level in which it rests (`ladder::LevelIdx`). Undefined while it does not rest.
    pub level: u32,
    pub account: AccountId,
    pub session: SessionId,
    pub market: MarketId,
    pub price: PriceTicks,
    pub stp_group: u16,
    pub traits: OrderTraits,
    pub cancel_group: u8,
}

const _: () = assert!(size_of::<Order>() == 64 && align_of::<Order>() == 64);

/// Side, post-only, persistence and self-trade mode of an order, and whether `names` has its name, in one byte.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct OrderTraits(u8);

const TRAIT_SELL: u8 = 1;
const TRAIT_POST_ONLY: u8 = 1 << 1;
const TRAIT_PERSIST: u8 = 1 << 2;
const TRAIT_STP_SHIFT: u32 = 3;
const TRAIT_STP_MASK: u8 = 0b111;
const TRAIT_NAMED: u8 = 1 << 6;

impl OrderTraits {
    pub fn new(side: Side, post_only: bool, persist_on_disconnect: bool, stp: StpMode) -> Self {
        let mut bits = (stp as u8) << TRAIT_STP_SHIFT;
        if side == Side::Sell {
            bits |= TRAIT_SELL;
        }
        if post_only {
            bits |= TRAIT_POST_ONLY;
        }
        if persist_on_disconnect {
            bits |= TRAIT_PERSIST;
        }
        Self(bits)
    }

    pub fn side(self) -> Side {
        if self.0 & TRAIT_SELL == 0 { Side::Buy } else { Side::Sell }
    }

    pub fn post_only(self) -> bool {
        self.0 & TRAIT_POST_ONLY != 0
    }

    pub fn persist_on_disconnect(self) -> bool {
        self.0 & TRAIT_PERSIST != 0
    }

    pub fn stp(self) -> StpMode {
        match self.0 >> TRAIT_STP_SHIFT & TRAIT_STP_MASK {
            2 => StpMode::CancelTaker,
            3 => StpMode::CancelMaker,
            4 => StpMode::CancelBoth,
            5 => StpMode::Decrement,
            _ => StpMode::None,
        }
    }

    /// Whether the order took a name, which it has until it ends.
    #[inline]
    pub fn is_named(self) -> bool {
        self.0 & TRAIT_NAMED != 0
    }

    pub(crate) fn set_named(&mut self) {
        self.0 |= TRAIT_NAMED;
    }

    pub fn bits(self) -> u8 {
        self.0
    }

    /// The traits that a snapshot stored as these bits; `None` for bits that no order has.
    pub(crate) fn of_bits(bits: u8) -> Option<Self> {
        let stp = bits >> TRAIT_STP_SHIFT & TRAIT_STP_MASK;
        let is_known = bits >> TRAIT_STP_SHIFT & !TRAIT_STP_MASK & !(TRAIT_NAMED >> TRAIT_STP_SHIFT) == 0;
        (is_known && StpMode::None as u8 <= stp && stp <= StpMode::Decrement as u8).then_some(Self(bits))
    }
}

const FREE: Order = Order {
    id: OrderId::NONE,
    leaves: QtyLots(0),
    cum: QtyLots(0),
    cl_ord_id: ClOrdId(0),
    prev: NIL,
    next: NIL,
    level: NIL,
    account: AccountId::NONE,
    session: SessionId::NONE,
    market: MarketId::NONE,
    price: PriceTicks(0),
    stp_group: 0,
    traits: OrderTraits(0),
    cancel_group: 0,
};

/// All open orders of all markets.
#[derive(Debug)]
pub struct Orders {
    slots: Array<Order>,
    /// The slot that the next order gets, first of the linked list of free slots.
    free_head: u32,
    live_count: u32,
    /// The number of the last order. The next one is one higher, and 1 again after `ORDER_NUMBER_MAX`.
    number_last: u64,
}

impl Orders {
    /// Memory set aside for `capacity` orders, in one piece. More follows in segments.
    pub fn with_capacity(capacity: usize) -> Self {
        let slots = Array::new(capacity, ORDER_SLOTS_MAX as usize);
        Self { slots, free_head: NIL, live_count: 0, number_last: 0 }
    }

    pub fn len(&self) -> usize {
        self.live_count as usize
    }

    pub fn is_empty(&self) -> bool {
        self.live_count == 0
    }

    pub fn is_full(&self) -> bool {
        self.free_head == NIL && self.slots.len() == ORDER_SLOTS_MAX as usize
    }

    /// Gives the order a slot and a new id. The caller has checked `is_full`. Inlined always, so that an order is built
    /// where it stays: as a call it would be written twice.
    #[inline(always)]
    pub fn insert(&mut self, mut order: Order) -> u32 {
        assert!(!self.is_full(), "admission refuses orders when no slot is left");
        let slot = if self.free_head == NIL {
            self.slots.push(FREE);
            self.slots.len() as u32 - 1
        } else {
            let slot = self.free_head;
            self.free_head = self.get(slot).next.planted(Mutation::SlotGivenTwice, |_| slot);
            slot
        };
        assert!(self.get(slot).id.is_none(), "a slot that is given to an order was free");
        let number = if self.number_last == ORDER_NUMBER_MAX { 1 } else { self.number_last + 1 };
        self.number_last = number.planted(Mutation::NumberNotWrapped, |_| self.number_last + 1);
        order.id = OrderId::new(self.number_last, slot);
        *self.get_mut(slot) = order;
        self.live_count += 1;
        slot
    }

    /// Frees a slot. The order has left its queue and all lists.
    #[inline]
    pub fn remove(&mut self, slot: u32) {
        let order = self.slots.at_mut(slot as usize);
        assert!(!order.id.is_none(), "a slot is freed once");
        debug_assert!(order.id.slot() == slot, "an order's id names its slot");
        order.id = OrderId::NONE;
        order.leaves = QtyLots(0);
        order.next = self.free_head;
        self.free_head = slot;
        self.live_count -= 1;
    }

    /// The slot of the open order with exactly this id.
    #[inline]
    pub fn find(&self, id: OrderId) -> Option<u32> {
        let slot = id.slot();
        let order = self.slots.get(slot as usize)?;
        (order.id == id && !id.is_none()).then_some(slot)
    }

    /// Brings the order's line into the cache. A slot that does not exist is harmless.
    #[inline]
    pub fn fetch(&self, slot: u32) {
        self.slots.fetch(slot as usize);
    }

    #[inline]
    pub fn get(&self, slot: u32) -> &Order {
        self.slots.at(slot as usize)
    }

    #[inline]
    pub fn get_mut(&mut self, slot: u32) -> &mut Order {
        self.slots.at_mut(slot as usize)
    }

    /// The open orders, by slot.
    pub fn iter(&self) -> impl Iterator<Item = (u32, &Order)> {
        self.slots.iter().enumerate().filter(|(_, o)| !o.id.is_none()).map(|(slot, o)| (slot as u32, o))
    }

    /// The free slots in the order in which they will be reused.
    pub fn free_slots(&self) -> impl Iterator<Item = u32> + '_ {
        let mut at = self.free_head;
        std::iter::from_fn(move || {
            (at != NIL).then(|| {
                let slot = at;
                at = self.get(slot).next;
                slot
            })
        })
    }

    /// Makes as many slots as a snapshot has, all of them empty and none on the free list.
    pub(crate) fn make_slots(&mut self, len: usize) {
        assert!(self.slots.is_empty(), "the slots of a snapshot are made once, before its orders");
        assert!(len <= ORDER_SLOTS_MAX as usize, "an order id has room for the slot");
        (0..len).for_each(|_| self.slots.push(FREE));
    }

    /// Puts an order of a snapshot into the slot that its id names.
    pub(crate) fn put(&mut self, slot: u32, order: Order) {
        assert!(self.get(slot).id.is_none(), "a slot of a snapshot gets one order");
        assert!(!order.id.is_none() && order.id.slot() == slot, "an order's id names its slot");
        *self.get_mut(slot) = order;
        self.live_count += 1;
    }

    /// Puts an empty slot at the front of the free list.
    pub(crate) fn link_free(&mut self, slot: u32) {
        assert!(self.get(slot).id.is_none(), "only empty slots are on the free list");
        self.get_mut(slot).next = self.free_head;
        self.free_head = slot;
    }

    /// Leaves so many numbers out. They start again after the largest one.
    pub(crate) fn skip_numbers(&mut self, count: u64) {
        let last = self.number_last + count.planted(Mutation::NumbersSaidTwice, |_| 0);
        self.number_last = if last <= ORDER_NUMBER_MAX { last } else { last - ORDER_NUMBER_MAX };
        assert!(self.number_last <= ORDER_NUMBER_MAX, "a life skips fewer numbers than there are");
    }

    pub(crate) fn set_number_last(&mut self, number: u64) {
        assert!(number <= ORDER_NUMBER_MAX, "an order id has room for the number");
        self.number_last = number;
    }

    pub(crate) fn extent(&self) -> Extent {
        self.slots.extent("orders")
    }

    pub fn slots_len(&self) -> usize {
        self.slots.len()
    }

    pub fn number_last(&self) -> u64 {
        self.number_last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn traits_come_back_as_given() {
        for side in [Side::Buy, Side::Sell] {
            for stp in
                [StpMode::None, StpMode::CancelTaker, StpMode::CancelMaker, StpMode::CancelBoth, StpMode::Decrement]
            {
                for bits in 0..4u8 {
                    let traits = OrderTraits::new(side, bits & 1 != 0, bits & 2 != 0, stp);
                    assert_eq!(traits.side(), side);
                    assert_eq!(traits.stp(), stp);
                    assert_eq!(traits.post_only(), bits & 1 != 0);
                    assert_eq!(traits.persist_on_disconnect(), bits & 2 != 0);
                }
            }
        }
    }

    #[test]
    fn a_reused_slot_has_another_id_and_the_old_id_finds_nothing() {
        let mut orders = Orders::with_capacity(2);
        let first = orders.insert(Order { leaves: QtyLots(1), ..FREE });
        let first_id = orders.get(first).id;
        orders.remove(first);
        let second = orders.insert(Order { leaves: QtyLots(1), ..FREE });
        assert_eq!(first, second);
        assert_eq!(orders.find(first_id), None);
        assert_eq!(orders.find(orders.get(second).id), Some(second));
        assert_eq!(orders.len(), 1);
    }

    /// The largest number is used, and the next order has number 1: its id is another one than that of an order that
    /// has been open since number 1 was given first.
    #[test]
    fn numbers_start_again_after_the_largest() {
        let mut orders = Orders::with_capacity(4);
        let oldest = orders.insert(Order { leaves: QtyLots(1), ..FREE });
        orders.set_number_last(ORDER_NUMBER_MAX - 1);
        let slots: Vec<u32> = (0..3).map(|_| orders.insert(Order { leaves: QtyLots(1), ..FREE })).collect();
        let ids: Vec<OrderId> = slots.iter().map(|slot| orders.get(*slot).id).collect();
        assert_eq!(ids.iter().map(|id| id.number()).collect::<Vec<u64>>(), [ORDER_NUMBER_MAX, 1, 2]);
        assert_eq!(orders.number_last(), 2);
        for (id, slot) in ids.iter().zip(&slots) {
            assert_eq!((id.slot(), orders.find(*id)), (*slot, Some(*slot)));
        }
        let oldest_id = orders.get(oldest).id;
        assert_eq!((oldest_id.number(), orders.find(oldest_id)), (1, Some(oldest)));
        assert!(!ids.contains(&oldest_id));
    }

    #[cfg(feature = "mutation")]
    #[test]
    fn numbers_that_do_not_start_again_are_noticed() {
        crate::mutation::assert_noticed(Mutation::NumberNotWrapped, numbers_start_again_after_the_largest);
    }
}
